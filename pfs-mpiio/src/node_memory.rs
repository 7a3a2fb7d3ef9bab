//! Where an aggregator gathers what it writes and has what it has read: memory that the ranks of its node reach into.
//!
//! A rank on an aggregator's node copies its bytes straight to where the aggregator writes them from, or takes them from where it
//! has read them to: one copy, where a message needs three or four. The memory has no name and no file; it ends with the
//! processes that have it, however they end.
//!
//! ```text
//! header   rounds: how many the aggregator has opened        admitted: which ranks may reach into the last one
//!          done: how often a rank was done with one
//! starts   of each rank of the node, by block: where the bytes that it is to take begin, if they lie one after the other
//! block 0  the bytes of a round        block 1  those of the next one, while block 0 is written or was not read yet
//! ```
//!
//! A round at an aggregator, and with it one block, is open to the other ranks from [`Memory::open`] until each of those that
//! have bytes there has said [`Memory::done`], which the aggregator waits for before it does anything else with the block. Then
//! the block is the aggregator's alone. All ranks count rounds alike. If ranks write the same bytes, the aggregator admits them
//! one after the other, by rank, so that the bytes of the highest one stay; else it admits all at once.
//!
//! Why this is sound: while a block is open each byte of it is written by one admitted rank at most and read by none (a write), or
//! only read (a read). References into a block are made by its aggregator alone, when no other rank writes. The counters are
//! atomic: what was done before one was raised is seen by who has seen it raised. A rank that was given up may still write into
//! an open block; the group is lost then, and no block of it is used any more.
//!
//! Fresh pages cost more than the copies into them, and many programs open a file, make one exchange and close it. So each
//! process keeps what the last closed file has shared, for the next file of the same ranks: counters go on where they stood.
//!
//! Invariants: all ranks agree whether memory is shared; where it is not, each aggregator has its own, and messages pass. Kept
//! memory is used again only if every rank has kept the same and has counted as many rounds; that of a lost group is not kept.

use crate::error::{Error, ErrorClass};
use crate::file::OpenFile;
use memmap2::{MmapOptions, MmapRaw};
use pfs_core::collective::Exchange;
use pfs_core::copy::Way;
use pfs_core::hints::Switch;
use pfs_core::ids::ClientId;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The header and the starts take whole pages, so that blocks begin with one.
const PAGE_BYTES: usize = 4096;
/// The start of what does not lie one after the other.
const BY_PLACE: u64 = u64::MAX;
/// How many blocks there are: one is open while the other is written or read.
pub(crate) const BLOCKS: usize = 2;

/// What the ranks tell each other through an aggregator's memory; each counter has a cache line of its own.
#[repr(C)]
struct Header {
    rounds: Counter,
    admitted: Counter,
    done: Counter,
}

#[repr(C, align(64))]
struct Counter(AtomicU64);

/// The memory of one aggregator.
pub(crate) struct Memory {
    map: MmapRaw,
    size: Size,
}

/// What memory has room for.
#[derive(Clone, Copy)]
struct Size {
    /// Ranks that reach it.
    ranks: usize,
    block_bytes: usize,
}

impl Size {
    /// Bytes before the first block.
    fn front(self) -> usize {
        PAGE_BYTES + (BLOCKS * self.ranks * size_of::<u64>()).next_multiple_of(PAGE_BYTES)
    }

    fn bytes(self) -> usize {
        self.front() + BLOCKS * self.block_bytes
    }
}

/// What a file's memory is made for.
#[derive(Clone, PartialEq, Eq)]
struct Purpose {
    aggregators: Vec<u32>,
    switch: Switch,
}

/// The memory of those aggregators of a file that this rank reaches.
pub(crate) struct NodeMemory {
    purpose: Purpose,
    block_bytes: usize,
    /// If it is shared.
    name: Option<Name>,
    by_aggregator: BTreeMap<u32, Memory>,
    /// The ranks of this node, in order.
    neighbours: Vec<u32>,
    rounds: AtomicU64,
    /// At an aggregator: how often others will have been done when those that were waited for, or are now, are.
    expected: AtomicU64,
}

/// Where another process finds memory, and by what it knows it: process, descriptor, device and inode.
type Address = [u64; 4];

/// What tells the memories of a group from all others that any of its ranks may have: the first aggregator's.
type Name = Address;

/// What the last file that was closed has left, and whose it is: the clients by rank.
static KEPT: Mutex<Option<(Vec<ClientId>, Arc<NodeMemory>)>> = Mutex::new(None);

/// Keeps a closed file's memory for the next one of the same ranks, instead of what was kept before.
pub(crate) fn keep(members: Vec<ClientId>, memory: Option<Arc<NodeMemory>>) {
    if let Some(memory) = memory.filter(|memory| memory.name.is_some()) {
        *kept() = Some((members, memory));
    }
}

/// Lets go of what was kept.
pub(crate) fn forget() {
    kept().take();
}

fn kept() -> MutexGuard<'static, Option<(Vec<ClientId>, Arc<NodeMemory>)>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OpenFile {
    /// The memory for an exchange. Collective; the same error on all ranks.
    pub(crate) async fn node_memory(&self, exchange: &Exchange) -> Result<Arc<NodeMemory>, Error> {
        let purpose = Purpose { aggregators: exchange.aggregators().to_vec(), switch: self.hints().node_memory };
        let block_bytes = usize::try_from(exchange.round_bytes()).expect("cb_buffer_size is bounded");
        let is_fit = |known: &Arc<NodeMemory>| known.purpose == purpose && known.block_bytes >= block_bytes;
        let known = self.last_memory().clone().filter(is_fit);
        if let Some(known) = known {
            return Ok(known);
        }
        let is_wanted = purpose.switch != Switch::Disable && self.nodes.have_neighbours();
        let left = if is_wanted { self.agree_on_kept(is_fit).await? } else { None };
        let found = match left {
            Some(left) => left,
            None => Arc::new(self.make_node_memory(purpose, block_bytes, is_wanted).await?),
        };
        *self.last_memory() = Some(found.clone());
        Ok(found)
    }

    /// What an earlier file has left, if it is fit and all ranks have it.
    async fn agree_on_kept(&self, is_fit: impl Fn(&Arc<NodeMemory>) -> bool) -> Result<Option<Arc<NodeMemory>>, Error> {
        let left = kept().take_if(|(members, memory)| *members == self.members && is_fit(memory));
        let left = left.map(|(_, memory)| memory);
        let told = |memory: &Arc<NodeMemory>| {
            let [process, number, device, inode] = memory.name?;
            Some([process, number, device, inode, memory.rounds.load(Ordering::Relaxed)])
        };
        let own = left.as_ref().and_then(told);
        // No process has the number 0.
        let all = self.group.all_gather(own.unwrap_or_default()).await?;
        Ok(left.filter(|_| own.is_some_and(|own| all.iter().all(|other| *other == own))))
    }

    async fn make_node_memory(
        &self,
        mut purpose: Purpose,
        block_bytes: usize,
        is_wanted: bool,
    ) -> Result<NodeMemory, Error> {
        let rank = self.group.rank();
        let is_aggregator = purpose.aggregators.contains(&rank);
        let neighbours: Vec<u32> = self.nodes.ranks_of(self.nodes.node_of(rank)).collect();
        let size = Size { ranks: neighbours.len(), block_bytes };
        let own = is_aggregator.then(|| Memory::create(size)).transpose();
        let own = own.map_err(|error| {
            let message =
                format!("no memory for two rounds of {block_bytes} bytes, which cb_buffer_size sets: {error}");
            Error::new(ErrorClass::Io, message)
        });
        // The descriptor stays open until all have what it leads to.
        let (memory, _descriptor, address) = match self.group.agree(own).await? {
            Some((memory, descriptor, address)) => (Some((rank, memory)), Some(descriptor), address),
            None => (None, None, Address::default()),
        };
        let mut by_aggregator: BTreeMap<u32, Memory> = memory.into_iter().collect();
        let mut name = None;
        if is_wanted {
            let addresses = self.group.all_gather(address).await?;
            let others = purpose.aggregators.iter().filter(|&&other| other != rank);
            let near = others.filter(|other| neighbours.contains(other));
            let reach = |&other: &u32| {
                let memory = Memory::reach(addresses[other as usize], size);
                memory.map(|memory| (other, memory)).map_err(|error| {
                    let message = format!("the memory of rank {other}, on the same node, can not be shared: {error}");
                    Error::new(ErrorClass::Io, message)
                })
            };
            let reached: Result<Vec<_>, Error> = near.map(reach).collect();
            let is_shared = match purpose.switch {
                Switch::Enable => {
                    self.group.agree(reached.as_ref().map(drop).map_err(Error::clone)).await.map(|()| true)?
                }
                _ => self.group.all(reached.is_ok()).await?,
            };
            by_aggregator.extend(reached.into_iter().flatten().filter(|_| is_shared));
            if is_shared {
                name = purpose.aggregators.first().map(|first| addresses[*first as usize]);
            } else {
                self.without_node_memory();
                purpose.switch = Switch::Disable;
            }
        }
        let (rounds, expected) = Default::default();
        Ok(NodeMemory { purpose, block_bytes, name, by_aggregator, neighbours, rounds, expected })
    }
}

impl NodeMemory {
    /// Whether ranks reach the memory of the aggregators on their nodes.
    pub(crate) fn is_shared(&self) -> bool {
        self.name.is_some()
    }

    /// The memory of an aggregator, if it is this rank or can be reached.
    pub(crate) fn of(&self, aggregator: u32) -> Option<&Memory> {
        self.by_aggregator.get(&aggregator)
    }

    /// A rank's place among those of this node.
    fn place(&self, rank: u32) -> usize {
        self.neighbours.binary_search(&rank).expect("only ranks of the node reach its memory")
    }

    /// Says in this rank's memory, before a round is opened, where the bytes of a rank begin; nothing if they lie at their places.
    pub(crate) fn set_start(&self, own: &Memory, block: usize, rank: u32, start: Option<usize>) {
        own.start(block, self.place(rank)).store(start.map_or(BY_PLACE, |start| start as u64), Ordering::Relaxed);
    }

    /// What an aggregator has said so about a rank.
    pub(crate) fn start(&self, memory: &Memory, block: usize, rank: u32) -> Option<usize> {
        let start = memory.start(block, self.place(rank)).load(Ordering::Relaxed);
        (start != BY_PLACE).then(|| usize::try_from(start).expect("a place in memory"))
    }

    /// Counts a round; returns its number.
    pub(crate) fn begin_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// So many more ranks are waited for in this rank's memory.
    pub(crate) fn expect(&self, guests: usize) {
        self.expected.fetch_add(guests as u64, Ordering::Relaxed);
    }

    /// Whether all of them are done.
    pub(crate) fn is_left(&self, own: &Memory) -> bool {
        own.header().done.0.load(Ordering::Acquire) >= self.expected.load(Ordering::Relaxed)
    }
}

impl Memory {
    /// Makes memory, with the descriptor that it can be reached by as long as that is open.
    fn create(size: Size) -> io::Result<(Memory, OwnedFd, Address)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("pfs-mpiio", flags)?;
        rustix::fs::ftruncate(&descriptor, size.bytes() as u64)?;
        // Nobody can take away what others have mapped.
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = Memory::map(&descriptor, size)?;
        let [device, inode] = identity(&descriptor)?;
        let number = u64::try_from(descriptor.as_raw_fd()).expect("descriptors are not negative");
        Ok((memory, descriptor, [std::process::id().into(), number, device, inode]))
    }

    /// Maps the memory of another process.
    fn reach(address: Address, size: Size) -> io::Result<Memory> {
        let [process, number, device, inode] = address;
        let path = format!("/proc/{process}/fd/{number}");
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let descriptor = rustix::fs::open(&path, flags, Mode::empty())?;
        // Processes of other containers have numbers of their own.
        if identity(&descriptor)? != [device, inode] {
            return Err(io::Error::other(format!("{path} is of another process")));
        }
        Memory::map(&descriptor, size)
    }

    fn map(descriptor: &OwnedFd, size: Size) -> io::Result<Memory> {
        Ok(Memory { map: MmapOptions::new().len(size.bytes()).map_raw(descriptor)?, size })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with a page, which has room for it, and is only used by way of its atomics; new memory
        // is zeros.
        unsafe { &*self.map.as_ptr().cast() }
    }

    /// Where the start of a rank is said, by its place among those of the node.
    fn start(&self, block: usize, rank: usize) -> &AtomicU64 {
        assert!(block < BLOCKS && rank < self.size.ranks, "rank {rank} of block {block} has no start");
        let at = PAGE_BYTES + (block * self.size.ranks + rank) * size_of::<u64>();
        // SAFETY: inside the mapping before the blocks, at a multiple of its size, and only used as this.
        unsafe { &*self.map.as_ptr().add(at).cast() }
    }

    /// Opens this rank's memory for a round, to the ranks below a number.
    pub(crate) fn open(&self, round: u64, ranks: u64) {
        self.header().admitted.0.store(ranks, Ordering::Relaxed);
        self.header().rounds.0.store(round, Ordering::Release);
    }

    /// Opens the round to the ranks below another number.
    pub(crate) fn admit(&self, ranks: u64) {
        self.header().admitted.0.store(ranks, Ordering::Release);
    }

    /// Whether it is open to a rank for a round.
    pub(crate) fn is_open(&self, round: u64, rank: u32) -> bool {
        let Header { rounds, admitted, .. } = self.header();
        rounds.0.load(Ordering::Acquire) >= round && admitted.0.load(Ordering::Acquire) > u64::from(rank)
    }

    /// This rank is done with another one's memory in the round that is open.
    pub(crate) fn done(&self) {
        self.header().done.0.fetch_add(1, Ordering::Release);
    }

    /// Where a range of a block begins.
    fn at(&self, block: usize, range: &Range<usize>) -> *mut u8 {
        let Size { block_bytes, .. } = self.size;
        assert!(block < BLOCKS && range.start <= range.end && range.end <= block_bytes, "{range:?} is in no block");
        // SAFETY: inside the mapping, as was checked.
        unsafe { self.map.as_mut_ptr().add(self.size.front() + block * block_bytes + range.start) }
    }

    /// Copies bytes into a block that is open, or that is this rank's.
    pub(crate) fn put(&self, block: usize, at: usize, bytes: &[u8], way: Way) {
        let to = self.at(block, &(at..at + bytes.len()));
        // SAFETY: there is room for them. Nobody else uses these bytes, see the module.
        unsafe { way.copy_raw(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copies bytes from a block that is open, or that is this rank's.
    pub(crate) fn take(&self, block: usize, at: usize, bytes: &mut [u8], way: Way) {
        let from = self.at(block, &(at..at + bytes.len()));
        // SAFETY: there are as many. Nobody writes them now, see the module.
        unsafe { way.copy_raw(from, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Bytes of a block.
    ///
    /// # Safety
    /// It is a block of this rank, and not open as long as the reference lives; nobody writes to these bytes.
    pub(crate) unsafe fn bytes(&self, block: usize, range: Range<usize>) -> &[u8] {
        // SAFETY: inside the mapping; see above.
        unsafe { std::slice::from_raw_parts(self.at(block, &range), range.len()) }
    }

    /// Bytes of a block, to be written.
    ///
    /// # Safety
    /// It is a block of this rank, and not open as long as the reference lives; there is no other reference to these bytes.
    #[allow(clippy::mut_from_ref)] // what is borrowed is not `self`, but what it maps
    pub(crate) unsafe fn bytes_mut(&self, block: usize, range: Range<usize>) -> &mut [u8] {
        // SAFETY: inside the mapping; see above.
        unsafe { std::slice::from_raw_parts_mut(self.at(block, &range), range.len()) }
    }
}

/// What tells a file from all others of this machine.
fn identity(descriptor: &OwnedFd) -> io::Result<[u64; 2]> {
    let stat = rustix::fs::fstat(descriptor)?;
    Ok([stat.st_dev, stat.st_ino])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(block_bytes: usize) -> Size {
        Size { ranks: 3, block_bytes }
    }

    #[test]
    fn what_one_puts_another_takes() {
        let (own, _descriptor, address) = Memory::create(size(8192)).unwrap();
        let other = Memory::reach(address, size(8192)).unwrap();
        assert!(!other.is_open(1, 0));
        own.open(1, 3);
        assert!(other.is_open(1, 2) && !other.is_open(1, 3) && !other.is_open(2, 0));
        own.admit(4);
        assert!(other.is_open(1, 3));
        other.put(0, 100, b"first", Way::Cached);
        other.put(1, 8188, b"last", Way::Streamed);
        Way::Streamed.finish();
        other.done();
        assert_eq!(own.header().done.0.load(Ordering::Acquire), 1);
        // SAFETY: nobody writes any more.
        assert_eq!(unsafe { own.bytes(0, 100..105) }, b"first");
        let mut bytes = [0; 4];
        own.take(1, 8188, &mut bytes, Way::Cached);
        assert_eq!(&bytes, b"last");
        // SAFETY: the only reference.
        let whole = unsafe { own.bytes_mut(1, 0..8192) };
        whole[..3].copy_from_slice(b"new");
        let mut bytes = [0; 3];
        other.take(1, 0, &mut bytes, Way::Streamed);
        assert_eq!(&bytes, b"new");
        own.start(1, 2).store(77, Ordering::Relaxed);
        assert_eq!(
            [(0, 2), (1, 1), (1, 2)].map(|(block, rank)| other.start(block, rank).load(Ordering::Relaxed)),
            [0, 0, 77]
        );
    }

    /// Process numbers mean something else in other containers: what is found there must not be taken for the memory.
    #[test]
    fn another_file_is_not_taken_for_the_memory() {
        let (_own, _descriptor, [process, number, device, inode]) = Memory::create(size(4096)).unwrap();
        let other = Memory::create(size(4096)).unwrap().2;
        assert!(Memory::reach([process, number, device, inode + 1], size(4096)).is_err());
        assert!(Memory::reach([process, 1 << 20, device, inode], size(4096)).is_err());
        assert!(Memory::reach(other, size(4096)).is_err(), "its descriptor is closed");
    }

    #[test]
    #[should_panic(expected = "is in no block")]
    fn nothing_is_put_outside_of_a_block() {
        let (own, ..) = Memory::create(size(4096)).unwrap();
        own.put(0, 4090, &[0; 7], Way::Cached);
    }
}
