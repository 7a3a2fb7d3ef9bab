//! The client's block cache: what it has of files, under which token, and what the servers do not have yet.
//!
//! # How to drive it
//! Pin a token first, always. [`read`](BlockCache::read) copies what is there; what is missing is read from the servers
//! between [`begin_fill`](BlockCache::begin_fill) and [`fill`](BlockCache::fill), all under the same pin, and
//! [`may_use_hit`] decides after the copy. [`write`](BlockCache::write) collects; [`next_write_back`](BlockCache::next_write_back)
//! says what should go out, [`take_dirty`](BlockCache::take_dirty) hands it out, and
//! [`written`](BlockCache::written), [`put_back`](BlockCache::put_back) or [`failed`](BlockCache::failed) says what became of
//! it. Transfers past the cache write back what they overlap first, and call [`invalidate`](BlockCache::invalidate) before and
//! after.
//!
//! # Invariants
//! * Blocks belong to one (holder, file) and to the boot under whose stamps they were filled or dirtied; another boot finds
//!   nothing, unless it took the holder's tokens over (rule 13).
//! * Dirty bytes lie in ranges that the holder has exclusively: whoever gives a range up has written it back before.
//! * Bytes are known one by one: a write reads nothing before, and two clients may write parts of one block.
//! * Of one byte there is at most one write on its way to the servers.
//! * An answer of a server that was overtaken by a change or by a revoke never gets into the cache.
//! * Memory: never more blocks than the bound allows. Only clean blocks make room.

mod block;
mod counters;
mod dirty;
mod file;
mod hit;
mod lru;
mod read_ahead;
mod spans;

pub use counters::CacheCounters;
pub use dirty::Batch;
pub use file::FillId;
pub use hit::may_use_hit;
pub use read_ahead::ReadAhead;

use crate::extent::{Extent, ExtentSet};
use crate::ids::{Boot, FileId, Holder};
use block::Block;
use file::{CachedFile, Fill, extent_of, pieces};
use lru::Order;
use std::collections::BTreeMap;

/// Whose blocks of which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey {
    /// Under whose token.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
}

/// What a read has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// All of it was copied.
    Hit,
    /// What was there was copied; these ranges were not: in order, disjoint.
    Miss(Vec<Extent>),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The bytes are in the cache.
    Cached,
    /// There is no room: too much is dirty or on its way. Nothing was changed; write to the servers.
    NoRoom,
    /// The file is not here, or belongs to another boot. Nothing was changed.
    Stale,
}

/// The blocks of all files of one client. `E` says why a write-back failed.
#[derive(Debug)]
pub struct BlockCache<E> {
    block_bytes: u64,
    capacity_bytes: u64,
    files: BTreeMap<FileKey, CachedFile<E>>,
    /// Blocks of all files.
    blocks: u64,
    order: Order,
    /// Memory of blocks that made room, for those that they made it for: new memory costs a page fault for every page.
    spare: Vec<Box<[u8]>>,
    last_fill: u64,
    counters: CacheCounters,
}

impl<E: Clone> BlockCache<E> {
    /// An empty cache of at most `capacity_bytes` in blocks of `block_bytes` (below 4 GiB). With room for no block it takes
    /// nothing.
    pub fn new(block_bytes: u64, capacity_bytes: u64) -> Self {
        assert!((1..1 << 32).contains(&block_bytes), "a block of {block_bytes} bytes");
        BlockCache {
            block_bytes,
            capacity_bytes,
            files: BTreeMap::new(),
            blocks: 0,
            order: Order::default(),
            spare: Vec::new(),
            last_fill: 0,
            counters: CacheCounters::default(),
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Whether it takes anything.
    pub fn is_on(&self) -> bool {
        self.capacity_bytes >= self.block_bytes
    }

    /// A file may be cached from now on; nothing changes for one that is known.
    pub fn open(&mut self, key: FileKey, boot: Boot, stripe_unit: u64) {
        self.files.entry(key).or_insert_with(|| CachedFile::new(boot, stripe_unit.max(1)));
    }

    /// The manager of this boot has taken the holder's tokens over: the blocks are good under its stamps.
    pub fn resumed(&mut self, key: FileKey, boot: Boot) {
        if let Some(file) = self.files.get_mut(&key) {
            file.boot = boot;
        }
    }

    /// Nothing of the file is used any more. Whatever is dirty is lost: write it back before.
    pub fn close(&mut self, key: FileKey) {
        let Some(file) = self.files.remove(&key) else { return };
        for block in file.blocks.values() {
            self.forget(block);
            self.counters.close_evictions += 1;
        }
    }

    /// Copies what is cached of `range` to `out`, which is as long.
    pub fn read(&mut self, key: FileKey, boot: Boot, range: Extent, out: &mut [u8]) -> Read {
        let missing = self.copy(key, boot, range, out);
        if missing.is_empty() {
            self.counters.read_hits += 1;
            return Read::Hit;
        }
        self.counters.read_misses += 1;
        Read::Miss(missing)
    }

    /// As [`read`](Self::read), for somebody who tries again: it is not counted.
    pub fn read_again(&mut self, key: FileKey, boot: Boot, range: Extent, out: &mut [u8]) -> Read {
        let missing = self.copy(key, boot, range, out);
        if missing.is_empty() { Read::Hit } else { Read::Miss(missing) }
    }

    /// What is not there of `range`: in order, disjoint.
    pub fn missing(&self, key: FileKey, boot: Boot, range: Extent) -> Vec<Extent> {
        let Some(file) = self.files.get(&key).filter(|file| file.boot == boot) else { return vec![range] };
        let mut missing = ExtentSet::new();
        for (index, span, piece) in pieces(range, self.block_bytes) {
            match file.blocks.get(&index) {
                Some(block) => {
                    let gaps = block.missing(span);
                    gaps.iter().for_each(|gap| missing.insert(extent_of(index, gap, self.block_bytes), ()));
                }
                None => missing.insert(piece, ()),
            }
        }
        missing.extents().collect()
    }

    /// Bytes of `range` are about to be asked of the servers, under a pin that lasts until [`fill`](Self::fill) or
    /// [`end_fill`](Self::end_fill).
    pub fn begin_fill(&mut self, key: FileKey, boot: Boot, range: Extent) -> Option<FillId> {
        let file = self.files.get_mut(&key).filter(|file| file.boot == boot)?;
        self.last_fill += 1;
        let id = FillId(self.last_fill);
        let mut overtaken = ExtentSet::new();
        for index in file.indices(range, self.block_bytes) {
            let pending = file.blocks[&index].pending();
            pending.iter().for_each(|span| overtaken.insert(extent_of(index, span, self.block_bytes), ()));
        }
        file.fills.insert(id, Fill { range, overtaken });
        Some(id)
    }

    /// Whether some of `range` is on its way into the cache.
    pub fn is_filling(&self, key: FileKey, range: Extent) -> bool {
        self.files.get(&key).is_some_and(|file| file.fills.values().any(|fill| fill.range.overlaps(range)))
    }

    /// The servers have answered: `bytes` are those of `range`. What was written or given up meanwhile is left out, and so
    /// is what finds no room.
    pub fn fill(&mut self, key: FileKey, id: FillId, range: Extent, bytes: &[u8]) {
        let Some(fill) = self.files.get(&key).and_then(|file| file.fills.get(&id)) else { return };
        for part in fill.overtaken.gaps(range) {
            for (index, span, piece) in pieces(part, self.block_bytes) {
                if !self.make_block(key, index) {
                    return;
                }
                let from = usize::try_from(piece.start() - range.start()).expect("inside of a buffer");
                let bytes = &bytes[from..from + (span.1 - span.0) as usize];
                let now = self.order.tick();
                self.change(key, index, |block| {
                    block.fill(span, bytes);
                    block.used = now;
                });
            }
        }
    }

    /// Nothing more comes of what [`begin_fill`](Self::begin_fill) has announced.
    pub fn end_fill(&mut self, key: FileKey, id: FillId) {
        if let Some(file) = self.files.get_mut(&key) {
            file.fills.remove(&id);
        }
    }

    /// Collects `bytes`, which are those of `range`, as dirty.
    pub fn write(&mut self, key: FileKey, boot: Boot, range: Extent, bytes: &[u8]) -> Write {
        if self.files.get(&key).is_none_or(|file| file.boot != boot) {
            return Write::Stale;
        }
        let new_blocks = self.blocks_missing(key, range);
        if !self.make_room(new_blocks, key, range) {
            return Write::NoRoom;
        }
        match new_blocks {
            0 => self.counters.write_hits += 1,
            _ => self.counters.write_misses += 1,
        }
        for (index, span, piece) in pieces(range, self.block_bytes) {
            self.insert_block(key, index);
            let from = usize::try_from(piece.start() - range.start()).expect("inside of a buffer");
            let bytes = &bytes[from..from + (span.1 - span.0) as usize];
            let now = self.order.tick();
            self.change(key, index, |block| {
                block.write(span, bytes);
                block.used = now;
            });
        }
        let block_bytes = self.block_bytes;
        let file = self.file_mut(key);
        file.overtake(range);
        file.note_full_units(range, block_bytes);
        Write::Cached
    }

    /// Forgets the clean bytes of `range`: their token is given up, or they are changed past the cache.
    pub fn invalidate(&mut self, key: FileKey, range: Extent) {
        let Some(file) = self.files.get_mut(&key) else { return };
        file.overtake(range);
        if crate::mutant!(StaleBlockKept) {
            return;
        }
        for index in file.indices(range, self.block_bytes) {
            let whole = extent_of(index, (0, block_end(self.block_bytes)), self.block_bytes);
            let part = whole.intersection(range).expect("a block of the range");
            let (_, span, _) = pieces(part, self.block_bytes).next().expect("a part has bytes");
            let mut dropped = false;
            self.change(key, index, |block| dropped = block.drop_clean(span));
            self.counters.invalidations += u64::from(dropped);
        }
    }

    /// Forgets all clean bytes of a file.
    pub fn drop_clean(&mut self, key: FileKey) {
        self.invalidate(key, Extent::ALL);
    }

    /// What was counted, and what there is now.
    pub fn counters(&self) -> CacheCounters {
        self.counters
    }

    /// Requests that wrote dirty bytes back, for the counters.
    pub fn count_write_backs(&mut self, requests: u64, closing: bool) {
        self.counters.write_backs += requests;
        self.counters.close_write_backs += if closing { requests } else { 0 };
    }

    fn copy(&mut self, key: FileKey, boot: Boot, range: Extent, out: &mut [u8]) -> Vec<Extent> {
        let block_bytes = self.block_bytes;
        let Some(file) = self.files.get_mut(&key).filter(|file| file.boot == boot) else { return vec![range] };
        let mut missing = ExtentSet::new();
        for (index, span, piece) in pieces(range, block_bytes) {
            let from = usize::try_from(piece.start() - range.start()).expect("inside of a buffer");
            match file.blocks.get_mut(&index) {
                Some(block) => {
                    block.used = self.order.tick();
                    let gaps = block.read(span, &mut out[from..from + (span.1 - span.0) as usize]);
                    gaps.iter().for_each(|gap| missing.insert(extent_of(index, gap, block_bytes), ()));
                }
                None => missing.insert(piece, ()),
            }
        }
        missing.extents().collect()
    }

    fn blocks_missing(&self, key: FileKey, range: Extent) -> u64 {
        let there = |index: &u64| self.files.get(&key).is_some_and(|file| file.blocks.contains_key(index));
        pieces(range, self.block_bytes).filter(|(index, _, _)| !there(index)).count() as u64
    }

    /// Evicts until `count` more blocks fit. The blocks of `range` stay.
    fn make_room(&mut self, count: u64, key: FileKey, range: Extent) -> bool {
        let mut spared = Vec::new();
        while self.blocks + count > self.capacity_bytes / self.block_bytes {
            let Some((queued, owner, index)) = self.order.pop() else { break };
            let Some(block) = self.files.get_mut(&owner).and_then(|file| file.blocks.get_mut(&index)) else { continue };
            block.queued = None;
            let used = block.used;
            if used != queued {
                self.enqueue(owner, index);
            } else if !block.is_clean() {
                // It comes back into the order when it is clean.
            } else if owner == key && touches(range, index, self.block_bytes) {
                spared.push(index);
            } else {
                let removed = self.remove_block(owner, index);
                self.spare.extend(removed.map(Block::into_memory));
                self.counters.evictions += 1;
            }
        }
        spared.into_iter().for_each(|index| self.enqueue(key, index));
        self.blocks + count <= self.capacity_bytes / self.block_bytes
    }

    /// Makes sure that there is a block; false if there is no room.
    fn make_block(&mut self, key: FileKey, index: u64) -> bool {
        let there = self.files.get(&key).is_some_and(|file| file.blocks.contains_key(&index));
        let block = extent_of(index, (0, block_end(self.block_bytes)), self.block_bytes);
        if !there && !self.make_room(1, key, block) {
            return false;
        }
        self.insert_block(key, index);
        true
    }

    fn insert_block(&mut self, key: FileKey, index: u64) {
        let file = self.files.get_mut(&key).expect("the file is open");
        file.blocks.entry(index).or_insert_with(|| {
            self.blocks += 1;
            let new = || vec![0; block_end(self.block_bytes) as usize].into_boxed_slice();
            Block::new(self.spare.pop().unwrap_or_else(new))
        });
    }

    /// Changes a block, if it is there, and everything that is counted of it. One without a byte goes.
    fn change(&mut self, key: FileKey, index: u64, change: impl FnOnce(&mut Block)) {
        let Some(file) = self.files.get_mut(&key) else { return };
        let Some(block) = file.blocks.get_mut(&index) else { return };
        let (valid, pending) = (block.valid_bytes(), block.pending_bytes());
        change(block);
        self.counters.cached_bytes = self.counters.cached_bytes + block.valid_bytes() - valid;
        self.counters.dirty_bytes = self.counters.dirty_bytes + block.pending_bytes() - pending;
        match block.dirty_bytes() {
            0 => file.dirty.remove(&index),
            _ => file.dirty.insert(index),
        };
        let (is_empty, is_clean) = (block.is_empty(), block.is_clean());
        if is_empty {
            drop(self.remove_block(key, index));
        } else if is_clean {
            self.enqueue(key, index);
        }
    }

    /// Puts a block into the order of eviction, at its last use.
    fn enqueue(&mut self, key: FileKey, index: u64) {
        let block = self.block_mut(key, index);
        if block.queued.is_none() {
            let used = block.used;
            block.queued = Some(used);
            self.order.push(used, key, index);
        }
    }

    fn remove_block(&mut self, key: FileKey, index: u64) -> Option<Block> {
        let block = self.file_mut(key).blocks.remove(&index)?;
        self.forget(&block);
        Some(block)
    }

    /// Takes a block that is gone out of the sums.
    fn forget(&mut self, block: &Block) {
        self.blocks -= 1;
        self.counters.cached_bytes -= block.valid_bytes();
        self.counters.dirty_bytes -= block.pending_bytes();
        if let Some(queued) = block.queued {
            self.order.remove(queued);
        }
    }

    fn file_mut(&mut self, key: FileKey) -> &mut CachedFile<E> {
        self.files.get_mut(&key).expect("the file is open")
    }

    fn block_mut(&mut self, key: FileKey, index: u64) -> &mut Block {
        self.file_mut(key).blocks.get_mut(&index).expect("the block is there")
    }
}

fn block_end(block_bytes: u64) -> u32 {
    u32::try_from(block_bytes).expect("a block is less than 4 GiB")
}

fn touches(range: Extent, index: u64, block_bytes: u64) -> bool {
    (range.start() / block_bytes..=(range.end() - 1) / block_bytes).contains(&index)
}
