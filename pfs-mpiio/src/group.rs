//! The ranks that opened a file together, and how they agree.
//!
//! Invariants: every rank calls the same methods in the same order, whatever errors it has met; a method that
//! takes a `Result` returns the same error on all ranks or none. The communicator is a duplicate of the caller's,
//! so no message of the program can meet one of these.

use crate::error::{Error, ErrorClass};
use mpi::collective::SystemOperation;
use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

/// The rank that speaks to the metadata server for all.
pub(crate) const ROOT: u32 = 0;

/// The collective calls, so that ranks that make different ones find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    ReadAtAll,
    WriteAtAll,
    SetSize,
    Sync,
    Close,
}

impl Call {
    const ALL: [Call; 5] = [Call::ReadAtAll, Call::WriteAtAll, Call::SetSize, Call::Sync, Call::Close];

    fn name(number: u64) -> &'static str {
        match Self::ALL.iter().find(|&&call| call as u64 == number) {
            Some(Call::ReadAtAll) => "read_at_all",
            Some(Call::WriteAtAll) => "write_at_all",
            Some(Call::SetSize) => "set_size",
            Some(Call::Sync) => "sync",
            Some(Call::Close) => "close",
            None => "an unknown call",
        }
    }
}

/// What each rank tells all others when it enters a collective call.
pub(crate) type Entry = [u64; 4];

pub(crate) struct Group {
    comm: SimpleCommunicator,
    rank: u32,
    size: u32,
}

impl Group {
    /// Duplicates a communicator. Collective.
    pub(crate) fn duplicate<C: Communicator>(comm: &C) -> Result<Group, Error> {
        let mut inter = 0;
        // SAFETY: the handle is alive as long as `comm`, and `inter` as long as the call.
        unsafe { ffi::MPI_Comm_test_inter(comm.as_raw(), &mut inter) };
        if inter != 0 {
            return Err(Error::new(ErrorClass::Comm, "files can not be opened on an inter-communicator"));
        }
        let comm = comm.duplicate();
        let number = |n: i32| u32::try_from(n).expect("MPI's ranks are not negative");
        let (rank, size) = (number(comm.rank()), number(comm.size()));
        Ok(Group { comm, rank, size })
    }

    pub(crate) fn rank(&self) -> u32 {
        self.rank
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    pub(crate) fn is_root(&self) -> bool {
        self.rank == ROOT
    }

    pub(crate) fn process(&self, rank: u32) -> mpi::topology::Process<'_> {
        self.comm.process_at_rank(i32::try_from(rank).expect("MPI counts ranks in an int"))
    }

    /// Opens a collective call: shows that all ranks make the same one, ends it if one has an error already, and
    /// tells every rank what each has.
    pub(crate) fn enter(&self, call: Call, own: Result<Entry, Error>) -> Result<Vec<Entry>, Error> {
        let [a, b, c, d] = own.as_ref().copied().unwrap_or_default();
        let all = self.all_gather([call as u64, u64::from(own.is_err()), a, b, c, d]);
        if let Some(other) = all.iter().position(|entry| entry[0] != all[0][0]) {
            let (first, second) = (Call::name(all[0][0]), Call::name(all[other][0]));
            let message = format!("rank 0 calls {first} while rank {other} calls {second} on the same file");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        if let Some(rank) = all.iter().position(|entry| entry[1] != 0) {
            let rank = u32::try_from(rank).expect("ranks fit 32 bits");
            return Err(self.error_of(rank, own.err()));
        }
        Ok(all.into_iter().map(|[_, _, a, b, c, d]| [a, b, c, d]).collect())
    }

    /// The error of the lowest rank that has one, on every rank.
    pub(crate) fn agree<T>(&self, own: Result<T, Error>) -> Result<T, Error> {
        self.agree_with_max(own, 0).0
    }

    /// Like [`agree`](Self::agree), and the largest of all ranks' values, which are below 2^63.
    pub(crate) fn agree_with_max<T>(&self, own: Result<T, Error>, value: u64) -> (Result<T, Error>, u64) {
        // Lower ranks have larger marks, so that the largest is the lowest failed rank's; no mark is 0. All numbers
        // are small, as MPICH 4.0 takes unsigned numbers for signed ones in reductions.
        let mark = if own.is_err() { self.size - self.rank } else { 0 };
        let mut largest = [0u64; 2];
        self.comm.all_reduce_into(&[u64::from(mark), value][..], &mut largest[..], SystemOperation::max());
        let [mark, value] = largest;
        match u32::try_from(mark) {
            Ok(mark @ 1..) => (Err(self.error_of(self.size - mark, own.err())), value),
            _ => (own, value),
        }
    }

    /// Whether it is true on every rank.
    pub(crate) fn all(&self, own: bool) -> bool {
        let mut all = 0u64;
        self.comm.all_reduce_into(&u64::from(own), &mut all, SystemOperation::min());
        all == 1
    }

    /// Runs `ask` on the root and gives all ranks its answer. The error concerns all, so it names no rank.
    pub(crate) fn ask_root(&self, ask: impl FnOnce() -> Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
        let mut message = Vec::new();
        if self.is_root() {
            match ask() {
                Ok(answer) => {
                    message.push(0);
                    message.extend(answer);
                }
                Err(error) => {
                    message.push(1);
                    message.extend(error.encode());
                }
            }
        }
        let message = self.broadcast(ROOT, message);
        match message.split_first() {
            Some((0, answer)) => Ok(answer.to_vec()),
            Some((_, error)) => Err(Error::decode(error)),
            None => Err(Error::new(ErrorClass::Io, "rank 0 sent an empty answer to its group")),
        }
    }

    /// Every rank's values, by rank.
    pub(crate) fn all_gather<const N: usize>(&self, own: [u64; N]) -> Vec<[u64; N]> {
        let mut all = vec![0u64; N * self.size as usize];
        self.comm.all_gather_into(&own[..], &mut all[..]);
        all.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks have N values")).collect()
    }

    /// Every rank's bytes at the root, by rank; nothing elsewhere.
    pub(crate) fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        // The address of an empty Rust slice can be 1, which is Open MPI's MPI_IN_PLACE: a byte in front avoids it.
        let own = [&[0], own].concat();
        let counts = self.all_gather([own.len() as u64]);
        let root = self.process(ROOT);
        if !self.is_root() {
            root.gather_varcount_into(&own[..]);
            return Vec::new();
        }
        let lengths: Vec<i32> =
            counts.iter().map(|[n]| i32::try_from(*n).expect("a gathered message is far below 2 GiB")).collect();
        let (starts, total) = starts(&lengths);
        let mut bytes = vec![0u8; total];
        let mut parts = mpi::datatype::PartitionMut::new(&mut bytes[..], &lengths[..], &starts[..]);
        root.gather_varcount_into_root(&own[..], &mut parts);
        let mut rest = &bytes[..];
        let mut next = |&[n]: &[u64; 1]| {
            let (part, after) = rest.split_at(usize::try_from(n).expect("part of a buffer"));
            rest = after;
            part[1..].to_vec()
        };
        counts.iter().map(&mut next).collect()
    }

    /// `rank`'s bytes on every rank.
    fn broadcast(&self, rank: u32, mut bytes: Vec<u8>) -> Vec<u8> {
        let root = self.process(rank);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(usize::try_from(length).expect("a length of this process's kind"), 0);
        if !bytes.is_empty() {
            root.broadcast_into(&mut bytes[..]);
        }
        bytes
    }

    /// Every rank learns the error that `rank` has. In a group of one rank it needs no name.
    fn error_of(&self, rank: u32, own: Option<Error>) -> Error {
        let bytes = match own {
            Some(error) if rank == self.rank => error.encode(),
            _ => Vec::new(),
        };
        let error = Error::decode(&self.broadcast(rank, bytes));
        if self.size > 1 { error.of_rank(rank) } else { error }
    }
}

/// Where parts of these lengths start when they follow each other, and their whole length.
fn starts(lengths: &[i32]) -> (Vec<i32>, usize) {
    let mut starts = Vec::with_capacity(lengths.len());
    let mut end = 0;
    for length in lengths {
        starts.push(end);
        end += length;
    }
    (starts, usize::try_from(end).expect("lengths are not negative"))
}
