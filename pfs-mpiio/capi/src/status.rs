//! What an access did, as an `MPI_Status`: MPI counts it in values of whatever datatype it is asked for.

use mpi::ffi::{self, MPI_Status};
use pfs_mpiio::Status;

/// Fills a status, unless it is `MPI_STATUS_IGNORE`.
///
/// # Safety
/// The pointer is that or one to a status of the caller's.
pub unsafe fn set(status: *mut MPI_Status, done: Status) {
    // SAFETY: the caller's promise; the datatype is MPI's for a byte.
    unsafe {
        if status != ffi::RSMPI_STATUS_IGNORE && !status.is_null() {
            fill(status, done);
        }
    }
}

/// Fills a status.
///
/// # Safety
/// The pointer is one to a status of the caller's.
pub unsafe fn fill(status: *mut MPI_Status, done: Status) {
    // SAFETY: the caller's promise; the datatype is MPI's for a byte.
    unsafe {
        (*status).MPI_SOURCE = ffi::RSMPI_UNDEFINED;
        (*status).MPI_TAG = ffi::RSMPI_UNDEFINED;
        ffi::MPI_Status_set_elements_x(status, ffi::RSMPI_UINT8_T, done.bytes().try_into().unwrap_or_default());
        ffi::MPI_Status_set_cancelled(status, 0);
    }
}
