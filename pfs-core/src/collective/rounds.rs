//! The rounds of an exchange, as one rank sees them.
//!
//! A rank walks along its own pieces once for each aggregator; an aggregator walks along the pieces of each rank once. Both
//! sides of a message do the same walk, so they name the same bytes in the same order. A heap says whose turn it is: what a
//! round costs is its pieces, and not how many ranks there are.
//!
//! Invariants: the walks only go on; memory is for the ranks and the pieces of one round.

use super::cursor::Cursor;
use super::{CollectivePlan, Exchange, Message, Method, Relay, Relayed, Round};
use crate::extent::{Extent, joined};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;

/// What one rank does in the rounds of a plan; see [`CollectivePlan::rounds`].
#[derive(Clone, Debug)]
pub struct Rounds<'a> {
    plan: &'a CollectivePlan,
    exchange: Option<&'a Exchange>,
    /// The next round.
    period: u64,
    part: u64,
    /// By rank, an offset that it has, with none between where the rounds were when it was found and there.
    next_bytes: BTreeSet<(u64, u32)>,
    own: Walk<'a>,
    served: Walk<'a>,
    /// Pairs of an aggregator with each rank of `members` at the same place.
    relayed: Walk<'a>,
    members: Vec<u32>,
}

/// The messages of pairs of ranks, each with the next window in which there is one.
#[derive(Clone, Debug, Default)]
struct Walk<'a> {
    pairs: Vec<Pair<'a>>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

#[derive(Clone, Debug)]
struct Pair<'a> {
    position: u64,
    peer: u32,
    cursor: Cursor<'a>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(plan: &'a CollectivePlan, rank: u32) -> Self {
        let Method::Exchange(exchange) = &plan.method else { return Rounds::none(plan) };
        let starts = (0..).zip(&plan.accesses).filter_map(|(peer, access)| Some((access.hull()?.start(), peer)));
        let own = plan.access(rank);
        let aggregators = (0..).zip(exchange.aggregators()).filter(|_| own.bytes() > 0);
        let own = aggregators.map(|(position, &peer)| Pair { position, peer, cursor: Cursor::new(own, position) });
        let of_aggregator = |position| {
            let others = (0..).zip(&plan.accesses).filter(|(_, access)| access.bytes() > 0);
            let pairs = others.map(|(peer, access)| Pair { position, peer, cursor: Cursor::new(access, position) });
            Walk::new(exchange, pairs.collect())
        };
        let (members, relayed) = exchange.relay().map(|relay| relayed(plan, exchange, relay, rank)).unwrap_or_default();
        Rounds {
            relayed,
            members,
            exchange: Some(exchange),
            next_bytes: starts.collect(),
            own: Walk::new(exchange, own.collect()),
            served: exchange.position_of(rank).map(of_aggregator).unwrap_or_default(),
            ..Rounds::none(plan)
        }
    }

    fn none(plan: &'a CollectivePlan) -> Self {
        let (own, served, relayed) = <(Walk, Walk, Walk)>::default();
        let (next_bytes, members) = (BTreeSet::new(), Vec::new());
        Rounds { plan, exchange: None, period: 0, part: 0, next_bytes, own, served, relayed, members }
    }

    /// Goes on to the next round in which any rank has bytes.
    fn find(&mut self, exchange: &Exchange) -> Option<()> {
        if self.part > 0 {
            return Some(());
        }
        let bytes = exchange.period_bytes();
        let from = self.period.checked_mul(bytes)?;
        let (_, periods, _) = exchange.round(self.period, 0);
        let near = from.saturating_add(bytes.saturating_mul(periods));
        loop {
            let next = self.next_bytes.range((from, 0)..).next().map(|&(offset, _)| offset);
            // It does not matter whose they are.
            if next.is_some_and(|next| next < near) {
                return Some(());
            }
            let Some((_, rank)) = self.next_bytes.first().copied().filter(|&(offset, _)| offset < from) else {
                self.period = next? / bytes;
                return Some(());
            };
            self.next_bytes.pop_first();
            self.next_bytes.extend(self.plan.access(rank).bytes_from(from).map(|offset| (offset, rank)));
        }
    }
}

impl Iterator for Rounds<'_> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        let exchange = self.exchange?;
        self.find(exchange)?;
        let (windows, periods, parts) = exchange.round(self.period, self.part);
        let (own, served) = (self.own.messages(exchange, &windows), self.served.messages(exchange, &windows));
        let passed_on = self.relayed.numbered(exchange, &windows).into_iter();
        let relayed = passed_on.map(|(at, message)| Relayed {
            member: self.members[at],
            aggregator: message.peer,
            bytes: message.bytes(),
        });
        let relayed = relayed.collect();
        let io: Vec<Extent> = served.iter().flat_map(|message| &message.pieces).map(|piece| piece.extent).collect();
        self.part = (self.part + 1) % parts;
        if self.part == 0 {
            self.period += periods;
        }
        Some(Round { own, served, relayed, io: joined(io), base: exchange.window_place(windows.start) })
    }
}

/// What a rank passes on: pairs of aggregators with the ranks for which it does, and these ranks.
fn relayed<'a>(plan: &'a CollectivePlan, exchange: &Exchange, relay: &Relay, rank: u32) -> (Vec<u32>, Walk<'a>) {
    let (mut members, mut pairs) = (Vec::new(), Vec::new());
    for member in relay.members(rank).filter(|member| plan.access(*member).bytes() > 0) {
        let elsewhere = (0..).zip(exchange.aggregators()).filter(|(_, peer)| relay.is_between(member, **peer));
        for (position, &peer) in elsewhere {
            members.push(member);
            pairs.push(Pair { position, peer, cursor: Cursor::new(plan.access(member), position) });
        }
    }
    (members, Walk::new(exchange, pairs))
}

impl<'a> Walk<'a> {
    fn new(exchange: &Exchange, mut pairs: Vec<Pair<'a>>) -> Self {
        let next = pairs.iter_mut().enumerate();
        let due = next.filter_map(|(at, pair)| Some(Reverse((pair.cursor.next_window(exchange)?, at)))).collect();
        Walk { pairs, due }
    }

    /// The messages of the windows with these numbers.
    fn messages(&mut self, exchange: &Exchange, windows: &Range<u64>) -> Vec<Message> {
        self.numbered(exchange, windows).into_iter().map(|(_, message)| message).collect()
    }

    /// The same, each with the number of its pair.
    fn numbered(&mut self, exchange: &Exchange, windows: &Range<u64>) -> Vec<(usize, Message)> {
        let mut now = Vec::new();
        while let Some(&Reverse((number, at))) = self.due.peek().filter(|next| next.0.0 < windows.end) {
            debug_assert!(number >= windows.start, "no round with bytes is left out");
            self.due.pop();
            now.push((at, number));
        }
        now.sort_unstable();
        now.into_iter().map(|(at, number)| (at, self.message(exchange, at, number, windows.end))).collect()
    }

    /// The message of a pair whose next window is `number`, up to the window `end`.
    fn message(&mut self, exchange: &Exchange, at: usize, number: u64, end: u64) -> Message {
        let Pair { position, peer, cursor } = &mut self.pairs[at];
        let mut pieces = Vec::new();
        let mut next = Some(number);
        while let Some(number) = next.filter(|next| *next < end) {
            let window = exchange.window(*position, number).expect("the window of a byte exists");
            cursor.take(window, &mut pieces);
            next = cursor.next_window(exchange);
        }
        self.due.extend(next.map(|next| Reverse((next, at))));
        Message { peer: *peer, pieces }
    }
}
