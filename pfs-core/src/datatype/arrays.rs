//! Parts of arrays: subarrays, and arrays that are distributed over a grid of processes.

use super::{Datatype, DatatypeError, Result, times};

/// Which index of an array changes fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The last.
    C,
    /// The first.
    Fortran,
}

/// How one dimension of an array is dealt to the processes along one dimension of their grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// All of it to everyone; the grid has one process there.
    None,
    /// One block each; of equal size, as small as it covers the array, if nothing is given.
    Block(Option<u64>),
    /// Blocks in turn, of one element if nothing is given.
    Cyclic(Option<u64>),
}

impl Datatype {
    /// A box of `subsizes` elements from `starts` on out of an array of `sizes`; its extent is that of the whole array.
    pub fn subarray(sizes: &[u64], subsizes: &[u64], starts: &[u64], order: Order, of: &Datatype) -> Result<Self> {
        same_length(sizes, subsizes)?;
        same_length(sizes, starts)?;
        let (mut part, mut row, mut origin) = (of.clone(), of.extent(), 0i64);
        for dimension in fastest_first(sizes.len(), order) {
            let (size, subsize, start) = (sizes[dimension], subsizes[dimension], starts[dimension]);
            if start.checked_add(subsize).is_none_or(|end| end > size) {
                return Err(DatatypeError::Subarray { dimension, size, subsize, start });
            }
            part = Datatype::hvector(subsize, 1, row, &part)?;
            origin = super::plus(origin, times(signed(start)?, row)?)?;
            row = times(row, signed(size)?)?;
        }
        let moved = Datatype::hindexed(&[(origin, 1)], &part)?;
        moved.resized(0, row)
    }

    /// The part of `rank` out of `ranks` of an array that is distributed over a grid of processes; the grid's last dimension
    /// changes fastest with the rank, whatever the array's order. The extent is that of the whole array.
    pub fn darray(
        (ranks, rank): (u64, u64),
        sizes: &[u64],
        distributions: &[Distribution],
        grid: &[u64],
        order: Order,
        of: &Datatype,
    ) -> Result<Self> {
        same_length(sizes, distributions)?;
        same_length(sizes, grid)?;
        let places = places(ranks, rank, grid)?;
        let (mut part, mut row, mut origin) = (of.clone(), of.extent(), 0i64);
        for dimension in fastest_first(sizes.len(), order) {
            let share = Share::new(dimension, sizes[dimension], distributions[dimension], grid[dimension])?;
            let (blocks, first) = share.of(places[dimension], row, &part)?;
            part = blocks;
            origin = super::plus(origin, times(signed(first)?, row)?)?;
            row = times(row, signed(sizes[dimension])?)?;
        }
        let moved = Datatype::hindexed(&[(origin, 1)], &part)?;
        moved.resized(0, row)
    }
}

/// How one dimension is dealt.
struct Share {
    size: u64,
    block: u64,
    processes: u64,
}

impl Share {
    fn new(dimension: usize, size: u64, distribution: Distribution, processes: u64) -> Result<Share> {
        let refused = |reason| Err(DatatypeError::Distribution { dimension, reason });
        let block = match distribution {
            _ if size == 0 || processes == 0 => return refused("it has no elements or no processes"),
            Distribution::None if processes > 1 => return refused("it is not distributed, but has several processes"),
            Distribution::None => size,
            Distribution::Block(None) => size.div_ceil(processes),
            Distribution::Block(Some(block)) if block.saturating_mul(processes) < size => {
                return refused("the blocks of all processes together are smaller than it");
            }
            Distribution::Block(Some(block)) => block,
            Distribution::Cyclic(block) => block.unwrap_or(1),
        };
        if block == 0 {
            return refused("a block has at least one element");
        }
        Ok(Share { size, block, processes })
    }

    /// What the process at `place` has, with element 0 at its first element, and which that is.
    fn of(&self, place: u64, row: i64, of: &Datatype) -> Result<(Datatype, u64)> {
        let first = self.block.saturating_mul(place);
        if first >= self.size {
            return Ok((Datatype::contiguous(0, of)?, 0));
        }
        let turn = self.block.saturating_mul(self.processes);
        let left = self.size - first;
        let (whole, rest) = (left / turn, (left % turn).min(self.block));
        let stride = times(signed(turn.min(self.size))?, row)?;
        let block = Datatype::hvector(self.block, 1, row, of)?;
        let blocks = Datatype::hvector(whole, 1, stride, &block)?;
        let tail = Datatype::hvector(rest, 1, row, of)?;
        let tail_at = if rest > 0 { times(signed(whole)?, stride)? } else { 0 };
        Ok((Datatype::structure(&[(0, 1, blocks), (tail_at, 1, tail)])?, first))
    }
}

/// Where a rank is in the grid.
fn places(ranks: u64, rank: u64, grid: &[u64]) -> Result<Vec<u64>> {
    let product = grid.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent)).unwrap_or(u64::MAX);
    if product != ranks || rank >= ranks {
        return Err(DatatypeError::Grid { grid: product, rank, ranks });
    }
    let mut rest = rank;
    let mut places: Vec<u64> = grid.iter().rev().map(|&extent| (rest % extent, rest /= extent).0).collect();
    places.reverse();
    Ok(places)
}

fn fastest_first(dimensions: usize, order: Order) -> Vec<usize> {
    match order {
        Order::C => (0..dimensions).rev().collect(),
        Order::Fortran => (0..dimensions).collect(),
    }
}

fn same_length<A, B>(one: &[A], other: &[B]) -> Result<()> {
    if one.len() == other.len() { Ok(()) } else { Err(DatatypeError::Lists(one.len(), other.len())) }
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| DatatypeError::TooLarge)
}
