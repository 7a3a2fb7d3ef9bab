//! The begin and the end of MPI.
//!
//! A thread of ours completes requests, so MPI is asked to let every thread call it (`MPI_THREAD_MULTIPLE`), whatever the program
//! asks for: more than that is always allowed. But MPI then takes locks in all of its calls, so it is asked only in a process
//! that can open files of ours. `PFS_MPIIO_THREADS=asked` leaves it at what the program asks for.
//!
//! At the end, files that a program has left open are closed. MPI says when: it deletes the attributes of `MPI_COMM_SELF` first of
//! all, the last that was set first. Ours is set at the begin, so it comes after those of the libraries that use files, which
//! close theirs by their own.

use crate::failure::{Failure, SUCCESS};
use crate::native::native;
use crate::{call, table, trace};
use mpi::ffi::{self, MPI_Comm};
use pfs_client::SECRET_FILE_VARIABLE;
use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

const VARIABLE: &str = "PFS_MPIIO_THREADS";

/// Begins MPI for a program that asks for a level of threads; returns MPI's result and the level that it gives.
///
/// # Safety
/// As for `MPI_Init_thread`.
pub unsafe fn begin(argc: *mut c_int, argv: *mut *mut *mut c_char, asked: c_int) -> (c_int, c_int) {
    type InitThread = unsafe extern "C" fn(*mut c_int, *mut *mut *mut c_char, c_int, *mut c_int) -> c_int;
    let init = native!(MPI_Init_thread: InitThread).get();
    let mut provided = asked;
    // SAFETY: the caller's promise.
    let code = unsafe { init(argc, argv, wanted(asked), &mut provided) };
    if code == SUCCESS {
        watch_for_end();
    }
    (code, provided)
}

/// The level that MPI is asked for.
fn wanted(asked: c_int) -> c_int {
    let is_raised = match std::env::var(VARIABLE).as_deref() {
        Ok("asked") => false,
        Ok("multiple") => true,
        Ok("" | "auto") | Err(_) => can_open_files(),
        Ok(other) => {
            eprintln!("pfs: {VARIABLE}={other}: it is auto, multiple or asked; auto it is");
            can_open_files()
        }
    };
    // SAFETY: a constant of MPI.
    if is_raised { unsafe { ffi::RSMPI_THREAD_MULTIPLE } } else { asked }
}

/// No file is opened without the file with the cluster's secret, and that is named nowhere else.
fn can_open_files() -> bool {
    std::env::var_os(SECRET_FILE_VARIABLE).is_some()
}

/// Whether ranks see each other's accesses at once: `PFS_MPIIO_VISIBILITY`. Most programs were only ever run where they do.
pub fn is_visible_at_once() -> bool {
    const VARIABLE: &str = "PFS_MPIIO_VISIBILITY";
    static IS_VISIBLE: OnceLock<bool> = OnceLock::new();
    *IS_VISIBLE.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Ok("mpi") => false,
        Ok("" | "posix") | Err(_) => true,
        Ok(other) => {
            eprintln!("pfs: {VARIABLE}={other}: it is posix or mpi; posix it is");
            true
        }
    })
}

/// Whether a thread of ours may call MPI.
pub fn threads_are_free() -> bool {
    static ARE_FREE: OnceLock<bool> = OnceLock::new();
    *ARE_FREE.get_or_init(|| {
        let mut level = 0;
        // SAFETY: the variable lives during the call; there is a file, so MPI has begun.
        unsafe { ffi::MPI_Query_thread(&mut level) == SUCCESS && level == ffi::RSMPI_THREAD_MULTIPLE }
    })
}

/// Has MPI call [`at_end`] before it ends.
pub fn watch_for_end() {
    static IS_WATCHED: AtomicBool = AtomicBool::new(false);
    if IS_WATCHED.swap(true, Ordering::AcqRel) {
        return;
    }
    // Files are closed by our attribute, so sessions must end by an older one.
    if let Err(error) = pfs_mpiio::end_with_mpi() {
        trace::line(format_args!("{error}; sessions will end by their leases"));
    }
    let mut key = 0;
    // SAFETY: MPI has begun; the functions have the types that MPI wants and use no state.
    let code = unsafe {
        match ffi::MPI_Comm_create_keyval(Some(copy), Some(at_end), &mut key, std::ptr::null_mut()) {
            SUCCESS => ffi::MPI_Comm_set_attr(ffi::RSMPI_COMM_SELF, key, std::ptr::null_mut()),
            code => code,
        }
    };
    if let Err(failure) = Failure::check(code, "MPI_Comm_set_attr") {
        trace::line(format_args!("{failure}; files that are left open will not be closed"));
    }
}

/// A duplicate of `MPI_COMM_SELF` does not have the attribute.
unsafe extern "C" fn copy(
    _: MPI_Comm,
    _: c_int,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    is_copied: *mut c_int,
) -> c_int {
    // SAFETY: MPI's own variable.
    unsafe { *is_copied = 0 };
    SUCCESS
}

/// Closes what is open. The ranks of a file have opened it together and have all left it open, so they all come here; they close
/// their files in the order in which these were opened, which is the same on all.
unsafe extern "C" fn at_end(_: MPI_Comm, _: c_int, _: *mut c_void, _: *mut c_void) -> c_int {
    let closed = call::caught(|| {
        let left = table::remove_all();
        for entry in left {
            trace::line(format_args!("{} was left open and is closed now", entry.name));
            let name = entry.name.clone();
            // MPI frees its own handle at its end.
            if let Err(error) = entry.into_file().close() {
                trace::line(format_args!("{name}: {error}"));
            }
        }
        Ok(pfs_mpiio::finalize()?)
    });
    if let Err(failure) = closed {
        trace::line(format_args!("at the end of MPI: {failure}"));
    }
    SUCCESS
}
