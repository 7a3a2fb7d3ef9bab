//! Transposes a matrix that is not in memory: each rank holds one tile of it at a time.
//!
//! ```text
//! mpirun -n 4 target/release/examples/out_of_core_matrix pfs:/matrix
//! mpirun -n 4 target/release/examples/out_of_core_matrix pfs:/matrix --rows 3000 --columns 5000 --tile 500
//! ```
//! The matrix is in one file, row by row; its transpose goes to a second file with `.t` behind the name. In every round each
//! rank reads a tile through a view that is a subarray of the matrix, turns it over in memory, and writes it through a view of
//! the transpose. The ranks' tiles of a round lie side by side, so the collective calls join their short rows to long runs.
//! In the end both files are read row by row and every number is checked.

use anyhow::{Result, ensure};
use clap::Parser;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_examples::types::{share, subarray};
use pfs_examples::{agree, program};
use pfs_mpiio::{AccessMode, File, Info};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Transposes a matrix in a file, tile by tile")]
struct Cli {
    /// File for the matrix
    file: String,
    /// Rows of the matrix
    #[arg(long, default_value_t = 150)]
    rows: usize,
    /// Columns of the matrix
    #[arg(long, default_value_t = 220)]
    columns: usize,
    /// Rows and columns of a tile: all that a rank holds in memory
    #[arg(long, default_value_t = 64)]
    tile: usize,
}

/// A part of a matrix: the first row and column, and how many.
#[derive(Clone, Copy, Debug)]
struct Tile {
    starts: [usize; 2],
    parts: [usize; 2],
}

impl Tile {
    fn turned(self) -> Tile {
        let turn = |[one, other]: [usize; 2]| [other, one];
        Tile { starts: turn(self.starts), parts: turn(self.parts) }
    }
}

/// A matrix in a file.
struct Matrix {
    file: File,
    sizes: [usize; 2],
}

impl Matrix {
    fn open(world: &SimpleCommunicator, name: &str, sizes: [usize; 2]) -> Result<Matrix> {
        let hints = Info::new().with("striping_unit", 64 << 10);
        let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
        file.set_size((sizes[0] * sizes[1] * size_of::<f64>()) as u64)?;
        Ok(Matrix { file, sizes })
    }

    /// Lets this rank see a tile, or nothing if it has none. Collective.
    fn see(&self, tile: Option<Tile>) -> Result<()> {
        let number = f64::equivalent_datatype();
        match tile {
            Some(Tile { starts, parts }) => {
                self.file.set_view(0, &number, &subarray(self.sizes, parts, starts, &number), "native")?;
            }
            None => self.file.set_view(0, &number, &number, "native")?,
        }
        Ok(())
    }

    /// Reads this rank's tile row by row. Collective.
    fn read(&self, tile: Option<Tile>) -> Result<Vec<f64>> {
        self.see(tile)?;
        let mut numbers = vec![0.0; tile.map_or(0, |tile| tile.parts[0] * tile.parts[1])];
        let status = self.file.read_at_all(0, &mut numbers[..])?;
        ensure!(status.count::<f64>() == Some(numbers.len() as u64), "{} bytes of {tile:?}", status.bytes());
        Ok(numbers)
    }

    /// Writes this rank's tile. Collective.
    fn write(&self, tile: Option<Tile>, numbers: &[f64]) -> Result<()> {
        self.see(tile)?;
        self.file.write_at_all(0, numbers)?;
        Ok(())
    }
}

/// What the matrix has in a row and a column.
fn value(row: usize, column: usize) -> f64 {
    row as f64 * 10_000.0 + column as f64
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    program::run("out_of_core_matrix", false, |world| run(world, &cli))
}

fn run(world: &SimpleCommunicator, cli: &Cli) -> Result<()> {
    let Cli { rows, columns, tile, .. } = *cli;
    ensure!(rows > 0 && columns > 0 && tile > 0, "a matrix and its tiles have rows and columns");
    let (rank, ranks) = (usize::try_from(world.rank())?, usize::try_from(world.size())?);
    let matrix = Matrix::open(world, &cli.file, [rows, columns])?;
    let transpose = Matrix::open(world, &format!("{}.t", cli.file), [columns, rows])?;
    make(&matrix, rank, ranks, tile)?;

    let across = columns.div_ceil(tile);
    let tiles = rows.div_ceil(tile) * across;
    for round in 0..tiles.div_ceil(ranks) {
        let own = Some(round * ranks + rank).filter(|&number| number < tiles).map(|number| {
            let starts = [number / across * tile, number % across * tile];
            Tile { starts, parts: [tile.min(rows - starts[0]), tile.min(columns - starts[1])] }
        });
        let numbers = matrix.read(own)?;
        let turned = own.map_or_else(Vec::new, |tile| turn(&numbers, tile.parts));
        transpose.write(own.map(Tile::turned), &turned)?;
    }
    agree::all_fine(world, "the matrix", check(&matrix, rank, ranks, value))?;
    agree::all_fine(world, "the transpose", check(&transpose, rank, ranks, |row, column| value(column, row)))?;
    matrix.file.close()?;
    transpose.file.close()?;
    if rank == 0 {
        println!("{rows} x {columns} numbers were transposed and checked in {tiles} tiles by {ranks} ranks");
    }
    Ok(())
}

/// Fills the matrix: each rank has a share of its rows, so many at a time as a tile has numbers.
fn make(matrix: &Matrix, rank: usize, ranks: usize, tile: usize) -> Result<()> {
    let [rows, columns] = matrix.sizes;
    let (start, count) = share(rows, ranks, rank);
    let at_a_time = (tile * tile / columns).max(1);
    let rounds = rows.div_ceil(ranks).div_ceil(at_a_time);
    for round in 0..rounds {
        let first = (round * at_a_time).min(count);
        let parts = [at_a_time.min(count - first), columns];
        let own = Some(Tile { starts: [start + first, 0], parts }).filter(|tile| tile.parts[0] > 0);
        let numbers = own.map_or_else(Vec::new, |tile| expected(tile, value));
        matrix.write(own, &numbers)?;
    }
    Ok(())
}

fn expected(tile: Tile, value: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let [rows, columns] = [0, 1].map(|of| tile.starts[of]..tile.starts[of] + tile.parts[of]);
    let value = &value;
    rows.flat_map(|row| columns.clone().map(move |column| value(row, column))).collect()
}

fn turn(numbers: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| numbers[row * columns + column])).collect()
}

/// Every rank reads every so manieth row.
fn check(matrix: &Matrix, rank: usize, ranks: usize, value: impl Fn(usize, usize) -> f64) -> Result<()> {
    let [rows, columns] = matrix.sizes;
    let mut wrong = Ok(());
    for round in 0..rows.div_ceil(ranks) {
        let row = Some(round * ranks + rank).filter(|&row| row < rows);
        let own = row.map(|row| Tile { starts: [row, 0], parts: [1, columns] });
        let numbers = matrix.read(own)?;
        let is_right = own.is_none_or(|tile| numbers == expected(tile, &value));
        if !is_right {
            wrong = wrong.and(Err(anyhow::anyhow!("row {row:?} is not as it should be")));
        }
    }
    wrong
}
