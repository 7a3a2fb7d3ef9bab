//! Nonblocking access.
//!
//! The access of one rank runs on the thread of its client, so it goes on whatever the program does. A collective one
//! waits for its turn in the [`queue`](crate::queue) of its file. Where a file pointer is used, it moves at the call, by
//! what was asked for. Memory with gaps is packed at the call for a write, and filled at the end of a read.
//!
//! The functions of [`OpenFile`] take memory without its lifetime, and return the operation that uses it. Their callers
//! keep the memory until it is complete: [`Request`] does by its borrow.

use crate::buffer::{self, Bytes, Destination, Source, Target};
use crate::error::Error;
use crate::file::{File, OpenFile};
use crate::group::Call;
use crate::operation::{Operation, Outcome, Outstanding};
use crate::request::Request;
use crate::threads;
use mpi::request::Scope;
use pfs_core::collective::Access;
use std::mem::transmute;
use std::sync::Arc;

/// Where an access begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    /// So many etypes from the view's start.
    Offset(u64),
    /// At the individual file pointer, which moves on by the access.
    Pointer,
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

    /// Begins to write every rank's `buf` from its `offset` on, in etypes of its view. Collective; see [`File::write_at_all`].
    pub fn iwrite_at_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write_all(scope, Call::IwriteAtAll, At::Offset(offset), buf)
    }

    /// Begins to read into every rank's `buf` from its `offset` on, in etypes of its view. Collective; see
    /// [`File::read_at_all`].
    pub fn iread_at_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        offset: u64,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read_all(scope, Call::IreadAtAll, At::Offset(offset), buf)
    }

    /// Begins to write every rank's `buf` from where its individual file pointer is, which moves on by it now. Collective.
    pub fn iwrite_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_write_all(scope, Call::IwriteAtAll, At::Pointer, buf)
    }

    /// Begins to read into every rank's `buf` from where its individual file pointer is, which moves on by the whole buffer
    /// now. Collective.
    pub fn iread_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        self.begin_read_all(scope, Call::IreadAtAll, At::Pointer, buf)
    }

    fn begin_write<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        threads::check()?;
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        let (access, bytes) = unsafe { self.open.outgoing(at, buf) }?;
        Ok(Request::start(scope, || self.open.start_write(access, bytes)))
    }

    fn begin_read<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        at: At,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        threads::check()?;
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        let (access, place) = unsafe { self.open.incoming(at, buf) }?;
        Ok(Request::start(scope, || self.open.start_read(access, place)))
    }

    /// An error of this rank is told when the operation is complete, to all ranks.
    pub(crate) fn begin_write_all<'a, B: Source + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        call: Call,
        at: At,
        buf: &'a B,
    ) -> Result<Request<'a, S>, Error> {
        threads::check()?;
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        let own = self.open.check_free(call).and_then(|()| unsafe { self.open.outgoing(at, buf) });
        Ok(Request::start(scope, || self.open.start_write_all(call, own)))
    }

    /// The same for a read.
    pub(crate) fn begin_read_all<'a, B: Destination + ?Sized, S: Scope<'a>>(
        &self,
        scope: S,
        call: Call,
        at: At,
        buf: &'a mut B,
    ) -> Result<Request<'a, S>, Error> {
        threads::check()?;
        // SAFETY: the request keeps the buffer borrowed until the operation is complete.
        let own = self.open.check_free(call).and_then(|()| unsafe { self.open.incoming(at, buf) });
        Ok(Request::start(scope, || self.open.start_read_all(call, own)))
    }
}

impl OpenFile {
    /// What a write of `buf` needs.
    ///
    /// # Safety
    /// The memory is there, and is not changed, until what is returned is dropped.
    unsafe fn outgoing<B: Source + ?Sized>(&self, at: At, buf: &B) -> Result<(Access, Bytes<'static>), Error> {
        self.check_writable()?;
        let bytes = buffer::bytes(buf, &self.views.representation())?;
        let access = self.access_to(at, bytes.len())?;
        // SAFETY: the caller's promise.
        Ok((access, unsafe { without_lifetime(bytes) }))
    }

    /// What a read into `buf` needs.
    ///
    /// # Safety
    /// The memory is there, and is not used otherwise, until what is returned is dropped.
    unsafe fn incoming<B: Destination + ?Sized>(
        &self,
        at: At,
        buf: &mut B,
    ) -> Result<(Access, Target<'static>), Error> {
        self.check_readable()?;
        let mut target = buffer::target(buf, &self.views.representation())?;
        let access = self.access_to(at, target.bytes().len())?;
        // SAFETY: the caller's promise.
        Ok((access, unsafe { target_without_lifetime(target) }))
    }

    /// The access of so many bytes from a place on. A file pointer moves now.
    pub(crate) fn access_to(&self, at: At, bytes: usize) -> Result<Access, Error> {
        match at {
            At::Offset(offset) => self.access_at(offset, bytes),
            At::Pointer => {
                let access = self.access_here(bytes)?;
                self.move_on(access.bytes());
                Ok(access)
            }
        }
    }

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
            place.finish(read)
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
