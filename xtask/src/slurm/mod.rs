//! The batch part of the tests: a private Slurm on this machine, and the project's batch script run in it to every
//! ending a job can have.

mod jobs;
mod more;
mod system;

pub use jobs::{Programs, run};
