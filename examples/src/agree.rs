//! Rank programs end together: what one rank finds wrong, all hear of.

use anyhow::{Result, bail};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

/// The largest of all ranks' values.
pub fn largest(world: &SimpleCommunicator, own: f64) -> f64 {
    let mut largest = own;
    world.all_reduce_into(&own, &mut largest, SystemOperation::max());
    largest
}

/// The sum of all ranks' values.
pub fn total(world: &SimpleCommunicator, own: u64) -> u64 {
    let mut total = own;
    world.all_reduce_into(&own, &mut total, SystemOperation::sum());
    total
}

/// An error on all ranks if one has an error; that one's is printed by its rank.
pub fn all_fine(world: &SimpleCommunicator, what: &str, own: Result<()>) -> Result<()> {
    if let Err(error) = &own {
        eprintln!("rank {}: {what}: {error:#}", world.rank());
    }
    match total(world, u64::from(own.is_err())) {
        0 => Ok(()),
        failed => bail!("{what}: failed on {failed} of {} ranks", world.size()),
    }
}

/// A line of text of rank 0, on all ranks.
pub fn from_rank_0(world: &SimpleCommunicator, text: String) -> String {
    from_rank(world, 0, text)
}

/// A line of text of one rank, on all ranks.
pub fn from_rank(world: &SimpleCommunicator, rank: i32, text: String) -> String {
    let root = world.process_at_rank(rank);
    let mut bytes = text.into_bytes();
    let mut length = bytes.len() as u64;
    root.broadcast_into(&mut length);
    bytes.resize(usize::try_from(length).unwrap_or(0), 0);
    if !bytes.is_empty() {
        root.broadcast_into(&mut bytes[..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
