//! A directory whose names are made durable when that is asked for.

use super::super::disk::Disk;
use super::super::sync_ledger::{Loss, PieceCount, Standing, SyncLedger};
use pfs_core::extent::Extent;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// One directory, and which changes of its names are not durable.
#[derive(Debug)]
pub(super) struct SyncedDirectory<D: Disk> {
    disk: D,
    path: PathBuf,
    ledger: SyncLedger,
    changes: AtomicU64,
}

impl<D: Disk> SyncedDirectory<D> {
    pub(super) fn new(disk: D, path: PathBuf, pieces: PieceCount) -> Self {
        SyncedDirectory { disk, path, ledger: SyncLedger::new(pieces), changes: AtomicU64::new(0) }
    }

    pub(super) fn disk(&self) -> &D {
        &self.disk
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes, or takes away, a name.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let number = self.changes.fetch_add(1, Ordering::Relaxed);
        let this = || Extent::new(number, number + 1).into_iter();
        let ticket = self.ledger.begin_write(this());
        let outcome = change();
        self.ledger.end_write(ticket, this(), outcome.is_ok());
        outcome
    }

    /// Makes changes durable that wait for it, and tells whether none is left.
    pub(super) fn settle(&self) -> bool {
        if self.ledger.standing() == Standing::Uncommitted
            && let Err(loss) = self.commit()
        {
            tracing::error!(error = %loss.source, path = %self.path.display(), "names are not durable");
        }
        self.ledger.standing() == Standing::Settled
    }

    /// Makes all changes so far durable. A directory that does not exist has no names.
    pub(super) fn commit(&self) -> Result<(), Loss> {
        self.ledger.commit(|| match self.disk.sync_directory(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        })
    }
}
