//! Self-checking cases on a group of ranks.
//!
//! ```text
//! mpirun -n 3 rank_cases all --prefix pfs:/cases-
//! mpirun -n 2 rank_cases open-fails --file pfs://127.0.0.1:1/x --class MPI_ERR_IO
//! mpirun -n 2 rank_cases write-fails --file pfs:/x --class MPI_ERR_NO_SPACE --limit 1g
//! mpirun -n 4 rank_cases hold --file pfs:/x --turns 2
//! ```
//! `write-fails` writes until there is an error; with `--wait` it writes once, says `ready`, and goes on when it
//! reads a line. `hold` makes collective writes, says `wrote N` after each, and waits for a line before the next.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::cases::{self, Context, ERROR_TIME_MAX};
use pfs_examples::{agree, pattern, sizes};
use pfs_mpiio::{AccessMode, Error, File, Info};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Runs self-checking cases on a group of ranks")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all cases that need nothing but a cluster
    All {
        /// Start of the names of all files
        #[arg(long)]
        prefix: String,
    },
    /// Open a file, which must fail
    OpenFails(Failing),
    /// Write until it fails, which it must
    WriteFails {
        #[command(flatten)]
        failing: Failing,
        /// Most bytes of each rank
        #[arg(long, value_parser = sizes::size)]
        limit: u64,
        /// After the first write, say `ready` and wait for a line
        #[arg(long)]
        wait: bool,
    },
    /// Write the same ranges again and again
    Hold {
        /// File to write
        #[arg(long)]
        file: String,
        /// Collective writes
        #[arg(long)]
        turns: u64,
    },
}

#[derive(Args)]
struct Failing {
    /// File to use
    #[arg(long)]
    file: String,
    /// MPI's name of the error class that all ranks must get
    #[arg(long)]
    class: String,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Some(universe) = mpi::initialize() else {
        eprintln!("rank_cases: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    let result = match &cli.command {
        Command::All { prefix } => all(&world, prefix),
        Command::OpenFails(failing) => open_fails(&world, failing),
        Command::WriteFails { failing, limit, wait } => write_fails(&world, failing, *limit, *wait),
        Command::Hold { file, turns } => hold(&world, file, *turns),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rank_cases: rank {}: {error:#}", world.rank());
            world.abort(1)
        }
    }
}

fn say(world: &SimpleCommunicator, text: &str) {
    if world.rank() == 0 {
        println!("{text}");
    }
}

/// Rank 0 waits for a line, the others for rank 0.
fn wait_for_line(world: &SimpleCommunicator) -> Result<()> {
    if world.rank() == 0 {
        let mut line = String::new();
        ensure!(std::io::stdin().read_line(&mut line)? > 0, "the input has ended");
    }
    world.barrier();
    Ok(())
}

fn all(world: &SimpleCommunicator, prefix: &str) -> Result<()> {
    let context = Context { world, prefix };
    let cases = cases::all();
    for (name, case) in &cases {
        let start = Instant::now();
        agree::all_fine(world, name, case(&context))?;
        say(world, &format!("ok: {name} ({:.2} s)", start.elapsed().as_secs_f64()));
    }
    say(world, &format!("passed: {} cases on {} ranks", cases.len(), world.size()));
    Ok(())
}

/// Checks that the error is the same on all ranks, and of the class that was asked for.
fn check_same(world: &SimpleCommunicator, failing: &Failing, error: &Error) -> Result<()> {
    let text = error.to_string();
    let first = agree::from_rank_0(world, text.clone());
    ensure!(text == first, "{text:?} here and {first:?} on rank 0");
    ensure!(error.class().name() == failing.class, "{text:?} instead of {}", failing.class);
    say(world, &format!("failed as it should: {text}"));
    Ok(())
}

fn open_fails(world: &SimpleCommunicator, failing: &Failing) -> Result<()> {
    let start = Instant::now();
    let opened = File::open(world, &failing.file, AccessMode::CREATE | AccessMode::RDWR, &Info::new());
    ensure!(start.elapsed() < ERROR_TIME_MAX, "the open took {:?}", start.elapsed());
    match opened {
        Ok(_) => bail!("{} was opened", failing.file),
        Err(error) => check_same(world, failing, &error),
    }
}

fn write_fails(world: &SimpleCommunicator, failing: &Failing, limit: u64, wait: bool) -> Result<()> {
    const BLOCK: u64 = 1 << 20;
    let (rank, ranks) = (u64::try_from(world.rank())?, u64::try_from(world.size())?);
    let file = File::open(world, &failing.file, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    let bytes = pattern::bytes(1, 0, usize::try_from(BLOCK)?);
    for i in 0..limit / BLOCK {
        let start = Instant::now();
        let written = file.write_at_all((i * ranks + rank) * BLOCK, &bytes[..]).and_then(|_| file.sync());
        let elapsed = start.elapsed();
        if let Err(error) = written {
            check_same(world, failing, &error)?;
            ensure!(elapsed < ERROR_TIME_MAX, "the error took {elapsed:?}");
            // The file ends in whatever way it can, the same on all ranks.
            let closed = file.close().err().map_or_else(String::new, |error| error.to_string());
            ensure!(closed == agree::from_rank_0(world, closed.clone()), "close: {closed:?} differs from rank 0's");
            return Ok(());
        }
        if wait && i == 0 {
            say(world, "ready");
            wait_for_line(world)?;
        }
    }
    bail!("{limit} bytes of each rank were written without an error")
}

fn hold(world: &SimpleCommunicator, name: &str, turns: u64) -> Result<()> {
    const BLOCK: usize = 1 << 20;
    let rank = u64::try_from(world.rank())?;
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    say(world, "opened");
    for turn in 1..=turns {
        wait_for_line(world).context("between two writes")?;
        let offset = rank * BLOCK as u64;
        file.write_at_all(offset, &pattern::bytes(turn, offset, BLOCK)[..])?;
        say(world, &format!("wrote {turn}"));
    }
    wait_for_line(world)?;
    file.close()?;
    Ok(())
}
