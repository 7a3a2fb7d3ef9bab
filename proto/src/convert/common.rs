//! Types that every service shares.

use super::{Contradiction, ConvertError, Problem, Result, bounded, each, id, ids, nested, required};
use crate::v1;
use pfs_core::cache::CacheCounters;
use pfs_core::extent::{Extent, INFINITY, MAX_FILE_BYTES};
use pfs_core::ids::{Boot, ClientId, GroupId, Holder, ServerId, Stamp};
use pfs_core::layout::{Recipe, STRIPE_COUNT_MAX, StripeSlot};
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::FileSize;

/// Most servers that store one slot.
const REPLICAS_MAX: usize = 16;

impl TryFrom<v1::FileRange> for Extent {
    type Error = ConvertError;

    fn try_from(range: v1::FileRange) -> Result<Self> {
        let v1::FileRange { start, end } = range;
        let bounded = end == INFINITY || end <= MAX_FILE_BYTES;
        Extent::new(start, end).filter(|_| bounded).ok_or_else(|| ConvertError::new("", Problem::Range { start, end }))
    }
}

impl From<Extent> for v1::FileRange {
    fn from(extent: Extent) -> Self {
        v1::FileRange { start: extent.start(), end: extent.end() }
    }
}

impl TryFrom<v1::RangePattern> for RangePattern {
    type Error = ConvertError;

    fn try_from(pattern: v1::RangePattern) -> Result<Self> {
        RangePattern::new(pattern.start, pattern.length, pattern.stride, pattern.count)
            .map_err(|error| ConvertError::new("", error))
    }
}

impl From<RangePattern> for v1::RangePattern {
    fn from(pattern: RangePattern) -> Self {
        v1::RangePattern {
            start: pattern.start(),
            length: pattern.length(),
            stride: pattern.stride(),
            count: pattern.count(),
        }
    }
}

impl TryFrom<v1::Holder> for Holder {
    type Error = ConvertError;

    fn try_from(holder: v1::Holder) -> Result<Self> {
        match required(holder.kind, "kind")? {
            v1::holder::Kind::Client(number) => id(number, "client", ClientId::new).map(Holder::Client),
            v1::holder::Kind::Group(number) => id(number, "group", GroupId::new).map(Holder::Group),
        }
    }
}

impl From<Holder> for v1::Holder {
    fn from(holder: Holder) -> Self {
        let kind = match holder {
            Holder::Client(id) => v1::holder::Kind::Client(id.get()),
            Holder::Group(id) => v1::holder::Kind::Group(id.get()),
        };
        v1::Holder { kind: Some(kind) }
    }
}

impl TryFrom<v1::Stamp> for Stamp {
    type Error = ConvertError;

    fn try_from(stamp: v1::Stamp) -> Result<Self> {
        let boot = id(stamp.boot, "boot", Boot::new)?;
        let holder = nested(stamp.holder, "holder")?;
        let incarnation = id(stamp.incarnation, "incarnation", ClientId::new)?;
        match holder {
            Holder::Client(client) if client != incarnation => {
                Err(ConvertError::new("incarnation", Problem::Contradiction(Contradiction::Stamp)))
            }
            _ => Ok(Stamp { boot, holder, incarnation }),
        }
    }
}

impl From<Stamp> for v1::Stamp {
    fn from(stamp: Stamp) -> Self {
        v1::Stamp { boot: stamp.boot.get(), holder: Some(stamp.holder.into()), incarnation: stamp.incarnation.get() }
    }
}

impl TryFrom<v1::Recipe> for Recipe {
    type Error = ConvertError;

    fn try_from(recipe: v1::Recipe) -> Result<Self> {
        let slots: Vec<Slot> = each(recipe.slots, "slots", STRIPE_COUNT_MAX)?;
        Recipe::new(recipe.stripe_unit, slots.into_iter().map(|slot| slot.0).collect())
            .map_err(|error| ConvertError::new("", error))
    }
}

impl From<&Recipe> for v1::Recipe {
    fn from(recipe: &Recipe) -> Self {
        let slot = |servers: &StripeSlot| v1::StripeSlot { server_ids: servers.iter().map(|id| id.get()).collect() };
        v1::Recipe { stripe_unit: recipe.stripe_unit(), slots: recipe.slots().iter().map(slot).collect() }
    }
}

struct Slot(StripeSlot);

impl TryFrom<v1::StripeSlot> for Slot {
    type Error = ConvertError;

    fn try_from(slot: v1::StripeSlot) -> Result<Self> {
        let servers = ids(slot.server_ids, "server_ids", REPLICAS_MAX, ServerId::new)?;
        Ok(Slot(servers.into_iter().collect()))
    }
}

impl TryFrom<v1::FileSize> for FileSize {
    type Error = ConvertError;

    fn try_from(size: v1::FileSize) -> Result<Self> {
        Ok(FileSize {
            generation: bounded(size.generation, "generation", 1, u64::MAX)?,
            bytes: bounded(size.bytes, "bytes", 0, MAX_FILE_BYTES)?,
        })
    }
}

impl From<FileSize> for v1::FileSize {
    fn from(size: FileSize) -> Self {
        v1::FileSize { bytes: size.bytes, generation: size.generation }
    }
}

impl From<CacheCounters> for v1::CacheCounters {
    fn from(counters: CacheCounters) -> Self {
        v1::CacheCounters {
            read_hits: counters.read_hits,
            read_misses: counters.read_misses,
            write_hits: counters.write_hits,
            write_misses: counters.write_misses,
            evictions: counters.evictions,
            write_backs: counters.write_backs,
            invalidations: counters.invalidations,
            close_write_backs: counters.close_write_backs,
            close_evictions: counters.close_evictions,
            cached_bytes: counters.cached_bytes,
            dirty_bytes: counters.dirty_bytes,
        }
    }
}
