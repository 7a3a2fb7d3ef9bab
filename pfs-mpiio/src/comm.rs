//! The communicator of a file, with the few kinds of messages that its ranks pass.
//!
//! Invariants: every rank calls the same methods in the same order, whatever errors it has met. The communicator is a
//! duplicate of the caller's, so no message of the program can meet one of these. No method waits for a rank that was
//! given up: once a [`lost`](Comm::lost) group has returned its error, every later call returns it at once. See
//! [`pending`](crate::pending) for what becomes of the operations.
//!
//! Handles of MPI are used in functions that do not wait, so futures can go from thread to thread.
//!
//! Two things end a wait: what this client is told of its group and its session ([`GroupWatch`]), and, where every step
//! of every rank is bounded in time by itself ([`bounded`](Comm::bounded)), patience. Where nothing else bounds it, a
//! rank that is alive and does not come is waited for, as MPI does.

use crate::datatype;
use crate::drive::turn;
use crate::error::{Error, ErrorClass};
use crate::pending::{Pending, check};
use mpi::collective::SystemOperation;
use mpi::ffi::{self, MPI_Comm, MPI_Datatype};
use mpi::topology::{CommunicatorRelation, SimpleCommunicator, UserGroup};
use mpi::traits::*;
use pfs_client::GroupWatch;
use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Seconds for which a rank is waited for whose steps are bounded in time, when an open or a close is at stake.
const PATIENCE_VARIABLE: &str = "PFS_GROUP_PATIENCE_S";
/// Longer than any session outlives its connection.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(300);
/// All messages between two ranks; those of several rounds are told apart by their order.
const TAG: c_int = 1;
/// Up to this many bytes of each rank come with their lengths.
const INLINE_BYTES: usize = 248;
/// In larger groups that would be much for every rank to hear.
const INLINE_RANKS_MAX: u32 = 256;
/// Up to this many ranks each tells all others its numbers to find the largest: that is one hop. A reduction has fewer
/// messages, and a hop for each doubling of the ranks and back, each of which waits for a rank to get a core.
const TOLD_RANKS_MAX: u32 = 16;
/// A broadcast of up to this many bytes takes one message.
const SHORT_BYTES: usize = 248;

pub(crate) struct Comm {
    comm: Handle,
    rank: u32,
    size: u32,
    watch: OnceLock<GroupWatch>,
    lost: OnceLock<Error>,
    is_bounded: AtomicBool,
    patience: Duration,
}

struct Handle(ManuallyDrop<SimpleCommunicator>);

impl Handle {
    /// One of this library's own.
    fn duplicate<C: Communicator>(comm: &C) -> Result<Handle, Error> {
        let comm = comm.duplicate();
        // A connection to a dead rank that breaks is to be an error of a call here, not the end of the program.
        // SAFETY: the handle is alive, and the constant is MPI's.
        check(unsafe { ffi::MPI_Comm_set_errhandler(comm.as_raw(), ffi::RSMPI_ERRORS_RETURN) })?;
        Ok(Handle(ManuallyDrop::new(comm)))
    }

    /// The one for all files that this process opens alone. No message is passed on it, and to make one for each would be a
    /// large part of an open. It is never freed.
    fn alone() -> Result<Handle, Error> {
        static ALONE: Mutex<Option<Handle>> = Mutex::new(None);
        let mut alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if alone.is_none() {
            *alone = Some(Handle::duplicate(&SimpleCommunicator::self_comm())?);
        }
        let raw = alone.as_ref().map(|handle| handle.0.as_raw()).expect("it was made above");
        // SAFETY: the handle is a communicator's, which lives as long as MPI does.
        Ok(Handle(ManuallyDrop::new(unsafe { SimpleCommunicator::from_raw(raw) })))
    }
}

// SAFETY: the handle of a communicator may be used by every thread that may call MPI; which these are is seen to by
// `threads`.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// The bytes of a message on their way to or from another rank.
pub(crate) struct Parcel {
    pub(crate) peer: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A rank's own numbers, and room for those of all.
type Numbers = (Vec<u64>, Vec<u64>);

/// The buffers of a gather.
struct Gather {
    own: Vec<u8>,
    all: Vec<u8>,
    lengths: Vec<c_int>,
    starts: Vec<c_int>,
}

impl Comm {
    /// Duplicates a communicator. Collective; it waits for all ranks to come, as MPI does.
    pub(crate) fn duplicate<C: Communicator>(comm: &C) -> Result<Comm, Error> {
        let mut inter = 0;
        // SAFETY: the handle is alive as long as `comm`, and `inter` as long as the call.
        unsafe { ffi::MPI_Comm_test_inter(comm.as_raw(), &mut inter) };
        if inter != 0 {
            return Err(Error::new(ErrorClass::Comm, "files can not be opened on an inter-communicator"));
        }
        let number = |n: i32| u32::try_from(n).expect("MPI's ranks are not negative");
        let (rank, size) = (number(comm.rank()), number(comm.size()));
        let comm = if size == 1 { Handle::alone()? } else { Handle::duplicate(comm)? };
        Ok(Comm {
            comm,
            rank,
            size,
            watch: OnceLock::new(),
            lost: OnceLock::new(),
            is_bounded: AtomicBool::new(true),
            patience: patience(),
        })
    }

    pub(crate) fn rank(&self) -> u32 {
        self.rank
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The ranks, as MPI has them.
    pub(crate) fn ranks(&self) -> UserGroup {
        self.comm.0.group()
    }

    /// Whether it has all processes of `MPI_COMM_WORLD`, in whatever order.
    pub(crate) fn is_world(&self) -> bool {
        self.comm.0.compare(&SimpleCommunicator::world()) != CommunicatorRelation::Unequal
    }

    /// Refuses a datatype that is not committed.
    pub(crate) fn check_committed(&self, datatype: MPI_Datatype) -> Result<(), Error> {
        datatype::check_committed(datatype, self.raw())
    }

    /// From now on this tells when the group is lost. Nothing changes at a second call.
    pub(crate) fn watch(&self, watch: GroupWatch) {
        let _ = self.watch.set(watch);
    }

    /// Whether each rank comes to its next message within a bounded time, so that patience may end.
    pub(crate) fn bounded(&self, is_bounded: bool) {
        self.is_bounded.store(is_bounded, Ordering::Relaxed);
    }

    /// The error with which the group was lost, if it was and a call has found out.
    pub(crate) fn lost(&self) -> Option<&Error> {
        self.lost.get()
    }

    /// The same after a look at what is known now.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let known = self.lost.get().cloned().or_else(|| self.watch.get()?.error().map(Error::from));
        known.map_or(Ok(()), |error| Err(self.lose(error)))
    }

    /// Every rank's values, by rank.
    pub(crate) async fn all_gather<const N: usize>(&self, own: [u64; N]) -> Result<Vec<[u64; N]>, Error> {
        if self.size == 1 {
            return self.check().map(|()| vec![own]);
        }
        let (_, all) = self.complete(self.start_all_gather(own.to_vec())).await?;
        Ok(all.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks have N values")).collect())
    }

    fn start_all_gather(&self, own: Vec<u64>) -> Result<Pending<Numbers>, Error> {
        self.check()?;
        let (comm, number, length) = (self.raw(), u64::equivalent_datatype().as_raw(), count(own.len()));
        let all = vec![0u64; own.len() * self.size as usize];
        // SAFETY: both buffers have the lengths that are named.
        unsafe {
            Pending::start((own, all), |(own, all), request| {
                let (from, to) = (own.as_ptr().cast(), all.as_mut_ptr().cast());
                ffi::MPI_Iallgather(from, length, number, to, length, number, comm, request)
            })
        }
    }

    /// The largest of all ranks' values in each place. They are below 2^63, as MPICH 4.0 takes unsigned numbers for signed
    /// ones in reductions.
    pub(crate) async fn largest<const N: usize>(&self, own: [u64; N]) -> Result<[u64; N], Error> {
        if self.size <= TOLD_RANKS_MAX {
            let all = self.all_gather(own).await?;
            return Ok(std::array::from_fn(|at| all.iter().map(|numbers| numbers[at]).max().unwrap_or(own[at])));
        }
        let (_, all) = self.complete(self.start_largest(own.to_vec())).await?;
        Ok(all.try_into().expect("MPI changes no lengths"))
    }

    fn start_largest(&self, own: Vec<u64>) -> Result<Pending<Numbers>, Error> {
        self.check()?;
        let (comm, number, length) = (self.raw(), u64::equivalent_datatype().as_raw(), count(own.len()));
        let operation = SystemOperation::max().as_raw();
        let all = vec![0u64; own.len()];
        // SAFETY: both buffers have the length that is named.
        unsafe {
            Pending::start((own, all), |(own, all), request| {
                let (from, to) = (own.as_ptr().cast(), all.as_mut_ptr().cast());
                ffi::MPI_Iallreduce(from, to, length, number, operation, comm, request)
            })
        }
    }

    /// `rank`'s bytes on every rank. A short message has its length in front and its bytes with it; of a long one the
    /// bytes follow.
    pub(crate) async fn broadcast(&self, rank: u32, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.size == 1 {
            return self.check().map(|()| bytes);
        }
        let mut first = Vec::new();
        if rank == self.rank {
            first.extend((bytes.len() as u64).to_le_bytes());
            first.extend(&bytes[..bytes.len().min(SHORT_BYTES)]);
        }
        first.resize(size_of::<u64>() + SHORT_BYTES, 0);
        let mut first = self.complete(self.start_broadcast(rank, first)).await?;
        let length = u64::from_le_bytes(*first.first_chunk().expect("longer than a number"));
        let length = usize::try_from(length).expect("a length of this process's kind");
        if length <= SHORT_BYTES {
            first.truncate(size_of::<u64>() + length);
            return Ok(first.split_off(size_of::<u64>()));
        }
        let whole = if rank == self.rank { bytes } else { vec![0; length] };
        self.complete(self.start_broadcast(rank, whole)).await
    }

    fn start_broadcast(&self, rank: u32, bytes: Vec<u8>) -> Result<Pending<Vec<u8>>, Error> {
        self.check()?;
        let (comm, root) = (self.raw(), raw_rank(rank));
        // SAFETY: the buffer has the length that is named.
        unsafe {
            Pending::start(bytes, |bytes, request| {
                ffi::MPI_Ibcast(bytes.as_mut_ptr().cast(), count(bytes.len()), byte(), root, comm, request)
            })
        }
    }

    /// Every rank's bytes, by rank, if all have few; it is the same on all ranks whether they have.
    pub(crate) async fn all_gather_short(&self, own: &[u8]) -> Result<Option<Vec<Vec<u8>>>, Error> {
        const WORDS: usize = 1 + INLINE_BYTES / size_of::<u64>();
        if self.size > INLINE_RANKS_MAX {
            return Ok(None);
        }
        let mut words = [0; WORDS];
        words[0] = own.len() as u64;
        let inline = &own[..own.len().min(INLINE_BYTES)];
        for (word, part) in words[1..].iter_mut().zip(inline.chunks(size_of::<u64>())) {
            let mut bytes = [0; size_of::<u64>()];
            bytes[..part.len()].copy_from_slice(part);
            *word = u64::from_le_bytes(bytes);
        }
        let bytes = |words: [u64; WORDS]| {
            let length = usize::try_from(words[0]).ok().filter(|length| *length <= INLINE_BYTES)?;
            let mut bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.truncate(length);
            Some(bytes)
        };
        Ok(self.all_gather(words).await?.into_iter().map(bytes).collect())
    }

    /// Every rank's bytes at `root`, by rank; nothing elsewhere.
    pub(crate) async fn gather(&self, root: u32, own: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(all) = self.all_gather_short(own).await? {
            return Ok(if root == self.rank { all } else { Vec::new() });
        }
        // The address of an empty buffer can be 1, which is Open MPI's MPI_IN_PLACE: a byte in front avoids it.
        let own = [&[0], own].concat();
        let counts = self.all_gather([own.len() as u64]).await?;
        let lengths: Vec<c_int> =
            counts.iter().map(|[n]| count(usize::try_from(*n).expect("a length of a process's kind"))).collect();
        let gathered = self.complete(self.start_gather(root, own, lengths)).await?;
        if root != self.rank {
            return Ok(Vec::new());
        }
        let Gather { all, lengths, starts, .. } = gathered;
        let index = |n: c_int| usize::try_from(n).expect("not negative");
        Ok(starts.iter().zip(&lengths).map(|(&at, &n)| all[index(at) + 1..index(at + n)].to_vec()).collect())
    }

    fn start_gather(&self, root: u32, own: Vec<u8>, lengths: Vec<c_int>) -> Result<Pending<Gather>, Error> {
        self.check()?;
        let (starts, total) = starts(&lengths);
        let all = vec![0u8; if root == self.rank { total } else { 1 }];
        let (comm, to) = (self.raw(), raw_rank(root));
        // SAFETY: at the root the lengths lie one after the other in a buffer of their sum; elsewhere it is not used.
        unsafe {
            Pending::start(Gather { own, all, lengths, starts }, |Gather { own, all, lengths, starts }, request| {
                let (from, into) = (own.as_ptr().cast::<c_void>(), all.as_mut_ptr().cast());
                let (lengths, starts) = (lengths.as_ptr(), starts.as_ptr());
                ffi::MPI_Igatherv(from, count(own.len()), byte(), into, lengths, starts, byte(), to, comm, request)
            })
        }
    }

    /// Passes messages between pairs of ranks: each `incoming` is as long as what its peer sends. Returns `incoming`, filled.
    pub(crate) async fn pass(&self, outgoing: Vec<Parcel>, incoming: Vec<Parcel>) -> Result<Vec<Parcel>, Error> {
        self.check()?;
        let receives: Vec<_> = incoming.into_iter().map(|parcel| (parcel.peer, self.start_receive(parcel))).collect();
        let sends: Vec<_> = outgoing.into_iter().map(|parcel| self.start_send(parcel)).collect();
        let mut filled = Vec::with_capacity(receives.len());
        for (peer, pending) in receives {
            filled.push(Parcel { peer, bytes: self.complete(pending).await? });
        }
        for pending in sends {
            self.complete(pending).await?;
        }
        Ok(filled)
    }

    fn start_receive(&self, parcel: Parcel) -> Result<Pending<Vec<u8>>, Error> {
        let comm = self.raw();
        // SAFETY: the buffer has the length that is named.
        unsafe {
            Pending::start(parcel.bytes, |bytes, request| {
                let (at, length) = (bytes.as_mut_ptr().cast(), count(bytes.len()));
                ffi::MPI_Irecv(at, length, byte(), raw_rank(parcel.peer), TAG, comm, request)
            })
        }
    }

    fn start_send(&self, parcel: Parcel) -> Result<Pending<Vec<u8>>, Error> {
        let comm = self.raw();
        // SAFETY: the buffer has the length that is named.
        unsafe {
            Pending::start(parcel.bytes, |bytes, request| {
                let (at, length) = (bytes.as_ptr().cast(), count(bytes.len()));
                ffi::MPI_Isend(at, length, byte(), raw_rank(parcel.peer), TAG, comm, request)
            })
        }
    }

    /// Waits until an operation that was started is complete, or the group is lost.
    async fn complete<B>(&self, started: Result<Pending<B>, Error>) -> Result<B, Error> {
        let completed = match started {
            Ok(pending) => pending.complete(self.given_up()).await,
            Err(error) => Err(error),
        };
        completed.map_err(|error| self.lose(error))
    }

    /// Waits until what other ranks do without a message is done, or the group is lost. MPI is called meanwhile, as it
    /// goes on with what the program has under way only then.
    pub(crate) async fn until(&self, mut is_done: impl FnMut() -> bool) -> Result<(), Error> {
        let mut given_up = self.given_up();
        poll_fn(|_| {
            if is_done() {
                turn::note_move();
                return Poll::Ready(Ok(()));
            }
            match given_up().map_or_else(|| self.look(), Err) {
                Ok(()) => {
                    turn::note_open();
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(self.lose(error))),
            }
        })
        .await
    }

    /// Looks for a message of this communicator, which changes nothing.
    fn look(&self) -> Result<(), Error> {
        let mut found = 0;
        // SAFETY: constants of MPI, a communicator that is alive, and a flag that lives as long as the call.
        let code =
            unsafe { ffi::MPI_Iprobe(ffi::RSMPI_ANY_SOURCE, TAG, self.raw(), &mut found, ffi::RSMPI_STATUS_IGNORE) };
        check(code)
    }

    /// Says when waiting is of no use any more.
    fn given_up(&self) -> impl FnMut() -> Option<Error> {
        let mut since = None;
        move || {
            let mut is_late = || since.get_or_insert_with(Instant::now).elapsed() > self.patience;
            match self.check() {
                Err(error) => Some(error),
                Ok(()) if self.is_bounded.load(Ordering::Relaxed) && is_late() => Some(self.impatient()),
                Ok(()) => None,
            }
        }
    }

    /// Remembers why the group is lost; the first reason stays.
    fn lose(&self, error: Error) -> Error {
        self.lost.get_or_init(|| error).clone()
    }

    fn impatient(&self) -> Error {
        let message = format!(
            "a rank of the file was not heard of for {:?} and is taken for dead; {PATIENCE_VARIABLE} sets another time",
            self.patience
        );
        Error::new(ErrorClass::Io, message)
    }

    fn raw(&self) -> MPI_Comm {
        self.comm.0.as_raw()
    }
}

impl Drop for Comm {
    fn drop(&mut self) {
        // Operations of a lost group may never complete, and use the communicator as long as they have not. That of a rank
        // alone is all such files'.
        if self.lost.get().is_none() && self.size > 1 {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.comm.0) };
        }
    }
}

fn patience() -> Duration {
    let set = std::env::var(PATIENCE_VARIABLE).ok().and_then(|text| text.trim().parse().ok());
    set.map_or(PATIENCE_DEFAULT, Duration::from_secs)
}

fn byte() -> MPI_Datatype {
    u8::equivalent_datatype().as_raw()
}

fn count(length: usize) -> c_int {
    c_int::try_from(length).expect("messages between ranks are bounded far below 2 GiB")
}

fn raw_rank(rank: u32) -> c_int {
    c_int::try_from(rank).expect("MPI counts ranks in an int")
}

/// Where parts of these lengths start when they follow each other, and their whole length.
fn starts(lengths: &[c_int]) -> (Vec<c_int>, usize) {
    let mut starts = Vec::with_capacity(lengths.len());
    let mut end = 0;
    for length in lengths {
        starts.push(end);
        end += length;
    }
    (starts, usize::try_from(end).expect("lengths are not negative"))
}
