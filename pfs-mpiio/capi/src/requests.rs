//! Nonblocking accesses as requests of MPI.
//!
//! A request is one of MPI's generalized requests, so it works with every function that takes requests. It is complete when the
//! access is: the thread that has done it says so if MPI lets every thread call it. Where it does not, the access is waited for in
//! the call that begins it.
//!
//! MPI knows no file in such a request: one of the two MPIs would pass over an error, the other would take it to the handler of
//! `MPI_COMM_WORLD`. So MPI is told of success, and the functions that wait and test ([`waiting`](crate::waiting)) look for
//! what failed in them, and take it to the handler of its file.

use crate::failure::Failure;
use crate::status;
use crate::table::{Entry, Handle};
use crate::{process, trace};
use mpi::ffi::{self, MPI_Request, MPI_Status};
use pfs_mpiio::{Operation, Status};
use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests that MPI has.
static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What has failed in the call that is under way.
    static FAILED: RefCell<Vec<Failed>> = const { RefCell::new(Vec::new()) };
}

/// An access that failed.
#[derive(Clone)]
pub struct Failed {
    pub request: MPI_Request,
    pub file: Handle,
    pub failure: Failure,
}

/// What a request knows.
struct Pending {
    request: OnceLock<Request>,
    file: Handle,
    function: &'static str,
    outcome: OnceLock<Result<Status, Failure>>,
}

#[derive(Clone, Copy)]
struct Request(MPI_Request);

// SAFETY: a handle may be used by every thread that may call MPI.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

/// Whether MPI has none of ours.
#[inline]
pub fn are_none() -> bool {
    LIVE.load(Ordering::Relaxed) == 0
}

/// Gives the program a request for what was started.
///
/// # Safety
/// The pointer is one to a request of the caller's.
pub unsafe fn give(
    function: &'static str,
    file: &Entry,
    operation: Operation,
    request: *mut MPI_Request,
) -> Result<(), Failure> {
    let pending = Pending { request: OnceLock::new(), file: file.handle, function, outcome: OnceLock::new() };
    let pending = Arc::new(pending);
    // What can not be completed later is completed before the program knows of it.
    let early = (!process::threads_are_free()).then(|| operation.wait());
    // SAFETY: a constant of MPI.
    let mut made = unsafe { ffi::RSMPI_REQUEST_NULL };
    // SAFETY: the functions have the types that MPI wants, and the state is the request's until `free` is called.
    let code = unsafe {
        let state = Arc::into_raw(pending.clone()).cast_mut().cast();
        ffi::MPI_Grequest_start(Some(query), Some(free), Some(cancel), state, &mut made)
    };
    Failure::check(code, "MPI_Grequest_start")?;
    LIVE.fetch_add(1, Ordering::Relaxed);
    let _ = pending.request.set(Request(made));
    // SAFETY: the caller's promise. It is written before anybody can complete the request.
    unsafe { *request = made };
    match early {
        Some(outcome) => pending.complete(outcome),
        None => operation.on_complete(move |outcome| pending.complete(outcome.clone())),
    }
    Ok(())
}

impl Pending {
    fn complete(&self, outcome: Result<Status, pfs_mpiio::Error>) {
        let _ = self.outcome.set(outcome.map_err(Failure::from));
        let Some(Request(request)) = self.request.get() else { return };
        // SAFETY: the request is not complete, so MPI has it; this thread may call MPI.
        let code = unsafe { ffi::MPI_Grequest_complete(*request) };
        if let Err(failure) = Failure::check(code, "MPI_Grequest_complete") {
            trace::line(format_args!("{}: {failure}", self.function));
        }
    }
}

/// MPI asks what came of a request that is complete.
unsafe extern "C" fn query(state: *mut c_void, to: *mut MPI_Status) -> c_int {
    // SAFETY: the state that the request was given, which MPI has not freed yet.
    let pending = unsafe { &*state.cast::<Pending>() };
    let done = match pending.outcome.get() {
        Some(Ok(status)) => *status,
        Some(Err(failure)) => {
            let request = pending.request.get().expect("set before it was complete").0;
            let failed = Failed { request, file: pending.file, failure: failure.clone() };
            FAILED.with_borrow_mut(|all| all.push(failed));
            Status::default()
        }
        // It was not completed by us, so there is nothing to tell.
        None => Status::default(),
    };
    // SAFETY: MPI's own status.
    unsafe { status::fill(to, done) };
    crate::failure::SUCCESS
}

/// MPI does not need a request any more.
unsafe extern "C" fn free(state: *mut c_void) -> c_int {
    // SAFETY: the state that the request was given; it is freed once.
    drop(unsafe { Arc::from_raw(state.cast_const().cast::<Pending>()) });
    LIVE.fetch_sub(1, Ordering::Relaxed);
    crate::failure::SUCCESS
}

/// An access that was begun is done; MPI allows that.
unsafe extern "C" fn cancel(_: *mut c_void, _: c_int) -> c_int {
    crate::failure::SUCCESS
}

/// What `call`, a function of MPI that waits or tests, returns, and what has failed of the requests that it has completed.
pub fn watch<T>(call: impl FnOnce() -> T) -> (T, Vec<Failed>) {
    FAILED.with_borrow_mut(Vec::clear);
    let returned = call();
    (returned, FAILED.take())
}
