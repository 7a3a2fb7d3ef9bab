//! MPI operations that are under way, and waiting for them without hanging on a dead rank.
//!
//! MPI itself never gives up: an operation with a rank that was killed or stopped stays open for ever. So nothing here
//! blocks inside MPI. Every operation is a nonblocking one that is tested whenever its future is polled, until it is complete
//! or the group is known to be lost; in that case it is abandoned. A future that is dropped abandons it too.
//!
//! MPI wakes nobody. A poll that leaves an operation open says so to whoever polls ([`turn::note_open`]), who comes back
//! by himself; see [`drive`](crate::drive).
//!
//! Why abandoning is sound. MPI may read or write the buffers of an operation until it is complete, and an operation that
//! was abandoned may be completed much later, when a stopped rank goes on and this one is inside MPI for some other
//! reason. So:
//! * a [`Pending`] owns all its buffers, on the heap, where they stay when it is moved; they never belong to the caller;
//! * they are given back only when the operation is complete, and in every other case, a panic included, they are leaked
//!   with the request and stay allocated for the rest of the process;
//! * the communicator of a lost group is leaked too, and nothing is sent on it any more, so no later message can meet an
//!   abandoned receive and no handle that MPI still uses is freed.

use crate::drive::turn;
use crate::error::{Error, ErrorClass};
use mpi::ffi::{self, MPI_Request};
use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::os::raw::{c_char, c_int};
use std::task::Poll;

/// What becomes of an operation when it is complete: its buffers `B`, which live on the heap.
#[must_use = "an operation that is not waited for leaks its buffers"]
pub(crate) struct Pending<B> {
    request: MPI_Request,
    buffers: ManuallyDrop<B>,
}

// SAFETY: a request may be tested by any thread; MPI is called by one thread at a time unless it allows more
// (see `threads`).
unsafe impl<B: Send> Send for Pending<B> {}

impl<B> Pending<B> {
    /// Starts an operation. `start` makes one nonblocking call of MPI and returns its result.
    ///
    /// # Safety
    /// The call may use nothing that does not live until the operation is complete but what `buffers` owns, on the heap,
    /// and handles that are never freed before; it may take pointers to those, and `buffers` is not touched otherwise.
    pub(crate) unsafe fn start(
        mut buffers: B,
        start: impl FnOnce(&mut B, *mut MPI_Request) -> c_int,
    ) -> Result<Pending<B>, Error> {
        // SAFETY: a constant of MPI, which is initialised as there is a communicator.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let code = start(&mut buffers, &mut request);
        let pending = Pending { request, buffers: ManuallyDrop::new(buffers) };
        check(code)?;
        Ok(pending)
    }

    /// Gives MPI a chance to go on; whether the operation is complete.
    fn test(&mut self) -> Result<bool, Error> {
        let mut complete = 0;
        // SAFETY: the request is this operation's or, after it is complete, the null request; both may be tested.
        let code = unsafe { ffi::MPI_Test(&mut self.request, &mut complete, ffi::RSMPI_STATUS_IGNORE) };
        check(code)?;
        Ok(complete != 0)
    }

    /// Waits until the operation is complete, or until `given_up` has an error; then the operation is abandoned.
    pub(crate) async fn complete(mut self, mut given_up: impl FnMut() -> Option<Error>) -> Result<B, Error> {
        poll_fn(|_| match self.test() {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => match given_up() {
                Some(error) => Poll::Ready(Err(error)),
                None => {
                    turn::note_open();
                    Poll::Pending
                }
            },
            Err(error) => Poll::Ready(Err(error)),
        })
        .await?;
        turn::note_move();
        // SAFETY: taken once, as `self` is consumed. The operation is complete, so MPI does not use them any more.
        Ok(unsafe { ManuallyDrop::take(&mut self.buffers) })
    }
}

/// An error of MPI as one of a file.
pub(crate) fn check(code: c_int) -> Result<(), Error> {
    let Some(text) = error_text(code) else { return Ok(()) };
    Err(Error::new(ErrorClass::Io, format!("MPI can not reach all ranks of the file ({text}); the file is lost here")))
}

/// MPI's text for an error; nothing for a success.
pub(crate) fn error_text(code: c_int) -> Option<String> {
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // the constant's type differs between MPIs
    if code == ffi::MPI_SUCCESS as c_int {
        return None;
    }
    let mut text = vec![0u8; ffi::MPI_MAX_ERROR_STRING as usize];
    let mut length = 0;
    // SAFETY: the text has the room that MPI asks for.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut length) };
    text.truncate(usize::try_from(length).unwrap_or(0));
    Some(String::from_utf8_lossy(&text).into_owned())
}
