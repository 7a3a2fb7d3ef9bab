//! Atomic mode.
//!
//! In non-atomic mode the ranks of a file are one holder of tokens, and MPI's rules order their accesses. In atomic mode
//! every rank is a holder of its own: it has the file open for itself, and conflicting accesses of ranks exclude each other
//! like those of different programs, so each is seen whole or not at all.
//!
//! Invariants: the ranks are in the same mode; a rank has opened the file for itself before any is in atomic mode, and
//! keeps it open until the file is closed, since the mode may change again. Nothing that is cached under one holder is used
//! under another.

use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::times::Phase;
use pfs_client::{FileDescriptor, OpenOptions};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file's mode, and the rank's own open of it once it was needed.
#[derive(Default)]
pub(crate) struct Atomicity {
    is_on: AtomicBool,
    own: Mutex<Option<Arc<FileDescriptor>>>,
}

/// The open by which a rank reads and writes: the group's, or its own in atomic mode.
pub(crate) enum Io<'a> {
    Group(&'a FileDescriptor),
    Own(Arc<FileDescriptor>),
}

impl Deref for Io<'_> {
    type Target = FileDescriptor;

    fn deref(&self) -> &FileDescriptor {
        match self {
            Io::Group(file) => file,
            Io::Own(file) => file,
        }
    }
}

impl Atomicity {
    /// Whether the file is in atomic mode.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// The rank's own open, if there is one, whatever the mode.
    pub(crate) fn own(&self) -> Option<Arc<FileDescriptor>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, own: Option<FileDescriptor>) -> Option<Arc<FileDescriptor>> {
        std::mem::replace(&mut *self.own.lock().unwrap_or_else(PoisonError::into_inner), own.map(Arc::new))
    }

    /// Closes the rank's own open.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        match self.replace(None).map(Arc::try_unwrap) {
            Some(Ok(file)) => Ok(file.close().await?),
            // Somebody is using it, so dropping the last one closes it.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Closes the rank's own open without waiting, and with it gives back whatever it was or will be granted.
    pub(crate) fn abandon(&self) {
        drop(self.replace(None));
    }
}

impl File {
    /// Whether the file is in atomic mode.
    pub fn atomicity(&self) -> bool {
        self.open.atomic.is_on()
    }

    /// Switches atomic mode on or off; all ranks say the same. Collective. In atomic mode every access of a rank is seen
    /// whole or not at all by every other rank, and at once. A file begins in non-atomic mode.
    pub fn set_atomicity(&self, is_atomic: bool) -> Result<(), Error> {
        self.run_in_turn(self.open.times.during(Phase::Meta, self.open.set_atomicity(is_atomic)))
    }
}

impl OpenFile {
    async fn set_atomicity(&self, is_atomic: bool) -> Result<(), Error> {
        let entries = self.group.enter(Call::SetAtomicity, Ok([u64::from(is_atomic), 0, 0, 0])).await?;
        if let Some(rank) = entries.iter().position(|entry| entry[0] != entries[0][0]) {
            let message = format!("set_atomicity: rank 0 and rank {rank} want different modes");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        if is_atomic == self.atomic.is_on() {
            return Ok(());
        }
        let opened = self.open_own().await;
        self.group.agree(opened).await?;
        // No rank goes on before all have reached this: until then the others may use the other holder.
        let from = self.io();
        let emptied = self.empty_cache().await;
        self.group.agree(emptied).await?;
        self.atomic.is_on.store(is_atomic, Ordering::Release);
        self.io().learn_size(from.known_size());
        Ok(())
    }

    /// The open by which this rank reads and writes now.
    pub(crate) fn io(&self) -> Io<'_> {
        match self.atomic.own() {
            Some(own) if self.atomic.is_on() => Io::Own(own),
            _ => Io::Group(&self.file),
        }
    }

    /// The same for an independent access, which has nobody to agree with about an error.
    pub(crate) fn own_io(&self) -> Result<Io<'_>, Error> {
        match self.group.lost() {
            Some(lost) if self.atomic.is_on() && self.atomic.own().is_none() => Err(lost.clone()),
            _ => Ok(self.io()),
        }
    }

    /// Writes back what this rank has collected of the file and forgets what it has read, so that ranks see each other's
    /// bytes. In atomic mode tokens see to that.
    pub(crate) async fn empty_cache(&self) -> Result<(), Error> {
        let flushed = self.file.flush_cache().await;
        self.file.drop_clean();
        Ok(flushed?)
    }

    /// Opens the file for this rank alone, at the first time.
    async fn open_own(&self) -> Result<(), Error> {
        if self.atomic.own().is_some() {
            return Ok(());
        }
        let options = OpenOptions { access: self.amode.access()?, ..OpenOptions::default() };
        let own = self.client.as_async().open(&self.path, &options).await?;
        if own.status().id != self.file.status().id {
            let message = format!("{} is another file now; atomic mode must be switched on before a rename", self.path);
            return Err(Error::new(ErrorClass::NoSuchFile, message));
        }
        own.learn_size(self.file.known_size());
        drop(self.atomic.replace(Some(own)));
        Ok(())
    }
}
