//! Blocking access.

use crate::memory::{Place, Shown, destination, source};
use crate::status::set;
use mpi::ffi::{MPI_Count, MPI_Datatype, MPI_Offset, MPI_Status};
use std::ffi::{c_int, c_void};

/// Functions that read: with counts of C's `int`, and with large ones where MPI has them.
macro_rules! reads {
    ($($name:ident $large:ident ($($offset:ident: $type:ty)?) at $place:expr => |$file:ident, $to:ident| $read:expr;)*) => { $(
        reads! { @ $name [$($offset: $type)?] c_int, $place, |$file, $to| $read }
        #[cfg(large_count)]
        reads! { @ $large [$($offset: $type)?] MPI_Count, $place, |$file, $to| $read }
    )* };
    (@ $name:ident [$($offset:ident: $type:ty)?] $count:ty, $place:expr, |$file:ident, $to:ident| $read:expr) => {
        for_files! {
            fn $name(
                $($offset: $type,)? buf: *mut c_void, count: $count, datatype: MPI_Datatype, status: *mut MPI_Status,
            ) ["{}", Shown($place, MPI_Count::from(count), datatype)] |$file| {
                let mut memory = destination($place, buf, MPI_Count::from(count), datatype);
                let $to = &mut memory;
                let done = $read?;
                set(status, done);
                Ok(done)
            };
        }
    };
}

/// Functions that write.
macro_rules! writes {
    ($($name:ident $large:ident ($($offset:ident: $type:ty)?) at $place:expr => |$file:ident, $from:ident| $write:expr;)*) => { $(
        writes! { @ $name [$($offset: $type)?] c_int, $place, |$file, $from| $write }
        #[cfg(large_count)]
        writes! { @ $large [$($offset: $type)?] MPI_Count, $place, |$file, $from| $write }
    )* };
    (@ $name:ident [$($offset:ident: $type:ty)?] $count:ty, $place:expr, |$file:ident, $from:ident| $write:expr) => {
        for_files! {
            fn $name(
                $($offset: $type,)? buf: *const c_void, count: $count, datatype: MPI_Datatype, status: *mut MPI_Status,
            ) ["{}", Shown($place, MPI_Count::from(count), datatype)] |$file| {
                let memory = source($place, buf, MPI_Count::from(count), datatype);
                let $from = &memory;
                let done = $write?;
                set(status, done);
                Ok(done)
            };
        }
    };
}

reads! {
    MPI_File_read_at MPI_File_read_at_c (offset: MPI_Offset) at Place::Offset(offset) =>
        |file, to| file.read_at(Place::Offset(offset).offset(), to);
    MPI_File_read_at_all MPI_File_read_at_all_c (offset: MPI_Offset) at Place::Offset(offset) =>
        |file, to| file.read_at_all(Place::Offset(offset).offset(), to);
    MPI_File_read MPI_File_read_c () at Place::Pointer => |file, to| file.read(to);
    MPI_File_read_all MPI_File_read_all_c () at Place::Pointer => |file, to| file.read_all(to);
    MPI_File_read_shared MPI_File_read_shared_c () at Place::Shared => |file, to| file.read_shared(to);
    MPI_File_read_ordered MPI_File_read_ordered_c () at Place::Shared => |file, to| file.read_ordered(to);
}

writes! {
    MPI_File_write_at MPI_File_write_at_c (offset: MPI_Offset) at Place::Offset(offset) =>
        |file, from| file.write_at(Place::Offset(offset).offset(), from);
    MPI_File_write_at_all MPI_File_write_at_all_c (offset: MPI_Offset) at Place::Offset(offset) =>
        |file, from| file.write_at_all(Place::Offset(offset).offset(), from);
    MPI_File_write MPI_File_write_c () at Place::Pointer => |file, from| file.write(from);
    MPI_File_write_all MPI_File_write_all_c () at Place::Pointer => |file, from| file.write_all(from);
    MPI_File_write_shared MPI_File_write_shared_c () at Place::Shared => |file, from| file.write_shared(from);
    MPI_File_write_ordered MPI_File_write_ordered_c () at Place::Shared => |file, from| file.write_ordered(from);
}
