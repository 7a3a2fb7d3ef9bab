//! One of several jobs that write overlapping ranges of one file at the same time.
//!
//! A coordinator says what to write. Every rank has a connection of its own to it, so that none keeps a processor
//! busy in MPI while it waits for its turn:
//!
//! ```text
//! rank → coordinator:   ready RANK
//! coordinator → rank:   write all|each TIMES OFFSET LENGTH SEED
//! rank → coordinator:   done
//! coordinator → rank:   end
//! ```
//! `all` is a collective write, which the coordinator asks of all ranks of the job; `each` is an independent one. The
//! bytes are those of [`pfs_examples::pattern`], so the coordinator can tell from the file which write left which byte.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::pattern;
use pfs_mpiio::{AccessMode, File, Info};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Writes what a coordinator says into a file that other jobs write too")]
struct Options {
    /// File in the file system
    #[arg(long)]
    file: String,
    /// The coordinator's address, as HOST:PORT
    #[arg(long)]
    coordinator: String,
    /// Write in atomic mode
    #[arg(long)]
    atomic: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(universe) = mpi::initialize() else {
        eprintln!("overlap_writer: MPI did not start; run it by mpirun");
        return ExitCode::FAILURE;
    };
    let world = universe.world();
    match run(&options, &world) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overlap_writer: rank {}: {error:#}", world.rank());
            world.abort(1)
        }
    }
}

fn run(options: &Options, world: &SimpleCommunicator) -> Result<()> {
    let mut coordinator = Coordinator::connect(&options.coordinator)?;
    let file = File::open(world, &options.file, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    file.set_atomicity(options.atomic)?;
    coordinator.say(&format!("ready {}", world.rank()))?;
    loop {
        let line = coordinator.line()?;
        if line == "end" {
            break;
        }
        Turn::parse(&line)?.write(&file)?;
        coordinator.say("done")?;
    }
    file.close()?;
    Ok(())
}

struct Coordinator {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Coordinator {
    fn connect(address: &str) -> Result<Coordinator> {
        let output = TcpStream::connect(address).with_context(|| format!("no coordinator at {address}"))?;
        output.set_nodelay(true)?;
        Ok(Coordinator { input: BufReader::new(output.try_clone()?), output })
    }

    fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.output, "{word}").context("the coordinator is gone")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let bytes = self.input.read_line(&mut line).context("the coordinator is gone")?;
        ensure!(bytes > 0, "the coordinator hung up");
        Ok(line.trim().to_owned())
    }
}

/// What one rank does when the coordinator says `write`.
struct Turn {
    collective: bool,
    times: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Turn {
    fn parse(line: &str) -> Result<Turn> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["write", kind @ ("all" | "each"), numbers @ ..] = words.as_slice() else {
            bail!("the coordinator says {line:?}");
        };
        let numbers: Result<Vec<u64>, _> = numbers.iter().map(|word| word.parse()).collect();
        let [times, offset, length, seed] = numbers.with_context(|| format!("no numbers in {line:?}"))?[..] else {
            bail!("not four numbers in {line:?}");
        };
        let bytes = pattern::bytes(seed, offset, usize::try_from(length)?);
        Ok(Turn { collective: *kind == "all", times, offset, bytes })
    }

    fn write(&self, file: &File) -> Result<()> {
        for _ in 0..self.times {
            match self.collective {
                true => file.write_at_all(self.offset, &self.bytes[..])?,
                false => file.write_at(self.offset, &self.bytes[..])?,
            };
        }
        Ok(())
    }
}
