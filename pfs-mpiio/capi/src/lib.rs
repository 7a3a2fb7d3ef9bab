//! `MPI_File_*` for programs in C, Fortran and Python that are not changed: loaded before MPI's own library, or linked before it.
//!
//! Invariants:
//! * Whatever is not a file of ours goes to MPI's own function with the arguments as they came; for a handle that costs a look
//!   at one counter ([`table`]). `MPI_FILE_NULL` is no file at all, and refused here.
//! * A handle of ours is a handle of MPI's too: `/dev/null`, opened for reading on `MPI_COMM_SELF`. So `MPI_File_c2f` and all
//!   that has to do with error handlers is done by MPI itself, and a write that would go past this library fails.
//! * Nothing is decided here that [`pfs_mpiio::File`] decides. What is here is the way from C's arguments to Rust's and back.
//! * No panic leaves a function ([`call`]), and an error is one of MPI's classes, after the file's error handler has seen it.
//! * Every function that this MPI's header declares is exported, with the header's types ([`declared`]), by its own name and by
//!   that of the profiling interface: the Fortran bindings of Open MPI call the latter.

// The functions have the names of C, and their contract is that of the MPI standard.
#![allow(non_snake_case, clippy::missing_safety_doc)]
#![deny(unsafe_op_in_unsafe_fn)]

#[macro_use]
mod exports;
mod call;
mod datarep;
mod declared;
mod errhandler;
mod failure;
mod info;
mod memory;
mod names;
mod native;
mod open;
mod process;
mod requests;
mod signals;
mod split;
mod status;
mod table;
mod trace;
mod view;
mod waiting;
