//! Data representations of a program.
//!
//! MPI's own files are to have them too. It may refuse them (MPICH does if there is a function that converts); a view of such a
//! file with that name is refused by MPI then, as without this library, and files of ours have the representation all the same.

use crate::datarep::{Conversion, register};
use crate::memory::text;
use crate::{call, errhandler};
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
    ) -> c_int = |native| {
        let name = text(datarep);
        call::of_name("MPI_Register_datarep", &name, format_args!(""), || {
            register(&name, read.map(Conversion::Small), write.map(Conversion::Small), extent, state)?;
            errhandler::in_silence(|| native(datarep, read, write, extent, state));
            Ok(())
        })
    };

    #[cfg(large_count)]
    fn MPI_Register_datarep_c(
        datarep: *const c_char,
        read: MPI_Datarep_conversion_function_c,
        write: MPI_Datarep_conversion_function_c,
        extent: MPI_Datarep_extent_function,
        state: *mut c_void,
    ) -> c_int = |native| {
        let name = text(datarep);
        call::of_name("MPI_Register_datarep_c", &name, format_args!(""), || {
            register(&name, read.map(Conversion::Large), write.map(Conversion::Large), extent, state)?;
            errhandler::in_silence(|| native(datarep, read, write, extent, state));
            Ok(())
        })
    };
}
