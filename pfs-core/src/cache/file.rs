//! What is cached of one file under one holder's token.

use super::block::Block;
use super::spans::Span;
use crate::extent::{Extent, ExtentSet};
use crate::ids::Boot;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are on their way from the servers into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FillId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Fill {
    pub(super) range: Extent,
    /// Bytes that the servers did not have yet when they were asked, or that were changed or given up since: what they
    /// answer may be old.
    pub(super) overtaken: ExtentSet,
}

#[derive(Debug)]
pub(super) struct CachedFile<E> {
    /// All blocks were filled and dirtied under its stamps, or it took them over.
    pub(super) boot: Boot,
    pub(super) stripe_unit: u64,
    pub(super) blocks: BTreeMap<u64, Block>,
    /// Blocks with dirty bytes that are not on the way.
    pub(super) dirty: BTreeSet<u64>,
    /// Stripe units that were dirty as a whole when they were last looked at.
    pub(super) full_units: BTreeSet<u64>,
    pub(super) fills: BTreeMap<FillId, Fill>,
    /// Why bytes were lost, for the next sync or close.
    pub(super) error: Option<E>,
}

impl<E> CachedFile<E> {
    pub(super) fn new(boot: Boot, stripe_unit: u64) -> Self {
        CachedFile {
            boot,
            stripe_unit,
            blocks: BTreeMap::new(),
            dirty: BTreeSet::new(),
            full_units: BTreeSet::new(),
            fills: BTreeMap::new(),
            error: None,
        }
    }

    /// Bytes of the file change, or may be changed by others from now on.
    pub(super) fn overtake(&mut self, range: Extent) {
        for fill in self.fills.values_mut().filter(|fill| fill.range.overlaps(range)) {
            fill.overtaken.insert(range, ());
        }
    }

    /// The blocks that `range` touches and that are there.
    pub(super) fn indices(&self, range: Extent, block_bytes: u64) -> Vec<u64> {
        let (first, last) = (range.start() / block_bytes, (range.end() - 1) / block_bytes);
        self.blocks.range(first..=last).map(|(index, _)| *index).collect()
    }

    /// Notes which stripe units around `range`, which was just written, are dirty as a whole.
    pub(super) fn note_full_units(&mut self, range: Extent, block_bytes: u64) {
        let (first, last) = (range.start() / self.stripe_unit, (range.end() - 1) / self.stripe_unit);
        for unit in first..=last {
            if self.is_dirty(unit_range(unit, self.stripe_unit), block_bytes) {
                self.full_units.insert(unit);
            }
        }
    }

    pub(super) fn is_dirty(&self, range: Extent, block_bytes: u64) -> bool {
        pieces(range, block_bytes)
            .all(|(index, span, _)| self.blocks.get(&index).is_some_and(|block| block.is_dirty(span)))
    }
}

/// The bytes of a stripe unit.
pub(super) fn unit_range(unit: u64, stripe_unit: u64) -> Extent {
    let start = unit * stripe_unit;
    Extent::new(start, start.saturating_add(stripe_unit)).expect("a stripe unit has bytes")
}

/// Cuts a range at the edges of blocks: block, bytes of the block, bytes of the file.
pub(super) fn pieces(range: Extent, block_bytes: u64) -> impl Iterator<Item = (u64, Span, Extent)> {
    let (first, last) = (range.start() / block_bytes, (range.end() - 1) / block_bytes);
    (first..=last).filter_map(move |index| {
        let block = Extent::new(index * block_bytes, (index * block_bytes).saturating_add(block_bytes))?;
        let part = block.intersection(range)?;
        let at = |offset: u64| u32::try_from(offset - block.start()).expect("a block is less than 4 GiB");
        Some((index, (at(part.start()), at(part.end())), part))
    })
}

/// The bytes of the file that a span of a block is.
pub(super) fn extent_of(index: u64, span: Span, block_bytes: u64) -> Extent {
    let base = index * block_bytes;
    Extent::new(base + u64::from(span.0), base + u64::from(span.1)).expect("a span is not empty")
}
