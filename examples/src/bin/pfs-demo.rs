//! Writes a file's bytes into the file system by all ranks, and reads and checks them.
//!
//! ```text
//! mpirun -n 4 pfs-demo write --input FILE --file pfs:/demo --json
//! mpirun -n 3 pfs-demo read  --input FILE --file pfs:/demo --json
//! ```
//! The input is cut into one contiguous part for each rank. The parts are moved by collective calls, one transfer
//! of each rank's part at a time.

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use crc_fast::{CrcAlgorithm, Digest, checksum_combine};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::{agree, program, sizes};
use pfs_mpiio::{AccessMode, File, Info};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Writes a file by all ranks, or reads and checks it")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Copy the input into a new file
    Write(Options),
    /// Read the file and compare every byte with the input
    Read(Options),
}

#[derive(Args)]
struct Options {
    /// Local file with the bytes
    #[arg(long)]
    input: PathBuf,
    /// File in the file system: pfs:/NAME or pfs://HOST:PORT/NAME
    #[arg(long)]
    file: String,
    /// Bytes of each rank in one collective call
    #[arg(long, value_parser = sizes::size, default_value = "8m")]
    transfer: u64,
    /// Hint for the file, as KEY=VALUE
    #[arg(long = "hint", value_parser = hint)]
    hints: Vec<(String, String)>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

fn hint(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("pfs-demo", false, |world| match &cli.command {
        Command::Write(options) => run(options, world, write),
        Command::Read(options) => run(options, world, read),
    })
}

/// One rank's part of the input, and how it is cut.
struct Part {
    input: fs::File,
    start: u64,
    bytes: u64,
    /// The same on all ranks, so that all make the same number of collective calls.
    largest_part: u64,
    input_bytes: u64,
    transfer: u64,
}

impl Part {
    fn of(options: &Options, world: &SimpleCommunicator) -> Result<Part> {
        let (rank, ranks) = (u64::try_from(world.rank())?, u64::try_from(world.size())?);
        let input = fs::File::open(&options.input).with_context(|| format!("could not open {:?}", options.input))?;
        let input_bytes = input.metadata()?.len();
        let largest_part = input_bytes.div_ceil(ranks);
        let start = (rank * largest_part).min(input_bytes);
        let bytes = largest_part.min(input_bytes - start);
        Ok(Part { input, start, bytes, largest_part, input_bytes, transfer: options.transfer })
    }

    /// Offset and length of each transfer; the last ones may be empty.
    fn transfers(&self) -> impl Iterator<Item = (u64, u64)> {
        let (start, bytes, transfer) = (self.start, self.bytes, self.transfer);
        (0..self.largest_part.div_ceil(transfer)).map(move |i| {
            let done = (i * transfer).min(bytes);
            (start + done, transfer.min(bytes - done))
        })
    }

    /// The input's bytes of one transfer.
    fn load(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact_at(buffer, offset).context("could not read the input")
    }
}

/// What one rank has done.
struct Done {
    /// Time in calls of the file.
    busy: Duration,
    /// Of this rank's part.
    checksum: Digest,
}

/// Long enough that two different inputs do not have the same one by chance.
const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

impl Done {
    fn nothing() -> Done {
        Done { busy: Duration::ZERO, checksum: Digest::new(ALGORITHM) }
    }
}

type Work = fn(&Options, &SimpleCommunicator, &Part) -> Result<Done>;

fn run(options: &Options, world: &SimpleCommunicator, work: Work) -> Result<()> {
    let part = Part::of(options, world)?;
    let done = work(options, world, &part)?;
    let seconds = agree::largest(world, done.busy.as_secs_f64());
    let checksum = whole_checksum(world, &done, part.bytes);
    if world.rank() == 0 {
        let (bytes, ranks) = (part.input_bytes, world.size());
        if options.json {
            let figures = format!(r#""bytes":{bytes},"seconds":{seconds:.6},"ranks":{ranks}"#);
            println!(r#"{{{figures},"crc64":"{checksum:016x}"}}"#);
        } else {
            let rate = bytes as f64 / f64::from(1 << 20) / seconds;
            println!("{bytes} bytes, {ranks} ranks, {seconds:.3} s, {rate:.1} MiB/s, CRC-64/NVME {checksum:016x}");
        }
    }
    Ok(())
}

fn write(options: &Options, world: &SimpleCommunicator, part: &Part) -> Result<Done> {
    let mut done = Done::nothing();
    let hints: Info = options.hints.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let amode = AccessMode::CREATE | AccessMode::RDWR;
    let file = timed(&mut done.busy, || File::open(world, &options.file, amode, &hints))?;
    timed(&mut done.busy, || file.set_size(0))?;
    let mut buffer = vec![0; usize::try_from(part.transfer)?];
    for (offset, length) in part.transfers() {
        let bytes = &mut buffer[..usize::try_from(length)?];
        part.load(offset, bytes)?;
        done.checksum.update(bytes);
        timed(&mut done.busy, || file.write_at_all(offset, &bytes[..]))?;
    }
    timed(&mut done.busy, || file.close())?;
    Ok(done)
}

fn read(options: &Options, world: &SimpleCommunicator, part: &Part) -> Result<Done> {
    let mut done = Done::nothing();
    let file = timed(&mut done.busy, || File::open(world, &options.file, AccessMode::RDONLY, &Info::new()))?;
    let size = file.get_size()?;
    let expected = part.input_bytes;
    ensure!(size == expected, "{} has {size} bytes and the input {expected}", options.file);
    let capacity = usize::try_from(part.transfer)?;
    let (mut buffer, mut input) = (vec![0; capacity], vec![0; capacity]);
    for (offset, length) in part.transfers() {
        let (bytes, input) = (&mut buffer[..usize::try_from(length)?], &mut input[..usize::try_from(length)?]);
        timed(&mut done.busy, || file.read_at_all(offset, &mut bytes[..]))?;
        part.load(offset, input)?;
        compare(offset, bytes, input)?;
        done.checksum.update(bytes);
    }
    timed(&mut done.busy, || file.close())?;
    Ok(done)
}

fn compare(offset: u64, bytes: &[u8], input: &[u8]) -> Result<()> {
    let wrong = bytes.iter().zip(input).position(|(byte, expected)| byte != expected);
    if let Some(at) = wrong {
        let (byte, expected, offset) = (bytes[at], input[at], offset + at as u64);
        anyhow::bail!("the byte at offset {offset} is {byte:#04x} and should be {expected:#04x}");
    }
    Ok(())
}

fn timed<T>(busy: &mut Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    *busy += start.elapsed();
    result
}

/// The checksum of all parts, one after the other.
fn whole_checksum(world: &SimpleCommunicator, own: &Done, own_bytes: u64) -> u64 {
    let mut parts = vec![0u64; 2 * usize::try_from(world.size()).unwrap_or(1)];
    world.all_gather_into(&[own.checksum.finalize(), own_bytes][..], &mut parts[..]);
    let empty = Digest::new(ALGORITHM).finalize();
    parts.chunks_exact(2).fold(empty, |whole, part| checksum_combine(ALGORITHM, whole, part[0], part[1]))
}
