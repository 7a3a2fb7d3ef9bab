//! Windows and aggregators of an exchange.
//!
//! ```text
//! unit        0        1        2        3        4        5          2 slots, windows of half a unit
//! slot        0        1        0        1        0        1
//! aggregator  A0  A0   A1  A1   A0  A0   A1  A1   A0  A0   A1  A1     2 aggregators
//! number      0   1    0   1    2   3    2   3    4   5    4   5      counts an aggregator's windows
//! period      0                 1                 2
//! round       0   0    0   0    1   1    1   1    2   2    2   2      2 windows a round
//! ```
//!
//! After a *period* the map of windows to aggregators repeats itself. A round has several whole periods or, when the windows
//! of one period are more than an aggregator's buffer takes, a part of one. Rounds in which no rank has a byte are left out.
//!
//! Invariants: every byte is in one window, and a window belongs to one aggregator; an aggregator's windows are numbered in
//! the order of the file, and lie one after the other in its memory, those of a round from the round's `base` on.

use super::relay::{Relay, Relayed};
use super::survey::Survey;
use super::{Nodes, Piece};
use crate::extent::Extent;
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
    relay: Option<Relay>,
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
    /// As a leader: the messages of other ranks that this one passes on, by rank and then by aggregator.
    pub relayed: Vec<Relayed>,
    /// As an aggregator: what is written or read at the servers, in order; neighbours are joined.
    pub io: Vec<Extent>,
    /// The [`place`](Exchange::place) of the first byte that an aggregator's memory has in this round.
    pub base: u64,
}

impl Exchange {
    pub(super) fn new(recipe: &Recipe, hints: &Hints, nodes: &Nodes, survey: &Survey) -> Exchange {
        let stripe_unit = recipe.stripe_unit();
        let window_bytes = hints.window_bytes(stripe_unit);
        let aggregators = hints.aggregator_ranks(recipe.stripe_count(), nodes);
        let relay = Relay::of(nodes, survey, aggregators.len(), hints);
        Exchange {
            stripe_unit,
            stripe_count: u64::from(recipe.stripe_count()),
            window_bytes,
            windows_per_unit: stripe_unit.div_ceil(window_bytes),
            windows_per_round: (hints.cb_buffer_bytes / window_bytes).max(1),
            aggregators,
            relay,
        }
    }

    /// The ranks that read and write for all, in order.
    pub fn aggregators(&self) -> &[u32] {
        &self.aggregators
    }

    /// Who passes on messages between nodes; nothing if they go straight.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// Most bytes from the first to the last that an aggregator has in a round.
    pub fn round_bytes(&self) -> u64 {
        self.windows_per_round * self.window_bytes
    }

    /// Where an offset lies among the bytes of its aggregator's windows, one window after the other. Bytes that are neighbours
    /// in the file and have one aggregator are neighbours there.
    pub fn place(&self, offset: u64) -> u64 {
        let (turn, in_unit) = self.turn(offset);
        turn * self.stripe_unit + in_unit
    }

    /// Which of its aggregator's units an offset is in, and where in it.
    fn turn(&self, offset: u64) -> (u64, u64) {
        let (unit, in_unit) = (offset / self.stripe_unit, offset % self.stripe_unit);
        let (period, in_period) = (unit / self.units_per_period(), unit % self.units_per_period());
        (period * self.turns_per_period() + in_period / self.aggregators.len() as u64, in_unit)
    }

    /// The place of the first byte of the window with a number.
    pub(super) fn window_place(&self, number: u64) -> u64 {
        let (turn, index) = (number / self.windows_per_unit, number % self.windows_per_unit);
        turn.saturating_mul(self.stripe_unit).saturating_add(index * self.window_bytes)
    }

    /// Units of one period: each aggregator has equally many turns in it. There are as many aggregators as a multiple of the
    /// slots, or fewer.
    fn units_per_period(&self) -> u64 {
        self.stripe_count.max(self.aggregators.len() as u64)
    }

    pub(super) fn period_bytes(&self) -> u64 {
        self.units_per_period().saturating_mul(self.stripe_unit)
    }

    /// Most units of one aggregator in a period.
    fn turns_per_period(&self) -> u64 {
        self.units_per_period().div_ceil(self.aggregators.len() as u64)
    }

    /// Most windows of one aggregator in a period.
    fn windows_per_period(&self) -> u64 {
        self.turns_per_period() * self.windows_per_unit
    }

    /// The first offset from `from` on in a window of an aggregator.
    pub(super) fn next_offset(&self, position: u64, from: u64) -> Option<u64> {
        let (unit, aggregators) = (from / self.stripe_unit, self.aggregators.len() as u64);
        let (period, in_period) = (unit / self.units_per_period(), unit % self.units_per_period());
        let ahead = (position + aggregators - in_period % aggregators) % aggregators;
        if ahead == 0 {
            return Some(from);
        }
        let next = match in_period + ahead < self.units_per_period() {
            true => unit + ahead,
            false => (period + 1).checked_mul(self.units_per_period())? + position,
        };
        next.checked_mul(self.stripe_unit)
    }

    /// The number of the window that an offset is in.
    pub(super) fn number(&self, offset: u64) -> u64 {
        let (turn, in_unit) = self.turn(offset);
        turn * self.windows_per_unit + in_unit / self.window_bytes
    }

    /// The window of an aggregator with a number; nothing if it has none of this number.
    pub(super) fn window(&self, position: u64, number: u64) -> Option<Extent> {
        let (period, in_period) = (number / self.windows_per_period(), number % self.windows_per_period());
        let (turn, index) = (in_period / self.windows_per_unit, in_period % self.windows_per_unit);
        let unit = turn * self.aggregators.len() as u64 + position;
        if unit >= self.units_per_period() {
            return None;
        }
        let start = period.checked_mul(self.units_per_period())?.checked_add(unit)?.checked_mul(self.stripe_unit)?;
        let from = start.checked_add(index * self.window_bytes)?;
        Extent::new(from, from.saturating_add(self.window_bytes).min(start.saturating_add(self.stripe_unit)))
    }

    /// The numbers of the windows of a round: `part` of what begins with a period. Beside it how many periods the round has,
    /// and how many parts a period.
    pub(super) fn round(&self, period: u64, part: u64) -> (std::ops::Range<u64>, u64, u64) {
        let (in_period, in_round) = (self.windows_per_period(), self.windows_per_round);
        let (periods, parts) = ((in_round / in_period).max(1), in_period.div_ceil(in_round));
        let first = period.saturating_mul(in_period).saturating_add(part * in_round);
        let last = period.saturating_add(periods).saturating_mul(in_period);
        let end = if parts == 1 { last } else { last.min(first.saturating_add(in_round)) };
        (first..end, periods, parts)
    }

    pub(super) fn position_of(&self, rank: u32) -> Option<u64> {
        self.aggregators.binary_search(&rank).ok().map(|position| position as u64)
    }

    /// A rank's windows in the periods that a range touches, in order.
    pub(super) fn windows_of(&self, rank: u32, range: Extent) -> impl Iterator<Item = Extent> + '_ {
        let (bytes, windows) = (self.period_bytes(), self.windows_per_period());
        let numbers = range.start() / bytes * windows..((range.end() - 1) / bytes + 1) * windows;
        let position = self.position_of(rank).into_iter();
        position.flat_map(move |position| numbers.clone().filter_map(move |number| self.window(position, number)))
    }

    /// Whether a rank reads and writes for all.
    pub(super) fn is_aggregator(&self, rank: u32) -> bool {
        self.position_of(rank).is_some()
    }
}
