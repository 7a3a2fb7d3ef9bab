//! The begin of MPI.

use crate::process;
use mpi::ffi;
use std::ffi::{c_char, c_int};

exported! {
    fn MPI_Init(argc: *mut c_int, argv: *mut *mut *mut c_char) -> c_int =
        |_native| process::begin(argc, argv, ffi::RSMPI_THREAD_SINGLE).0;

    fn MPI_Init_thread(argc: *mut c_int, argv: *mut *mut *mut c_char, required: c_int, provided: *mut c_int) -> c_int =
        |_native| {
            let (code, level) = process::begin(argc, argv, required);
            *provided = level;
            code
        };
}
