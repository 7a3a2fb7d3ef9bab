//! Handles and error handlers: MPI's own functions, but for what they do not tell.

use crate::errhandler;
use crate::failure::SUCCESS;
use mpi::ffi::{MPI_Errhandler, MPI_File, MPI_File_errhandler_function, RSMPI_Fint};
use std::ffi::{c_int, c_void};
use std::mem::transmute;

exported! {
    fn MPI_File_create_errhandler(function: MPI_File_errhandler_function, errhandler: *mut MPI_Errhandler) -> c_int =
        |native| {
            // A pointer to a function, or null, is as large as any other.
            let function = transmute::<MPI_File_errhandler_function, *mut c_void>(function);
            let own = if function.is_null() { function } else { errhandler::in_place_of(function) };
            native(transmute::<*mut c_void, MPI_File_errhandler_function>(own), errhandler)
        };

    fn MPI_File_set_errhandler(file: MPI_File, errhandler: MPI_Errhandler) -> c_int = |native| native(file, errhandler);

    fn MPI_File_get_errhandler(file: MPI_File, errhandler: *mut MPI_Errhandler) -> c_int =
        |native| native(file, errhandler);

    fn MPI_File_call_errhandler(fh: MPI_File, errorcode: c_int) -> c_int = |native| {
        if errhandler::is_raised_here(fh) {
            errhandler::raise(fh, errorcode, "MPI_File_call_errhandler");
            return SUCCESS;
        }
        native(fh, errorcode)
    };

    fn MPI_File_c2f(file: MPI_File) -> RSMPI_Fint = |native| native(file);

    fn MPI_File_f2c(file: RSMPI_Fint) -> MPI_File = |native| native(file);
}
