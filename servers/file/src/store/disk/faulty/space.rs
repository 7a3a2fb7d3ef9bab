//! Room for some more blocks, and who has taken which.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

const BLOCK_BYTES: u64 = 4096;

/// Counts blocks. Those that a file had before there was a count are taken anew when they are written.
#[derive(Debug)]
pub(super) struct Space {
    free: u64,
    taken: BTreeMap<PathBuf, BTreeSet<u64>>,
}

fn blocks(offset: u64, length: u64) -> Range<u64> {
    offset / BLOCK_BYTES..offset.saturating_add(length).div_ceil(BLOCK_BYTES)
}

impl Space {
    pub(super) fn new(blocks: u64) -> Self {
        Space { free: blocks, taken: BTreeMap::new() }
    }

    /// Takes the blocks of a write in order, and tells how many of its bytes have room.
    pub(super) fn take(&mut self, path: &Path, offset: u64, count: usize) -> usize {
        let Space { free, taken } = self;
        let taken = taken.entry(path.to_owned()).or_default();
        for block in blocks(offset, count as u64) {
            if taken.contains(&block) {
                continue;
            }
            if *free == 0 {
                return usize::try_from((block * BLOCK_BYTES).saturating_sub(offset)).unwrap_or(count);
            }
            *free -= 1;
            taken.insert(block);
        }
        count
    }

    /// Takes all blocks, or none if there is no room for all.
    pub(super) fn take_all(&mut self, path: &Path, offset: u64, length: u64) -> bool {
        let taken = self.taken.entry(path.to_owned()).or_default();
        let new = blocks(offset, length).filter(|block| !taken.contains(block)).count() as u64;
        if new > self.free {
            return false;
        }
        self.free -= new;
        taken.extend(blocks(offset, length));
        true
    }

    /// Gives back the blocks that lie wholly in the range.
    pub(super) fn give_back(&mut self, path: &Path, offset: u64, end: u64) {
        let whole = offset.div_ceil(BLOCK_BYTES)..(end / BLOCK_BYTES).max(offset.div_ceil(BLOCK_BYTES));
        if let Some(taken) = self.taken.get_mut(path) {
            let before = taken.len();
            taken.retain(|block| !whole.contains(block));
            self.free += (before - taken.len()) as u64;
        }
    }
}
