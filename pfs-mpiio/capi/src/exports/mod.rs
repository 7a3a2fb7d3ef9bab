//! The functions that programs call.
//!
//! Each is defined once, with the types of MPI's header, and exported by its own name and with a `P` before it. `native` is
//! MPI's own function in it. Those that get a handle are defined by what they do for a file of ours; for other handles they call
//! `native` with what they got.

/// Defines functions and exports each by both names.
macro_rules! exported {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $returned:ty = |$native:ident| $body:expr;)*) => { $(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $returned {
            let $native = $crate::native::native!($name: unsafe extern "C" fn($($type),*) -> $returned).get();
            // SAFETY: the caller keeps to the contract of the MPI standard; what is done with its arguments is that of the
            // standard too, and each function that is called says what it takes from that.
            #[allow(unused_unsafe)]
            unsafe { $body }
        }

        $(#[$meta])*
        const _: () = {
            #[unsafe(export_name = concat!("P", stringify!($name)))]
            unsafe extern "C" fn profiled($($arg: $type),*) -> $returned {
                // SAFETY: the same function.
                unsafe { $name($($arg),*) }
            }
        };
    )* };
}

/// Functions of a handle: what is shown of the arguments, and what is done for a file of ours. For other files MPI's own function
/// is all that is called, and no frame of ours stays on the stack.
macro_rules! for_files {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) [$($shown:tt)*] |$file:ident| $body:expr;)*) => { $(
        exported! {
            $(#[$meta])*
            fn $name(fh: mpi::ffi::MPI_File, $($arg: $type),*) -> std::ffi::c_int = |native| {
                #[cold]
                #[inline(never)]
                unsafe fn looked_up(
                    native: unsafe extern "C" fn(mpi::ffi::MPI_File, $($type),*) -> std::ffi::c_int,
                    fh: mpi::ffi::MPI_File,
                    $($arg: $type),*
                ) -> std::ffi::c_int {
                    // SAFETY: as above.
                    #[allow(unused_unsafe)]
                    unsafe {
                        match $crate::table::find(fh) {
                            None if fh == $crate::call::file_null() => $crate::call::of_no_file(stringify!($name)),
                            None => $crate::call::native(stringify!($name), || native(fh, $($arg),*)),
                            Some(file) => {
                                $crate::call::of_file(stringify!($name), file, format_args!($($shown)*), |$file| $body)
                            }
                        }
                    }
                }
                match $crate::call::is_of_others(fh) {
                    true => native(fh, $($arg),*),
                    false => looked_up(native, fh, $($arg),*),
                }
            };
        }
    )* };
}

mod access;
mod datareps;
mod files;
mod handlers;
mod nonblocking;
mod process;
mod splits;
mod views;
mod waits;

#[allow(unused_imports)] // compared with the header
pub use self::{access::*, datareps::*, files::*, handlers::*, nonblocking::*, splits::*, views::*};
