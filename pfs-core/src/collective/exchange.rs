//! Windows, aggregators and rounds of an exchange.
//!
//! ```text
//! unit        0        1        2        3        4        5          2 slots, windows of half a unit
//! slot        0        1        0        1        0        1
//! aggregator  A0  A0   A1  A1   A0  A0   A1  A1   A0  A0   A1  A1     2 aggregators
//! round       0   0    0   0    1   1    1   1    2   2    2   2      2 windows a round
//! ```
//!
//! Windows without bytes of any rank take no place in a round.

use super::Part;
use crate::extent::{Extent, ExtentSet};
use crate::hints::Hints;
use crate::layout::Recipe;
use std::collections::BTreeMap;

/// The fixed part of an exchange: who owns which window in which round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    stripe_unit: u64,
    stripe_count: u64,
    window_bytes: u64,
    windows_per_unit: u64,
    /// The ranks that are aggregators, in order.
    aggregators: Vec<u32>,
    /// The windows with bytes, by position in the file.
    windows: Vec<Window>,
    rounds: u32,
}

/// A window with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    /// Position among all windows of the file.
    index: u64,
    /// The owner's position in the list of aggregators.
    aggregator: u32,
    round: u32,
}

/// The bytes that two ranks pass in one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The other rank; may be the rank itself.
    pub peer: u32,
    /// The bytes, in order; the message has them one after the other.
    pub extents: Vec<Extent>,
}

impl Message {
    /// Bytes of the message.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len()).sum()
    }
}

/// What one rank does in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// This rank's own bytes, by the aggregator that they go to or come from.
    pub own: Vec<Message>,
    /// As an aggregator: bytes of this rank's windows, by the rank that they come from or go to.
    pub served: Vec<Message>,
    /// As an aggregator: what is written or read at the servers, in order; neighbours are joined.
    pub io: Vec<Extent>,
}

impl Exchange {
    pub(super) fn new(union: &ExtentSet, recipe: &Recipe, hints: &Hints, ranks: u32) -> Exchange {
        let stripe_unit = recipe.stripe_unit();
        // As few windows of equal size as fit the buffer.
        let window_bytes = stripe_unit.div_ceil(stripe_unit.div_ceil(hints.cb_buffer_bytes));
        let windows_per_unit = stripe_unit.div_ceil(window_bytes);
        let mut exchange = Exchange {
            stripe_unit,
            stripe_count: u64::from(recipe.stripe_count()),
            window_bytes,
            windows_per_unit,
            aggregators: aggregators(hints.aggregators(recipe.stripe_count(), ranks), ranks),
            windows: Vec::new(),
            rounds: 0,
        };
        exchange.fill_windows(union, (hints.cb_buffer_bytes / window_bytes).max(1));
        exchange
    }

    /// The ranks that read and write for all, in order.
    pub fn aggregators(&self) -> &[u32] {
        &self.aggregators
    }

    /// Number of rounds, the same for every rank.
    pub fn round_count(&self) -> u32 {
        self.rounds
    }

    /// Lists the windows with bytes and gives each its round.
    fn fill_windows(&mut self, union: &ExtentSet, windows_per_round: u64) {
        let mut filled = vec![0u64; self.aggregators.len()];
        let mut next = 0;
        for run in union.extents() {
            let first = self.window_of(run.start()).max(next);
            next = self.window_of(run.end() - 1) + 1;
            for index in first..next {
                let aggregator = self.aggregator_of(index);
                let count = &mut filled[aggregator as usize];
                let round = u32::try_from(*count / windows_per_round).expect("rounds fit 32 bits");
                *count += 1;
                self.windows.push(Window { index, aggregator, round });
                self.rounds = self.rounds.max(round + 1);
            }
        }
    }

    fn window_of(&self, at: u64) -> u64 {
        at / self.stripe_unit * self.windows_per_unit + at % self.stripe_unit / self.window_bytes
    }

    fn window_extent(&self, index: u64) -> Extent {
        let unit_start = index / self.windows_per_unit * self.stripe_unit;
        let start = index % self.windows_per_unit * self.window_bytes;
        let end = (start + self.window_bytes).min(self.stripe_unit);
        Extent::new(unit_start + start, unit_start + end).expect("a window has bytes")
    }

    /// A slot's windows all belong to one aggregator, or to as many as there are for each slot.
    fn aggregator_of(&self, window: u64) -> u32 {
        let unit = window / self.windows_per_unit;
        let (slot, turn) = (unit % self.stripe_count, unit / self.stripe_count);
        let aggregators = self.aggregators.len() as u64;
        let position = match aggregators / self.stripe_count {
            0 | 1 => slot % aggregators,
            per_slot => slot + self.stripe_count * (turn % per_slot),
        };
        u32::try_from(position).expect("less than the number of aggregators")
    }

    /// A rank's windows with bytes, in order.
    pub(super) fn windows_of(&self, rank: u32) -> impl DoubleEndedIterator<Item = Extent> + '_ {
        let position = self.aggregators.iter().position(|&aggregator| aggregator == rank);
        let own = self.windows.iter().filter(move |window| Some(window.aggregator as usize) == position);
        own.map(|window| self.window_extent(window.index))
    }

    /// From the first byte of a rank's windows to the last.
    pub(super) fn domain_hull(&self, rank: u32) -> Option<Extent> {
        let mut own = self.windows_of(rank);
        let first = own.next()?;
        Some(first.hull(own.next_back().unwrap_or(first)))
    }

    /// The bytes of all ranks in a rank's windows; the same byte of several ranks comes several times.
    pub(super) fn served_by<'a>(&'a self, rank: u32, parts: &'a [Part]) -> impl Iterator<Item = Extent> + 'a {
        let position = self.aggregators.iter().position(|&aggregator| aggregator == rank);
        let pieces = parts.iter().flat_map(|part| self.cut(part.extent));
        let own = pieces.filter(move |(_, window)| Some(window.aggregator as usize) == position);
        own.map(|(extent, _)| extent)
    }

    pub(super) fn rounds_of(&self, rank: u32, parts: &[Part]) -> Vec<Round> {
        let mut tables: Vec<RoundTable> = (0..self.rounds).map(|_| RoundTable::default()).collect();
        for part in parts {
            for (extent, window) in self.cut(part.extent) {
                let aggregator = self.aggregators[window.aggregator as usize];
                let table = &mut tables[window.round as usize];
                if part.rank == rank {
                    push_joined(table.own.entry(aggregator).or_default(), extent);
                }
                if aggregator == rank {
                    push_joined(table.served.entry(part.rank).or_default(), extent);
                    table.io.insert(extent, ());
                }
            }
        }
        tables.into_iter().map(RoundTable::finish).collect()
    }

    /// Cuts an extent at the edges of windows.
    fn cut(&self, extent: Extent) -> impl Iterator<Item = (Extent, Window)> + '_ {
        let first = self.window_of(extent.start());
        let from = self.windows.partition_point(|window| window.index < first);
        self.windows[from..].iter().map_while(move |&window| {
            let piece = self.window_extent(window.index).intersection(extent)?;
            Some((piece, window))
        })
    }
}

/// A round while its pieces are collected.
#[derive(Default)]
struct RoundTable {
    own: BTreeMap<u32, Vec<Extent>>,
    served: BTreeMap<u32, Vec<Extent>>,
    io: ExtentSet,
}

impl RoundTable {
    fn finish(self) -> Round {
        let messages = |table: BTreeMap<u32, Vec<Extent>>| {
            table.into_iter().map(|(peer, extents)| Message { peer, extents }).collect()
        };
        Round { own: messages(self.own), served: messages(self.served), io: self.io.extents().collect() }
    }
}

/// Appends an extent to a list in order; joins it with a last one that it touches.
fn push_joined(extents: &mut Vec<Extent>, extent: Extent) {
    match extents.last_mut() {
        Some(last) if last.end() == extent.start() => *last = last.hull(extent),
        _ => extents.push(extent),
    }
}

/// The ranks that are aggregators, spread over all.
fn aggregators(count: u32, ranks: u32) -> Vec<u32> {
    let rank = |i: u32| u64::from(i) * u64::from(ranks) / u64::from(count);
    (0..count).map(|i| u32::try_from(rank(i)).expect("less than the number of ranks")).collect()
}
