//! The frame of a rank program: MPI is started before its work and ended after it, and an error of one rank ends all.

use anyhow::Result;
use mpi::Threading;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::process::ExitCode;

/// Does a program's work on all ranks. With `threads` it needs `MPI_THREAD_MULTIPLE`.
pub fn run(name: &str, threads: bool, work: impl FnOnce(&SimpleCommunicator) -> Result<()>) -> ExitCode {
    let wanted = if threads { Threading::Multiple } else { Threading::Single };
    let universe = match mpi::initialize_with_threading(wanted) {
        Some((universe, granted)) if granted == Threading::Multiple || !threads => universe,
        _ => {
            eprintln!("{name}: MPI did not start as it should; run it by mpirun");
            return ExitCode::FAILURE;
        }
    };
    let world = universe.world();
    match work(&world) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: rank {}: {error:#}", world.rank());
            world.abort(1)
        }
    }
}
