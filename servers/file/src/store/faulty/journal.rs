//! What of one object is not durable, and what was there before.
//!
//! Invariants: `changes` has every write and hole since the last commit, in order, each with the bytes that it has
//! replaced, also those that have failed; nothing that lies past a later truncation. Bytes that a failed commit has lost are
//! in `lost` until they are written again or cut off.

use crate::store::ObjectStatus;
use crate::store::disk::{Chance, SECTOR_BYTES};
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::{Extent, ExtentSet, ObjectOffset};
use pfs_proto::data::ObjectExtent;
use rustix::io::Errno;
use std::collections::BTreeSet;

/// The journal of one object.
#[derive(Debug)]
pub(super) struct Journal {
    /// Whether the object's name is durable.
    is_named: bool,
    /// The durable length.
    length: u64,
    changes: Vec<Change>,
    lost: ExtentSet,
    failure: Errno,
}

#[derive(Debug)]
struct Change {
    extent: ObjectExtent,
    old: Vec<u8>,
}

/// What makes an object what a loss of power has left.
#[derive(Debug)]
pub(super) struct Left {
    /// To be written, in this order.
    pub(super) old: Vec<(ObjectExtent, Vec<u8>)>,
    /// What lies past it is gone.
    pub(super) length: u64,
}

fn range(extent: ObjectExtent) -> Extent {
    Extent::new(extent.offset().0, extent.end().0).expect("an extent has bytes")
}

impl Journal {
    /// Of an object that was not used before, and is durable if it is there.
    pub(super) fn of(status: Option<ObjectStatus>) -> Self {
        Journal {
            is_named: status.is_some(),
            length: status.map_or(0, |status| status.length),
            changes: Vec::new(),
            lost: ExtentSet::new(),
            failure: Errno::IO,
        }
    }

    /// To be called before bytes are replaced, with what they are.
    pub(super) fn note(&mut self, extent: ObjectExtent, old: Vec<u8>) {
        self.changes.push(Change { extent, old });
    }

    /// These bytes are new.
    pub(super) fn written(&mut self, extents: &[ObjectExtent]) {
        extents.iter().for_each(|extent| self.lost.remove(range(*extent)));
    }

    /// Everything from `length` on was cut away, for good.
    pub(super) fn cut(&mut self, length: u64) {
        self.length = length;
        self.changes.retain_mut(|change| change.cut(length));
        if let Some(gone) = Extent::new(length, u64::MAX) {
            self.lost.remove(gone);
        }
    }

    /// All of the object is durable.
    pub(super) fn durable(&mut self, length: u64) {
        (self.is_named, self.length) = (true, length);
        self.changes.clear();
    }

    /// A commit has lost everything that was not durable.
    pub(super) fn lose(&mut self, errno: Errno) {
        self.failure = errno;
        self.changes.iter().for_each(|change| self.lost.insert(range(change.extent), ()));
    }

    /// The first lost byte, how many there are, and what the disk has said.
    pub(super) fn loss(&self) -> Option<(u64, u64, Errno)> {
        let first = self.lost.extents().next()?;
        Some((first.start(), self.lost.extents().map(Extent::len).sum(), self.failure))
    }

    /// The first of these extents with a lost byte.
    pub(super) fn first_lost(&self, extents: &[ObjectExtent]) -> Option<ObjectExtent> {
        extents.iter().copied().find(|extent| self.lost.overlapping(range(*extent)).next().is_some())
    }

    /// The blocks with lost bytes, in order.
    pub(super) fn lost_blocks(&self) -> BTreeSet<u64> {
        let blocks = |lost: Extent| lost.start() / BLOCK_BYTES..lost.end().div_ceil(BLOCK_BYTES);
        self.lost.extents().flat_map(blocks).collect()
    }

    /// Whether the object's name is durable.
    pub(super) fn is_named(&self) -> bool {
        self.is_named
    }

    /// What a loss of power leaves: a sector has what it had at the last commit, or after any later change of it.
    pub(super) fn left(&self, chance: &mut Chance<'_>) -> Left {
        let (mut old, mut length, mut settled) = (Vec::new(), self.length, BTreeSet::new());
        for change in self.changes.iter().rev() {
            for (sector, extent, bytes) in change.sectors() {
                if settled.contains(&sector) {
                    continue;
                }
                if chance.survives() {
                    settled.insert(sector);
                    length = length.max(extent.end().0);
                } else {
                    old.push((extent, bytes.to_vec()));
                }
            }
        }
        Left { old, length }
    }
}

impl Change {
    /// False: nothing of it is left.
    fn cut(&mut self, length: u64) -> bool {
        let left = length.saturating_sub(self.extent.offset().0).min(self.extent.length());
        self.old.truncate(usize::try_from(left).expect("no longer than it was"));
        ObjectExtent::new(self.extent.offset(), left).map(|left| self.extent = left).is_some()
    }

    /// Its parts in each sector, with the sectors' numbers.
    fn sectors(&self) -> impl Iterator<Item = (u64, ObjectExtent, &[u8])> {
        let (start, end) = (self.extent.offset().0, self.extent.end().0);
        (start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).map(move |sector| {
            let (from, to) = (start.max(sector * SECTOR_BYTES), end.min((sector + 1) * SECTOR_BYTES));
            let extent = ObjectExtent::new(ObjectOffset(from), to - from).expect("a sector of the extent");
            (sector, extent, &self.old[(from - start) as usize..(to - start) as usize])
        })
    }
}
