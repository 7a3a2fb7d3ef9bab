//! Random cases of MPI-IO on a group of ranks, compared with a reference file that MPI packs.
//!
//! ```text
//! mpirun -n 3 random_cases --prefix pfs:/random- --seed 1 --cases 200
//! mpirun -n 3 random_cases --prefix pfs:/random- --seed 1 --first 17 --cases 1
//! ```
//! `cargo xtask test mpiio` runs it on 1 to 6 ranks. A mistake that is planted (`--plant`) must be found: the tests see to it
//! that these comparisons can fail.

use clap::Parser;
use mpi::traits::*;
use pfs_examples::random::{Job, Plant, job};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Runs random cases of MPI-IO and compares them with a reference file")]
struct Cli {
    /// Start of the names of all files
    #[arg(long)]
    prefix: String,
    /// The same seed gives the same cases
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The first case
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// How many cases
    #[arg(long, default_value_t = 100)]
    cases: u64,
    /// A case that takes longer hangs
    #[arg(long, default_value_t = 40)]
    case_seconds: u64,
    /// Make a mistake on purpose
    #[arg(long)]
    plant: Option<Plant>,
}

fn main() -> ExitCode {
    let Cli { prefix, seed, first, cases, case_seconds, plant } = Cli::parse();
    let Some(universe) = mpi::initialize() else {
        eprintln!("random_cases: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    let case_time_max = Duration::from_secs(case_seconds);
    let done = job(&Job { world: &world, prefix: &prefix, seed, first, cases, case_time_max, plant });
    let is_first = world.rank() == 0;
    match &done {
        Ok(line) if is_first => println!("{line}"),
        Err(error) if is_first => println!("{error:#}"),
        _ => {}
    }
    // All ranks have the same result, and end in order.
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
