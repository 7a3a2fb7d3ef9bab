//! Data representations of a program.

use crate::call;
use crate::datarep::{Conversion, register};
use crate::memory::text;
#[cfg(large_count)]
use mpi::ffi::MPI_Datarep_conversion_function_c;
use mpi::ffi::{MPI_Datarep_conversion_function, MPI_Datarep_extent_function};
use std::ffi::{c_char, c_int, c_void};

exported! {
    fn MPI_Register_datarep(
        datarep: *const c_char,
        read: MPI_Datarep_conversion_function,
        write: MPI_Datarep_conversion_function,
        extent: MPI_Datarep_extent_function,
        state: *mut c_void,
    ) -> c_int = |_native| {
        let name = text(datarep);
        call::of_name("MPI_Register_datarep", &name, format_args!(""), || {
            register(&name, read.map(Conversion::Small), write.map(Conversion::Small), extent, state)
        })
    };

    #[cfg(large_count)]
    fn MPI_Register_datarep_c(
        datarep: *const c_char,
        read: MPI_Datarep_conversion_function_c,
        write: MPI_Datarep_conversion_function_c,
        extent: MPI_Datarep_extent_function,
        state: *mut c_void,
    ) -> c_int = |_native| {
        let name = text(datarep);
        call::of_name("MPI_Register_datarep_c", &name, format_args!(""), || {
            register(&name, read.map(Conversion::Large), write.map(Conversion::Large), extent, state)
        })
    };
}
