//! Computes the next step of a simulation while the last one is written, and checks one while the next is read.
//!
//! ```text
//! mpirun -n 4 target/release/examples/overlap_compute pfs:/steps
//! mpirun -n 4 target/release/examples/overlap_compute pfs:/steps --threads --blocks 4000 --steps 20
//! ```
//! The field of a step lies in the file block by block in turn over the ranks, so a collective write joins short blocks to long
//! runs. Each rank begins to write its part with `iwrite_all` and computes the next step of it from the same memory, which only
//! has to stay as it is. With `--threads` the write goes on by a thread of the library; without, the computation calls `test` now
//! and then. In the end each rank reads the part of the next one with `iread_all`, step by step, while it computes what must be
//! there, and compares every byte.

use anyhow::{Result, ensure};
use clap::Parser;
use mpi::request::scope;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::types::subarray;
use pfs_examples::{agree, program};
use pfs_mpiio::{AccessMode, File, Info, Operation};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Overlaps computing with nonblocking collective writes and reads")]
struct Cli {
    /// File for the steps
    file: String,
    /// Blocks of each rank
    #[arg(long, default_value_t = 60)]
    blocks: usize,
    /// Numbers of a block
    #[arg(long, default_value_t = 500)]
    block: usize,
    /// Steps to compute
    #[arg(long, default_value_t = 6)]
    steps: usize,
    /// Let a thread of the library see to the accesses: asks for `MPI_THREAD_MULTIPLE`
    #[arg(long)]
    threads: bool,
}

/// Turns of the mill for each number and step.
const TURNS: u32 = 20;
/// How often in a step the computation looks after what is under way.
const LOOKS: usize = 16;

/// The part of a rank in a step.
struct Field(Vec<u64>);

impl Field {
    /// Before the first step.
    fn first(rank: u64, numbers: usize) -> Field {
        Field((0..numbers as u64).map(|at| rank << 40 ^ at).collect())
    }

    /// The next step. Between its parts `look` is called.
    fn next(&self, look: impl Fn()) -> Field {
        let mill = |number: u64| number.wrapping_mul(6_364_136_223_846_793_005).rotate_left(23) ^ 0x9e37_79b9_7f4a_7c15;
        let mut next = Vec::with_capacity(self.0.len());
        for part in self.0.chunks(self.0.len().div_ceil(LOOKS).max(1)) {
            next.extend(part.iter().map(|&number| (0..TURNS).fold(number, |number, _| mill(number))));
            look();
        }
        Field(next)
    }
}

/// The file, seen as this rank's part or another's.
struct Steps<'a> {
    cli: &'a Cli,
    file: File,
    ranks: usize,
}

impl Steps<'_> {
    fn numbers(&self) -> usize {
        self.cli.blocks * self.cli.block
    }

    /// Lets this rank see the part of a rank, step after step, and goes to the first. Collective.
    fn see(&self, rank: usize) -> Result<()> {
        let (number, Cli { blocks, block, .. }) = (u64::equivalent_datatype(), self.cli);
        let part = subarray([*blocks, self.ranks * block], [*blocks, *block], [0, rank * block], &number);
        Ok(self.file.set_view(0, &number, &part, "native")?)
    }

    /// Without a thread of the library what is under way goes on in calls like this.
    fn look(&self, operation: &Operation) {
        if !self.cli.threads {
            // What came of it is asked for when it is waited for.
            drop(operation.test());
        }
    }

    /// Computes all steps of a rank and writes them. Returns how many were written when the next was computed.
    fn write(&self, rank: usize) -> Result<u64> {
        self.see(rank)?;
        let mut field = Field::first(rank as u64, self.numbers()).next(|| {});
        let mut overlapped = 0;
        for _ in 0..self.cli.steps {
            let next = scope(|scope| {
                let request = self.file.iwrite_all(scope, &field.0[..])?;
                let next = field.next(|| self.look(request.operation()));
                overlapped += u64::from(request.operation().is_complete());
                ensure!(request.wait()?.count::<u64>() == Some(self.numbers() as u64), "a write is short");
                Ok(next)
            })?;
            field = next;
        }
        Ok(overlapped)
    }

    /// Reads all steps of a rank and compares them with what it should have written. Returns how many were read when it was
    /// known.
    fn check(&self, rank: usize) -> Result<u64> {
        self.see(rank)?;
        let (mut expected, mut read) = (Field::first(rank as u64, self.numbers()), vec![0; self.numbers()]);
        let mut overlapped = 0;
        for step in 1..=self.cli.steps {
            let next = scope(|scope| {
                let request = self.file.iread_all(scope, &mut read[..])?;
                let next = expected.next(|| self.look(request.operation()));
                overlapped += u64::from(request.operation().is_complete());
                ensure!(request.wait()?.count::<u64>() == Some(self.numbers() as u64), "a read is short");
                Ok(next)
            })?;
            expected = next;
            let wrong = read.iter().zip(&expected.0).position(|(read, expected)| read != expected);
            ensure!(wrong.is_none(), "step {step} of rank {rank}: the number {wrong:?} is wrong");
        }
        Ok(overlapped)
    }
}

fn run(cli: &Cli, world: &SimpleCommunicator) -> Result<()> {
    ensure!(cli.blocks > 0 && cli.block > 0, "every rank has a part");
    let (rank, ranks) = (usize::try_from(world.rank())?, usize::try_from(world.size())?);
    let hints = Info::new().with("striping_unit", 64 << 10);
    let file = File::open(world, &cli.file, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    let steps = Steps { cli, file, ranks };
    steps.file.set_size(0)?;
    let written = steps.write(rank)?;
    steps.file.sync()?;
    let bytes = cli.steps * ranks * steps.numbers() * size_of::<u64>();
    ensure!(steps.file.get_size()? == bytes as u64, "the file has {} bytes instead of {bytes}", steps.file.get_size()?);
    let read = steps.check((rank + 1) % ranks)?;
    steps.file.close()?;
    let [all, written, read] = [cli.steps as u64, written, read].map(|own| agree::total(world, own));
    if rank == 0 {
        println!("writes that were over when the next step was computed: {written} of {all}; reads: {read} of {all}");
        println!("{} steps of {ranks} ranks are written and checked, {bytes} bytes", cli.steps);
    }
    Ok(())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("overlap_compute", cli.threads, |world| run(&cli, world))
}
