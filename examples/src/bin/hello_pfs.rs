//! The smallest whole program: all ranks write one file together, make it durable, and read it back.
//!
//! `mpirun -n 4 hello_pfs pfs:/hello`

use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let universe = mpi::initialize().ok_or("MPI did not start; run this by mpirun")?;
    let world = universe.world();
    let (rank, ranks) = (world.rank() as u64, world.size() as u64);
    let path = std::env::args().nth(1).unwrap_or_else(|| "pfs:/hello".to_owned());

    // Each rank has a million numbers; the file has them in the order of the ranks.
    let count = 1_000_000;
    let mine: Vec<u64> = (0..count).map(|i| rank * count + i).collect();
    let bytes = count * size_of::<u64>() as u64;

    let hints = Info::new().with("striping_unit", 1 << 20);
    let file = File::open(&world, &path, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    file.write_at_all(rank * bytes, &mine[..])?;
    file.sync()?;

    // Read what the next rank wrote.
    let next = (rank + 1) % ranks;
    let mut theirs = vec![0u64; mine.len()];
    let status = file.read_at_all(next * bytes, &mut theirs[..])?;
    assert_eq!(status.count::<u64>(), Some(count));
    assert!(theirs.iter().zip(next * count..).all(|(value, expected)| *value == expected));
    file.close()?;

    if rank == 0 {
        println!("{ranks} ranks wrote and checked {} bytes in {path}", ranks * bytes);
    }
    Ok(())
}
