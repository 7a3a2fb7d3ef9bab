//! Which holder has which bytes of one file: the token manager's table.
//!
//! Invariants:
//! * claims are disjoint; a byte is either free, or one holder's exclusively, or shared by one or more holders;
//! * after every public call no two claims that touch are equal, so what one holder has in one piece is one claim;
//! * claims of different holders are never joined;
//! * `counts` names exactly the holders that have a claim, with the number of their claims.

use crate::extent::Extent;
use crate::ids::Holder;
use crate::token::message::Mode;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// How many claims above and below a range are looked at to see how far a grant may be widened.
const ROOM_CLAIMS_MAX: usize = 32;

/// Who has a range, and how. Small, for there may be millions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    /// Read and write.
    Writer(Holder),
    /// Read, by one.
    Reader(Holder),
    /// Read, by all of these: sorted, at least two.
    Readers(Box<[Holder]>),
}

impl Claim {
    fn new(mode: Mode, holder: Holder) -> Claim {
        Claim(match mode {
            Mode::Exclusive => Repr::Writer(holder),
            Mode::Shared => Repr::Reader(holder),
        })
    }

    /// The mode all its holders have.
    pub fn mode(&self) -> Mode {
        match self.0 {
            Repr::Writer(_) => Mode::Exclusive,
            Repr::Reader(_) | Repr::Readers(_) => Mode::Shared,
        }
    }

    /// Everybody who has it.
    pub fn holders(&self) -> &[Holder] {
        match &self.0 {
            Repr::Writer(holder) | Repr::Reader(holder) => std::slice::from_ref(holder),
            Repr::Readers(holders) => holders,
        }
    }

    fn is_of(&self, holder: Holder) -> bool {
        self.holders().binary_search(&holder).is_ok()
    }

    fn readers(holders: &[Holder]) -> Option<Claim> {
        match holders {
            [] => None,
            [single] => Some(Claim(Repr::Reader(*single))),
            many => Some(Claim(Repr::Readers(many.into()))),
        }
    }

    /// What is left without `holder`, who has a part in it.
    fn without(&self, holder: Holder) -> Option<Claim> {
        let rest: SmallVec<[Holder; 4]> = self.holders().iter().copied().filter(|h| *h != holder).collect();
        Claim::readers(&rest)
    }

    /// This claim with `holder` added in `mode`. The caller has seen that nobody else is in the way.
    fn with(&self, mode: Mode, holder: Holder) -> Claim {
        match (&self.0, mode) {
            (Repr::Writer(owner), _) => {
                assert_eq!(*owner, holder, "a grant over another holder's exclusive range");
                self.clone()
            }
            (_, Mode::Exclusive) => {
                assert_eq!(self.holders(), [holder], "an exclusive grant over other holders' shared range");
                Claim::new(Mode::Exclusive, holder)
            }
            (_, Mode::Shared) => {
                let mut holders: SmallVec<[Holder; 4]> = self.holders().into();
                if let Err(at) = holders.binary_search(&holder) {
                    holders.insert(at, holder);
                }
                Claim::readers(&holders).expect("at least the one that was added")
            }
        }
    }

    /// Whether this claim and one that touches it are one.
    fn joins(&self, next: &Claim) -> bool {
        let writers = |claim: &Claim| claim.mode() == Mode::Exclusive;
        self == next || (crate::mutant!(MergeAcrossHolders) && writers(self) && writers(next))
    }
}

/// The claims on one file.
#[derive(Clone, Debug, Default)]
pub struct TokenTable {
    /// start → (end, claim)
    claims: BTreeMap<u64, (u64, Claim)>,
    /// Claims of each holder.
    counts: BTreeMap<Holder, u64>,
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

    /// Whether nothing keeps `holder` from having `range` in `mode`.
    pub fn is_free(&self, range: Extent, holder: Option<Holder>, mode: Mode) -> bool {
        let mut from_above = self.claims.range(..range.end()).rev().take_while(|(_, (end, _))| *end > range.start());
        from_above.all(|(_, (_, claim))| {
            !claim.mode().conflicts(mode) || claim.holders().iter().all(|other| Some(*other) == holder)
        })
    }

    /// Whether `holder` has all of `range` in `mode` or better.
    pub fn holds(&self, range: Extent, holder: Holder, mode: Mode) -> bool {
        let mut from = range.start();
        for (claimed, claim) in self.overlapping(range) {
            if claimed.start() > from || claim.mode() < mode || !claim.is_of(holder) {
                return false;
            }
            from = claimed.end();
        }
        from >= range.end()
    }

    /// Number of claims that `holder` has a part in.
    pub fn count_of(&self, holder: Holder) -> u64 {
        self.counts.get(&holder).copied().unwrap_or(0)
    }

    /// Whether any holder but this one has any claim.
    pub fn has_others(&self, holder: Holder) -> bool {
        self.counts.keys().any(|other| *other != holder)
    }

    /// Gives `range` to `holder`. Nobody may be in the way.
    pub fn grant_tokens(&mut self, range: Extent, holder: Holder, mode: Mode) {
        let claim = Claim::new(mode, holder);
        if self.stands_alone(range, &claim) {
            self.insert(range, claim);
            return;
        }
        self.split_tokens(range);
        let mut from = range.start();
        let mut free: SmallVec<[Extent; 4]> = SmallVec::new();
        let mut added = 0;
        for (&start, (end, claim)) in self.claims.range_mut(range.start()..range.end()) {
            free.extend(Extent::new(from, start));
            from = *end;
            added += u64::from(!claim.is_of(holder));
            *claim = claim.with(mode, holder);
        }
        if added > 0 {
            *self.counts.entry(holder).or_default() += added;
        }
        free.extend(Extent::new(from, range.end()));
        for gap in free {
            self.insert(gap, Claim::new(mode, holder));
        }
        self.consolidate_token_ranges(range);
    }

    /// Takes `range` from `holder`; other holders keep what they share of it.
    pub fn take(&mut self, range: Extent, holder: Holder) {
        if let Entry::Occupied(entry) = self.claims.entry(range.start())
            && entry.get().0 == range.end()
            && entry.get().1.0 == Repr::Writer(holder)
        {
            entry.remove();
            self.count_down(&[holder]);
        } else if self.counts.contains_key(&holder) {
            self.change(range, holder, |claim| claim.without(holder));
        }
    }

    /// Turns what `holder` has of `range` exclusively into shared.
    pub fn downgrade(&mut self, range: Extent, holder: Holder) {
        self.change(range, holder, |claim| match claim.mode() {
            Mode::Exclusive => Some(Claim::new(Mode::Shared, holder)),
            Mode::Shared => Some(claim.clone()),
        });
    }

    /// The bytes below and above `range` up to the next claim of another holder that is in the way of `mode`: how far a
    /// grant may be widened. Stops at the last of a bounded number of claims that it looks at.
    pub fn room_around(&self, range: Extent, holder: Holder, mode: Mode) -> Extent {
        let free = |claim: &Claim| !claim.mode().conflicts(mode) || claim.holders() == [holder];
        let mut start = 0;
        for (at, (claimed, (end, claim))) in self.claims.range(..range.start()).rev().enumerate() {
            if !free(claim) || at == ROOM_CLAIMS_MAX {
                start = if free(claim) { *claimed } else { *end }.min(range.start());
                break;
            }
        }
        let mut end = u64::MAX;
        for (at, (claimed, (claimed_end, claim))) in self.claims.range(range.end()..).enumerate() {
            if !free(claim) || at == ROOM_CLAIMS_MAX {
                end = if free(claim) { *claimed_end } else { *claimed };
                break;
            }
        }
        extent(start, end)
    }

    /// Cuts the claims at the edges of `range`; both remnants stay with their holders.
    fn split_tokens(&mut self, range: Extent) {
        self.split_at(range.start(), false);
        self.split_at(range.end(), crate::mutant!(SplitLosesTail));
    }

    fn split_at(&mut self, at: u64, lose_tail: bool) {
        if let Some((_, (end, claim))) = self.claims.range_mut(..at).next_back()
            && *end > at
        {
            let tail = extent(at, *end);
            let claim = claim.clone();
            *end = at;
            if !lose_tail {
                self.insert(tail, claim);
            }
        }
    }

    /// Joins equal neighbours in `range` and at its edges.
    fn consolidate_token_ranges(&mut self, range: Extent) {
        let first = self.claims.range(..range.start()).next_back().map_or(range.start(), |(start, _)| *start);
        let mut cursor = first;
        while let Some((&start, (end, claim))) = self.claims.range(cursor..=range.end()).next() {
            let next =
                self.claims.get(end).filter(|(_, next)| claim.joins(next)).map(|(next_end, _)| (*end, *next_end));
            match next {
                Some((next_start, next_end)) if next_start <= range.end() => {
                    self.remove(next_start);
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
        for (start, (end, other)) in self.claims.range(..=range.end()).rev() {
            if *start < range.end() {
                return *end < range.start() || (*end == range.start() && !other.joins(claim));
            }
            if claim.joins(other) {
                return false;
            }
        }
        true
    }

    /// Changes the claims of `holder` in `range`; `change` returns what is left, which may be nothing.
    fn change(&mut self, range: Extent, holder: Holder, change: impl Fn(&Claim) -> Option<Claim>) {
        self.split_tokens(range);
        let mine = self.claims.range(range.start()..range.end()).filter(|(_, (_, claim))| claim.is_of(holder));
        let starts: SmallVec<[u64; 8]> = mine.map(|(start, _)| *start).collect();
        for start in &starts {
            let (end, claim) = self.claims.get(start).expect("just listed");
            let (end, left) = (*end, change(claim));
            self.remove(*start);
            if let Some(claim) = left {
                self.insert(extent(*start, end), claim);
            }
        }
        self.consolidate_token_ranges(range);
    }

    fn insert(&mut self, range: Extent, claim: Claim) {
        for holder in claim.holders() {
            *self.counts.entry(*holder).or_default() += 1;
        }
        self.claims.insert(range.start(), (range.end(), claim));
    }

    fn remove(&mut self, start: u64) {
        if let Some((_, claim)) = self.claims.remove(&start) {
            self.count_down(claim.holders());
        }
    }

    fn count_down(&mut self, holders: &[Holder]) {
        for holder in holders {
            if let Some(count) = self.counts.get_mut(holder) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(holder);
                }
            }
        }
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
                for h in (1..4).map(holder) {
                    let claims = table.iter().filter(|(_, claim)| claim.holders().contains(&h)).count();
                    prop_assert_eq!(table.count_of(h), claims as u64);
                    let others = table.iter().any(|(_, claim)| claim.holders().iter().any(|other| *other != h));
                    prop_assert_eq!(table.has_others(h), others);
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
