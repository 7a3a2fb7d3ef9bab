//! Checkpoint and restart of a domain in three dimensions, with another decomposition when it is read.
//!
//! ```text
//! mpirun -n 4 target/release/examples/checkpoint_3d pfs:/checkpoint
//! mpirun -n 4 target/release/examples/checkpoint_3d pfs:/checkpoint --size 200,160,240
//! ```
//! Each rank has a block of the domain, with a layer of ghost cells around it in memory. It writes its cells, and not the
//! ghosts, by one collective write: the view is a subarray of the domain, the buffer's type a subarray of the block. The file
//! has the cells of the whole domain in order, whatever the number of ranks, behind a header of 64 bytes. The restart cuts the
//! domain into slabs along its last dimension, so that nearly every row of the file is read by all ranks, and checks
//! every cell.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use mpi::datatype::{MutView, View};
use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::types::{share, subarray};
use pfs_examples::{agree, program};
use pfs_mpiio::{AccessMode, File, Info};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Writes a domain by blocks and reads it by slabs")]
struct Cli {
    /// File to write and read
    file: String,
    /// Cells in each dimension
    #[arg(long, value_delimiter = ',', default_values_t = [40, 36, 50])]
    size: Vec<usize>,
}

/// Before the cells: the time step and the domain's size.
const HEADER_BYTES: u64 = 64;
const STEP: u64 = 17;
/// What no cell contains.
const GHOST: f64 = -1.0;

/// A rank's cells, in an array that has one layer more on every side.
struct Block {
    starts: [usize; 3],
    parts: [usize; 3],
    cells: Vec<f64>,
}

impl Block {
    fn new(starts: [usize; 3], parts: [usize; 3]) -> Block {
        let cells = vec![GHOST; parts.iter().map(|part| part + 2).product()];
        Block { starts, parts, cells }
    }

    /// Every cell of the array with its place in the domain, or nothing for a ghost.
    fn places(&self) -> impl Iterator<Item = Option<[usize; 3]>> {
        let [a, b, c] = self.parts.map(|part| part + 2);
        let (starts, parts) = (self.starts, self.parts);
        (0..a * b * c).map(move |at| {
            let inside = [at / (b * c), at / c % b, at % c];
            let is_own = (0..3).all(|of| (1..=parts[of]).contains(&inside[of]));
            is_own.then(|| [0, 1, 2].map(|of| starts[of] + inside[of] - 1))
        })
    }

    fn fill(&mut self) {
        let values: Vec<f64> = self.places().map(|place| place.map_or(GHOST, value)).collect();
        self.cells = values;
    }

    fn check(&self) -> Result<()> {
        for (place, &cell) in self.places().zip(&self.cells) {
            let expected = place.map_or(GHOST, value);
            ensure!(cell == expected, "the cell at {place:?} is {cell} instead of {expected}");
        }
        Ok(())
    }
}

/// What the cell at this place contains.
fn value([x, y, z]: [usize; 3]) -> f64 {
    (x * 1_000_000 + y * 1000 + z) as f64 + 0.5
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("checkpoint_3d", false, |world| run(world, &cli))
}

fn run(world: &SimpleCommunicator, cli: &Cli) -> Result<()> {
    let domain: [usize; 3] = cli.size.as_slice().try_into().context("--size has three numbers")?;
    let (rank, ranks) = (usize::try_from(world.rank())?, usize::try_from(world.size())?);
    let grid = grid(world)?;
    let place = [rank / (grid[1] * grid[2]), rank / grid[2] % grid[1], rank % grid[2]];
    let shares = [0, 1, 2].map(|of| share(domain[of], grid[of], place[of]));
    let mut block = Block::new(shares.map(|share| share.0), shares.map(|share| share.1));
    block.fill();
    checkpoint(world, &cli.file, domain, &block)?;

    let (start, part) = share(domain[2], ranks, rank);
    let mut slab = Block::new([0, 0, start], [domain[0], domain[1], part]);
    restart(world, &cli.file, domain, &mut slab)?;
    agree::all_fine(world, "restart", slab.check())?;
    if rank == 0 {
        println!("{domain:?} cells were written by {grid:?} blocks, and read and checked by {ranks} slabs");
    }
    Ok(())
}

/// The ranks as an even grid.
fn grid(world: &SimpleCommunicator) -> Result<[usize; 3]> {
    let mut grid = [0; 3];
    // SAFETY: three numbers, all to be chosen by MPI.
    unsafe { ffi::MPI_Dims_create(world.size(), 3, grid.as_mut_ptr()) };
    Ok([usize::try_from(grid[0])?, usize::try_from(grid[1])?, usize::try_from(grid[2])?])
}

fn checkpoint(world: &SimpleCommunicator, name: &str, domain: [usize; 3], block: &Block) -> Result<()> {
    let hints = Info::new().with("striping_unit", 1 << 20);
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::WRONLY, &hints)?;
    file.set_size(0)?;
    if world.rank() == 0 {
        let header = [STEP, domain[0] as u64, domain[1] as u64, domain[2] as u64];
        file.write_at(0, &header[..])?;
    }
    let cell = f64::equivalent_datatype();
    // A rank without cells takes part all the same.
    if block.parts.contains(&0) {
        file.set_view(HEADER_BYTES, &cell, &cell, "native")?;
        file.write_at_all(0, &[0f64; 0][..])?;
    } else {
        file.set_view(HEADER_BYTES, &cell, &subarray(domain, block.parts, block.starts, &cell), "native")?;
        let own = subarray(block.parts.map(|part| part + 2), block.parts, [1; 3], &cell);
        // SAFETY: the type names cells of the array, which is as large as the type.
        file.write_at_all(0, &unsafe { View::with_count_and_datatype(&block.cells[..], 1, &own) })?;
    }
    // It is durable when the close has returned.
    file.close()?;
    Ok(())
}

fn restart(world: &SimpleCommunicator, name: &str, domain: [usize; 3], slab: &mut Block) -> Result<()> {
    let file = File::open(world, name, AccessMode::RDONLY, &Info::new())?;
    let mut header = [0u64; 4];
    file.read_at_all(0, &mut header[..])?;
    let expected = [STEP, domain[0] as u64, domain[1] as u64, domain[2] as u64];
    ensure!(header == expected, "the header is {header:?} instead of {expected:?}");
    let cell = f64::equivalent_datatype();
    let status = if slab.parts.contains(&0) {
        file.set_view(HEADER_BYTES, &cell, &cell, "native")?;
        file.read_at_all(0, &mut [0f64; 0][..])?
    } else {
        file.set_view(HEADER_BYTES, &cell, &subarray(domain, slab.parts, slab.starts, &cell), "native")?;
        let own = subarray(slab.parts.map(|part| part + 2), slab.parts, [1; 3], &cell);
        // SAFETY: the type names cells of the array, which is as large as the type.
        file.read_at_all(0, &mut unsafe { MutView::with_count_and_datatype(&mut slab.cells[..], 1, &own) })?
    };
    let cells = slab.parts.iter().product::<usize>() as u64;
    ensure!(status.count::<f64>() == Some(cells), "{} bytes instead of {cells} cells", status.bytes());
    file.close()?;
    Ok(())
}
