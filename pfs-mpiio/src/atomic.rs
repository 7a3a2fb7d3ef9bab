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
use crate::file::File;
use crate::group::Call;
use pfs_client::{OpenOptions, blocking};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

/// A file's mode, and the rank's own open of it once it was needed.
#[derive(Default)]
pub(crate) struct Atomicity {
    is_on: Cell<bool>,
    own: RefCell<Option<Rc<blocking::File>>>,
}

/// The open by which a rank reads and writes: the group's, or its own in atomic mode.
pub(crate) enum Io<'a> {
    Group(&'a blocking::File),
    Own(Rc<blocking::File>),
}

impl Deref for Io<'_> {
    type Target = blocking::File;

    fn deref(&self) -> &blocking::File {
        match self {
            Io::Group(file) => file,
            Io::Own(file) => file,
        }
    }
}

impl Atomicity {
    /// The rank's own open, if there is one, whatever the mode.
    pub(crate) fn own(&self) -> Option<Rc<blocking::File>> {
        self.own.borrow().clone()
    }

    /// Closes the rank's own open.
    pub(crate) fn close(&self) -> Result<(), Error> {
        match self.own.take().map(Rc::try_unwrap) {
            Some(Ok(file)) => Ok(file.close()?),
            // Somebody is using it, so dropping the last one closes it.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Closes the rank's own open without waiting, and with it gives back whatever it was or will be granted.
    pub(crate) fn abandon(&self) {
        drop(self.own.take());
    }
}

impl File {
    /// Whether the file is in atomic mode.
    pub fn atomicity(&self) -> bool {
        self.atomic.is_on.get()
    }

    /// Switches atomic mode on or off; all ranks say the same. Collective. In atomic mode every access of a rank is seen
    /// whole or not at all by every other rank, and at once. A file begins in non-atomic mode.
    pub fn set_atomicity(&self, is_atomic: bool) -> Result<(), Error> {
        let entries = self.group.enter(Call::SetAtomicity, Ok([u64::from(is_atomic), 0, 0, 0]))?;
        if let Some(rank) = entries.iter().position(|entry| entry[0] != entries[0][0]) {
            let message = format!("set_atomicity: rank 0 and rank {rank} want different modes");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        if is_atomic == self.atomicity() {
            return Ok(());
        }
        self.group.agree(self.open_own())?;
        // No rank goes on before all have reached this: until then the others may use the other holder.
        let from = self.io();
        self.group.agree(self.empty_cache())?;
        self.atomic.is_on.set(is_atomic);
        self.io().learn_size(from.known_size());
        Ok(())
    }

    /// The open by which this rank reads and writes now.
    pub(crate) fn io(&self) -> Io<'_> {
        match self.atomic.own() {
            Some(own) if self.atomicity() => Io::Own(own),
            _ => Io::Group(&self.file),
        }
    }

    /// The same for an independent access, which has nobody to agree with about an error.
    pub(crate) fn own_io(&self) -> Result<Io<'_>, Error> {
        match self.group.lost() {
            Some(lost) if self.atomicity() && self.atomic.own().is_none() => Err(lost.clone()),
            _ => Ok(self.io()),
        }
    }

    /// Writes back what this rank has collected of the file and forgets what it has read, so that ranks see each other's
    /// bytes. In atomic mode tokens see to that.
    pub(crate) fn empty_cache(&self) -> Result<(), Error> {
        let flushed = self.file.flush_cache();
        self.file.drop_clean();
        Ok(flushed?)
    }

    /// Opens the file for this rank alone, at the first time.
    fn open_own(&self) -> Result<(), Error> {
        if self.atomic.own().is_some() {
            return Ok(());
        }
        let options = OpenOptions { access: self.amode.access()?, ..OpenOptions::default() };
        let own = self.client.open(self.path(), &options)?;
        if own.status().id != self.file.status().id {
            let message =
                format!("{} is another file now; atomic mode must be switched on before a rename", self.path());
            return Err(Error::new(ErrorClass::NoSuchFile, message));
        }
        own.learn_size(self.file.known_size());
        *self.atomic.own.borrow_mut() = Some(Rc::new(own));
        Ok(())
    }
}
