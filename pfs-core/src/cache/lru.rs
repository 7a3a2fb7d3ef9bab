//! The order in which clean blocks make room.
//!
//! Invariant: every clean block has one entry, and its time is at most that of the block's last use. So the first entry
//! whose time is its block's own is the block that was not used for longest.

use super::FileKey;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Order {
    now: u64,
    entries: BTreeMap<u64, (FileKey, u64)>,
}

impl Order {
    /// A new moment.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Puts a block where its last use belongs; returns that moment.
    pub(super) fn push(&mut self, used: u64, key: FileKey, index: u64) {
        self.entries.insert(used, (key, index));
    }

    /// The earliest entry.
    pub(super) fn pop(&mut self) -> Option<(u64, FileKey, u64)> {
        self.entries.pop_first().map(|(used, (key, index))| (used, key, index))
    }

    pub(super) fn remove(&mut self, used: u64) {
        self.entries.remove(&used);
    }
}
