//! A log that all ranks write by one shared file pointer, and go on with in the next run.
//!
//! ```text
//! mpirun -n 4 target/release/examples/shared_log pfs:/log
//! pfs get pfs:/log -
//! ```
//! Every rank writes its records whenever it likes: each goes where the shared file pointer is, which moves on, so no two
//! records overlap and none is lost. At the end of a run each rank writes one more in the order of ranks. The file is opened
//! with `MPI_MODE_APPEND`, so a run begins behind the last one's records. Then the ranks read what this run has written, again by the
//! shared pointer: each record goes to one of them, whoever asks first. They check that every record is there once, and
//! that those of a rank are in its order.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::{agree, program};
use pfs_mpiio::{AccessMode, File, Info, Whence};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Writes and reads a log by a shared file pointer")]
struct Cli {
    /// The log
    file: String,
    /// Records of each rank
    #[arg(long, default_value_t = 20)]
    records: usize,
}

/// Bytes of a record: a line.
const RECORD_BYTES: usize = 48;

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("shared_log", false, |world| run(world, &cli))
}

fn record(rank: usize, number: usize) -> Vec<u8> {
    let text = format!("rank {rank:>5} has done its piece {number:>6}");
    format!("{text:<width$}\n", width = RECORD_BYTES - 1).into_bytes()
}

/// Rank and number of a record.
fn parse(record: &[u8]) -> Result<(usize, usize)> {
    let words: Vec<&str> = std::str::from_utf8(record)?.split_whitespace().collect();
    ensure!(words.len() == 7, "{words:?} is no record");
    Ok((words[1].parse()?, words[6].parse()?))
}

fn run(world: &SimpleCommunicator, cli: &Cli) -> Result<()> {
    let (rank, ranks) = (usize::try_from(world.rank())?, usize::try_from(world.size())?);
    let amode = AccessMode::CREATE | AccessMode::RDWR | AccessMode::APPEND;
    let file = File::open(world, &cli.file, amode, &Info::new())?;
    let start = file.get_position_shared()?;
    // Nobody moves the pointer before all know where it was.
    world.barrier();
    for number in 0..cli.records {
        file.write_shared(&record(rank, number)[..])?;
    }
    world.barrier();
    file.write_ordered(&record(rank, cli.records)[..])?;
    file.sync()?;

    file.seek_shared(i64::try_from(start)?, Whence::Set)?;
    let own = take(&file)?;
    // What each rank has read, by place in the log: nothing is there twice.
    let all = gather(world, &own)?;
    let found = check(&all, start, ranks, cli.records);
    agree::all_fine(world, "the log", found)?;
    file.close()?;
    if rank == 0 {
        println!("{} records of {ranks} ranks are in the log, from byte {start} on, each once and in order", all.len());
    }
    Ok(())
}

/// Takes records until there are none.
fn take(file: &File) -> Result<Vec<u8>> {
    let mut own = Vec::new();
    loop {
        let mut next = [0u8; RECORD_BYTES];
        match file.read_shared(&mut next[..])?.bytes() {
            0 => return Ok(own),
            whole if whole == RECORD_BYTES as u64 => own.extend_from_slice(&next),
            part => anyhow::bail!("a record of {part} bytes"),
        }
    }
}

/// The records that all ranks have read, each with the rank that has read it.
fn gather(world: &SimpleCommunicator, own: &[u8]) -> Result<Vec<(usize, usize, usize)>> {
    let mut all = Vec::new();
    for reader in 0..world.size() {
        let text = agree::from_rank(world, reader, String::from_utf8(own.to_vec()).context("records are text")?);
        for record in text.as_bytes().chunks(RECORD_BYTES) {
            let (rank, number) = parse(record)?;
            all.push((usize::try_from(reader)?, rank, number));
        }
    }
    Ok(all)
}

fn check(all: &[(usize, usize, usize)], start: u64, ranks: usize, records: usize) -> Result<()> {
    ensure!(start.is_multiple_of(RECORD_BYTES as u64), "the log had {start} bytes before, no whole records");
    ensure!(all.len() == ranks * (records + 1), "{} records instead of {}", all.len(), ranks * (records + 1));
    for rank in 0..ranks {
        let mut numbers: Vec<usize> = all.iter().filter(|record| record.1 == rank).map(|record| record.2).collect();
        numbers.sort_unstable();
        ensure!(numbers.into_iter().eq(0..=records), "records of rank {rank} are missing or there twice");
        for reader in 0..ranks {
            // A reader takes records from the start to the end.
            let seen: Vec<usize> =
                all.iter().filter(|record| record.0 == reader && record.1 == rank).map(|record| record.2).collect();
            ensure!(seen.is_sorted(), "reader {reader} has seen {seen:?} of rank {rank}");
        }
    }
    Ok(())
}
