//! The tokens of one file: claims, waiting requests, revokes under way.
//!
//! Invariants, true between any two calls:
//! * a request waits only while something it conflicts with stands before it: an earlier waiting request, a claim of
//!   another holder, a revoke of its own holder's range, or a range that the manager has taken for itself;
//! * for every claim in the way of the first waiting request that conflicts with it there is a revoke under way;
//! * a claim changes only when every member of its holder has acked, and only then a request that waited is granted.
//!
//! The steps of giving way are here in their order: [`FileTokens::acquire`] queues, [`FileTokens::settle`] looks at the
//! queue, `revoke_tokens_and_wait_for_ack` asks, [`FileTokens::ack`] changes the table, `grant` answers.

use super::manager::{ManagerAction, Shared};
use super::message::{Ack, Acquire, Grant, Mode, Refusal, Release, Revoke};
use super::table::TokenTable;
use super::{RANGES_PER_HOLDER_MAX, REVOKES_PER_HOLDER_MAX, WIDEN_BYTES_MIN};
use crate::extent::{Extent, ExtentSet};
use crate::ids::{ClientId, FileId, Holder, OpenId, RevokeId};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Requester {
    Member {
        client: ClientId,
        request: crate::ids::RequestId,
        holder: Holder,
        collective: bool,
    },
    /// The metadata server itself, to truncate or delete.
    Manager {
        operation: u64,
    },
}

impl Requester {
    fn holder(self) -> Option<Holder> {
        match self {
            Requester::Member { holder, .. } => Some(holder),
            Requester::Manager { .. } => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Waiting {
    requester: Requester,
    mode: Mode,
    /// Disjoint, in order, never empty.
    required: SmallVec<[Extent; 1]>,
    desired: Option<Extent>,
    /// It met another holder's claim, so its grant is not widened freely.
    met_conflict: bool,
}

impl Waiting {
    fn hull(&self) -> Extent {
        self.required[0].hull(self.required[self.required.len() - 1])
    }

    /// Whether the two can not be granted side by side.
    fn conflicts(&self, other: &Waiting) -> bool {
        let (a, b) = (self.requester.holder(), other.requester.holder());
        self.mode.conflicts(other.mode) && (a != b || a.is_none()) && overlap(&self.required, &other.required)
    }
}

/// A revoke that was sent and is not yet acked by every member.
#[derive(Clone, Debug)]
struct PendingRevoke {
    holder: Holder,
    range: Extent,
    downgrade: bool,
    /// Members that have not acked.
    missing: BTreeSet<ClientId>,
    /// What every member so far gives up; nothing before the first ack.
    released: Option<ExtentSet>,
    /// The holder's last grant when the revoke was sent.
    sequence: u64,
}

/// What is kept per holder that has the file open.
#[derive(Clone, Debug)]
struct HolderState {
    opens: BTreeSet<OpenId>,
    /// Sequence of the last grant.
    sequence: u64,
    /// Sequence of the last collective grant.
    collective_sequence: u64,
    /// How far the next grant may be widened.
    widen_bytes: u64,
    /// It was granted an exclusive range, so it may have written.
    may_have_written: bool,
    /// Ranges granted since the table was last counted: an upper bound of what it has.
    ranges_max: u64,
}

/// The tokens of one file.
#[derive(Debug, Default)]
pub(super) struct FileTokens {
    table: TokenTable,
    holders: BTreeMap<Holder, HolderState>,
    /// By arrival.
    waiting: BTreeMap<u64, Waiting>,
    revokes: BTreeMap<RevokeId, PendingRevoke>,
    /// Ranges that the metadata server has taken for itself, by operation.
    taken: BTreeMap<u64, Extent>,
    pub(super) counters: super::Counters,
}

impl FileTokens {
    /// Nothing is left that anybody could ask about.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.waiting.is_empty() && self.taken.is_empty()
    }

    pub(super) fn table(&self) -> &TokenTable {
        &self.table
    }

    pub(super) fn waiting_len(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Whether a revoke of this holder's range is under way.
    pub(super) fn is_revoking(&self, range: Extent, holder: Holder) -> bool {
        self.revokes.values().any(|revoke| revoke.holder == holder && revoke.range.overlaps(range))
    }

    /// Holders that may have written.
    pub(super) fn writers(&self) -> impl Iterator<Item = Holder> {
        self.holders.iter().filter(|(_, state)| state.may_have_written).map(|(holder, _)| *holder)
    }

    pub(super) fn is_open(&self, holder: Holder) -> bool {
        self.holders.contains_key(&holder)
    }

    pub(super) fn open(&mut self, holder: Holder, open: OpenId) {
        let state = self.holders.entry(holder).or_insert(HolderState {
            opens: BTreeSet::new(),
            sequence: 0,
            collective_sequence: 0,
            widen_bytes: WIDEN_BYTES_MIN,
            may_have_written: false,
            ranges_max: 0,
        });
        state.opens.insert(open);
    }

    /// Returns whether this was the last close of the holder.
    pub(super) fn close(&mut self, file: FileId, holder: Holder, open: OpenId, shared: &mut Shared) -> bool {
        let Some(state) = self.holders.get_mut(&holder) else { return true };
        state.opens.remove(&open);
        if !state.opens.is_empty() {
            return false;
        }
        self.drop_holder(file, holder, shared);
        true
    }

    /// A holder of an earlier boot says what it had. Nothing is taken over if others have some of it.
    pub(super) fn reassert(&mut self, file: FileId, holder: Holder, ranges: &[(Extent, Mode)]) -> Result<(), Refusal> {
        for (range, mode) in ranges {
            if let Some((range, _)) = self.table.conflicts(*range, Some(holder), *mode).next() {
                return Err(Refusal::ReassertConflict { holder, file, range });
            }
        }
        let state = self.holders.get_mut(&holder).expect("the caller has seen that the file is open");
        for (range, mode) in ranges {
            self.table.grant_tokens(*range, holder, *mode);
            state.may_have_written |= *mode == Mode::Exclusive;
        }
        state.ranges_max += ranges.len() as u64;
        Ok(())
    }

    /// Takes everything from a holder that has closed the file or is dead.
    pub(super) fn drop_holder(&mut self, file: FileId, holder: Holder, shared: &mut Shared) {
        self.holders.remove(&holder);
        self.table.take(Extent::ALL, holder);
        self.revokes.retain(|_, revoke| revoke.holder != holder);
        self.cancel(|requester| requester.holder() == Some(holder), shared);
        self.settle(file, shared);
    }

    /// A client is gone: its requests are dropped, and no ack is awaited from it any more.
    pub(super) fn drop_client(&mut self, file: FileId, client: ClientId, shared: &mut Shared) {
        self.waiting.retain(|_, w| !matches!(w.requester, Requester::Member { client: c, .. } if c == client));
        let missing: Vec<RevokeId> =
            self.revokes.iter().filter(|(_, r)| r.missing.contains(&client)).map(|(id, _)| *id).collect();
        for id in missing {
            let range = self.revokes[&id].range;
            self.ack_member(id, client, std::iter::once(range).collect());
        }
        self.settle(file, shared);
    }

    pub(super) fn acquire(&mut self, file: FileId, client: ClientId, acquire: Acquire, shared: &mut Shared) {
        let request = acquire.request;
        match self.required_ranges(&acquire) {
            Ok(required) => {
                let requester =
                    Requester::Member { client, request, holder: acquire.holder, collective: acquire.collective };
                let waiting =
                    Waiting { requester, mode: acquire.mode, required, desired: acquire.desired, met_conflict: false };
                self.enqueue(file, waiting, shared);
            }
            Err(refusal) => {
                self.counters.refusals += 1;
                shared.refuse(client, request, refusal);
            }
        }
    }

    /// The metadata server asks for itself.
    pub(super) fn acquire_for_manager(&mut self, file: FileId, operation: u64, range: Extent, shared: &mut Shared) {
        let waiting = Waiting {
            requester: Requester::Manager { operation },
            mode: Mode::Exclusive,
            required: smallvec![range],
            desired: None,
            met_conflict: false,
        };
        self.enqueue(file, waiting, shared);
    }

    pub(super) fn release_for_manager(&mut self, file: FileId, operation: u64, shared: &mut Shared) {
        self.taken.remove(&operation);
        self.waiting.retain(|_, w| w.requester != Requester::Manager { operation });
        self.settle(file, shared);
    }

    pub(super) fn cancel_request(
        &mut self,
        file: FileId,
        client: ClientId,
        request: crate::ids::RequestId,
        shared: &mut Shared,
    ) {
        let wanted = (client, request);
        self.cancel(|r| matches!(r, Requester::Member { client, request, .. } if (client, request) == wanted), shared);
        self.settle(file, shared);
    }

    /// A member has given up what a revoke asked for. Late and unknown acks change nothing.
    pub(super) fn ack(&mut self, file: FileId, from: ClientId, ack: &Ack, shared: &mut Shared) {
        let Some(revoke) = self.revokes.get(&ack.revoke) else { return };
        if revoke.holder != ack.holder || !revoke.missing.contains(&from) {
            return;
        }
        self.counters.acks += 1;
        shared.counters.acks += 1;
        let mut released: ExtentSet = ack.released.iter().copied().collect();
        released.insert(revoke.range, ());
        self.ack_member(ack.revoke, from, released);
        self.settle(file, shared);
    }

    pub(super) fn release(&mut self, file: FileId, release: &Release, shared: &mut Shared) {
        let Some(state) = self.holders.get(&release.holder) else { return };
        let members = shared.member_count(release.holder);
        // A newer grant is on its way to the holder, or another member may still use the range: keep it.
        if state.sequence == release.last_grant_sequence && members == 1 {
            self.table.take(release.range, release.holder);
            self.settle(file, shared);
        }
    }

    /// Grants whatever can be granted, in order of arrival, and sees that the rest is on its way.
    pub(super) fn settle(&mut self, file: FileId, shared: &mut Shared) {
        if shared.in_grace {
            return;
        }
        let arrivals: Vec<u64> = self.waiting.keys().copied().collect();
        for arrival in arrivals {
            let waiting = &self.waiting[&arrival];
            if self.waiting.range(..arrival).any(|(_, earlier)| earlier.conflicts(waiting)) {
                continue;
            }
            if self.is_clear(waiting) {
                let waiting = self.waiting.remove(&arrival).expect("just looked at");
                self.grant(file, waiting, shared);
            } else {
                self.revoke_tokens_and_wait_for_ack(file, arrival, shared);
            }
        }
    }

    fn enqueue(&mut self, file: FileId, waiting: Waiting, shared: &mut Shared) {
        if !shared.in_grace && self.waiting.is_empty() && self.is_clear(&waiting) {
            return self.grant(file, waiting, shared);
        }
        let arrival = shared.next_arrival();
        self.waiting.insert(arrival, waiting);
        self.settle(file, shared);
    }

    /// Whether nothing but earlier requests stands in the way.
    fn is_clear(&self, waiting: &Waiting) -> bool {
        let holder = waiting.requester.holder();
        let hull = waiting.hull();
        let taken = self.taken.values().any(|taken| waiting.required.iter().any(|r| r.overlaps(*taken)));
        let own_revoke = self.revokes.values().any(|revoke| {
            Some(revoke.holder) == holder
                && revoke.range.overlaps(hull)
                && waiting.required.iter().any(|r| r.overlaps(revoke.range))
                && !(revoke.downgrade && waiting.mode == Mode::Shared)
        });
        !taken
            && !own_revoke
            && waiting.required.iter().all(|r| self.table.conflicts(*r, holder, waiting.mode).next().is_none())
    }

    /// Asks every holder in the way to give up what is needed; the request stays in the queue until all have acked.
    fn revoke_tokens_and_wait_for_ack(&mut self, file: FileId, arrival: u64, shared: &mut Shared) {
        let waiting = self.waiting.get_mut(&arrival).expect("a request that waits");
        waiting.met_conflict = true;
        let (mode, wanted) = (waiting.mode, waiting.desired);
        let mut needed: BTreeMap<Holder, ExtentSet> = BTreeMap::new();
        for required in &waiting.required {
            for (part, other) in self.table.conflicts(*required, waiting.requester.holder(), mode) {
                needed.entry(other).or_default().insert(part, ());
            }
        }
        let downgrade = mode == Mode::Shared;
        for (holder, mut parts) in needed {
            for revoke in self.revokes.values() {
                if revoke.holder == holder && (!revoke.downgrade || downgrade) {
                    parts.remove(revoke.range);
                }
            }
            for range in at_most(parts, REVOKES_PER_HOLDER_MAX) {
                self.send_revoke(file, holder, range, wanted.map_or(range, |w| w.hull(range)), downgrade, shared);
            }
        }
    }

    fn send_revoke(
        &mut self,
        file: FileId,
        holder: Holder,
        range: Extent,
        wanted: Extent,
        downgrade: bool,
        shared: &mut Shared,
    ) {
        let state = self.holders.get_mut(&holder).expect("whoever has a claim has the file open");
        state.widen_bytes = WIDEN_BYTES_MIN;
        let id = shared.next_revoke();
        let members = shared.members(holder);
        let covers_sequence = state.collective_sequence;
        self.counters.revokes += 1;
        shared.counters.revokes += 1;
        for to in members.iter().copied() {
            let revoke = Revoke { revoke: id, holder, file, range, wanted, downgrade, covers_sequence };
            shared.actions.push_back(ManagerAction::Revoke { to, revoke });
        }
        let missing = members.into_iter().collect();
        let pending = PendingRevoke { holder, range, downgrade, missing, released: None, sequence: state.sequence };
        self.revokes.insert(id, pending);
    }

    /// Counts one member's ack; the last one changes the table.
    fn ack_member(&mut self, id: RevokeId, member: ClientId, released: ExtentSet) {
        let Some(revoke) = self.revokes.get_mut(&id) else { return };
        revoke.missing.remove(&member);
        revoke.released = Some(match revoke.released.take() {
            None => released,
            Some(others) => intersection(&others, &released),
        });
        if !revoke.missing.is_empty() {
            return;
        }
        let revoke = self.revokes.remove(&id).expect("just seen");
        // What members offer beyond the revoke counts only if no grant was made meanwhile: it could name the same bytes.
        let untouched = self.holders.get(&revoke.holder).is_some_and(|state| state.sequence == revoke.sequence);
        let released = match revoke.released {
            Some(released) if untouched => released,
            _ => std::iter::once(revoke.range).collect(),
        };
        for range in released.extents() {
            if revoke.downgrade {
                self.table.downgrade(range, revoke.holder);
            } else {
                self.table.take(range, revoke.holder);
            }
        }
    }

    fn grant(&mut self, file: FileId, waiting: Waiting, shared: &mut Shared) {
        let (client, request, holder, collective) = match waiting.requester {
            Requester::Manager { operation } => {
                self.taken.insert(operation, waiting.hull());
                shared.actions.push_back(ManagerAction::ManagerGranted { operation, file });
                return;
            }
            Requester::Member { client, request, holder, collective } => (client, request, holder, collective),
        };
        let ranges = self.widen(holder, &waiting);
        for range in &ranges {
            self.table.grant_tokens(*range, holder, waiting.mode);
        }
        let state = self.holders.get_mut(&holder).expect("a request's holder has the file open");
        state.sequence += 1;
        if collective {
            state.collective_sequence = state.sequence;
        }
        state.may_have_written |= waiting.mode == Mode::Exclusive;
        state.ranges_max += ranges.len() as u64;
        state.widen_bytes = match waiting.met_conflict {
            true => WIDEN_BYTES_MIN,
            false => state.widen_bytes.saturating_mul(2),
        };
        let grant = Grant {
            request,
            holder,
            file,
            mode: waiting.mode,
            ranges,
            sequence: state.sequence,
            boot: shared.boot,
            collective,
            set: None,
        };
        let too_many = state.ranges_max > RANGES_PER_HOLDER_MAX;
        self.counters.grants += 1;
        shared.counters.grants += 1;
        shared.actions.push_back(ManagerAction::Grant { to: client, grant });
        if too_many {
            self.bound_ranges(file, holder, shared);
        }
    }

    /// What a grant names: all that is required, and as much of what is desired as hurts nobody.
    fn widen(&self, holder: Holder, waiting: &Waiting) -> Vec<Extent> {
        let Some(desired) = waiting.desired else { return waiting.required.to_vec() };
        let quiet = self.waiting.is_empty() && self.revokes.is_empty() && self.taken.is_empty();
        let alone = quiet && (self.holders.len() == 1 || !self.table.has_others(holder));
        if alone {
            let hull = waiting.hull();
            return vec![desired.hull(hull)];
        }
        if waiting.met_conflict || !quiet {
            return waiting.required.to_vec();
        }
        let reach = self.holders[&holder].widen_bytes;
        let mut ranges = waiting.required.to_vec();
        let last = ranges.len() - 1;
        let (first_start, last_end) = (ranges[0].start(), ranges[last].end());
        let below = self.table.room_around(ranges[0], holder, waiting.mode).start();
        let above = self.table.room_around(ranges[last], holder, waiting.mode).end();
        let start = first_start.saturating_sub(reach).max(below).max(desired.start()).min(first_start);
        let end = last_end.saturating_add(reach).min(above).min(desired.end()).max(last_end);
        let first = &mut ranges[0];
        *first = Extent::new(start, first.end()).expect("widened");
        let tail = &mut ranges[last];
        *tail = Extent::new(tail.start(), end).expect("widened");
        ranges
    }

    /// The ranges of a request, joined; the hull of too many if that hurts nobody.
    fn required_ranges(&self, acquire: &Acquire) -> Result<SmallVec<[Extent; 1]>, Refusal> {
        if let [single] = acquire.required.as_slice()
            && single.count() == 1
        {
            return Ok(smallvec![single.hull()]);
        }
        let Some(first) = acquire.required.first() else { return Err(Refusal::Empty) };
        let hull = acquire.required.iter().fold(first.hull(), |hull, pattern| hull.hull(pattern.hull()));
        let ranges = acquire.required.iter().fold(0u64, |sum, pattern| sum.saturating_add(pattern.count()));
        if ranges <= RANGES_PER_HOLDER_MAX {
            let set: ExtentSet = acquire.required.iter().flat_map(|pattern| pattern.extents()).collect();
            return Ok(set.extents().collect());
        }
        let holder = Some(acquire.holder);
        let hurts = self.table.conflicts(hull, holder, acquire.mode).next().is_some()
            || self.waiting.values().any(|w| w.requester.holder() != holder && w.hull().overlaps(hull))
            || self.taken.values().any(|taken| taken.overlaps(hull));
        match hurts {
            false => Ok(smallvec![hull]),
            true => Err(Refusal::TooManyRanges { ranges, limit: RANGES_PER_HOLDER_MAX, hull }),
        }
    }

    /// Keeps a holder's number of ranges bounded: fills gaps between its own ranges that nobody has or wants, and takes
    /// the lower half back if that is not enough.
    fn bound_ranges(&mut self, file: FileId, holder: Holder, shared: &mut Shared) {
        let own = |table: &TokenTable| -> Vec<(Extent, Mode)> {
            let mine = table.iter().filter(|(_, claim)| claim.holders().contains(&holder));
            mine.map(|(range, claim)| (range, claim.mode())).collect()
        };
        let before = own(&self.table);
        if before.len() as u64 > RANGES_PER_HOLDER_MAX / 2 {
            for pair in before.windows(2) {
                let gap = Extent::new(pair[0].0.end(), pair[1].0.start());
                if let Some(gap) = gap
                    && pair[0].1 == pair[1].1
                    && self.table.overlapping(gap).next().is_none()
                    && !self.waiting.values().any(|w| w.required.iter().any(|r| r.overlaps(gap)))
                    && !self.taken.values().any(|taken| taken.overlaps(gap))
                    && !self.revokes.values().any(|revoke| revoke.range.overlaps(gap))
                {
                    self.table.grant_tokens(gap, holder, pair[0].1);
                }
            }
        }
        let after = own(&self.table);
        let state = self.holders.get_mut(&holder).expect("the holder of a grant");
        state.ranges_max = after.len() as u64;
        if after.len() as u64 > RANGES_PER_HOLDER_MAX {
            let hull = after[0].0.hull(after[after.len() / 2].0);
            if !self.is_revoking(hull, holder) {
                self.send_revoke(file, holder, hull, hull, false, shared);
            }
        }
    }

    fn cancel(&mut self, which: impl Fn(Requester) -> bool, shared: &mut Shared) {
        self.waiting.retain(|_, waiting| {
            if !which(waiting.requester) {
                return true;
            }
            if let Requester::Member { client, request, .. } = waiting.requester {
                shared.refuse(client, request, Refusal::Cancelled);
            }
            false
        });
    }
}

/// The set as a list, or its hull when the list is longer than `limit`.
fn at_most(parts: ExtentSet, limit: usize) -> Vec<Extent> {
    let extents: Vec<Extent> = parts.extents().collect();
    match extents.as_slice() {
        [first, .., last] if extents.len() > limit => vec![first.hull(*last)],
        _ => extents,
    }
}

fn intersection(a: &ExtentSet, b: &ExtentSet) -> ExtentSet {
    a.extents().flat_map(|part| b.within(part).map(|(both, ())| both).collect::<Vec<_>>()).collect()
}

/// Whether two ordered lists of disjoint extents share a byte.
fn overlap(a: &[Extent], b: &[Extent]) -> bool {
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].overlaps(b[j]) {
            return true;
        }
        match a[i].end() < b[j].end() {
            true => i += 1,
            false => j += 1,
        }
    }
    false
}
