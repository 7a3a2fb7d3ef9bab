//! Waiting for requests and testing them. While there is no request of ours, they are MPI's own.

use crate::requests::are_none;
use crate::waiting::{before, one, several};
use mpi::ffi::{MPI_Request, MPI_Status};
use std::ffi::c_int;
use std::slice::from_raw_parts;

exported! {
    fn MPI_Wait(request: *mut MPI_Request, status: *mut MPI_Status) -> c_int = |native| match are_none() {
        true => native(request, status),
        false => one("MPI_Wait", || native(request, status)),
    };

    fn MPI_Test(request: *mut MPI_Request, flag: *mut c_int, status: *mut MPI_Status) -> c_int = |native| match are_none() {
        true => native(request, flag, status),
        false => one("MPI_Test", || native(request, flag, status)),
    };

    fn MPI_Waitany(count: c_int, requests: *mut MPI_Request, index: *mut c_int, status: *mut MPI_Status) -> c_int =
        |native| match are_none() {
            true => native(count, requests, index, status),
            false => one("MPI_Waitany", || native(count, requests, index, status)),
        };

    fn MPI_Testany(
        count: c_int, requests: *mut MPI_Request, index: *mut c_int, flag: *mut c_int, status: *mut MPI_Status,
    ) -> c_int = |native| match are_none() {
        true => native(count, requests, index, flag, status),
        false => one("MPI_Testany", || native(count, requests, index, flag, status)),
    };

    fn MPI_Waitall(count: c_int, requests: *mut MPI_Request, statuses: *mut MPI_Status) -> c_int = |native| {
        if are_none() {
            return native(count, requests, statuses);
        }
        let before = before(count, requests);
        several("MPI_Waitall", &before, statuses, || native(count, requests, statuses), || (0..before.len()).collect())
    };

    fn MPI_Testall(count: c_int, requests: *mut MPI_Request, flag: *mut c_int, statuses: *mut MPI_Status) -> c_int =
        |native| {
            if are_none() {
                return native(count, requests, flag, statuses);
            }
            let before = before(count, requests);
            let call = || native(count, requests, flag, statuses);
            several("MPI_Testall", &before, statuses, call, || (0..before.len()).collect())
        };

    fn MPI_Waitsome(
        count: c_int, requests: *mut MPI_Request, outcount: *mut c_int, indices: *mut c_int, statuses: *mut MPI_Status,
    ) -> c_int = |native| {
        if are_none() {
            return native(count, requests, outcount, indices, statuses);
        }
        let before = before(count, requests);
        let call = || native(count, requests, outcount, indices, statuses);
        several("MPI_Waitsome", &before, statuses, call, || listed(*outcount, indices))
    };

    fn MPI_Testsome(
        count: c_int, requests: *mut MPI_Request, outcount: *mut c_int, indices: *mut c_int, statuses: *mut MPI_Status,
    ) -> c_int = |native| {
        if are_none() {
            return native(count, requests, outcount, indices, statuses);
        }
        let before = before(count, requests);
        let call = || native(count, requests, outcount, indices, statuses);
        several("MPI_Testsome", &before, statuses, call, || listed(*outcount, indices))
    };
}

/// # Safety
/// There are so many indices at the pointer.
unsafe fn listed(count: c_int, indices: *const c_int) -> Vec<usize> {
    let Ok(count) = usize::try_from(count) else { return Vec::new() };
    // SAFETY: the caller's promise.
    let indices = unsafe { from_raw_parts(indices, count) };
    indices.iter().filter_map(|&at| usize::try_from(at).ok()).collect()
}
