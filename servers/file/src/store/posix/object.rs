//! One open object: its file and what of it is not durable.

use super::super::disk::DiskFile;
use super::super::sync_ledger::{Loss, PieceCount, Standing, SyncLedger};
use super::super::{Attempt, ObjectStatus, StoreError};
use pfs_core::extent::Extent;
use pfs_core::ids::ObjectId;
use pfs_proto::data::ObjectExtent;
use std::io;
use std::path::PathBuf;

/// Most separate pieces of bytes that are not durable, in all objects of a store together: about 16 MiB of memory.
/// Past it an object is synced when it is written, unless it has next to none itself.
const PIECES_MAX: usize = 262_144;
const PIECES_KEPT_PER_OBJECT: usize = 64;

/// One open object.
#[derive(Debug)]
pub(super) struct OpenObject<F: DiskFile> {
    id: ObjectId,
    path: PathBuf,
    file: F,
    ledger: SyncLedger,
    pieces: PieceCount,
}

impl<F: DiskFile> OpenObject<F> {
    pub(super) fn new(id: ObjectId, path: PathBuf, file: F, pieces: PieceCount) -> Self {
        OpenObject { id, path, file, ledger: SyncLedger::new(pieces.clone()), pieces }
    }

    pub(super) fn id(&self) -> ObjectId {
        self.id
    }

    /// Whether it may be closed.
    pub(super) fn standing(&self) -> Standing {
        self.ledger.standing()
    }

    pub(super) fn write(&self, extents: &[ObjectExtent], payload: &[u8]) -> Result<(), StoreError> {
        let ranges = || extents.iter().filter_map(|extent| Extent::new(extent.offset().0, extent.end().0));
        let ticket = self.ledger.begin_write(ranges());
        let written = self.write_all(extents, payload);
        self.ledger.end_write(ticket, ranges(), written.is_ok());
        if self.pieces.get() > PIECES_MAX && self.ledger.pieces() > PIECES_KEPT_PER_OBJECT {
            self.settle();
        }
        written
    }

    fn write_all(&self, extents: &[ObjectExtent], payload: &[u8]) -> Result<(), StoreError> {
        let mut rest = payload;
        for extent in joined(extents) {
            let (bytes, after) = rest.split_at(bytes_of(extent));
            self.file
                .write_all(bytes, extent.offset().0)
                .map_err(|error| self.failed(Attempt::Write(extent), error))?;
            rest = after;
        }
        assert!(rest.is_empty(), "a payload is as long as its extents");
        Ok(())
    }

    pub(super) fn read(&self, extents: &[ObjectExtent], into: &mut [u8]) -> Result<(), StoreError> {
        let mut rest = into;
        for extent in joined(extents) {
            let (bytes, after) = rest.split_at_mut(bytes_of(extent));
            let read = self
                .file
                .read_to_end(bytes, extent.offset().0)
                .map_err(|error| self.failed(Attempt::Read(extent), error))?;
            bytes[read..].fill(0);
            rest = after;
        }
        assert!(rest.is_empty(), "a buffer is as long as its extents");
        Ok(())
    }

    pub(super) fn commit(&self) -> Result<(), StoreError> {
        self.ledger.commit(|| self.file.sync_data()).map_err(|loss| match loss {
            Loss { bytes: 0, source, .. } => self.failed(Attempt::Commit, source),
            Loss { start, bytes, source } => {
                StoreError::Lost { object: self.id, path: self.path.clone(), start, bytes, source }
            }
        })
    }

    /// Makes what was written durable ahead of its commit. A failure is kept for that.
    pub(super) fn settle(&self) {
        if let Err(error) = self.commit() {
            tracing::error!(%error, "an early sync failed; the next commit of the object will");
        }
    }

    pub(super) fn truncate(&self, length: u64) -> Result<(), StoreError> {
        let failed = |error| self.failed(Attempt::Truncate(length), error);
        self.file.set_len(length).map_err(failed)?;
        self.ledger.cut(length);
        // A change of length is one of the things that fdatasync makes durable.
        self.ledger.sync(|| self.file.sync_data()).map_err(failed)
    }

    pub(super) fn status(&self) -> Result<ObjectStatus, StoreError> {
        let status = self.file.status().map_err(|error| self.failed(Attempt::Stat, error))?;
        Ok(ObjectStatus { length: status.length, allocated_bytes: status.allocated_bytes })
    }

    fn failed(&self, attempt: Attempt, error: io::Error) -> StoreError {
        StoreError::of_object(self.id, attempt, &self.path, error)
    }
}

/// Extents that follow each other, as one: fewer system calls.
fn joined(extents: &[ObjectExtent]) -> impl Iterator<Item = ObjectExtent> + '_ {
    let mut extents = extents.iter().copied().peekable();
    std::iter::from_fn(move || {
        let mut run = extents.next()?;
        while let Some(next) = extents.next_if(|next| next.offset() == run.end()) {
            run = ObjectExtent::new(run.offset(), run.length() + next.length()).expect("it ends where `next` does");
        }
        Some(run)
    })
}

fn bytes_of(extent: ObjectExtent) -> usize {
    usize::try_from(extent.length()).expect("an extent is not longer than the payload in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::extent::ObjectOffset;

    fn extent(offset: u64, length: u64) -> ObjectExtent {
        ObjectExtent::new(ObjectOffset(offset), length).unwrap()
    }

    #[test]
    fn only_neighbours_in_order_are_joined() {
        let extents = [extent(0, 10), extent(10, 5), extent(20, 5), extent(15, 5), extent(20, 1)];
        let joined: Vec<_> = joined(&extents).collect();
        assert_eq!(joined, [extent(0, 15), extent(20, 5), extent(15, 6)]);
    }
}
