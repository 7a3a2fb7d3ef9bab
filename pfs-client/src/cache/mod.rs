//! The client's block cache between accesses and file servers: small reads and writes go through it, large ones past it.
//!
//! [`pfs_core::cache::BlockCache`] has the blocks and their rules; here is the I/O around it.
//!
//! Invariants:
//! * whoever looks into the cache, fills it or writes into it has the range pinned;
//! * the cache's lock is taken last and never held over a wait;
//! * write-backs have a budget of their own and wait for file servers only, never for a token: a revoke can not be held
//!   up by what waits for it (rule 9);
//! * a hit is given to the caller only if the lease and the boot are right after the copy (rule 13).

mod read;
mod recycled;
mod write;
pub(crate) mod write_back;

pub(crate) use read::{read, read_ahead};
pub(crate) use write::write;

use crate::config::ClientConfig;
use crate::error::Error;
use parking_lot::Mutex;
use pfs_core::cache::{Batch, BlockCache, CacheCounters, FileKey, FillId, Read, Write};
use pfs_core::extent::Extent;
use pfs_core::ids::Boot;
use pfs_proto::v1;
use recycled::Recycled;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Notify, Semaphore};

/// Write-backs that may be under way at once, each of one request's bytes.
const WRITE_BACKS_MAX: usize = 4;

/// The blocks of all files of one client.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: Mutex<BlockCache<Error>>,
    /// Something that was on its way, in either direction, has arrived or failed.
    changed: Notify,
    /// Bytes that may be on their way back, beside the budget of all other transfers.
    reserve: Arc<Semaphore>,
    batch_bytes: u32,
    bypass_bytes: u64,
    read_ahead_bytes: u64,
    is_on: bool,
    /// Memory of batches.
    batches: Recycled,
    /// The task that writes back without being asked is running.
    in_background: AtomicBool,
}

impl Cache {
    pub(crate) fn new(config: &ClientConfig) -> Cache {
        let blocks = BlockCache::new(config.cache_block_bytes as u64, config.cache_bytes as u64);
        let batch_bytes = u32::try_from(config.request_bytes_max).expect("checked: requests are a few MiB");
        Cache {
            is_on: blocks.is_on(),
            blocks: Mutex::new(blocks),
            changed: Notify::new(),
            reserve: Arc::new(Semaphore::new(WRITE_BACKS_MAX * config.request_bytes_max)),
            batch_bytes,
            bypass_bytes: config.cache_bypass_bytes as u64,
            read_ahead_bytes: config.read_ahead_bytes as u64,
            batches: Recycled::default(),
            in_background: AtomicBool::new(false),
        }
    }

    /// Whether an access of so many bytes goes through the cache.
    pub(crate) fn takes(&self, bytes: u64) -> bool {
        self.is_on && bytes < self.bypass_bytes
    }

    pub(crate) fn read_ahead_bytes(&self) -> u64 {
        if self.is_on { self.read_ahead_bytes } else { 0 }
    }

    pub(crate) fn counters(&self) -> CacheCounters {
        self.blocks.lock().counters()
    }

    /// The counters as the session's heartbeats carry them.
    pub(crate) fn wire_counters(&self) -> v1::CacheCounters {
        self.counters().into()
    }

    pub(crate) fn open(&self, key: FileKey, boot: Boot, stripe_unit: u64) {
        self.blocks.lock().open(key, boot, stripe_unit);
    }

    pub(crate) fn resumed(&self, key: FileKey, boot: Boot) {
        self.blocks.lock().resumed(key, boot);
    }

    /// Nobody uses the file any more; what is dirty is lost.
    pub(crate) fn close(&self, key: FileKey) {
        self.blocks.lock().close(key);
        self.changed.notify_waiters();
    }

    /// A revoke's part that waits for nothing: forgets the clean bytes. False if something must be written back before.
    pub(crate) fn give_up_clean(&self, key: FileKey, ranges: &[Extent], downgrade: bool) -> bool {
        let mut blocks = self.blocks.lock();
        if ranges.iter().any(|range| blocks.is_pending(key, *range)) {
            return false;
        }
        if !downgrade {
            ranges.iter().for_each(|range| blocks.invalidate(key, *range));
        }
        true
    }

    /// Forgets the clean bytes of a range.
    pub(crate) fn invalidate(&self, key: FileKey, range: Extent) {
        if self.is_on {
            self.blocks.lock().invalidate(key, range);
        }
    }

    /// Whether bytes of the range are not at the servers.
    pub(crate) fn is_pending(&self, key: FileKey, range: Extent) -> bool {
        self.is_on && self.blocks.lock().is_pending(key, range)
    }

    /// Why bytes of the file were lost since this was last asked.
    pub(crate) fn take_error(&self, key: FileKey) -> Option<Error> {
        self.blocks.lock().take_error(key)
    }

    /// Copies what is there. The second says whether some of what is missing is on its way already.
    fn look(&self, key: FileKey, boot: Boot, range: Extent, out: &mut [u8], first: bool) -> (Read, bool) {
        let mut blocks = self.blocks.lock();
        let found = match first {
            true => blocks.read(key, boot, range, out),
            false => blocks.read_again(key, boot, range, out),
        };
        let filling = match &found {
            Read::Hit => false,
            Read::Miss(missing) => missing.iter().any(|part| blocks.is_filling(key, *part)),
        };
        (found, filling)
    }

    fn missing(&self, key: FileKey, boot: Boot, range: Extent) -> Vec<Extent> {
        let blocks = self.blocks.lock();
        match blocks.is_filling(key, range) {
            true => Vec::new(),
            false => blocks.missing(key, boot, range),
        }
    }

    fn block_bytes(&self) -> u64 {
        self.blocks.lock().block_bytes()
    }

    fn collect(&self, key: FileKey, boot: Boot, range: Extent, bytes: &[u8]) -> Write {
        self.blocks.lock().write(key, boot, range, bytes)
    }

    fn next_write_back(&self) -> Option<(FileKey, Extent)> {
        self.blocks.lock().next_write_back()
    }

    fn take_dirty(&self, key: FileKey, range: Extent) -> Option<Batch> {
        let mut memory = self.batches.take();
        let batch = self.blocks.lock().take_dirty(key, range, u64::from(self.batch_bytes), &mut memory);
        if batch.is_none() {
            self.batches.put_back(memory);
        }
        batch
    }

    /// Something has become of a batch.
    fn settle(&self, change: impl FnOnce(&mut BlockCache<Error>)) {
        change(&mut self.blocks.lock());
        self.changed.notify_waiters();
    }
}

/// Ranges that are on their way from the servers into the cache; nothing more of them comes when this is dropped.
#[derive(Debug)]
struct Filling<'a> {
    cache: &'a Cache,
    key: FileKey,
    fills: Vec<FillId>,
}

impl<'a> Filling<'a> {
    fn begin(cache: &'a Cache, key: FileKey, boot: Boot, ranges: &[Extent]) -> Filling<'a> {
        let mut blocks = cache.blocks.lock();
        let fills = ranges.iter().filter_map(|range| blocks.begin_fill(key, boot, *range)).collect();
        Filling { cache, key, fills }
    }

    /// The servers have answered.
    fn arrived(&self, parts: &[(Extent, Vec<u8>)]) {
        let mut blocks = self.cache.blocks.lock();
        for (fill, (range, bytes)) in self.fills.iter().zip(parts) {
            blocks.fill(self.key, *fill, *range, bytes);
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let mut blocks = self.cache.blocks.lock();
        self.fills.iter().for_each(|fill| blocks.end_fill(self.key, *fill));
        drop(blocks);
        self.cache.changed.notify_waiters();
    }
}
