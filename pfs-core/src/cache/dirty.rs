//! The way of dirty bytes to the servers: dirty → on the way → clean, or dirty again when they were written meanwhile.

use super::file::{CachedFile, extent_of, pieces, unit_range};
use super::spans::Spans;
use super::{BlockCache, FileKey};
use crate::extent::Extent;

/// Dirty bytes that were taken out to be written. It must come back by [`BlockCache::written`],
/// [`BlockCache::put_back`] or [`BlockCache::failed`].
#[derive(Debug)]
#[must_use = "the bytes are on their way until the cache is told what became of them"]
pub struct Batch {
    key: FileKey,
    blocks: Vec<(u64, Spans)>,
    extents: Vec<Extent>,
    bytes: Vec<u8>,
}

impl Batch {
    /// Whose it is.
    pub fn key(&self) -> FileKey {
        self.key
    }

    /// What it covers: disjoint, in order, no two that touch.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.extents.iter().copied()
    }

    /// The extents with their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (Extent, &[u8])> {
        let mut rest = &self.bytes[..];
        self.extents.iter().map(move |extent| {
            let (bytes, after) = rest.split_at(usize::try_from(extent.len()).expect("a part of a buffer"));
            rest = after;
            (*extent, bytes)
        })
    }

    /// The bytes of the extents, one after the other; once.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn add(&mut self, extent: Extent, bytes: &[u8]) {
        match self.extents.last_mut() {
            Some(last) if last.end() == extent.start() => *last = last.hull(extent),
            _ => self.extents.push(extent),
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl<E: Clone> BlockCache<E> {
    /// What should be written back now, without anybody asking for it: stripe units that are dirty as a whole, and when
    /// more than half of the room is taken by dirty blocks, the first of the file that has most of them.
    pub fn next_write_back(&mut self) -> Option<(FileKey, Extent)> {
        let block_bytes = self.block_bytes;
        for (key, file) in &mut self.files {
            while let Some(unit) = file.full_units.first().copied() {
                let range = unit_range(unit, file.stripe_unit);
                if file.is_dirty(range, block_bytes) {
                    return Some((*key, range));
                }
                file.full_units.remove(&unit);
            }
        }
        let dirty: u64 = self.files.values().map(|file| file.dirty.len() as u64).sum();
        if dirty * 2 <= self.capacity_bytes / block_bytes {
            return None;
        }
        let takeable = |file: &CachedFile<E>| file.dirty.len();
        let (key, file) = self.files.iter().max_by_key(|(_, file)| takeable(file))?;
        let first = *file.dirty.first()?;
        let block = extent_of(first, (0, super::block_end(block_bytes)), block_bytes);
        let unit = unit_range(block.start() / file.stripe_unit, file.stripe_unit);
        Some((*key, unit.hull(block)))
    }

    /// Takes dirty bytes of `range` out to be written, about `bytes_max` of them at most: stripe units that are dirty as a
    /// whole first. They are copied into `memory`, which the batch takes over. Nothing when there is nothing dirty that is not
    /// on its way.
    pub fn take_dirty(&mut self, key: FileKey, range: Extent, bytes_max: u64, memory: &mut Vec<u8>) -> Option<Batch> {
        let block_bytes = self.block_bytes;
        let file = self.files.get_mut(&key)?;
        let stripe_unit = file.stripe_unit;
        let inside: Vec<u64> =
            file.full_units.iter().copied().filter(|unit| range.contains(unit_range(*unit, stripe_unit))).collect();
        let mut full = Vec::new();
        for unit in inside {
            file.full_units.remove(&unit);
            let unit = unit_range(unit, stripe_unit);
            if file.is_dirty(unit, block_bytes) {
                full.push(unit);
            }
            if full.iter().map(|unit| unit.len()).sum::<u64>() >= bytes_max {
                break;
            }
        }
        memory.clear();
        let mut batch = Batch { key, blocks: Vec::new(), extents: Vec::new(), bytes: std::mem::take(memory) };
        let mut taken = 0;
        for range in if full.is_empty() { vec![range] } else { full } {
            taken += self.take_into(&mut batch, range, bytes_max.saturating_sub(taken).max(1));
        }
        if batch.extents.is_empty() {
            *memory = batch.take_bytes();
            return None;
        }
        Some(batch)
    }

    fn take_into(&mut self, batch: &mut Batch, range: Extent, bytes_max: u64) -> u64 {
        let block_bytes = self.block_bytes;
        let (first, last) = (range.start() / block_bytes, (range.end() - 1) / block_bytes);
        let indices: Vec<u64> = self.file_mut(batch.key).dirty.range(first..=last).copied().collect();
        let mut taken = 0;
        for index in indices {
            if taken >= bytes_max {
                break;
            }
            let whole = extent_of(index, (0, super::block_end(block_bytes)), block_bytes);
            let part = whole.intersection(range).expect("a block of the range");
            let (_, span, _) = pieces(part, block_bytes).next().expect("a part has bytes");
            let mut spans = Spans::default();
            self.change(batch.key, index, |block| spans = block.take_dirty(span));
            if spans.is_empty() {
                continue;
            }
            let block = self.block_mut(batch.key, index);
            for span in spans.iter() {
                batch.add(extent_of(index, span, block_bytes), block.bytes_of(span));
            }
            taken += spans.bytes();
            batch.blocks.push((index, spans));
        }
        taken
    }

    /// The servers have the bytes.
    pub fn written(&mut self, batch: Batch) {
        for (index, spans) in batch.blocks {
            self.change(batch.key, index, |block| block.written(&spans));
        }
    }

    /// The bytes must be written again.
    pub fn put_back(&mut self, batch: Batch) {
        for (index, spans) in batch.blocks {
            self.change(batch.key, index, |block| block.put_back(&spans));
        }
    }

    /// The bytes will never get to the servers: they are dropped, and the next [`take_error`](Self::take_error) says why
    /// (rule 8).
    pub fn failed(&mut self, batch: Batch, error: E) {
        for (index, spans) in batch.blocks {
            self.change(batch.key, index, |block| block.drop_failed(&spans));
        }
        if let Some(file) = self.files.get_mut(&batch.key) {
            file.error.get_or_insert(error);
        }
    }

    /// Why bytes of the file were lost since this was last asked.
    pub fn take_error(&mut self, key: FileKey) -> Option<E> {
        self.files.get_mut(&key)?.error.take()
    }

    /// Whether some of `range` is not at the servers yet.
    pub fn is_pending(&self, key: FileKey, range: Extent) -> bool {
        let Some(file) = self.files.get(&key) else { return false };
        file.indices(range, self.block_bytes).into_iter().any(|index| {
            let whole = extent_of(index, (0, super::block_end(self.block_bytes)), self.block_bytes);
            let part = whole.intersection(range).expect("a block of the range");
            pieces(part, self.block_bytes).all(|(_, span, _)| file.blocks[&index].is_pending(span))
        })
    }

    /// Whether some of `range` is dirty and not on its way.
    pub fn has_dirty(&self, key: FileKey, range: Extent) -> bool {
        let (first, last) = (range.start() / self.block_bytes, (range.end() - 1) / self.block_bytes);
        let Some(file) = self.files.get(&key) else { return false };
        file.dirty.range(first..=last).any(|index| {
            let whole = extent_of(*index, (0, super::block_end(self.block_bytes)), self.block_bytes);
            let part = whole.intersection(range).expect("a block of the range");
            pieces(part, self.block_bytes).all(|(_, span, _)| file.blocks[index].has_dirty(span))
        })
    }
}
