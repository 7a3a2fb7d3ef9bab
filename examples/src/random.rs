//! Random cases of MPI-IO, compared with a plain file that one process makes by `MPI_Pack`.
//!
//! A case is a description that every rank makes for itself out of the same seed: hints, views of random nested types,
//! reads and writes by every way with buffers of random types, sizes, syncs, seeks. A reference says what must come out.
//! `run` does it on the file system. What fails is made simpler as long as it fails.

pub mod case;
pub mod generate;
pub mod job;
pub mod kind;
pub mod memory;
pub mod numbers;
pub mod reference;
pub mod run;
pub mod shape;
pub mod shapes;
pub mod shrink;
pub mod watchdog;

pub use job::{Job, job};
pub use run::Plant;
