//! Nonblocking access.

use crate::memory::{Place, Shown, destination, source};
use crate::requests;
use crate::signals::not_for_threads_of;
use mpi::ffi::{MPI_Count, MPI_Datatype, MPI_Offset, MPI_Request};
use std::ffi::{c_int, c_void};

/// Functions that begin an access: the memory's pointer and how it is described, and what starts the access.
macro_rules! begins {
    ($($name:ident $large:ident ($($offset:ident: $type:ty)?) $pointer:ty, $memory:ident at $place:expr =>
        |$file:ident, $at:ident, $buffer:ident| $start:expr;)*) => { $(
        begins! { @ $name [$($offset: $type)?] $pointer, $memory, c_int, $place, |$file, $at, $buffer| $start }
        #[cfg(large_count)]
        begins! { @ $large [$($offset: $type)?] $pointer, $memory, MPI_Count, $place, |$file, $at, $buffer| $start }
    )* };
    (@ $name:ident [$($offset:ident: $type:ty)?] $pointer:ty, $memory:ident, $count:ty, $place:expr,
        |$file:ident, $at:ident, $buffer:ident| $start:expr) => {
        for_files! {
            fn $name(
                $($offset: $type,)? buf: $pointer, count: $count, datatype: MPI_Datatype, request: *mut MPI_Request,
            ) ["{}", Shown($place, MPI_Count::from(count), datatype)] |$file| {
                // The program leaves the memory alone until the request is complete; the datatype it may free.
                #[allow(unused_mut)]
                let mut $buffer = $memory($place, buf, MPI_Count::from(count), datatype);
                let $at = $place.at();
                let operation = not_for_threads_of(|| $start)?;
                requests::give(stringify!($name), $file, operation, request)
            };
        }
    };
}

begins! {
    MPI_File_iread_at MPI_File_iread_at_c (offset: MPI_Offset) *mut c_void, destination at Place::Offset(offset) =>
        |file, at, buffer| file.start_read(at, &mut buffer);
    MPI_File_iread MPI_File_iread_c () *mut c_void, destination at Place::Pointer =>
        |file, at, buffer| file.start_read(at, &mut buffer);
    MPI_File_iread_shared MPI_File_iread_shared_c () *mut c_void, destination at Place::Shared =>
        |file, at, buffer| file.start_read(at, &mut buffer);
    MPI_File_iread_at_all MPI_File_iread_at_all_c (offset: MPI_Offset) *mut c_void, destination at Place::Offset(offset) =>
        |file, at, buffer| file.start_read_all(at, &mut buffer);
    MPI_File_iread_all MPI_File_iread_all_c () *mut c_void, destination at Place::Pointer =>
        |file, at, buffer| file.start_read_all(at, &mut buffer);
    MPI_File_iwrite_at MPI_File_iwrite_at_c (offset: MPI_Offset) *const c_void, source at Place::Offset(offset) =>
        |file, at, buffer| file.start_write(at, &buffer);
    MPI_File_iwrite MPI_File_iwrite_c () *const c_void, source at Place::Pointer =>
        |file, at, buffer| file.start_write(at, &buffer);
    MPI_File_iwrite_shared MPI_File_iwrite_shared_c () *const c_void, source at Place::Shared =>
        |file, at, buffer| file.start_write(at, &buffer);
    MPI_File_iwrite_at_all MPI_File_iwrite_at_all_c (offset: MPI_Offset) *const c_void, source at Place::Offset(offset) =>
        |file, at, buffer| file.start_write_all(at, &buffer);
    MPI_File_iwrite_all MPI_File_iwrite_all_c () *const c_void, source at Place::Pointer =>
        |file, at, buffer| file.start_write_all(at, &buffer);
}
