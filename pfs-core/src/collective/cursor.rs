//! Walks along an access's pieces in the order of the file, once, however many there are.
//!
//! Invariants: a [`Leap`] and a [`Cursor`] only move on. Passing over pieces takes a few steps or one search, whichever is less,
//! unless the access shows a byte twice: then all are stepped over, once.

use super::{Access, Exchange, Piece, Pieces};
use crate::extent::{Extent, INFINITY};
use smallvec::SmallVec;

/// So many pieces are stepped over before a search is tried.
const STEPS_MAX: u32 = 8;

/// The pieces of an access from a place on, with big steps.
#[derive(Clone, Debug)]
pub(super) struct Leap<'a> {
    access: &'a Access,
    pieces: Pieces<'a>,
}

impl<'a> Leap<'a> {
    pub(super) fn new(access: &'a Access) -> Self {
        Leap { access, pieces: access.pieces() }
    }

    /// The next piece.
    fn step(&mut self) -> Option<Piece> {
        self.pieces.next()
    }

    /// The next piece that ends after an offset.
    fn past(&mut self, offset: u64) -> Option<Piece> {
        let mut steps = 0;
        loop {
            let piece = self.pieces.next()?;
            if piece.extent.end() > offset {
                return Some(piece);
            }
            steps += 1;
            if steps == STEPS_MAX && self.access.is_disjoint() {
                self.pieces = self.access.pieces_in(Extent::new(offset, INFINITY)?);
            }
        }
    }
}

/// The bytes that two accesses have in common, in order. Each names no byte twice.
pub(super) fn common(one: &Access, other: &Access) -> Vec<Extent> {
    let mut found = Vec::new();
    let Some(hull) = one.hull().and_then(|hull| hull.intersection(other.hull()?)) else { return found };
    let (mut left, mut right) = (Leap::new(one), Leap::new(other));
    let (mut a, mut b) = (left.past(hull.start()), right.past(hull.start()));
    while let (Some(p), Some(q)) = (a.map(|piece| piece.extent), b.map(|piece| piece.extent)) {
        found.extend(p.intersection(q));
        match (p.end() <= q.start(), q.end() <= p.start()) {
            (true, _) => a = left.past(q.start()),
            (_, true) => b = right.past(p.start()),
            _ if p.end() <= q.end() => a = left.step(),
            _ => b = right.step(),
        }
    }
    found
}

/// The pieces of an access in the windows of one aggregator.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    leap: Leap<'a>,
    /// Pieces that were found and have bytes from `floor` on, by their starts; more than one only if a byte is shown twice.
    ahead: SmallVec<[Piece; 1]>,
    /// All before it is done.
    floor: u64,
    /// The aggregator's place among all.
    position: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(access: &'a Access, position: u64) -> Self {
        let mut cursor = Cursor { leap: Leap::new(access), ahead: SmallVec::new(), floor: 0, position };
        if !access.is_disjoint() {
            cursor.begin();
        }
        cursor
    }

    /// Pieces begin one after the other in the file, but the first may be the end of one that began earlier: those that
    /// begin before it come first.
    fn begin(&mut self) {
        let Some(first) = self.leap.step() else { return };
        while self.ahead.last().is_none_or(|last| last.extent.start() < first.extent.start()) {
            let Some(piece) = self.leap.step() else { break };
            self.ahead.push(piece);
        }
        let place = self.ahead.partition_point(|piece| piece.extent.start() < first.extent.start());
        self.ahead.insert(place, first);
    }

    /// The number of the next window with a byte of the access.
    pub(super) fn next_window(&mut self, exchange: &Exchange) -> Option<u64> {
        let mut offset = exchange.next_offset(self.position, self.floor)?;
        loop {
            let piece = match self.ahead.first() {
                Some(&piece) => piece,
                None => {
                    let piece = self.leap.past(offset)?;
                    self.ahead.push(piece);
                    piece
                }
            };
            offset = exchange.next_offset(self.position, piece.extent.start().max(offset))?;
            if offset < piece.extent.end() {
                self.floor = offset;
                return Some(exchange.number(offset));
            }
            self.ahead.remove(0);
        }
    }

    /// Appends what the access has in a window that [`next_window`](Self::next_window) has named.
    pub(super) fn take(&mut self, window: Extent, pieces: &mut Vec<Piece>) {
        if self.leap.access.is_disjoint() {
            return self.take_in_order(window, pieces);
        }
        while self.ahead.last().is_none_or(|last| last.extent.start() < window.end()) {
            let Some(piece) = self.leap.step() else { break };
            self.ahead.push(piece);
        }
        pieces.extend(self.ahead.iter().filter_map(|piece| piece.within(window)));
        self.floor = window.end();
        self.ahead.retain(|piece| piece.extent.end() > window.end());
    }

    /// The same where each piece ends before the next one begins: at most one is ahead.
    fn take_in_order(&mut self, window: Extent, pieces: &mut Vec<Piece>) {
        self.floor = window.end();
        while let Some(piece) = self.ahead.pop().or_else(|| self.leap.step()) {
            pieces.extend(piece.within(window));
            if piece.extent.end() > window.end() {
                self.ahead.push(piece);
                return;
            }
        }
    }
}
