//! Which holder has which bytes of one file: the token manager's table.
//!
//! Invariants:
//! * claims are disjoint; a byte is either free, or one holder's exclusively, or shared by one or more holders;
//! * after every public call no two claims that touch are equal, so what one holder has in one piece is one claim;
//! * claims of different holders are never joined.

use crate::extent::Extent;
use crate::ids::Holder;
use crate::token::message::Mode;
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeMap;

/// Who has a range, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Read and write, one holder.
    Exclusive(Holder),
    /// Read, by all of these; sorted, never empty.
    Shared(SmallVec<[Holder; 2]>),
}

impl Claim {
    fn new(mode: Mode, holder: Holder) -> Claim {
        match mode {
            Mode::Exclusive => Claim::Exclusive(holder),
            Mode::Shared => Claim::Shared(smallvec![holder]),
        }
    }

    /// The mode all its holders have.
    pub fn mode(&self) -> Mode {
        match self {
            Claim::Exclusive(_) => Mode::Exclusive,
            Claim::Shared(_) => Mode::Shared,
        }
    }

    /// Everybody who has it.
    pub fn holders(&self) -> &[Holder] {
        match self {
            Claim::Exclusive(holder) => std::slice::from_ref(holder),
            Claim::Shared(holders) => holders,
        }
    }

    /// What is left without `holder`.
    fn without(&self, holder: Holder) -> Option<Claim> {
        match self {
            Claim::Exclusive(owner) => (*owner != holder).then(|| self.clone()),
            Claim::Shared(holders) => {
                let rest: SmallVec<[Holder; 2]> = holders.iter().copied().filter(|h| *h != holder).collect();
                (!rest.is_empty()).then_some(Claim::Shared(rest))
            }
        }
    }

    /// This claim with `holder` added in `mode`. The caller has seen that nobody else is in the way.
    fn with(&self, mode: Mode, holder: Holder) -> Claim {
        match (self, mode) {
            (Claim::Exclusive(owner), _) => {
                assert_eq!(*owner, holder, "a grant over another holder's exclusive range");
                self.clone()
            }
            (Claim::Shared(holders), Mode::Exclusive) => {
                assert_eq!(holders.as_slice(), [holder], "an exclusive grant over other holders' shared range");
                Claim::Exclusive(holder)
            }
            (Claim::Shared(holders), Mode::Shared) => {
                let mut holders = holders.clone();
                if let Err(at) = holders.binary_search(&holder) {
                    holders.insert(at, holder);
                }
                Claim::Shared(holders)
            }
        }
    }
}

/// The claims on one file.
#[derive(Clone, Debug, Default)]
pub struct TokenTable {
    /// start → (end, claim)
    claims: BTreeMap<u64, (u64, Claim)>,
}

impl TokenTable {
    /// Number of claims.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether every byte is free.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// All claims in order.
    pub fn iter(&self) -> impl Iterator<Item = (Extent, &Claim)> {
        self.claims.iter().map(|(&start, (end, claim))| (extent(start, *end), claim))
    }

    /// Claims that share a byte with `range`, whole, in order.
    pub fn overlapping(&self, range: Extent) -> impl Iterator<Item = (Extent, &Claim)> {
        let before = self.claims.range(..range.start()).next_back();
        before
            .into_iter()
            .filter(move |(_, (end, _))| *end > range.start())
            .chain(self.claims.range(range.start()..range.end()))
            .map(|(&start, (end, claim))| (extent(start, *end), claim))
    }

    /// The parts of `range` that keep `holder` from having it in `mode`, each with who is in the way.
    pub fn conflicts(
        &self,
        range: Extent,
        holder: Option<Holder>,
        mode: Mode,
    ) -> impl Iterator<Item = (Extent, Holder)> {
        self.overlapping(range).filter(move |(_, claim)| claim.mode().conflicts(mode)).flat_map(
            move |(claimed, claim)| {
                let part = claimed.intersection(range).expect("an overlapping claim shares a byte");
                claim.holders().iter().filter(move |h| Some(**h) != holder).map(move |h| (part, *h))
            },
        )
    }

    /// Whether `holder` has all of `range` in `mode` or better.
    pub fn holds(&self, range: Extent, holder: Holder, mode: Mode) -> bool {
        let mut from = range.start();
        for (claimed, claim) in self.overlapping(range) {
            if claimed.start() > from || claim.mode() < mode || !claim.holders().contains(&holder) {
                return false;
            }
            from = claimed.end();
        }
        from >= range.end()
    }

    /// Whether any holder but this one has any claim.
    pub fn has_others(&self, holder: Holder) -> bool {
        self.claims.values().any(|(_, claim)| claim.holders().iter().any(|h| *h != holder))
    }

    /// Gives `range` to `holder`. Nobody may be in the way.
    pub fn grant_tokens(&mut self, range: Extent, holder: Holder, mode: Mode) {
        let claim = Claim::new(mode, holder);
        if self.stands_alone(range, &claim) {
            self.claims.insert(range.start(), (range.end(), claim));
            return;
        }
        self.split_tokens(range);
        let mut from = range.start();
        let mut free = Vec::new();
        for (&start, (end, claim)) in self.claims.range_mut(range.start()..range.end()) {
            free.extend(Extent::new(from, start));
            from = *end;
            *claim = claim.with(mode, holder);
        }
        free.extend(Extent::new(from, range.end()));
        for gap in free {
            self.claims.insert(gap.start(), (gap.end(), Claim::new(mode, holder)));
        }
        self.consolidate_token_ranges(range);
    }

    /// Takes `range` from `holder`; other holders keep what they share of it.
    pub fn take(&mut self, range: Extent, holder: Holder) {
        if self.claims.get(&range.start()) == Some(&(range.end(), Claim::Exclusive(holder))) {
            self.claims.remove(&range.start());
            return;
        }
        self.change(range, |claim| claim.without(holder));
    }

    /// Turns what `holder` has of `range` exclusively into shared.
    pub fn downgrade(&mut self, range: Extent, holder: Holder) {
        self.change(range, |claim| match claim {
            Claim::Exclusive(owner) if *owner == holder => Some(Claim::Shared(smallvec![holder])),
            other => Some(other.clone()),
        });
    }

    /// The bytes below and above `range` that nobody else has a claim to: how far a grant may be widened.
    pub fn room_around(&self, range: Extent, holder: Holder, mode: Mode) -> Extent {
        let in_the_way = |claim: &Claim| claim.mode().conflicts(mode) && claim.holders().iter().any(|h| *h != holder);
        let below = self.claims.range(..range.start()).rev().find(|(_, (_, claim))| in_the_way(claim));
        let above = self.claims.range(range.end()..).find(|(_, (_, claim))| in_the_way(claim));
        let start = below.map_or(0, |(_, (end, _))| (*end).min(range.start()));
        let end = above.map_or(u64::MAX, |(start, _)| *start);
        extent(start, end)
    }

    /// Cuts the claims at the edges of `range`; both remnants stay with their holders.
    pub fn split_tokens(&mut self, range: Extent) {
        for at in [range.start(), range.end()] {
            if let Some((_, (end, claim))) = self.claims.range_mut(..at).next_back()
                && *end > at
            {
                let tail = (*end, claim.clone());
                *end = at;
                self.claims.insert(at, tail);
            }
        }
    }

    /// Joins equal neighbours in `range` and at its edges.
    pub fn consolidate_token_ranges(&mut self, range: Extent) {
        let first = self.claims.range(..range.start()).next_back().map_or(range.start(), |(start, _)| *start);
        let mut cursor = first;
        while let Some((&start, (end, claim))) = self.claims.range(cursor..=range.end()).next() {
            let joined = self.claims.get(end).filter(|(_, next)| next == claim).map(|(next_end, _)| (*end, *next_end));
            match joined {
                Some((next_start, next_end)) if next_start <= range.end() => {
                    self.claims.remove(&next_start);
                    self.claims.get_mut(&start).expect("just seen").0 = next_end;
                    cursor = start;
                }
                _ => match start.checked_add(1) {
                    Some(next) => cursor = next,
                    None => break,
                },
            }
            if cursor > range.end() {
                break;
            }
        }
    }

    /// Whether the range is free and no neighbour would be joined with it.
    fn stands_alone(&self, range: Extent, claim: &Claim) -> bool {
        let clear_below = match self.claims.range(..range.start()).next_back() {
            Some((_, (end, before))) => *end < range.start() || (*end == range.start() && before != claim),
            None => true,
        };
        clear_below
            && match self.claims.range(range.start()..).next() {
                Some((start, (_, after))) => *start > range.end() || (*start == range.end() && after != claim),
                None => true,
            }
    }

    fn change(&mut self, range: Extent, change: impl Fn(&Claim) -> Option<Claim>) {
        self.split_tokens(range);
        let starts: SmallVec<[u64; 8]> = self.claims.range(range.start()..range.end()).map(|(s, _)| *s).collect();
        for start in starts {
            let entry = self.claims.get_mut(&start).expect("just listed");
            match change(&entry.1) {
                Some(claim) => entry.1 = claim,
                None => {
                    self.claims.remove(&start);
                }
            }
        }
        self.consolidate_token_ranges(range);
    }
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).expect("a claim is never empty")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClientId;
    use proptest::prelude::*;

    const BYTES: usize = 48;

    fn holder(number: u64) -> Holder {
        Holder::Client(ClientId::new(number).unwrap())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Grant(Extent, u64, Mode),
        Take(Extent, u64),
        Downgrade(Extent, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let range = (0..BYTES as u64 - 1, 1u64..16)
            .prop_map(|(start, len)| Extent::new(start, (start + len).min(BYTES as u64)).unwrap());
        let mode = prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)];
        prop_oneof![
            3 => (range.clone(), 1u64..4, mode).prop_map(|(r, h, m)| Step::Grant(r, h, m)),
            2 => (range.clone(), 1u64..4).prop_map(|(r, h)| Step::Take(r, h)),
            1 => (range, 1u64..4).prop_map(|(r, h)| Step::Downgrade(r, h)),
        ]
    }

    /// One cell per byte: who has it, and how.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Cell(BTreeMap<Holder, Mode>);

    impl Cell {
        fn in_the_way(&self, of: Holder, mode: Mode) -> bool {
            self.0.iter().any(|(h, m)| *h != of && m.conflicts(mode))
        }
    }

    proptest! {
        /// Single writer or many readers on every byte; nothing of a holder's range lost by a split; merges never
        /// cross holders; equal neighbours are always joined.
        #[test]
        fn the_table_is_an_array_of_bytes(steps in prop::collection::vec(step(), 0..60)) {
            let mut table = TokenTable::default();
            let mut model = vec![Cell::default(); BYTES];
            for step in steps {
                match step {
                    Step::Grant(range, h, mode) => {
                        let h = holder(h);
                        let cells = &mut model[range.start() as usize..range.end() as usize];
                        let blocked = cells.iter().any(|cell| cell.in_the_way(h, mode));
                        prop_assert_eq!(table.conflicts(range, Some(h), mode).next().is_some(), blocked);
                        if !blocked {
                            table.grant_tokens(range, h, mode);
                            for cell in cells {
                                let had = cell.0.entry(h).or_insert(mode);
                                *had = (*had).max(mode);
                            }
                            prop_assert!(table.holds(range, h, mode));
                            let room = table.room_around(range, h, mode);
                            prop_assert!(room.contains(range));
                            for (i, cell) in model.iter().enumerate() {
                                if (room.start()..room.end()).contains(&(i as u64)) {
                                    prop_assert!(!cell.in_the_way(h, mode));
                                }
                            }
                        }
                    }
                    Step::Take(range, h) => {
                        table.take(range, holder(h));
                        for cell in &mut model[range.start() as usize..range.end() as usize] {
                            cell.0.remove(&holder(h));
                        }
                    }
                    Step::Downgrade(range, h) => {
                        table.downgrade(range, holder(h));
                        for cell in &mut model[range.start() as usize..range.end() as usize] {
                            if let Some(mode) = cell.0.get_mut(&holder(h)) {
                                *mode = Mode::Shared;
                            }
                        }
                    }
                }
                let mut cells = vec![Cell::default(); BYTES];
                for (range, claim) in table.iter() {
                    for cell in &mut cells[range.start() as usize..range.end() as usize] {
                        cell.0 = claim.holders().iter().map(|h| (*h, claim.mode())).collect();
                    }
                }
                prop_assert_eq!(&cells, &model);
                let claims: Vec<_> = table.iter().collect();
                for pair in claims.windows(2) {
                    prop_assert!(pair[0].0.end() <= pair[1].0.start());
                    prop_assert!(pair[0].0.end() < pair[1].0.start() || pair[0].1 != pair[1].1, "not joined");
                }
            }
        }
    }
}
