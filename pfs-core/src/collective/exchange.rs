//! Windows, aggregators and rounds of an exchange.
//!
//! ```text
//! unit        0        1        2        3        4        5          2 slots, windows of half a unit
//! slot        0        1        0        1        0        1
//! aggregator  A0  A0   A1  A1   A0  A0   A1  A1   A0  A0   A1  A1     2 aggregators
//! period      0                 1                 2
//! round       0   0    0   0    1   1    1   1    2   2    2   2      2 windows a round
//! ```
//!
//! After a *period* the map of windows to aggregators repeats itself. A round has several whole periods or, when the windows
//! of one period are more than an aggregator's buffer takes, a part of one. Rounds in which no rank has a byte are left out.

use super::{Access, CollectivePlan, Method, Piece};
use crate::extent::{Extent, ExtentSet};
use crate::hints::Hints;
use crate::layout::Recipe;

/// The fixed part of an exchange: who owns which window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    stripe_unit: u64,
    stripe_count: u64,
    window_bytes: u64,
    windows_per_unit: u64,
    windows_per_round: u64,
    /// The ranks that are aggregators, in order.
    aggregators: Vec<u32>,
}

/// The bytes that two ranks pass in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The other rank; may be the rank itself.
    pub peer: u32,
    /// The bytes, in order, and where they are in the data of the rank that is no aggregator; the message has them one
    /// after the other.
    pub pieces: Vec<Piece>,
}

impl Message {
    /// Bytes of the message.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.extent.len()).sum()
    }
}

/// What one rank does in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// This rank's own bytes, by the aggregator that they go to or come from.
    pub own: Vec<Message>,
    /// As an aggregator: bytes of this rank's windows, by the rank that they come from or go to. Of bytes that come
    /// several times those of the highest rank are written.
    pub served: Vec<Message>,
    /// As an aggregator: what is written or read at the servers, in order; neighbours are joined.
    pub io: Vec<Extent>,
}

impl Exchange {
    pub(super) fn new(recipe: &Recipe, hints: &Hints, ranks: u32) -> Exchange {
        let stripe_unit = recipe.stripe_unit();
        // As few windows of equal size as fit the buffer.
        let window_bytes = stripe_unit.div_ceil(stripe_unit.div_ceil(hints.cb_buffer_bytes));
        Exchange {
            stripe_unit,
            stripe_count: u64::from(recipe.stripe_count()),
            window_bytes,
            windows_per_unit: stripe_unit.div_ceil(window_bytes),
            windows_per_round: (hints.cb_buffer_bytes / window_bytes).max(1),
            aggregators: aggregators(hints.aggregators(recipe.stripe_count(), ranks), ranks),
        }
    }

    /// The ranks that read and write for all, in order.
    pub fn aggregators(&self) -> &[u32] {
        &self.aggregators
    }

    /// Aggregators of one slot.
    fn per_slot(&self) -> u64 {
        (self.aggregators.len() as u64 / self.stripe_count).max(1)
    }

    /// Units of one period: each aggregator has equally many turns in it.
    fn units_per_period(&self) -> u64 {
        self.stripe_count * self.per_slot()
    }

    /// The units of an aggregator in a period.
    fn units_of(&self, position: u64, period: u64) -> impl Iterator<Item = u64> + '_ {
        let first = period * self.units_per_period();
        let (slots, aggregators) = (self.stripe_count, self.aggregators.len() as u64);
        let (start, step, end) = match self.per_slot() {
            // A slot's units all belong to one aggregator.
            1 => (position, aggregators.min(slots), slots),
            // The aggregators of a slot take turns.
            _ => (position, aggregators, aggregators),
        };
        (start..end).step_by(usize::try_from(step).expect("at least 1")).map(move |unit| first + unit)
    }

    /// The windows of an aggregator in a period.
    fn windows_in(&self, position: u64, period: u64) -> impl Iterator<Item = Extent> + '_ {
        self.units_of(position, period).flat_map(move |unit| {
            let start = unit.saturating_mul(self.stripe_unit);
            (0..self.windows_per_unit).filter_map(move |index| {
                let from = start.checked_add(index * self.window_bytes)?;
                let to = from.saturating_add(self.window_bytes).min(start.saturating_add(self.stripe_unit));
                Extent::new(from, to)
            })
        })
    }

    /// Most windows of one aggregator in a period.
    fn windows_per_period(&self) -> u64 {
        let units = match self.per_slot() {
            1 => self.stripe_count.div_ceil(self.aggregators.len() as u64),
            _ => 1,
        };
        units * self.windows_per_unit
    }

    fn period_bytes(&self) -> u64 {
        self.units_per_period().saturating_mul(self.stripe_unit)
    }

    fn position_of(&self, rank: u32) -> Option<u64> {
        self.aggregators.iter().position(|&aggregator| aggregator == rank).map(|position| position as u64)
    }

    /// A rank's windows in the periods that a range touches, in order.
    pub(super) fn windows_of(&self, rank: u32, range: Extent) -> impl Iterator<Item = Extent> + '_ {
        let bytes = self.period_bytes();
        let periods = range.start() / bytes..=(range.end() - 1) / bytes;
        self.position_of(rank)
            .into_iter()
            .flat_map(move |position| periods.clone().flat_map(move |period| self.windows_in(position, period)))
    }

    /// Whether a rank reads and writes for all.
    pub(super) fn is_aggregator(&self, rank: u32) -> bool {
        self.position_of(rank).is_some()
    }
}

/// The ranks that are aggregators, spread over all.
fn aggregators(count: u32, ranks: u32) -> Vec<u32> {
    let rank = |i: u32| u64::from(i) * u64::from(ranks) / u64::from(count);
    (0..count).map(|i| u32::try_from(rank(i)).expect("less than the number of ranks")).collect()
}

/// What one rank does in the rounds of a plan; see [`CollectivePlan::rounds`].
#[derive(Clone, Debug)]
pub struct Rounds<'a> {
    plan: &'a CollectivePlan,
    rank: u32,
    /// The first period of the next round, and which part of it.
    period: u64,
    part: u64,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(plan: &'a CollectivePlan, rank: u32) -> Self {
        Rounds { plan, rank, period: 0, part: 0 }
    }

    /// Goes on to the next period in which any rank has bytes.
    fn find(&mut self, exchange: &Exchange) -> Option<()> {
        if self.part > 0 {
            return Some(());
        }
        let bytes = exchange.period_bytes();
        let from = self.period.checked_mul(bytes)?;
        // Mostly there are some in the very next period.
        let next = |access: &Access| access.next_after(from);
        let near = from.checked_add(bytes);
        let mut nearest = None;
        for offset in self.plan.accesses.iter().filter_map(next) {
            nearest = Some(nearest.map_or(offset, |nearest: u64| nearest.min(offset)));
            if near.is_some_and(|near| offset < near) {
                break;
            }
        }
        self.period = nearest? / bytes;
        Some(())
    }
}

impl Iterator for Rounds<'_> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let Method::Exchange(exchange) = &self.plan.method else { return None };
        self.find(exchange)?;
        let (in_period, in_round) = (exchange.windows_per_period(), exchange.windows_per_round);
        let (periods, parts) = ((in_round / in_period).max(1), in_period.div_ceil(in_round));
        let (first, part) = (self.period, self.part);
        let windows = |position: u64| {
            let all = (first..first + periods).flat_map(move |period| exchange.windows_in(position, period));
            let (skip, take) = if parts == 1 { (0, u64::MAX) } else { (part * in_round, in_round) };
            let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            all.skip(count(skip)).take(count(take))
        };
        let round = self.round(exchange, windows);
        self.part = (part + 1) % parts;
        if self.part == 0 {
            self.period += periods;
        }
        Some(round)
    }
}

impl Rounds<'_> {
    fn round<I: Iterator<Item = Extent>>(&self, exchange: &Exchange, windows: impl Fn(u64) -> I) -> Round {
        let mut round = Round::default();
        let own = self.plan.access(self.rank);
        if own.bytes() > 0 {
            for (position, &peer) in (0..).zip(&exchange.aggregators) {
                let pieces: Vec<Piece> = windows(position).flat_map(|window| own.pieces_in(window)).collect();
                round.own.extend((!pieces.is_empty()).then_some(Message { peer, pieces }));
            }
        }
        let Some(position) = exchange.position_of(self.rank) else { return round };
        let mut io = ExtentSet::new();
        for (peer, access) in (0..).zip(&self.plan.accesses).filter(|(_, access)| access.bytes() > 0) {
            let pieces: Vec<Piece> = windows(position).flat_map(|window| access.pieces_in(window)).collect();
            pieces.iter().for_each(|piece| io.insert(piece.extent, ()));
            round.served.extend((!pieces.is_empty()).then_some(Message { peer, pieces }));
        }
        round.io = io.extents().collect();
        round
    }
}
