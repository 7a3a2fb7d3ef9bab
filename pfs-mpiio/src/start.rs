//! Starting an access without a borrow of its memory.
//!
//! This is for callers who keep the memory by other means than the compiler, such as a library for programs in C. What is
//! started is an [`Operation`] that can be tested, waited for, and asked for its status; [`Request`](crate::Request) is the
//! same with the borrow, and made of it.
//!
//! Where a file pointer is used, it has moved when the call returns, by what was asked for. A shared pointer is one message to
//! the metadata server and back, and for accesses of all ranks a meeting of them, so these calls wait that long. Memory with
//! gaps is packed at the call for a write, and filled at the end of a read. The handle of a datatype is used only in the call.
//!
//! An error of this rank that can be known at the call is returned by it if the access is of this rank alone. Of an access of
//! all ranks it is what comes of the operation, on every rank; at the shared pointer every rank gets it from the call.

use crate::buffer::{Bytes, Destination, Source, Target};
use crate::error::Error;
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::operation::Operation;
use crate::threads;
use crate::times::Counter;
use pfs_core::collective::Access;
use std::mem::transmute;

/// Where an access begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// So many etypes from the view's start.
    Offset(u64),
    /// At the individual file pointer, which moves on by the access.
    Pointer,
    /// At the shared file pointer, which moves on by the access; the accesses of all ranks together lie behind each other by
    /// rank.
    SharedPointer,
}

/// The bytes of a write, without their lifetime.
///
/// # Safety
/// The memory is there, and is not changed, until what is returned is dropped.
unsafe fn without_lifetime(bytes: Bytes<'_>) -> Bytes<'static> {
    // SAFETY: only the lifetime changes, for which the caller speaks.
    unsafe { transmute::<Bytes<'_>, Bytes<'static>>(bytes) }
}

/// The place of a read, without its lifetime.
///
/// # Safety
/// The memory is there, and is not used otherwise, until what is returned is dropped.
unsafe fn target_without_lifetime(target: Target<'_>) -> Target<'static> {
    // SAFETY: only the lifetime changes, for which the caller speaks.
    unsafe { transmute::<Target<'_>, Target<'static>>(target) }
}

impl File {
    /// Begins to write `buf`, for this rank alone. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and is not changed, until the operation is complete.
    pub unsafe fn start_write<B: Source + ?Sized>(&self, at: At, buf: &B) -> Result<Operation, Error> {
        threads::check()?;
        self.open.check_writable()?;
        self.open.times.note(Counter::NonblockingWrites);
        let bytes = self.open.bytes(buf)?;
        let access = self.place_alone(at, bytes.len())?;
        // SAFETY: the caller's promise; the bytes are dropped before the operation is complete.
        Ok(self.open.start_write(access, unsafe { without_lifetime(bytes) }))
    }

    /// Begins to read into `buf`, for this rank alone. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and nobody else uses it, until the operation is complete.
    pub unsafe fn start_read<B: Destination + ?Sized>(&self, at: At, buf: &mut B) -> Result<Operation, Error> {
        threads::check()?;
        self.open.check_readable()?;
        self.open.times.note(Counter::NonblockingReads);
        let mut target = self.open.target(buf)?;
        let access = self.place_alone(at, target.bytes().len())?;
        // SAFETY: the caller's promise; the place is dropped before the operation is complete.
        Ok(self.open.start_read(access, unsafe { target_without_lifetime(target) }))
    }

    /// Begins to write every rank's `buf`. Collective. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and is not changed, until the operation is complete.
    pub unsafe fn start_write_all<B: Source + ?Sized>(&self, at: At, buf: &B) -> Result<Operation, Error> {
        threads::check()?;
        let call = if at == At::SharedPointer { Call::IwriteOrdered } else { Call::IwriteAtAll };
        self.open.times.note(Counter::NonblockingWrites);
        // SAFETY: the caller's promise.
        unsafe { self.write_together_later(call, at, buf, self.open.check_free(call)) }
    }

    /// Begins to read into every rank's `buf`. Collective. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and nobody else uses it, until the operation is complete.
    pub unsafe fn start_read_all<B: Destination + ?Sized>(&self, at: At, buf: &mut B) -> Result<Operation, Error> {
        threads::check()?;
        let call = if at == At::SharedPointer { Call::IreadOrdered } else { Call::IreadAtAll };
        self.open.times.note(Counter::NonblockingReads);
        // SAFETY: the caller's promise.
        unsafe { self.read_together_later(call, at, buf, self.open.check_free(call)) }
    }

    /// Writes for all ranks if the check went well, and tells them of the error if not: then `buf` is not used.
    ///
    /// # Safety
    /// As for [`start_write_all`](File::start_write_all).
    pub(crate) unsafe fn write_together_later<B: Source + ?Sized>(
        &self,
        call: Call,
        at: At,
        buf: &B,
        checked: Result<(), Error>,
    ) -> Result<Operation, Error> {
        let checked = checked.and_then(|()| self.open.check_writable());
        let bytes = checked.and_then(|()| self.open.bytes(buf));
        let length = bytes.as_ref().map(|bytes| bytes.len()).map_err(Error::clone);
        let access = self.place_together(call, at, length)?;
        // SAFETY: the caller's promise; the bytes are dropped before the operation is complete.
        let own = bytes.and_then(|bytes| Ok((access?, unsafe { without_lifetime(bytes) })));
        Ok(self.open.start_write_all(call, own))
    }

    /// The same for a read.
    ///
    /// # Safety
    /// As for [`start_read_all`](File::start_read_all).
    pub(crate) unsafe fn read_together_later<B: Destination + ?Sized>(
        &self,
        call: Call,
        at: At,
        buf: &mut B,
        checked: Result<(), Error>,
    ) -> Result<Operation, Error> {
        let checked = checked.and_then(|()| self.open.check_readable());
        let mut target = checked.and_then(|()| self.open.target(buf));
        let length = target.as_mut().map(|target| target.bytes().len()).map_err(|error| error.clone());
        let access = self.place_together(call, at, length)?;
        // SAFETY: the caller's promise; the place is dropped before the operation is complete.
        let own = target.and_then(|target| Ok((access?, unsafe { target_without_lifetime(target) })));
        Ok(self.open.start_read_all(call, own))
    }

    /// The access of so many bytes of this rank alone.
    fn place_alone(&self, at: At, bytes: usize) -> Result<Access, Error> {
        match at {
            At::Offset(offset) => self.open.access_at(offset, bytes),
            At::Pointer => self.open.access_moving_on(bytes),
            At::SharedPointer => self.run(self.open.draw(bytes)),
        }
    }

    /// This rank's part of an access of all ranks, or its error; outside of that an error that all ranks have.
    fn place_together(&self, call: Call, at: At, length: Result<usize, Error>) -> Result<Result<Access, Error>, Error> {
        match at {
            At::Offset(offset) => Ok(length.and_then(|bytes| self.open.access_at(offset, bytes))),
            At::Pointer => Ok(length.and_then(|bytes| self.open.access_moving_on(bytes))),
            At::SharedPointer => self.run_in_turn(self.open.draw_ordered(call, length)),
        }
    }
}

impl OpenFile {
    /// The access of so many bytes from where the individual file pointer is, which moves on by them.
    fn access_moving_on(&self, bytes: usize) -> Result<Access, Error> {
        let access = self.access_here(bytes)?;
        self.move_on(access.bytes());
        Ok(access)
    }
}
