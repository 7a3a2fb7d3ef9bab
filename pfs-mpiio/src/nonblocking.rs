//! Nonblocking access.
//!
//! The access of one rank runs on the thread of its client, so it goes on whatever the program does. A collective one
//! waits for its turn in the [`queue`](crate::queue) of its file.
//!
//! The functions of [`OpenFile`] take memory without its lifetime, and return the operation that uses it; their callers
//! see to it that the memory is kept, see [`start`](crate::start).

use crate::buffer::{Bytes, Destination, Source, Target};
use crate::error::Error;
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::operation::{Operation, Outcome, Outstanding};
use crate::request::Request;
use crate::start::At;
use mpi::request::Scope;
use pfs_core::collective::Access;
use std::sync::Arc;

impl File {
    /// Begins to write `buf` from an offset in etypes of the view on.
    pub fn iwrite_at<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write(scope, At::Offset(offset), buf)
    }

    /// Begins to read into `buf` from an offset in etypes of the view on.
    pub fn iread_at<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read(scope, At::Offset(offset), buf)
    }

    /// Begins to write `buf` from where the individual file pointer is, which moves on by it now.
    pub fn iwrite<'a, B: Source + ?Sized, S: Scope<'a>>(&self, scope: S, buf: &'a B) -> Result<Request<'a, S>, Error> {
        self.begin_write(scope, At::Pointer, buf)
    }

    /// Begins to read into `buf` from where the individual file pointer is, which moves on by the whole buffer now.
    pub fn iread<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read(scope, At::Pointer, buf)
    }

    /// Begins to write `buf` from where the shared file pointer is, which moves on by it now.
    pub fn iwrite_shared<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write(scope, At::SharedPointer, buf)
    }

    /// Begins to read into `buf` from where the shared file pointer is, which moves on by the whole buffer now.
    pub fn iread_shared<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read(scope, At::SharedPointer, buf)
    }

    /// Begins to write every rank's `buf` from its `offset` on, in etypes of its view. Collective; see [`File::write_at_all`].
    pub fn iwrite_at_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write_all(scope, At::Offset(offset), buf)
    }

    /// Begins to read into every rank's `buf` from its `offset` on, in etypes of its view. Collective; see
    /// [`File::read_at_all`].
    pub fn iread_at_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read_all(scope, At::Offset(offset), buf)
    }

    /// Begins to write every rank's `buf` from where its individual file pointer is, which moves on by it now. Collective.
    pub fn iwrite_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write_all(scope, At::Pointer, buf)
    }

    /// Begins to read into every rank's `buf` from where its individual file pointer is, which moves on by the whole buffer
    /// now. Collective.
    pub fn iread_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read_all(scope, At::Pointer, buf)
    }

    fn begin_write<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Request::start(scope, || unsafe { self.start_write(at, buf) })
    }

    fn begin_read<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Request::start(scope, || unsafe { self.start_read(at, buf) })
    }

    fn begin_write_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Request::start(scope, || unsafe { self.start_write_all(at, buf) })
    }

    fn begin_read_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        Request::start(scope, || unsafe { self.start_read_all(at, buf) })
    }
}

impl OpenFile {
    /// Writes for this rank alone.
    pub(crate) fn start_write(self: &Arc<Self>, access: Access, bytes: Bytes<'static>) -> Operation {
        let open = self.clone();
        self.start_alone(async move {
            open.write_access(&access, &bytes).await?;
            Ok(bytes.status())
        })
    }

    /// Reads for this rank alone.
    pub(crate) fn start_read(self: &Arc<Self>, access: Access, mut place: Target<'static>) -> Operation {
        let open = self.clone();
        self.start_alone(async move {
            let read = open.read_access(&access, place.bytes()).await?;
            open.finish(place, read)
        })
    }

    /// Runs the work on the client's thread. The file is not closed before it is done, and the last one to use the file is
    /// not that thread, which could not wait for its own end.
    fn start_alone(&self, work: impl Future<Output = Outcome> + Send + 'static) -> Operation {
        let (operation, completion) = Operation::begin();
        let entered = (self.alone.enter(), Outstanding::of_all_files().enter());
        self.client.as_async().spawn(async move {
            let outcome = work.await;
            drop(entered);
            completion.finish(outcome);
        });
        operation
    }

    /// Writes for all ranks, in turn.
    pub(crate) fn start_write_all(
        self: &Arc<Self>,
        call: Call,
        own: Result<(Access, Bytes<'static>), Error>,
    ) -> Operation {
        let open = self.clone();
        self.start_in_turn(async move { open.write_buffers(call, own).await })
    }

    /// Reads for all ranks, in turn.
    pub(crate) fn start_read_all(
        self: &Arc<Self>,
        call: Call,
        own: Result<(Access, Target<'static>), Error>,
    ) -> Operation {
        let open = self.clone();
        self.start_in_turn(async move { open.read_buffers(call, own).await })
    }

    /// Has the ranks do something together when what they began before is over.
    pub(crate) fn start_in_turn(&self, work: impl Future<Output = Outcome> + Send + 'static) -> Operation {
        let operation = self.queue.start(work);
        // It begins in this call, if it can.
        crate::drive::poke();
        operation
    }
}
