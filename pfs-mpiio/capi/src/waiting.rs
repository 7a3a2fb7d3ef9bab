//! The functions that wait for requests and test them: MPI's own, and then the errors of our requests among them.

use crate::errhandler;
use crate::failure::SUCCESS;
use crate::requests::{self, Failed};
use crate::trace;
use mpi::ffi::{self, MPI_Request, MPI_Status};
use std::ffi::c_int;
use std::slice::{from_raw_parts, from_raw_parts_mut};

/// A function that completes at most one request.
#[cold]
#[inline(never)]
pub fn one(function: &'static str, call: impl FnOnce() -> c_int) -> c_int {
    let (code, failed) = requests::watch(call);
    failed.first().map_or(code, |failed| raise(function, failed))
}

/// The requests of a call before it was made.
///
/// # Safety
/// There are so many requests at the pointer.
#[cold]
#[inline(never)]
pub unsafe fn before(count: c_int, requests: *const MPI_Request) -> Vec<MPI_Request> {
    match usize::try_from(count) {
        Ok(count) if count > 0 && !requests.is_null() => {
            // SAFETY: the caller's promise.
            unsafe { from_raw_parts(requests, count) }.to_vec()
        }
        _ => Vec::new(),
    }
}

/// What a function that completes several requests returns. `completed` says which of `before` the statuses are of, when the
/// function has returned.
///
/// # Safety
/// `statuses` is `MPI_STATUSES_IGNORE`, or there are as many as are completed.
#[cold]
#[inline(never)]
pub unsafe fn several(
    function: &'static str,
    before: &[MPI_Request],
    statuses: *mut MPI_Status,
    call: impl FnOnce() -> c_int,
    completed: impl FnOnce() -> Vec<usize>,
) -> c_int {
    let (code, failed) = requests::watch(call);
    if failed.is_empty() {
        return code;
    }
    #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // the constant's type differs between MPIs
    let in_status = ffi::MPI_ERR_IN_STATUS as c_int;
    if code != SUCCESS && code != in_status {
        return code;
    }
    let completed = completed();
    // SAFETY: a constant of MPI.
    let is_ignored = statuses == unsafe { ffi::RSMPI_STATUSES_IGNORE } || statuses.is_null();
    let mut left = failed.iter().map(|failed| (failed.request, raise(function, failed))).collect::<Vec<_>>();
    if is_ignored {
        return in_status;
    }
    // SAFETY: the caller's promise.
    let statuses = unsafe { from_raw_parts_mut(statuses, completed.len()) };
    for (status, at) in statuses.iter_mut().zip(completed) {
        match left.iter().position(|(request, _)| before.get(at) == Some(request)) {
            Some(found) => status.MPI_ERROR = left.swap_remove(found).1,
            // MPI sets these only where it returns that there are errors.
            None if code == SUCCESS => status.MPI_ERROR = SUCCESS,
            None => {}
        }
    }
    in_status
}

/// Has the handler of the file see the error; returns what it has made of the code.
fn raise(function: &'static str, failed: &Failed) -> c_int {
    let Failed { file, failure, .. } = failed;
    if failure.is_unexpected() || trace::level() >= trace::Level::Errors {
        trace::line(format_args!("{function}: {failure}"));
    }
    // A file that was closed meanwhile has no handler any more.
    match crate::table::find(file.0) {
        Some(_) => errhandler::raise(file.0, failure.code, function),
        None => failure.code,
    }
}
