//! What MPI's header declares, compared with what is exported.
//!
//! `build.rs` reads the names from `mpi.h`. An array of two functions compiles only if both have the same type; one whose
//! second function does not exist does not compile either.

use crate::exports::*;
use mpi::ffi;

macro_rules! compare {
    ($($name:ident)*) => {
        const _: fn() = || {
            $(let _ = [ffi::$name, $name];)*
        };
        /// The names that were compared.
        #[cfg(test)]
        const DECLARED: &[&str] = &[$(stringify!($name)),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/declared.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    /// MPI-3.1 has 61 functions of files, MPI-4 has 29 more with large counts.
    #[test]
    fn the_header_was_read() {
        let files = DECLARED.iter().filter(|name| name.starts_with("MPI_File_")).count();
        assert_eq!(files, if cfg!(large_count) { 90 } else { 61 }, "{DECLARED:?}");
    }
}
