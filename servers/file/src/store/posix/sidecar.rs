//! The checksum file of an object.
//!
//! ```text
//! 000000000000002a.0003.sums       4 bytes for each 4,096 bytes of the object, little-endian (`sum.rs`)
//! 000000000000002a.0003.sums-new   the same before the object's first commit
//! ```
//!
//! Invariants:
//! * the file gets its name `.sums` after its content and the object's bytes are durable. So an object without it was never
//!   committed, or the store is damaged: after a store was shut down in order, every object has one;
//! * the file is changed by who holds its lock; the lock comes before that of any unit;
//! * what the file has past [`Sidecar::kept_bytes`] is of no worth, and cut off before the file is written again;
//! * nothing of a removed object is made again.

use super::super::disk::{Disk, DiskFile};
use super::super::sum::{SUM_BYTES, StoredSum};
use super::bucket::Bucket;
use super::table::{SumTable, Sums, UNIT_BLOCKS, UNIT_SUM_BYTES, Wait};
use super::{Shared, fetch};
use parking_lot::{Mutex, MutexGuard};
use pfs_core::ids::ObjectId;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most neighbouring units that are written with one call.
const UNITS_PER_WRITE_MAX: usize = 1024;

/// Space is taken ahead in pieces of at least the first size, and at most the second.
const RESERVE_BYTES_MIN: u64 = 4096;
const RESERVE_BYTES_MAX: u64 = 16 * RESERVE_BYTES_MIN;

/// The checksum file of one open object.
#[derive(Debug)]
pub(super) struct Sidecar<D: Disk> {
    object: ObjectId,
    bucket: Arc<Bucket<D>>,
    shared: Arc<Shared<D>>,
    /// Nothing if it should be there, and is not.
    file: Option<D::File>,
    kept_bytes: AtomicU64,
    /// Up to here there is space, but for holes.
    reserved_bytes: AtomicU64,
    is_removed: AtomicBool,
    /// Whether the file has its final name: the object was committed.
    is_named: AtomicBool,
    state: Mutex<State>,
}

/// What changes under the lock.
#[derive(Debug)]
pub(super) struct State {
    /// Bytes to which the file has to be cut.
    cut: Option<u64>,
}

impl<D: Disk> Sidecar<D> {
    /// That of an object that was made just now.
    pub(super) fn early(object: ObjectId, file: D::File, bucket: Arc<Bucket<D>>, shared: Arc<Shared<D>>) -> Self {
        Self::new(object, Some(file), false, 0, bucket, shared)
    }

    /// That of an object that was committed. The caller holds the bucket's names.
    pub(super) fn open(object: ObjectId, bucket: Arc<Bucket<D>>, shared: Arc<Shared<D>>) -> io::Result<Self> {
        match bucket.open_sums(object) {
            Ok(file) => {
                let kept_bytes = file.status()?.length;
                Ok(Self::new(object, Some(file), true, kept_bytes, bucket, shared))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::new(object, None, true, 0, bucket, shared)),
            Err(error) => Err(error),
        }
    }

    fn new(
        object: ObjectId,
        file: Option<D::File>,
        is_named: bool,
        kept_bytes: u64,
        bucket: Arc<Bucket<D>>,
        shared: Arc<Shared<D>>,
    ) -> Self {
        Sidecar {
            object,
            bucket,
            shared,
            file,
            kept_bytes: AtomicU64::new(kept_bytes),
            reserved_bytes: AtomicU64::new(kept_bytes),
            is_removed: AtomicBool::new(false),
            is_named: AtomicBool::new(is_named),
            state: Mutex::new(State { cut: None }),
        }
    }

    /// Where the file lies, once the object was committed.
    pub(super) fn path(&self) -> PathBuf {
        self.bucket.sums_path(self.object)
    }

    /// Whether the object was committed.
    pub(super) fn is_named(&self) -> bool {
        self.is_named.load(Ordering::Relaxed)
    }

    /// Whether the file should be there and is not.
    pub(super) fn is_missing(&self) -> bool {
        self.file.is_none()
    }

    fn file(&self) -> io::Result<&D::File> {
        self.file.as_ref().ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the checksum file is missing"))
    }

    /// To be called under the bucket's names, when the object's files are unlinked.
    pub(super) fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// Keeps the file as it is.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Fills in a unit from the file; false if that would have to wait.
    pub(super) fn load(&self, unit: u64, sums: &mut Sums, wait: Wait) -> io::Result<bool> {
        let start = unit * UNIT_SUM_BYTES;
        let kept = self.kept_bytes.load(Ordering::Relaxed).saturating_sub(start).min(UNIT_SUM_BYTES);
        let file = self.file()?;
        if kept == 0 {
            return Ok(true);
        }
        let mut bytes = [0; UNIT_SUM_BYTES as usize];
        let into = &mut bytes[..usize::try_from(kept).expect("at most a unit")];
        if fetch(file, into, start, self.shared.is_in_memory, wait)?.is_none() {
            return Ok(false);
        }
        decode(&bytes, sums);
        Ok(true)
    }

    /// Writes changed checksums back and makes them durable; at the object's first commit also gives the file its name,
    /// after `before_naming`. The object's bytes are durable already.
    pub(super) fn sync(&self, table: &SumTable, before_naming: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut state = self.state.lock();
        let dirty = table.take_dirty();
        let written = self.write_back(file, &mut state, &dirty).and_then(|()| match self.is_named() {
            true => Ok(()),
            false => before_naming().and_then(|()| self.give_name()),
        });
        written.inspect_err(|_| table.keep_dirty(&dirty))
    }

    fn write_back(&self, file: &D::File, state: &mut State, dirty: &[(u64, Box<Sums>)]) -> io::Result<()> {
        if dirty.is_empty() && state.cut.is_none() {
            return Ok(());
        }
        if let Some(cut) = state.cut
            && file.status()?.length > cut
        {
            file.set_len(cut)?;
        }
        for run in dirty.chunk_by(|(this, _), (next, _)| this + 1 == *next) {
            for units in run.chunks(UNITS_PER_WRITE_MAX) {
                let bytes: Vec<u8> = units.iter().flat_map(|(_, sums)| encode(sums)).collect();
                file.write_all(&bytes, units[0].0 * UNIT_SUM_BYTES)?;
            }
        }
        file.sync_data()?;
        state.cut = None;
        let end = dirty.last().map_or(0, |(unit, _)| (unit + 1) * UNIT_SUM_BYTES);
        self.kept_bytes.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    fn give_name(&self) -> io::Result<()> {
        let _names = self.bucket.names();
        if !self.is_removed.load(Ordering::Relaxed) {
            self.bucket.name_sums(self.object)?;
        }
        self.is_named.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Cuts the file, some time before it is written again.
    pub(super) fn cut(&self, state: &mut State, blocks: u64) {
        let cut = blocks * SUM_BYTES;
        state.cut = Some(state.cut.map_or(cut, |earlier| earlier.min(cut)));
        self.kept_bytes.fetch_min(cut, Ordering::Relaxed);
        self.reserved_bytes.fetch_min(cut, Ordering::Relaxed);
    }

    /// Takes space for a unit that is about to change, so that writing it back will not find the disk full. Neighbours
    /// get theirs ahead. To be called by who holds the unit.
    pub(super) fn reserve(&self, unit: u64) -> io::Result<()> {
        let end = (unit + 1) * UNIT_SUM_BYTES;
        let reserved = self.reserved_bytes.load(Ordering::Relaxed);
        if end <= reserved {
            return Ok(());
        }
        let page = end - UNIT_SUM_BYTES - (end - UNIT_SUM_BYTES) % RESERVE_BYTES_MIN;
        let bytes = match page <= reserved {
            true => (reserved / 2).next_multiple_of(RESERVE_BYTES_MIN).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX),
            false => RESERVE_BYTES_MIN,
        };
        match self.file()?.allocate(page, bytes) {
            // Then a full disk is told by the commit.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            other => other?,
        }
        if page <= reserved {
            self.reserved_bytes.fetch_max(page + bytes, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes space for the checksums of all blocks before this one.
    pub(super) fn allocate(&self, blocks: u64) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.allocate(0, blocks * SUM_BYTES))
    }

    /// What the file has of a unit now. To be called under its lock, for a unit that is not dirty.
    pub(super) fn read(&self, unit: u64) -> io::Result<Box<Sums>> {
        let mut sums = Box::new([StoredSum::HOLE; UNIT_BLOCKS]);
        self.load(unit, &mut sums, Wait::Allowed)?;
        Ok(sums)
    }

    /// Drops what the file has too, unless it is just being written.
    pub(super) fn drop_clean(&self, table: &SumTable) {
        if let Some(_state) = self.state.try_lock() {
            table.drop_clean();
        }
    }

    /// The first unit from this one on for which the file may have something.
    pub(super) fn next_unit(&self, unit: u64) -> io::Result<Option<u64>> {
        let Some(file) = &self.file else { return Ok(None) };
        Ok(file.next_data(unit * UNIT_SUM_BYTES)?.map(|byte| (byte / UNIT_SUM_BYTES).max(unit)))
    }
}

/// A unit as it is in the file.
pub(super) fn encode(sums: &Sums) -> impl Iterator<Item = u8> + '_ {
    sums.iter().flat_map(|sum| sum.to_bytes())
}

/// A unit as it was in the file.
pub(super) fn decode(bytes: &[u8], sums: &mut Sums) {
    for (sum, bytes) in sums.iter_mut().zip(bytes.chunks_exact(SUM_BYTES as usize)) {
        *sum = StoredSum::from_bytes(bytes.try_into().expect("a chunk of that length"));
    }
}
