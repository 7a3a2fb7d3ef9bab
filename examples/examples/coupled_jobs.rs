//! Two jobs that are coupled through one file in atomic mode: a simulation, and an analysis that looks at each of its steps.
//!
//! ```text
//! mpirun -n 4 target/release/examples/coupled_jobs pfs:/coupled --role simulation &
//! mpirun -n 2 target/release/examples/coupled_jobs pfs:/coupled --role analysis
//! mpirun -n 4 target/release/examples/coupled_jobs pfs:/coupled    # one job whose halves play both roles
//! ```
//! In atomic mode every access is seen whole or not at all, by everybody, as soon as it has returned; nobody needs `sync` or
//! locks. The file begins with two numbers: the step that is there, written by the simulation, and the step that has been
//! looked at, written by the analysis. Behind them is the state of a step, written by all ranks of the simulation together.
//! Then comes a record that the simulation overwrites whenever it likes, and the analysis reads whenever it likes: it spans
//! several file servers, and is never seen half old and half new.

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;
use pfs_examples::types::share;
use pfs_examples::{agree, program};
use pfs_mpiio::{AccessMode, File, Info};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "A simulation and an analysis that are coupled through a file")]
struct Cli {
    /// The file that both jobs use
    file: String,
    /// What this job is; without it, the first half of the ranks is the simulation, and the second the analysis
    #[arg(long)]
    role: Option<Role>,
    /// Steps of the simulation, the same for both
    #[arg(long, default_value_t = 6)]
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Makes the steps
    Simulation,
    /// Looks at them
    Analysis,
}

/// Where the step that is there, and the one that was looked at, are told.
const WRITTEN_AT: u64 = 0;
const SEEN_AT: u64 = 8;
const STATE_AT: u64 = 4096;
/// Numbers of the state.
const STATE: usize = 30_000;
const RECORD_AT: u64 = STATE_AT + 8 * STATE as u64;
/// Numbers of the record: more than a stripe on each of several servers.
const RECORD: usize = 25_000;
/// How often the record is overwritten, and read, in each step.
const RECORDS_PER_STEP: u64 = 3;
/// No step of the other job may take longer.
const WAIT_MAX: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("coupled_jobs", false, |world| run(world, &cli))
}

fn run(world: &SimpleCommunicator, cli: &Cli) -> Result<()> {
    ensure!(
        cli.steps > 1,
        "the last step of an earlier run may still be told in the file, so there must be two or more"
    );
    match cli.role {
        Some(role) => play(world, role, cli),
        None => {
            ensure!(world.size() > 1, "both roles in one job need two ranks; give a --role to a job of one");
            let role = if world.rank() < world.size() / 2 { Role::Simulation } else { Role::Analysis };
            let job = world.split_by_color(Color::with_value(role as i32)).context("a job of this role")?;
            play(&job, role, cli)
        }
    }
}

fn play(job: &SimpleCommunicator, role: Role, cli: &Cli) -> Result<()> {
    let hints = Info::new().with("striping_unit", 64 << 10);
    let file = File::open(job, &cli.file, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    file.set_atomicity(true)?;
    match role {
        Role::Simulation => simulate(job, &file, cli.steps)?,
        Role::Analysis => analyse(job, &file, cli.steps)?,
    }
    file.close()?;
    if job.rank() == 0 {
        println!("{role:?}: {} steps on {} ranks, each as it should be", cli.steps, job.size());
    }
    Ok(())
}

/// What the state has at a place in a step.
fn value(step: u64, place: usize) -> u64 {
    step * 1_000_000 + place as u64
}

fn simulate(job: &SimpleCommunicator, file: &File, steps: u64) -> Result<()> {
    let (rank, ranks) = (usize::try_from(job.rank())?, usize::try_from(job.size())?);
    let (start, count) = share(STATE, ranks, rank);
    if rank == 0 {
        // Whatever an earlier run has left is not a step of this one.
        file.write_at(WRITTEN_AT, &[0u64; 2][..])?;
        file.write_at(RECORD_AT, &[0u64; RECORD][..])?;
    }
    for step in 1..=steps {
        let own: Vec<u64> = (start..start + count).map(|place| value(step, place)).collect();
        file.write_at_all(STATE_AT + 8 * start as u64, &own[..])?;
        if rank == 0 {
            file.write_at(WRITTEN_AT, &[step][..])?;
            for turn in 0..RECORDS_PER_STEP {
                file.write_at(RECORD_AT, &vec![step * 100 + turn; RECORD][..])?;
            }
        }
        wait_for(job, file, SEEN_AT, step)?;
    }
    Ok(())
}

fn analyse(job: &SimpleCommunicator, file: &File, steps: u64) -> Result<()> {
    let mut state = vec![0u64; STATE];
    let mut newest = 0;
    for step in 1..=steps {
        wait_for(job, file, WRITTEN_AT, step)?;
        let read = file.read_at_all(STATE_AT, &mut state[..])?;
        let is_right = state.iter().enumerate().all(|(place, &number)| number == value(step, place));
        let state_is_right = if is_right && read.count::<u64>() == Some(STATE as u64) { Ok(()) } else { bad(step) };
        agree::all_fine(job, "the state", state_is_right)?;
        for _ in 0..RECORDS_PER_STEP {
            agree::all_fine(job, "the record", look(file, &mut newest))?;
        }
        if job.rank() == 0 {
            file.write_at(SEEN_AT, &[step][..])?;
        }
    }
    Ok(())
}

fn bad(step: u64) -> Result<()> {
    bail!("the state is not the one of step {step}")
}

/// The record is one of the simulation's, whole, and never older than the last one.
fn look(file: &File, newest: &mut u64) -> Result<()> {
    let mut record = vec![0u64; RECORD];
    let length = file.read_at(RECORD_AT, &mut record[..])?.count::<u64>();
    ensure!(length == Some(RECORD as u64), "only {length:?} numbers of the record");
    let first = record[0];
    ensure!(record.iter().all(|&number| number == first), "the record is half {first} and half another one");
    ensure!(first >= *newest, "the record {first} is older than {newest}");
    *newest = first;
    Ok(())
}

/// Rank 0 looks until the number is there, the others wait for rank 0.
fn wait_for(job: &SimpleCommunicator, file: &File, place: u64, wanted: u64) -> Result<()> {
    let mut found = Ok(());
    if job.rank() == 0 {
        let start = Instant::now();
        let mut number = [0u64];
        while number[0] != wanted {
            file.read_at(place, &mut number[..])?;
            if start.elapsed() > WAIT_MAX {
                found = Err(anyhow::anyhow!("the other job has not come to step {wanted} but to {}", number[0]));
                break;
            }
            if number[0] != wanted {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    agree::all_fine(job, "the other job", found)
}
