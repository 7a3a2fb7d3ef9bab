//! Self-checking cases on a group of ranks.
//!
//! ```text
//! mpirun -n 3 rank_cases all --prefix pfs:/cases-
//! mpirun -n 2 rank_cases all --prefix pfs:/cases- --only ordered
//! mpirun -n 1 rank_cases large --file pfs:/x --bytes 2560m
//! mpirun -n 2 rank_cases open-fails --file pfs://127.0.0.1:1/x --class MPI_ERR_IO
//! mpirun -n 2 rank_cases write-fails --file pfs:/x --class MPI_ERR_NO_SPACE --limit 1g
//! mpirun -n 4 rank_cases hold --file pfs:/x --turns 2
//! mpirun -n 2 rank_cases latency --file pfs:/x --turns 1000
//! mpirun -n 3 rank_cases outlive --file pfs:/x
//! mpirun -n 3 rank_cases --threads outlive --file pfs:/x --nonblocking
//! mpirun -n 3 rank_cases --threads all --prefix pfs:/some- --only nonblocking
//! mpirun -n 4 rank_cases endure --file pfs:/x --turns 100
//! ```
//! `write-fails` writes until there is an error; with `--wait` it writes once, says `ready`, and goes on when it
//! reads a line. `hold` makes collective writes, says `wrote N` after each, and waits for a line before the next.
//! `outlive` makes collective writes until whoever started it kills or stops the last rank; what the others get then must
//! be an error, soon and from then on. `endure` writes and reads in every way and says `turn N`; whoever started it restarts
//! servers meanwhile.

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use mpi::request::scope;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;
use pfs_examples::cases::{self, Context, ERROR_TIME_MAX};
use pfs_examples::{agree, pattern, program, sizes};
use pfs_mpiio::{AccessMode, Error, File, Info, wait_all};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Runs self-checking cases on a group of ranks")]
struct Cli {
    /// Ask MPI for `MPI_THREAD_MULTIPLE`
    #[arg(long)]
    threads: bool,
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
        /// Only cases whose names have this in them
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Write and read many bytes in one access, which takes as much memory
    Large {
        /// File to use
        #[arg(long)]
        file: String,
        /// How many, a multiple of 8
        #[arg(long, value_parser = sizes::size)]
        bytes: u64,
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
    /// Time collective accesses without bytes: what the ranks' agreement alone costs
    Latency {
        /// File to use
        #[arg(long)]
        file: String,
        /// Collective accesses of each kind
        #[arg(long)]
        turns: u32,
    },
    /// Write until the last rank is killed or stopped from outside
    Outlive {
        /// File to write
        #[arg(long)]
        file: String,
        /// Begin each write and wait for it, several at a time
        #[arg(long)]
        nonblocking: bool,
    },
    /// Write and read in every way while servers are restarted, and check every byte
    Endure {
        /// File to write
        #[arg(long)]
        file: String,
        /// Rounds of accesses
        #[arg(long)]
        turns: u64,
        /// Use atomic mode
        #[arg(long)]
        atomic: bool,
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
    program::run("rank_cases", cli.threads, |world| match &cli.command {
        Command::All { prefix, only } => all(world, prefix, only),
        Command::Large { file, bytes } => large(world, file, *bytes),
        Command::OpenFails(failing) => open_fails(world, failing),
        Command::WriteFails { failing, limit, wait } => write_fails(world, failing, *limit, *wait),
        Command::Latency { file, turns } => latency(world, file, *turns),
        Command::Outlive { file, nonblocking } => outlive(world, file, *nonblocking),
        Command::Endure { file, turns, atomic } => endure(world, file, *turns, *atomic),
        Command::Hold { file, turns } => hold(world, file, *turns),
    })
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

fn all(world: &SimpleCommunicator, prefix: &str, only: &str) -> Result<()> {
    let context = Context { world, prefix };
    let cases: Vec<_> = cases::all().into_iter().filter(|(name, _)| name.contains(only)).collect();
    ensure!(!cases.is_empty(), "no case has {only:?} in its name");
    for (name, case) in &cases {
        let start = Instant::now();
        agree::all_fine(world, name, case(&context))?;
        say(world, &format!("ok: {name} ({:.2} s)", start.elapsed().as_secs_f64()));
    }
    say(world, &format!("passed: {} cases on {} ranks", cases.len(), world.size()));
    Ok(())
}

fn large(world: &SimpleCommunicator, file: &str, bytes: u64) -> Result<()> {
    cases::large(world, file, usize::try_from(bytes)?)
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

fn latency(world: &SimpleCommunicator, name: &str, turns: u32) -> Result<()> {
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    file.write_at_all(0, &[1u8][..])?;
    let timed = |what: &str, call: &mut dyn FnMut() -> Result<(), Error>| -> Result<()> {
        world.barrier();
        let start = Instant::now();
        (0..turns).try_for_each(|_| call())?;
        say(world, &format!("{what}: {:.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(turns)));
        Ok(())
    };
    timed("write_at_all without bytes", &mut || file.write_at_all(0, &[0u8; 0][..]).map(drop))?;
    timed("read_at_all without bytes", &mut || file.read_at_all(0, &mut [0u8; 0][..]).map(drop))?;
    timed("write_at_all of one byte", &mut || file.write_at_all(0, &[1u8][..]).map(drop))?;
    timed("sync of nothing", &mut || file.sync())?;
    file.close()?;
    Ok(())
}

/// Every rank says what becomes of it, in lines of its own.
fn outlive(world: &SimpleCommunicator, name: &str, nonblocking: bool) -> Result<()> {
    const BLOCK: usize = 3 << 20;
    let rank = u64::try_from(world.rank())?;
    let is_victim = world.rank() + 1 == world.size();
    let color = if is_victim { Color::undefined() } else { Color::with_value(0) };
    let survivors = world.split_by_color(color);
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    let offset = rank * BLOCK as u64;
    let bytes = pattern::bytes(1, offset, BLOCK);
    file.write_at_all(offset, &bytes[..])?;
    world.barrier();
    println!("rank {rank} process {}", std::process::id());
    let begin_and_wait = || {
        scope(|scope| {
            let begin = |_| file.iwrite_at_all(scope, offset, &bytes[..]);
            let requests = (0..3).map(begin).collect::<Result<Vec<_>, _>>()?;
            wait_all(requests).into_iter().try_for_each(|result| result.map(drop))
        })
    };
    let lost = loop {
        let written = match nonblocking {
            true => begin_and_wait(),
            false => file.write_at_all(offset, &bytes[..]).map(drop),
        };
        if let Err(error) = written {
            break error;
        }
    };
    let start = Instant::now();
    let again = [file.write_at_all(offset, &bytes[..]).map(drop), file.sync(), file.close()].map(Result::err);
    let all_the_same = again.iter().flatten().filter(|error| **error == lost).count() == again.len();
    println!("rank {rank} lost: {lost}");
    ensure!(all_the_same, "{again:?} after {lost}");
    ensure!(start.elapsed() < ERROR_TIME_MAX, "the later calls took {:?}", start.elapsed());
    println!("rank {rank} went on");
    let survivors = survivors.context("the victim should be dead")?;
    // A launcher that is told to abort may drop what the ranks said last.
    wait_for_line(&survivors)?;
    // MPI can not be ended in order without all ranks.
    world.abort(0)
}

/// In every turn: a collective write, an independent write, a collective read of what the next rank wrote, and now and
/// then a sync. In the end all of it is read again.
fn endure(world: &SimpleCommunicator, name: &str, turns: u64, atomic: bool) -> Result<()> {
    const BLOCK: usize = 100_000;
    let (rank, ranks) = (u64::try_from(world.rank())?, u64::try_from(world.size())?);
    // Blocks of the collective writes, one of each rank, then those of the independent writes.
    let together = |rank: u64| rank * BLOCK as u64;
    let alone = |rank: u64| together(ranks + rank);
    let seed = |turn: u64, offset: u64| turn * 1_000_000_007 + offset;
    let next = (rank + 1) % ranks;
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    file.set_atomicity(atomic)?;
    let check = |offset: u64, turn: u64, bytes: &[u8]| {
        let wrong = pattern::first_wrong(seed(turn, offset), offset, bytes);
        ensure!(wrong.is_none(), "turn {turn}: the byte at {wrong:?} is wrong");
        Ok(())
    };
    let mut buffer = vec![0; BLOCK];
    for turn in 1..=turns {
        let bytes = |offset| pattern::bytes(seed(turn, offset), offset, BLOCK);
        file.write_at_all(together(rank), &bytes(together(rank))[..])?;
        file.write_at(alone(rank), &bytes(alone(rank))[..])?;
        file.read_at_all(together(next), &mut buffer[..])?;
        check(together(next), turn, &buffer)?;
        file.read_at(alone(rank), &mut buffer[..])?;
        check(alone(rank), turn, &buffer)?;
        if turn % 5 == 0 {
            file.sync()?;
        }
        // Nobody writes again what another one still reads.
        world.barrier();
        say(world, &format!("turn {turn}"));
    }
    file.close()?;
    let file = File::open(world, name, AccessMode::RDONLY, &Info::new())?;
    for offset in [together(next), alone(next)] {
        file.read_at_all(offset, &mut buffer[..])?;
        check(offset, turns, &buffer)?;
    }
    ensure!(file.get_size()? == 2 * ranks * BLOCK as u64, "the file has {} bytes", file.get_size()?);
    file.close()?;
    say(world, "endured");
    Ok(())
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
