//! Split collective access: a begin, and an end that waits.
//!
//! Invariants: a file has at most one under way on each rank; while it has, no other collective access begins. A rank
//! that breaks the rule tells the others by the error of that access, so nobody waits for it.

use crate::buffer::{Destination, Source};
use crate::error::{Error, ErrorClass};
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::operation::Operation;
use crate::request::Request;
use crate::start::At;
use crate::status::Status;
use crate::threads;
use crate::times::Counter;
use mpi::request::{Scope, StaticScope};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a split access is under way.
#[derive(Clone, Default)]
pub(crate) struct Active(Arc<AtomicBool>);

/// The file's only split access.
struct Only(Active);

impl Drop for Only {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// A split collective access that was begun, and the borrow of its buffer. Dropping it ends it, and nobody is told of an
/// error.
#[must_use = "dropping it waits for the access, and loses its result"]
pub struct Split<'a, S: Scope<'a> = StaticScope> {
    // Dropped in this order: the access is over before the next one may begin.
    request: Request<'a, S>,
    _begun: SplitOperation,
}

impl<'a, S: Scope<'a>> Split<'a, S> {
    /// Waits until the access is complete on this rank.
    pub fn end(self) -> Result<Status, Error> {
        let Split { request, _begun } = self;
        request.wait()
    }
}

/// The same without the borrow; see [`At`].
#[must_use = "dropping it waits for the access, and loses its result"]
pub struct SplitOperation {
    operation: Operation,
    _only: Only,
}

impl SplitOperation {
    /// Waits until the access is complete on this rank.
    pub fn end(self) -> Result<Status, Error> {
        self.operation.wait()
    }
}

impl Drop for SplitOperation {
    fn drop(&mut self) {
        // Who wants the error ends it by himself.
        let _ = self.operation.wait();
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
        self.begin_split_write(scope, At::Offset(offset), buf)
    }

    /// Begins what [`read_at_all`](File::read_at_all) does. Collective.
    pub fn read_at_all_begin<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split_read(scope, At::Offset(offset), buf)
    }

    /// Begins what [`write_all`](File::write_all) does; the individual file pointer moves on now. Collective.
    pub fn write_all_begin<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split_write(scope, At::Pointer, buf)
    }

    /// Begins what [`read_all`](File::read_all) does; the individual file pointer moves on by the whole buffer now.
    /// Collective.
    pub fn read_all_begin<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split_read(scope, At::Pointer, buf)
    }

    /// Begins what [`write_ordered`](File::write_ordered) does; the shared file pointer moves on now. Collective.
    pub fn write_ordered_begin<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split_write(scope, At::SharedPointer, buf)
    }

    /// Begins what [`read_ordered`](File::read_ordered) does; the shared file pointer moves on by the whole buffers now.
    /// Collective.
    pub fn read_ordered_begin<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        self.begin_split_read(scope, At::SharedPointer, buf)
    }

    /// Begins a split write of every rank's `buf`. Collective. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and is not changed, until the access is ended.
    pub unsafe fn start_split_write<B: Source + ?Sized>(&self, at: At, buf: &B) -> Result<SplitOperation, Error> {
        let call = match at {
            At::Offset(_) => Call::WriteAtAllBegin,
            At::Pointer => Call::WriteAllBegin,
            At::SharedPointer => Call::WriteOrderedBegin,
        };
        self.open.times.note(Counter::SplitWrites);
        // SAFETY: the caller's promise; what is not returned does not use the memory.
        self.start_split(call, |checked| unsafe { self.write_together_later(call, at, buf, checked) })
    }

    /// Begins a split read into every rank's `buf`. Collective. `buf` itself need not outlive the call.
    ///
    /// # Safety
    /// The memory that `buf` describes is there, and nobody else uses it, until the access is ended.
    pub unsafe fn start_split_read<B: Destination + ?Sized>(
        &self,
        at: At,
        buf: &mut B,
    ) -> Result<SplitOperation, Error> {
        let call = match at {
            At::Offset(_) => Call::ReadAtAllBegin,
            At::Pointer => Call::ReadAllBegin,
            At::SharedPointer => Call::ReadOrderedBegin,
        };
        self.open.times.note(Counter::SplitReads);
        // SAFETY: the caller's promise; what is not returned does not use the memory.
        self.start_split(call, |checked| unsafe { self.read_together_later(call, at, buf, checked) })
    }

    fn begin_split_write<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a B,
    ) -> Result<Split<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Split::begin(scope, || unsafe { self.start_split_write(at, buf) })
    }

    fn begin_split_read<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a mut B,
    ) -> Result<Split<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Split::begin(scope, || unsafe { self.start_split_read(at, buf) })
    }

    /// Starts an access as the only one, or with the error that it is not, of which the other ranks are told by it.
    fn start_split(
        &self,
        call: Call,
        start: impl FnOnce(Result<(), Error>) -> Result<Operation, Error>,
    ) -> Result<SplitOperation, Error> {
        threads::check()?;
        match self.open.take_split(call) {
            Ok(only) => Ok(SplitOperation { operation: start(Ok(()))?, _only: only }),
            // What is started has no buffer, so nobody waits for it here.
            Err(error) => Err(start(Err(error.clone())).err().unwrap_or(error)),
        }
    }
}

impl<'a, S: Scope<'a>> Split<'a, S> {
    fn begin(scope: S, start: impl FnOnce() -> Result<SplitOperation, Error>) -> Result<Split<'a, S>, Error> {
        let mut begun = None;
        let request = Request::start(scope, || Ok(begun.insert(start()?).operation.clone()))?;
        let _begun = begun.expect("what has a request was begun");
        Ok(Split { request, _begun })
    }
}

impl OpenFile {
    /// Fails while a split access is under way.
    pub(crate) fn check_free(&self, call: Call) -> Result<(), Error> {
        if self.split.0.load(Ordering::Acquire) { Err(is_taken(call)) } else { Ok(()) }
    }

    /// From here on a split access is under way.
    fn take_split(&self, call: Call) -> Result<Only, Error> {
        if self.split.0.swap(true, Ordering::AcqRel) { Err(is_taken(call)) } else { Ok(Only(self.split.clone())) }
    }
}

fn is_taken(call: Call) -> Error {
    let message = format!("{} while a split collective access of the same file is under way", call.name());
    Error::new(ErrorClass::Io, message)
}
