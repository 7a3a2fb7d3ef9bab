//! Split collective access: a begin, and an end that waits.
//!
//! Invariants: a file has at most one under way on each rank; while it has, no other collective access begins. A rank
//! that breaks the rule tells the others by the error of that access, so nobody waits for it.

use crate::buffer::{Destination, Source};
use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::nonblocking::At;
use crate::request::Request;
use crate::status::Status;
use mpi::request::{Scope, StaticScope};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a split access is under way.
#[derive(Clone, Default)]
pub(crate) struct Active(Arc<AtomicBool>);

/// A split collective access that was begun, and the borrow of its buffer. Dropping it ends it, and nobody is told of an
/// error.
#[must_use = "dropping it waits for the access, and loses its result"]
pub struct Split<'a, S: Scope<'a> = StaticScope> {
    // Dropped in this order: the access is over before the next one may begin.
    request: Request<'a, S>,
    _active: Begun,
}

/// The file's only split access.
struct Begun(Active);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

impl<'a, S: Scope<'a>> Split<'a, S> {
    /// Waits until the access is complete on this rank.
    pub fn end(self) -> Result<Status, Error> {
        let Split { request, _active } = self;
        request.wait()
    }
}

impl File {
    /// Begins what [`write_at_all`](File::write_at_all) does. Collective.
    pub fn write_at_all_begin<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split(|call| self.begin_write_all(scope, call, At::Offset(offset), buf), Call::WriteAtAllBegin)
    }

    /// Begins what [`read_at_all`](File::read_at_all) does. Collective.
    pub fn read_at_all_begin<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split(|call| self.begin_read_all(scope, call, At::Offset(offset), buf), Call::ReadAtAllBegin)
    }

    /// Begins what [`write_all`](File::write_all) does; the individual file pointer moves on now. Collective.
    pub fn write_all_begin<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split(|call| self.begin_write_all(scope, call, At::Pointer, buf), Call::WriteAllBegin)
    }

    /// Begins what [`read_all`](File::read_all) does; the individual file pointer moves on by the whole buffer now.
    /// Collective.
    pub fn read_all_begin<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split(|call| self.begin_read_all(scope, call, At::Pointer, buf), Call::ReadAllBegin)
    }

    /// Begins a split access of the given kind by `begin`.
    pub(crate) fn begin_split<'a, S: Scope<'a>>(
        &self,
        begin: impl FnOnce(Call) -> Result<Request<'a, S>, Error>,
        call: Call,
    ) -> Result<Split<'a, S>, Error> {
        if let Err(error) = self.open.check_free(call) {
            // The other ranks get the error when they come to this access. It has no buffer, so nobody waits for it here.
            drop(self.open.start_write_all(call, Err(error.clone())));
            return Err(error);
        }
        let request = begin(call)?;
        self.open.split.0.store(true, Ordering::Release);
        Ok(Split { request, _active: Begun(self.open.split.clone()) })
    }
}

impl OpenFile {
    /// Fails while a split access is under way.
    pub(crate) fn check_free(&self, call: Call) -> Result<(), Error> {
        if !self.split.0.load(Ordering::Acquire) {
            return Ok(());
        }
        let message = format!("{} while a split collective access of the same file is under way", call.name());
        Err(Error::new(ErrorClass::Io, message))
    }
}
