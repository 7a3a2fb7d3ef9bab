//! `faults --store`: power is lost at every step of what a file server's store does to its disk, by `pfs-powerloss`.
//!
//! It needs neither root nor real processes.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;

use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace::{Built, Selection, build};

/// The program, as the build calls it; its package is of the same name.
const PROGRAM: &str = "pfs-powerloss";
/// On an idle machine of two cores it takes seconds for a seed and for all lies.
const SEED_LIMIT: Duration = Duration::from_secs(60);
const LIES_LIMIT: Duration = Duration::from_secs(300);

/// The program of a build with its flags, and the longest that it may take.
pub fn program(built: &Built, first_seed: u64, seeds: u64) -> Result<(Command, Duration)> {
    let mut command = Command::new(built.program(PROGRAM)?);
    command.args(["--seed", &first_seed.to_string(), "--seeds", &seeds.to_string()]);
    let limits = u32::try_from(seeds).unwrap_or(u32::MAX);
    Ok((command, LIES_LIMIT + SEED_LIMIT.saturating_mul(limits)))
}

/// Builds it in release and runs it.
pub fn run(first_seed: u64, seeds: u64) -> Result<ExitCode> {
    let built = build(&Selection::ReleasePrograms(&[(PROGRAM, PROGRAM)]), Mpi::Open)?;
    let (command, limit) = program(&built, first_seed, seeds)?;
    let finished = Step::new("losses of power", command, limit).showing_stderr().run_any_status()?;
    print!("{}", finished.stdout);
    Ok(if finished.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
