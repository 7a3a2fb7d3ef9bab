//! The collective planner: who sends which bytes to whom, and who reads or writes them at the servers.
//!
//! A plan is a pure value made from what every rank knows after the accesses were exchanged, so all ranks make the
//! same one. There are two ways:
//!
//! * **direct**: every rank moves its own bytes to or from the servers; no byte crosses between ranks;
//! * **exchange**: the file is cut into *windows* that never cross a stripe unit's edge. All windows of one slot
//!   belong to the same few *aggregators*, so a server talks to few ranks and always the same. The ranks send
//!   their bytes to the aggregators (or get them from there) in rounds.
//!
//! An access is a view, a position and a length, and is never written out as a whole to plan: a rank looks at its own
//! pieces, and an aggregator at those in its windows, round by round.
//!
//! Invariants:
//! * every byte that any rank writes is written once, with the bytes of the highest rank that has it;
//! * every byte of every rank's read arrives, and no byte is read from the servers twice in an exchange;
//! * messages between nodes go straight, or all by way of the first rank of the node of the rank that is no aggregator ([`Relay`]);
//! * in one round an aggregator holds at most `cb_buffer_size` bytes;
//! * what a rank reads or writes at the servers lies inside the plan's token ranges, and these have at most
//!   [`TOKEN_PATTERNS_MAX`] patterns.

mod access;
mod cursor;
mod exchange;
mod nodes;
mod relay;
mod rounds;
mod survey;
mod tokens;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;

use crate::extent::{Extent, ExtentSet};
use crate::hints::{Hints, Switch};
use crate::layout::Recipe;
use crate::pattern::RangePattern;
use survey::Survey;

pub use access::{Access, BeyondLimits, Piece, Pieces};
pub use exchange::{Exchange, Message, Round};
pub use nodes::Nodes;
pub use relay::{RELAYED_BYTES_MAX, Relay, Relayed};
pub use rounds::Rounds;
pub use tokens::TOKEN_PATTERNS_MAX;

/// Pieces of at least this many bytes (or of a stripe unit, if that is less) go to the servers in lists: about where the cost of
/// a piece in a list equals that of passing its bytes between ranks. See docs/PERFORMANCE.md.
pub const DIRECT_BYTES_MIN: u64 = 4 << 10;
/// The same where all ranks are on one node and pass bytes in memory that they share, which costs less.
pub const DIRECT_BYTES_MIN_ON_NODE: u64 = 64 << 10;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the ranks to the servers.
    Write,
    /// From the servers to the ranks.
    Read,
}

/// How the bytes get to the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Every rank moves its own.
    Direct,
    /// Aggregators move them for all.
    Exchange(Exchange),
}

/// A collective access of all ranks, planned. The same on every rank.
#[derive(Clone, Debug)]
pub struct CollectivePlan {
    direction: Direction,
    /// By rank.
    accesses: Vec<Access>,
    /// No byte of the file is in two accesses, as far as is known.
    is_disjoint: bool,
    hull: Option<Extent>,
    method: Method,
    tokens: Vec<RangePattern>,
}

impl CollectivePlan {
    /// Plans the access in which rank `i` has `accesses[i]`. The accesses of a write are disjoint in themselves.
    pub fn new(direction: Direction, accesses: Vec<Access>, recipe: &Recipe, hints: &Hints) -> CollectivePlan {
        let nodes = Nodes::apart(u32::try_from(accesses.len()).expect("MPI counts ranks in an int"));
        CollectivePlan::with_nodes(direction, accesses, recipe, hints, &nodes)
    }

    /// The same for ranks of which it is known which share a node.
    pub fn with_nodes(
        direction: Direction,
        accesses: Vec<Access>,
        recipe: &Recipe,
        hints: &Hints,
        nodes: &Nodes,
    ) -> CollectivePlan {
        let survey = Survey::of(&accesses);
        let method = if wants_exchange(direction, &survey, recipe, hints, nodes) {
            Method::Exchange(Exchange::new(recipe, hints, nodes, &survey))
        } else {
            Method::Direct
        };
        let tokens = match (&survey.union, survey.hull) {
            (Some(union), _) => tokens::patterns(union),
            (None, hull) => hull.into_iter().map(RangePattern::from).collect(),
        };
        CollectivePlan { direction, is_disjoint: survey.is_disjoint, hull: survey.hull, accesses, method, tokens }
    }

    /// Which way the bytes go.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// How they go.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// What a rank brings.
    pub fn access(&self, rank: u32) -> &Access {
        &self.accesses[rank as usize]
    }

    /// The ranges for which the group must hold the token, in order.
    pub fn tokens(&self) -> &[RangePattern] {
        &self.tokens
    }

    /// From the first byte of all ranks to the last; nothing when no rank has any.
    pub fn hull(&self) -> Option<Extent> {
        self.hull
    }

    /// What `rank` must hold the token for while it reads or writes at the servers, in order: the token ranges
    /// between its first byte and its last, or all of them if it is an aggregator.
    pub fn needs(&self, rank: u32) -> Vec<Extent> {
        let own = match &self.method {
            Method::Direct => self.access(rank).hull(),
            Method::Exchange(exchange) => self.hull.filter(|_| exchange.is_aggregator(rank)),
        };
        let Some(own) = own else { return Vec::new() };
        self.tokens.iter().flat_map(|pattern| pattern.extents()).filter_map(|extent| extent.intersection(own)).collect()
    }

    /// Exactly what `rank` itself reads or writes at the servers, in order. Of a write, no two ranks have a byte in common.
    pub fn share(&self, rank: u32) -> Vec<Extent> {
        let own: ExtentSet = match &self.method {
            Method::Direct => self.direct(rank).into_iter().map(|piece| piece.extent).collect(),
            Method::Exchange(_) => self.rounds(rank).flat_map(|round| round.io).collect(),
        };
        own.extents().collect()
    }

    /// The same as patterns. If there would be many, those of an exchange name whole windows, of which no two ranks have
    /// a byte in common either.
    pub fn share_patterns(&self, rank: u32) -> Vec<RangePattern> {
        let exact = tokens::regular(&self.share(rank));
        match (&self.method, self.hull) {
            (Method::Exchange(exchange), Some(hull)) if exact.len() > TOKEN_PATTERNS_MAX => {
                let windows: ExtentSet =
                    exchange.windows_of(rank, hull).filter_map(|window| window.intersection(hull)).collect();
                tokens::regular(&windows.extents().collect::<Vec<_>>())
            }
            _ => exact,
        }
    }

    /// What `rank` itself reads or writes at the servers when the plan is direct, in order. Of a write, bytes that a
    /// higher rank has too are left to it.
    pub fn direct(&self, rank: u32) -> Vec<Piece> {
        let own = self.access(rank);
        if self.is_disjoint || self.direction == Direction::Read {
            return own.pieces().collect();
        }
        let mut left_to_others = ExtentSet::new();
        for other in &self.accesses[rank as usize + 1..] {
            cursor::common(own, other).into_iter().for_each(|extent| left_to_others.insert(extent, ()));
        }
        if left_to_others.is_empty() {
            return own.pieces().collect();
        }
        let kept = |piece: Piece| {
            let gaps = left_to_others.gaps(piece.extent);
            gaps.into_iter().filter_map(move |extent| piece.within(extent))
        };
        own.pieces().flat_map(kept).collect()
    }

    /// What `rank` does in the rounds of an exchange, one after the other; nothing when the plan is direct. Every rank
    /// has equally many.
    pub fn rounds(&self, rank: u32) -> Rounds<'_> {
        Rounds::new(self, rank)
    }

    /// The same plan without the bytes at or past `file_bytes`: what there is to read in a file of that size.
    pub fn clamped(mut self, file_bytes: u64) -> CollectivePlan {
        for access in &mut self.accesses {
            *access = access.clamped(file_bytes);
        }
        self.hull = self.accesses.iter().filter_map(Access::hull).reduce(Extent::hull);
        self
    }
}

/// Whether collective buffering pays, or was asked for.
fn wants_exchange(direction: Direction, survey: &Survey, recipe: &Recipe, hints: &Hints, nodes: &Nodes) -> bool {
    let is_in_memory = nodes.count() == 1 && hints.node_memory != Switch::Disable;
    let direct_bytes_min = if is_in_memory { DIRECT_BYTES_MIN_ON_NODE } else { DIRECT_BYTES_MIN };
    match hints.collective(direction) {
        Switch::Enable => survey.hull.is_some(),
        Switch::Disable => false,
        Switch::Automatic => exchange_pays(survey, direct_bytes_min.min(recipe.stripe_unit())),
    }
}

/// Small runs that join to much fewer, or bytes that several ranks want, are worth a detour.
fn exchange_pays(survey: &Survey, direct_bytes_min: u64) -> bool {
    if survey.ranks_with_bytes < 2 {
        return false;
    }
    let small = survey.bytes / survey.runs.max(1) < direct_bytes_min;
    (small && survey.joins()) || survey.bytes / 2 >= survey.distinct_bytes()
}
