//! Split collective access.

use crate::memory::{Place, Shown, destination, source};
use crate::signals::not_for_threads_of;
use crate::split::Kind;
use crate::status::set;
use mpi::ffi::{MPI_Count, MPI_Datatype, MPI_Offset, MPI_Status};
use std::ffi::{c_int, c_void};

/// Functions that begin an access, and the one that ends it.
macro_rules! splits {
    ($($name:ident $large:ident $end:ident ($($offset:ident: $type:ty)?) $kind:ident $pointer:ty, $memory:ident at $place:expr =>
        |$file:ident, $at:ident, $buffer:ident| $start:expr;)*) => { $(
        splits! { @ $name [$($offset: $type)?] $kind $pointer, $memory, c_int, $place, |$file, $at, $buffer| $start }
        #[cfg(large_count)]
        splits! { @ $large [$($offset: $type)?] $kind $pointer, $memory, MPI_Count, $place, |$file, $at, $buffer| $start }
        for_files! {
            fn $end(_buf: $pointer, status: *mut MPI_Status) [""] |file| {
                let done = file.splits.end(Kind::$kind)?;
                set(status, done);
                Ok(done)
            };
        }
    )* };
    (@ $name:ident [$($offset:ident: $type:ty)?] $kind:ident $pointer:ty, $memory:ident, $count:ty, $place:expr,
        |$file:ident, $at:ident, $buffer:ident| $start:expr) => {
        for_files! {
            fn $name($($offset: $type,)? buf: $pointer, count: $count, datatype: MPI_Datatype)
                ["{}", Shown($place, MPI_Count::from(count), datatype)] |$file| {
                // The program leaves the memory alone until the access is ended; the datatype it may free.
                #[allow(unused_mut)]
                let mut $buffer = $memory($place, buf, MPI_Count::from(count), datatype);
                let $at = $place.at();
                $file.splits.begin(Kind::$kind, not_for_threads_of(|| $start)?);
                Ok(())
            };
        }
    };
}

splits! {
    MPI_File_read_at_all_begin MPI_File_read_at_all_begin_c MPI_File_read_at_all_end (offset: MPI_Offset)
        ReadAtAll *mut c_void, destination at Place::Offset(offset) =>
        |file, at, buffer| file.start_split_read(at, &mut buffer);
    MPI_File_read_all_begin MPI_File_read_all_begin_c MPI_File_read_all_end ()
        ReadAll *mut c_void, destination at Place::Pointer => |file, at, buffer| file.start_split_read(at, &mut buffer);
    MPI_File_read_ordered_begin MPI_File_read_ordered_begin_c MPI_File_read_ordered_end ()
        ReadOrdered *mut c_void, destination at Place::Shared => |file, at, buffer| file.start_split_read(at, &mut buffer);
    MPI_File_write_at_all_begin MPI_File_write_at_all_begin_c MPI_File_write_at_all_end (offset: MPI_Offset)
        WriteAtAll *const c_void, source at Place::Offset(offset) => |file, at, buffer| file.start_split_write(at, &buffer);
    MPI_File_write_all_begin MPI_File_write_all_begin_c MPI_File_write_all_end ()
        WriteAll *const c_void, source at Place::Pointer => |file, at, buffer| file.start_split_write(at, &buffer);
    MPI_File_write_ordered_begin MPI_File_write_ordered_begin_c MPI_File_write_ordered_end ()
        WriteOrdered *const c_void, source at Place::Shared => |file, at, buffer| file.start_split_write(at, &buffer);
}
