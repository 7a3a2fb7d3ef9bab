//! The ranks that opened a file together, and how they agree.
//!
//! Invariants: every rank calls the same methods in the same order, whatever errors it has met; a method that
//! takes a `Result` returns the same error on all ranks or none. The exception is the end of the group: when a rank was
//! given up, every method returns that error on each of the others as soon as it is known there, and ever after.

use crate::comm::{Comm, Parcel};
use crate::error::{Error, ErrorClass};
use mpi::ffi::MPI_Datatype;
use mpi::topology::UserGroup;
use mpi::traits::*;
use pfs_client::GroupWatch;

/// The rank that speaks to the metadata server for all.
pub(crate) const ROOT: u32 = 0;

/// The collective calls, so that ranks that make different ones find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    ReadAtAll,
    WriteAtAll,
    IreadAtAll,
    IwriteAtAll,
    ReadAtAllBegin,
    WriteAtAllBegin,
    ReadAllBegin,
    WriteAllBegin,
    SetSize,
    SetAtomicity,
    SetView,
    Sync,
    Close,
    Preallocate,
    SeekShared,
    ReadOrdered,
    WriteOrdered,
    ReadOrderedBegin,
    WriteOrderedBegin,
    IreadOrdered,
    IwriteOrdered,
    SetInfo,
}

impl Call {
    const ALL: &[Call] = &[
        Call::ReadAtAll,
        Call::WriteAtAll,
        Call::IreadAtAll,
        Call::IwriteAtAll,
        Call::ReadAtAllBegin,
        Call::WriteAtAllBegin,
        Call::ReadAllBegin,
        Call::WriteAllBegin,
        Call::SetSize,
        Call::SetAtomicity,
        Call::SetView,
        Call::Sync,
        Call::Close,
        Call::Preallocate,
        Call::SeekShared,
        Call::ReadOrdered,
        Call::WriteOrdered,
        Call::ReadOrderedBegin,
        Call::WriteOrderedBegin,
        Call::IreadOrdered,
        Call::IwriteOrdered,
        Call::SetInfo,
    ];

    /// As programs call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Call::ReadAtAll => "read_at_all",
            Call::WriteAtAll => "write_at_all",
            Call::IreadAtAll => "iread_at_all",
            Call::IwriteAtAll => "iwrite_at_all",
            Call::ReadAtAllBegin => "read_at_all_begin",
            Call::WriteAtAllBegin => "write_at_all_begin",
            Call::ReadAllBegin => "read_all_begin",
            Call::WriteAllBegin => "write_all_begin",
            Call::SetSize => "set_size",
            Call::SetAtomicity => "set_atomicity",
            Call::SetView => "set_view",
            Call::Sync => "sync",
            Call::Close => "close",
            Call::Preallocate => "preallocate",
            Call::SeekShared => "seek_shared",
            Call::ReadOrdered => "read_ordered",
            Call::WriteOrdered => "write_ordered",
            Call::ReadOrderedBegin => "read_ordered_begin",
            Call::WriteOrderedBegin => "write_ordered_begin",
            Call::IreadOrdered => "iread_ordered",
            Call::IwriteOrdered => "iwrite_ordered",
            Call::SetInfo => "set_info",
        }
    }

    fn name_of(number: u64) -> &'static str {
        Self::ALL.iter().find(|&&call| call as u64 == number).map_or("an unknown call", |call| call.name())
    }
}

/// What each rank tells all others when it enters a collective call.
pub(crate) type Entry = [u64; 4];

pub(crate) struct Group {
    comm: Comm,
}

impl Group {
    /// Duplicates a communicator. Collective. From here to [`watch`](Self::watch) every rank's steps are bounded in time.
    pub(crate) fn duplicate<C: Communicator>(comm: &C) -> Result<Group, Error> {
        Ok(Group { comm: Comm::duplicate(comm)? })
    }

    pub(crate) fn rank(&self) -> u32 {
        self.comm.rank()
    }

    pub(crate) fn size(&self) -> u32 {
        self.comm.size()
    }

    /// The ranks, as MPI has them.
    pub(crate) fn ranks(&self) -> UserGroup {
        self.comm.ranks()
    }

    /// Whether it has all processes that were started with this one.
    pub(crate) fn is_world(&self) -> bool {
        self.comm.is_world()
    }

    /// Refuses a datatype that is not committed.
    pub(crate) fn check_committed(&self, datatype: MPI_Datatype) -> Result<(), Error> {
        self.comm.check_committed(datatype)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.rank() == ROOT
    }

    /// The file is open: its end is told by this, and ranks come to their next call when they like.
    pub(crate) fn watch(&self, watch: GroupWatch) {
        self.comm.watch(watch);
        self.comm.bounded(false);
    }

    /// All ranks have entered a call whose steps are bounded in time.
    pub(crate) fn bounded(&self) {
        self.comm.bounded(true);
    }

    /// Why the group is lost, if a call has found that it is.
    pub(crate) fn lost(&self) -> Option<&Error> {
        self.comm.lost()
    }

    /// Opens a collective call: shows that all ranks make the same one, ends it if one has an error already, and
    /// tells every rank what each has.
    pub(crate) async fn enter(&self, call: Call, own: Result<Entry, Error>) -> Result<Vec<Entry>, Error> {
        let [a, b, c, d] = own.as_ref().copied().unwrap_or_default();
        let all = self.comm.all_gather([call as u64, u64::from(own.is_err()), a, b, c, d]).await?;
        if let Some(other) = all.iter().position(|entry| entry[0] != all[0][0]) {
            let (first, second) = (Call::name_of(all[0][0]), Call::name_of(all[other][0]));
            let message = format!("rank 0 calls {first} while rank {other} calls {second} on the same file");
            return Err(Error::new(ErrorClass::NotSame, message));
        }
        if let Some(rank) = all.iter().position(|entry| entry[1] != 0) {
            let rank = u32::try_from(rank).expect("ranks fit 32 bits");
            return Err(self.error_of(rank, own.err()).await);
        }
        Ok(all.into_iter().map(|[_, _, a, b, c, d]| [a, b, c, d]).collect())
    }

    /// The error of the lowest rank that has one, on every rank.
    pub(crate) async fn agree<T>(&self, own: Result<T, Error>) -> Result<T, Error> {
        self.agree_with_max(own, 0).await.0
    }

    /// [`agree`](Self::agree) about two results, as quickly as about one if nothing is wrong.
    pub(crate) async fn agree_both(
        &self,
        first: Result<(), Error>,
        second: Result<(), Error>,
    ) -> (Result<(), Error>, Result<(), Error>) {
        match self.largest([first.is_err().into(), second.is_err().into()]).await {
            Ok([0, 0]) => (Ok(()), Ok(())),
            Ok(_) => (self.agree(first).await, self.agree(second).await),
            Err(lost) => (Err(lost.clone()), Err(lost)),
        }
    }

    /// Like [`agree`](Self::agree), and the largest of all ranks' values, which are below 2^63. Of a lost group the own
    /// value.
    pub(crate) async fn agree_with_max<T>(&self, own: Result<T, Error>, value: u64) -> (Result<T, Error>, u64) {
        // Lower ranks have larger marks, so that the largest is the lowest failed rank's; no mark is 0.
        let mark = if own.is_err() { self.size() - self.rank() } else { 0 };
        let [mark, value] = match self.comm.largest([u64::from(mark), value]).await {
            Ok(largest) => largest,
            Err(lost) => return (Err(lost), value),
        };
        match u32::try_from(mark) {
            Ok(mark @ 1..) => (Err(self.error_of(self.size() - mark, own.err()).await), value),
            _ => (own, value),
        }
    }

    /// Whether it is true on every rank.
    pub(crate) async fn all(&self, own: bool) -> Result<bool, Error> {
        let [missing] = self.largest([u64::from(!own)]).await?;
        Ok(missing == 0)
    }

    /// The largest of all ranks' values in each place, which are below 2^63.
    pub(crate) async fn largest<const N: usize>(&self, own: [u64; N]) -> Result<[u64; N], Error> {
        self.comm.largest(own).await
    }

    /// Every rank's values, by rank.
    pub(crate) async fn all_gather<const N: usize>(&self, own: [u64; N]) -> Result<Vec<[u64; N]>, Error> {
        self.comm.all_gather(own).await
    }

    /// Runs `ask` on one rank and gives all ranks its answer. The error concerns all, so it names no rank.
    pub(crate) async fn ask(
        &self,
        rank: u32,
        ask: impl Future<Output = Result<Vec<u8>, Error>>,
    ) -> Result<Vec<u8>, Error> {
        let mut message = Vec::new();
        if self.rank() == rank {
            match ask.await {
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
        let message = self.comm.broadcast(rank, message).await?;
        match message.split_first() {
            Some((0, answer)) => Ok(answer.to_vec()),
            Some((_, error)) => Err(Error::decode(error)),
            None => Err(Error::new(ErrorClass::Io, format!("rank {rank} sent an empty answer"))),
        }
    }

    /// Every rank's bytes at the root, by rank; nothing elsewhere.
    pub(crate) async fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        self.comm.gather(ROOT, own).await
    }

    /// Every rank's list of numbers, by rank.
    pub(crate) async fn all_gather_numbers(&self, own: &[u64]) -> Result<Vec<Vec<u64>>, Error> {
        let decoded = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        let own_bytes: Vec<u8> = own.iter().flat_map(|number| number.to_le_bytes()).collect();
        if let Some(all) = self.comm.all_gather_short(&own_bytes).await? {
            return Ok(all.iter().map(|bytes| bytes.chunks_exact(8).map(decoded).collect()).collect());
        }
        // Each list with its length in front.
        let lists = self.comm.gather(ROOT, &[&(own.len() as u64).to_le_bytes()[..], &own_bytes].concat()).await?;
        let all = self.ask(ROOT, async { Ok(lists.concat()) }).await?;
        let mut numbers = all.chunks_exact(8).map(decoded);
        let list = |_| {
            let length = numbers.next().unwrap_or(0);
            (0..length).map_while(|_| numbers.next()).collect()
        };
        Ok((0..self.size()).map(list).collect())
    }

    /// Waits until what other ranks do is done; see [`Comm::until`].
    pub(crate) async fn until(&self, is_done: impl FnMut() -> bool) -> Result<(), Error> {
        self.comm.until(is_done).await
    }

    /// Passes the messages of one round; see [`Comm::pass`].
    pub(crate) async fn pass(&self, outgoing: Vec<Parcel>, incoming: Vec<Parcel>) -> Result<Vec<Parcel>, Error> {
        self.comm.pass(outgoing, incoming).await
    }

    /// Every rank learns the error that `rank` has. In a group of one rank it needs no name.
    async fn error_of(&self, rank: u32, own: Option<Error>) -> Error {
        let bytes = match own {
            Some(error) if rank == self.rank() => error.encode(),
            _ => Vec::new(),
        };
        match self.comm.broadcast(rank, bytes).await {
            Ok(bytes) if self.size() > 1 => Error::decode(&bytes).of_rank(rank),
            Ok(bytes) => Error::decode(&bytes),
            Err(lost) => lost,
        }
    }
}
