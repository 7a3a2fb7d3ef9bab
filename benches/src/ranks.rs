//! The ranks of a test: small collective calls, and which of them share a node.

use mpi::collective::SystemOperation;
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::*;

/// A communicator, with its numbers at hand.
pub struct Ranks {
    /// The communicator.
    pub comm: SimpleCommunicator,
    /// This rank.
    pub rank: u64,
    /// All of them.
    pub size: u64,
}

/// How ranks lie on nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// Number of nodes.
    pub count: u64,
    /// Ranks on the node of rank 0.
    pub ranks_on_first: u64,
    /// Ranks 0 and 1 share a node, so ranks lie on nodes in blocks and not in turns.
    pub in_blocks: bool,
}

impl Ranks {
    /// The ranks of a communicator, on a duplicate of it. Collective.
    pub fn new(comm: &SimpleCommunicator) -> Ranks {
        Ranks::of(comm.duplicate())
    }

    fn of(comm: SimpleCommunicator) -> Ranks {
        let (rank, size) = (i64::from(comm.rank()).unsigned_abs(), i64::from(comm.size()).unsigned_abs());
        Ranks { comm, rank, size }
    }

    /// The first so many, or nothing on the others. Collective.
    pub fn first(&self, count: u64) -> Option<Ranks> {
        let color = if self.rank < count { Color::with_value(0) } else { Color::undefined() };
        self.comm.split_by_color(color).map(Ranks::of)
    }

    /// Whether this is rank 0.
    pub fn is_root(&self) -> bool {
        self.rank == 0
    }

    /// Waits for all.
    pub fn barrier(&self) {
        self.comm.barrier();
    }

    /// Rank 0's value.
    pub fn of_root<T: Equivalence>(&self, mut value: T) -> T {
        self.comm.process_at_rank(0).broadcast_into(&mut value);
        value
    }

    /// Rank 0's bytes.
    pub fn bytes_of_root(&self, bytes: Vec<u8>) -> Vec<u8> {
        let length = self.of_root(bytes.len() as u64);
        let mut all = bytes;
        all.resize(usize::try_from(length).expect("it is in memory at rank 0"), 0);
        self.comm.process_at_rank(0).broadcast_into(&mut all[..]);
        all
    }

    /// The sum of all values.
    pub fn sum(&self, value: u64) -> u64 {
        self.reduced(value, SystemOperation::sum())
    }

    /// The least value.
    pub fn least(&self, value: u64) -> u64 {
        self.reduced(value, SystemOperation::min())
    }

    /// The greatest value.
    pub fn greatest(&self, value: u64) -> u64 {
        self.reduced(value, SystemOperation::max())
    }

    fn reduced(&self, value: u64, operation: SystemOperation) -> u64 {
        let mut result = 0;
        self.comm.all_reduce_into(&value, &mut result, operation);
        result
    }

    /// The least of each value.
    pub fn least_of<const N: usize>(&self, values: [f64; N]) -> [f64; N] {
        let mut result = [0.0; N];
        self.comm.all_reduce_into(&values[..], &mut result[..], SystemOperation::min());
        result
    }

    /// The greatest of each value.
    pub fn greatest_of<const N: usize>(&self, values: [f64; N]) -> [f64; N] {
        let mut result = [0.0; N];
        self.comm.all_reduce_into(&values[..], &mut result[..], SystemOperation::max());
        result
    }

    /// Every rank's values, by rank.
    pub fn all<T: Equivalence + Default + Clone>(&self, values: &[T]) -> Vec<Vec<T>> {
        let mut all = vec![T::default(); values.len() * self.size as usize];
        self.comm.all_gather_into(values, &mut all[..]);
        all.chunks(values.len().max(1)).map(<[T]>::to_vec).collect()
    }

    /// Where the ranks are. Collective.
    pub fn nodes(&self) -> Nodes {
        let shared = self.comm.split_shared(self.comm.rank());
        let mut leader = self.rank;
        shared.process_at_rank(0).broadcast_into(&mut leader);
        let leaders: Vec<u64> = self.all(&[leader]).into_iter().map(|one| one[0]).collect();
        Nodes {
            count: leaders.iter().enumerate().filter(|(rank, leader)| *rank as u64 == **leader).count() as u64,
            ranks_on_first: leaders.iter().filter(|leader| **leader == leaders[0]).count() as u64,
            in_blocks: leaders.get(1).is_none_or(|leader| *leader == leaders[0]),
        }
    }
}
