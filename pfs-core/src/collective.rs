//! The collective planner: who sends which bytes to whom, and who reads or writes them at the servers.
//!
//! A plan is a pure value made from what every rank knows after the ranges were exchanged, so all ranks make the
//! same one. There are two ways:
//!
//! * **direct**: every rank moves its own bytes to or from the servers; no byte crosses between ranks;
//! * **exchange**: the file is cut into *windows* that never cross a stripe unit's edge. All windows of one slot
//!   belong to the same few *aggregators*, so a server talks to few ranks and always the same. The ranks send
//!   their bytes to the aggregators (or get them from there) in rounds.
//!
//! Invariants:
//! * every byte that any rank writes is written exactly once, with the bytes of the highest rank that has it;
//! * every byte of every rank's read arrives, and no byte is read from the servers twice in an exchange;
//! * in one round an aggregator holds at most `cb_buffer_size` bytes;
//! * what a rank reads or writes at the servers lies inside the plan's token ranges, and these have at most
//!   [`TOKEN_PATTERNS_MAX`] patterns.

mod exchange;
mod tokens;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;

use crate::extent::{Extent, ExtentMap, ExtentSet, FileOffset, MAX_FILE_BYTES};
use crate::hints::{Hints, Switch};
use crate::layout::Recipe;
use crate::pattern::RangePattern;

pub use exchange::{Exchange, Message, Round};
pub use tokens::TOKEN_PATTERNS_MAX;

/// Contiguous runs of at least this many bytes (or of a stripe unit, if that is less) are worth a request of
/// their own: about where a request's fixed cost equals the cost of moving its bytes.
pub const DIRECT_BYTES_MIN: u64 = 64 << 10;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the ranks to the servers.
    Write,
    /// From the servers to the ranks.
    Read,
}

/// What one rank brings to a collective access. A length of 0 takes part without bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankRange {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A run of bytes that one rank moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The bytes in the file.
    pub extent: Extent,
    /// The rank whose buffer they are in.
    pub rank: u32,
}

/// How the bytes get to the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every rank moves its own.
    Direct,
    /// Aggregators move them for all.
    Exchange(Exchange),
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A range that no file can have.
    #[error(
        "rank {rank} asks for {length} bytes at offset {offset}, which ends past the largest file offset, {MAX_FILE_BYTES}"
    )]
    BeyondLimits {
        /// Who asked.
        rank: u32,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
}

/// A collective access of all ranks, planned. The same on every rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectivePlan {
    direction: Direction,
    /// Sorted by start, then rank; disjoint when writing.
    parts: Vec<Part>,
    method: Method,
    tokens: Vec<RangePattern>,
}

impl CollectivePlan {
    /// Plans the access in which rank `i` has `ranges[i]`.
    pub fn new(
        direction: Direction,
        ranges: &[RankRange],
        recipe: &Recipe,
        hints: &Hints,
    ) -> Result<CollectivePlan, PlanError> {
        let wanted = checked(ranges)?;
        let parts = settle(direction, wanted);
        let union: ExtentSet = parts.iter().map(|part| part.extent).collect();
        let method = if wants_exchange(direction, &parts, &union, recipe, hints) {
            let ranks = u32::try_from(ranges.len()).expect("MPI counts ranks in an int");
            Method::Exchange(Exchange::new(&union, recipe, hints, ranks))
        } else {
            Method::Direct
        };
        Ok(CollectivePlan { direction, parts, method, tokens: tokens::patterns(&union) })
    }

    /// Which way the bytes go.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// How they go.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Who moves which bytes after overlaps were settled, by offset.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The ranges for which the group must hold the token, in order.
    pub fn tokens(&self) -> &[RangePattern] {
        &self.tokens
    }

    /// From the first byte of all ranks to the last; nothing when no rank has any.
    pub fn hull(&self) -> Option<Extent> {
        self.parts.iter().map(|part| part.extent).reduce(Extent::hull)
    }

    /// What `rank` must hold the token for while it reads or writes at the servers, in order: the token ranges
    /// between its first byte there and its last.
    pub fn needs(&self, rank: u32) -> Vec<Extent> {
        let own = match &self.method {
            Method::Direct => self.direct(rank).reduce(Extent::hull),
            Method::Exchange(exchange) => exchange.domain_hull(rank),
        };
        let Some(own) = own else { return Vec::new() };
        self.tokens.iter().flat_map(|pattern| pattern.extents()).filter_map(|extent| extent.intersection(own)).collect()
    }

    /// Exactly what `rank` itself reads or writes at the servers, in order. Of a write, no two ranks have a byte in common.
    pub fn share(&self, rank: u32) -> Vec<Extent> {
        let own: ExtentSet = match &self.method {
            Method::Direct => self.direct(rank).collect(),
            Method::Exchange(exchange) => exchange.served_by(rank, &self.parts).collect(),
        };
        own.extents().collect()
    }

    /// The same as patterns. If there would be many, those of an exchange name whole windows, of which no two ranks have
    /// a byte in common either.
    pub fn share_patterns(&self, rank: u32) -> Vec<RangePattern> {
        let exact = tokens::regular(&self.share(rank));
        match &self.method {
            Method::Exchange(exchange) if exact.len() > TOKEN_PATTERNS_MAX => {
                let hull = self.hull();
                let windows: ExtentSet = exchange.windows_of(rank).filter_map(|w| w.intersection(hull?)).collect();
                tokens::regular(&windows.extents().collect::<Vec<_>>())
            }
            _ => exact,
        }
    }

    /// What `rank` itself reads or writes at the servers when the plan is direct, in order.
    pub fn direct(&self, rank: u32) -> impl Iterator<Item = Extent> + '_ {
        self.parts.iter().filter(move |part| part.rank == rank).map(|part| part.extent)
    }

    /// What `rank` does in each round of an exchange; nothing when the plan is direct.
    pub fn rounds(&self, rank: u32) -> Vec<Round> {
        match &self.method {
            Method::Direct => Vec::new(),
            Method::Exchange(exchange) => exchange.rounds_of(rank, &self.parts),
        }
    }

    /// The same plan without the bytes at or past `file_bytes`: what there is to read in a file of that size.
    pub fn clamped(mut self, file_bytes: u64) -> CollectivePlan {
        let keep = Extent::new(0, file_bytes);
        let cut = |part: &Part| Some(Part { extent: part.extent.intersection(keep?)?, rank: part.rank });
        self.parts = self.parts.iter().filter_map(cut).collect();
        self
    }
}

/// The extents of all ranks that have bytes, by rank.
fn checked(ranges: &[RankRange]) -> Result<Vec<Part>, PlanError> {
    let mut parts = Vec::with_capacity(ranges.len());
    for (rank, range) in (0u32..).zip(ranges) {
        if range.length == 0 {
            continue;
        }
        let refused = PlanError::BeyondLimits { rank, offset: range.offset, length: range.length };
        let extent = Extent::with_length(FileOffset(range.offset), range.length).ok_or(refused)?;
        parts.push(Part { extent, rank });
    }
    Ok(parts)
}

/// Settles overlaps. In a write every byte belongs to the highest rank that has it.
fn settle(direction: Direction, mut wanted: Vec<Part>) -> Vec<Part> {
    match direction {
        Direction::Read => {
            wanted.sort_by_key(|part| (part.extent.start(), part.rank));
            wanted
        }
        Direction::Write => {
            let mut owners = ExtentMap::new();
            for part in wanted {
                owners.insert(part.extent, part.rank);
            }
            owners.iter().map(|(extent, &rank)| Part { extent, rank }).collect()
        }
    }
}

/// Whether collective buffering pays, or was asked for.
fn wants_exchange(direction: Direction, parts: &[Part], union: &ExtentSet, recipe: &Recipe, hints: &Hints) -> bool {
    let switch = match direction {
        Direction::Read => hints.cb_read,
        Direction::Write => hints.cb_write,
    };
    match switch {
        Switch::Enable => !parts.is_empty(),
        Switch::Disable => false,
        Switch::Automatic => exchange_pays(parts, union, recipe),
    }
}

/// Small runs that join to much fewer, or bytes that several ranks want, are worth a detour.
fn exchange_pays(parts: &[Part], union: &ExtentSet, recipe: &Recipe) -> bool {
    let Some(first) = parts.first() else { return false };
    if parts.iter().all(|part| part.rank == first.rank) {
        return false;
    }
    let count = parts.len() as u64;
    let moved: u64 = parts.iter().map(|part| part.extent.len()).sum();
    let distinct: u64 = union.extents().map(Extent::len).sum();
    let small = moved / count < recipe.stripe_unit().min(DIRECT_BYTES_MIN);
    let joins = 2 * union.len() as u64 <= count;
    let shared = moved / 2 >= distinct;
    (small && joins) || shared
}
