//! MPI-IO for Rust programs that use rsmpi, on the parallel file system.
//!
//! A [`File`] is opened by all ranks of a communicator together. In a collective access the ranks tell each other
//! their accesses, make the same plan of it, hold one token for all of them, and move their bytes straight to the
//! file servers. Names are MPI's (MPI-4.1, chapter 14), types are Rust's.
//!
//! What a program may rely on:
//! * a collective call returns the same error class and text on every rank, and leaves no rank waiting;
//! * a rank sees its own writes at once; those of others after a collective access, or after
//!   [`sync`](File::sync), a barrier and `sync` (non-atomic mode);
//! * bytes are durable when [`sync`](File::sync) or [`close`](File::close) has returned;
//! * nonblocking accesses of one rank go on by themselves. Nonblocking collectives do with `MPI_THREAD_MULTIPLE`; else they
//!   go on inside any call, test or wait of the library, for whatever file;
//! * below `MPI_THREAD_MULTIPLE` the library calls MPI only inside its own calls and on the caller's thread, so
//!   `MPI_THREAD_SINGLE` is enough; a call on a thread that may not call MPI is an error.
//!
//! ```no_run
//! use mpi::traits::*;
//! use pfs_mpiio::{AccessMode, File, Info};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let universe = mpi::initialize().ok_or("MPI did not start")?;
//! let world = universe.world();
//! let mine = vec![world.rank() as u8; 1 << 20];
//! let file = File::open(&world, "pfs:/data", AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
//! file.write_at_all(world.rank() as u64 * mine.len() as u64, &mine[..])?;
//! file.close()?;
//! # Ok(())
//! # }
//! ```

mod access;
mod amode;
mod atomic;
mod attribute;
mod buffer;
mod collective;
mod comm;
mod contents;
mod datarep;
pub mod datatype;
mod drive;
mod element;
mod error;
mod exchange;
mod external32;
mod file;
mod group;
mod hints;
mod info;
mod job;
mod node_memory;
mod nodes;
mod nonblocking;
mod open;
mod operation;
mod pending;
mod pieces;
mod pin;
mod process;
mod progress;
mod queue;
mod relay;
mod report;
mod request;
mod shared;
mod signature;
mod split;
mod start;
mod status;
mod threads;
mod times;
mod view;

pub use amode::AccessMode;
pub use buffer::{Destination, Large, LargeMut, RawBuffer, RawBufferMut, Source};
pub use datarep::{ConversionFn, DATAREP_NAME_BYTES_MAX, FileExtentFn, register_datarep};
pub use element::Element;
pub use error::{Error, ErrorClass};
pub use file::File;
pub use info::Info;
pub use open::{delete, make_parents};
pub use operation::Operation;
pub use process::{end_with_mpi, finalize};
pub use request::{Request, test_all, test_any, test_some, wait_all, wait_any, wait_some};
pub use split::{Split, SplitOperation};
pub use start::At;
pub use status::Status;
pub use times::{Counter, Phase, Times, process_times};
pub use view::{DISPLACEMENT_CURRENT, Whence};
