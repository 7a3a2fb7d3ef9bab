//! The tokens of one file: claims, waiting requests, revokes under way.
//!
//! Invariants, true between any two calls:
//! * a request waits only while something it conflicts with stands before it: an earlier waiting request, a claim of
//!   another holder, a revoke in its ranges, or a range that the manager has taken for itself;
//! * for every claim in the way of the first waiting request that conflicts with it there is a revoke under way;
//! * a claim changes only when every member of its holder has acked, and only then a request that waited is granted.
//!
//! The steps of giving way are here in their order: [`FileTokens::acquire`] queues, [`FileTokens::settle`] looks at the
//! requests that may be concerned, `revoke_tokens_and_wait_for_ack` asks, [`FileTokens::ack`] changes the table, and
//! `grant` answers. A request is looked at when it comes, when an earlier one that touches it goes, and when what is
//! revoked or taken in its ranges changes; nothing else can make a difference to it.

mod give_way;
mod grant;
mod queue;
mod request;
mod revokes;

use super::manager::Shared;
use super::message::{Acquire, AcquireSet, Mode, Refusal, Release};
use super::table::TokenTable;
use super::{RANGES_PER_HOLDER_MAX, REASSERTED_RANGES_MAX, WIDEN_BYTES_MIN};
use crate::extent::{Extent, ExtentSet};
use crate::ids::{ClientId, FileId, Holder, OpenId, RequestId, RevokeId};
use queue::{Part, Queue, Requester, Waiting};
use revokes::{PendingRevoke, Revokes};
use smallvec::smallvec;
use std::collections::{BTreeMap, BTreeSet};

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
    /// The last revoke because it had too many ranges.
    reclaim: Option<RevokeId>,
}

/// The tokens of one file.
#[derive(Debug, Default)]
pub(super) struct FileTokens {
    table: TokenTable,
    holders: BTreeMap<Holder, HolderState>,
    queue: Queue,
    revokes: Revokes,
    /// Ranges that the metadata server has taken for itself, by operation.
    taken: BTreeMap<u64, Extent>,
    pub(super) counters: super::Counters,
}

impl FileTokens {
    /// Nothing is left that anybody could ask about.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.queue.is_empty() && self.taken.is_empty()
    }

    pub(super) fn table(&self) -> &TokenTable {
        &self.table
    }

    pub(super) fn waiting_len(&self) -> u64 {
        self.queue.len() as u64
    }

    /// Whether a revoke of this holder's range is under way.
    pub(super) fn is_revoking(&self, range: Extent, holder: Holder) -> bool {
        self.revokes.touch(range, holder)
    }

    /// Holders that may have written.
    pub(super) fn writers(&self) -> impl Iterator<Item = Holder> {
        self.holders.iter().filter(|(_, state)| state.may_have_written).map(|(holder, _)| *holder)
    }

    // ---- Who has the file open

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
            reclaim: None,
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
        let count = self.table.count_of(holder) + ranges.len() as u64;
        if let (Some((first, _)), Some((last, _))) = (ranges.first(), ranges.last())
            && count > REASSERTED_RANGES_MAX
        {
            let hull = first.hull(*last);
            return Err(Refusal::TooManyRanges { ranges: count, limit: REASSERTED_RANGES_MAX, hull });
        }
        let state = self.holders.get_mut(&holder).expect("the caller has seen that the file is open");
        for (range, mode) in ranges {
            self.table.grant_tokens(*range, holder, *mode);
            state.may_have_written |= *mode == Mode::Exclusive;
        }
        Ok(())
    }

    /// Takes everything from a holder that has closed the file or is dead. Who has asked for it is told that it waits for
    /// nothing.
    pub(super) fn drop_holder(&mut self, file: FileId, holder: Holder, shared: &mut Shared) {
        self.holders.remove(&holder);
        self.table.take(Extent::ALL, holder);
        self.revokes.remove_of(holder);
        let dropped = self.queue.take(|waiting| waiting.is_for(holder));
        self.refuse(dropped, shared);
        self.settle_all(file, shared);
    }

    /// A client is gone: its requests are dropped, and no ack is awaited from it any more.
    pub(super) fn drop_client(&mut self, file: FileId, client: ClientId, shared: &mut Shared) {
        self.queue.take(|waiting| waiting.requester.asker().is_some_and(|(asker, _)| asker == client));
        for id in self.revokes.missing(client) {
            if let Some(revoke) = self.revokes.get_mut(id) {
                let range = revoke.range;
                self.ack_member(id, client, std::iter::once(range).collect());
            }
        }
        self.settle_all(file, shared);
    }

    // ---- Requests

    pub(super) fn acquire(&mut self, file: FileId, client: ClientId, acquire: Acquire, shared: &mut Shared) {
        let Acquire { request, holder, mode, required, desired, collective, .. } = acquire;
        match self.required_ranges(holder, mode, &required) {
            Ok(required) => {
                let requester = Requester::Member { client, request, collective };
                let parts = smallvec![Part { holder: Some(holder), required }];
                self.enqueue(file, Waiting { requester, mode, parts, desired, asked: false }, shared);
            }
            Err(refusal) => self.refuse_one(client, request, refusal, shared),
        }
    }

    pub(super) fn acquire_set(&mut self, file: FileId, client: ClientId, set: &AcquireSet, shared: &mut Shared) {
        let AcquireSet { request, mode, .. } = *set;
        match self.set_parts(set) {
            Ok(parts) => {
                let requester = Requester::Set { client, request };
                self.enqueue(file, Waiting { requester, mode, parts, desired: None, asked: false }, shared);
            }
            Err(refusal) => self.refuse_one(client, request, refusal, shared),
        }
    }

    /// The metadata server asks for itself.
    pub(super) fn acquire_for_manager(&mut self, file: FileId, operation: u64, range: Extent, shared: &mut Shared) {
        let requester = Requester::Manager { operation };
        let parts = smallvec![Part { holder: None, required: smallvec![range] }];
        let waiting = Waiting { requester, mode: Mode::Exclusive, parts, desired: None, asked: false };
        self.enqueue(file, waiting, shared);
    }

    pub(super) fn release_for_manager(&mut self, file: FileId, operation: u64, shared: &mut Shared) {
        let mut concerned = BTreeSet::new();
        if let Some(taken) = self.taken.remove(&operation) {
            self.queue.add_touching(taken, &mut concerned);
        }
        let dropped = self.queue.take(|waiting| waiting.requester == Requester::Manager { operation });
        self.add_concerned(&dropped, &mut concerned);
        self.settle(file, concerned, shared);
    }

    /// A client does not want a request any more.
    pub(super) fn cancel(&mut self, file: FileId, client: ClientId, request: RequestId, shared: &mut Shared) {
        let dropped = self.queue.take(|waiting| waiting.requester.asker() == Some((client, request)));
        let mut concerned = BTreeSet::new();
        self.add_concerned(&dropped, &mut concerned);
        self.refuse(dropped, shared);
        self.settle(file, concerned, shared);
    }

    pub(super) fn release(&mut self, file: FileId, release: &Release, shared: &mut Shared) {
        let Some(state) = self.holders.get(&release.holder) else { return };
        // A newer grant is on its way to the holder, or another member may still use the range: keep it.
        if state.sequence == release.last_grant_sequence && shared.member_count(release.holder) == 1 {
            self.table.take(release.range, release.holder);
            let mut concerned = BTreeSet::new();
            self.queue.add_touching(release.range, &mut concerned);
            self.settle(file, concerned, shared);
        }
    }

    fn enqueue(&mut self, file: FileId, waiting: Waiting, shared: &mut Shared) {
        let arrival = shared.next_arrival();
        if !shared.in_grace && !self.queue.is_behind(arrival, &waiting) && self.is_clear(&waiting) {
            return self.grant(file, waiting, shared);
        }
        self.queue.push(arrival, waiting);
        self.settle(file, BTreeSet::from([arrival]), shared);
    }

    fn refuse(&mut self, dropped: Vec<Waiting>, shared: &mut Shared) {
        for (client, request) in dropped.iter().filter_map(|waiting| waiting.requester.asker()) {
            shared.refuse(client, request, Refusal::Cancelled);
        }
    }

    fn refuse_one(&mut self, client: ClientId, request: RequestId, refusal: Refusal, shared: &mut Shared) {
        self.counters.refusals += 1;
        shared.refuse(client, request, refusal);
    }

    // ---- Looking at requests

    /// After a restart: looks at everything that waited.
    pub(super) fn end_grace(&mut self, file: FileId, shared: &mut Shared) {
        // Sets with a part for somebody who did not come.
        let holders = &self.holders;
        let absent = |part: &queue::Part| part.holder.is_some_and(|holder| !holders.contains_key(&holder));
        let missed = self.queue.take(|waiting| waiting.parts.iter().any(absent));
        self.refuse(missed, shared);
        self.bound_ranges(file, shared);
        self.settle_all(file, shared);
    }

    fn settle_all(&mut self, file: FileId, shared: &mut Shared) {
        let all = self.queue.arrivals().collect();
        self.settle(file, all, shared);
    }

    /// Grants what can be granted of the `concerned` and of those behind them, in order of arrival, and sees that the
    /// rest is on its way.
    fn settle(&mut self, file: FileId, mut concerned: BTreeSet<u64>, shared: &mut Shared) {
        if shared.in_grace {
            return;
        }
        while let Some(arrival) = concerned.pop_first() {
            let Some(waiting) = self.queue.get(arrival) else { continue };
            let not_yet = match waiting.asked {
                true => self.is_under_revoke(waiting),
                false => self.queue.is_behind(arrival, waiting),
            };
            if not_yet {
                continue;
            }
            if !self.is_clear(waiting) {
                self.revoke_tokens_and_wait_for_ack(file, arrival, shared);
                if !crate::mutant!(GrantBeforeAck) {
                    continue;
                }
                self.take_unasked(arrival);
            }
            if let Some(waiting) = self.queue.remove(arrival) {
                self.add_concerned(std::slice::from_ref(&waiting), &mut concerned);
                self.grant(file, waiting, shared);
            }
        }
    }

    /// Adds the requests that may stand behind those that were `dropped` from the queue.
    fn add_concerned(&self, dropped: &[Waiting], concerned: &mut BTreeSet<u64>) {
        for (_, range) in dropped.iter().flat_map(|waiting| waiting.required()) {
            self.queue.add_touching(range, concerned);
        }
    }

    /// Whether nothing but earlier requests stands in the way.
    fn is_clear(&self, waiting: &Waiting) -> bool {
        waiting.required().all(|(holder, range)| {
            !self.taken.values().any(|taken| taken.overlaps(range))
                && (!self.is_revoked_of(holder, range, waiting.mode) || crate::mutant!(OwnRangeUnderRevoke))
                && self.table.is_free(range, holder, waiting.mode)
        })
    }

    /// Whether the holder must give up some of the range that it wants, which it has or had.
    fn is_revoked_of(&self, holder: Option<Holder>, range: Extent, mode: Mode) -> bool {
        self.revokes
            .overlapping(range)
            .any(|revoke| Some(revoke.holder) == holder && !(revoke.downgrade && mode == Mode::Shared))
    }

    /// Whether acks are outstanding that a request may wait for.
    fn is_under_revoke(&self, waiting: &Waiting) -> bool {
        waiting.required().any(|(holder, range)| {
            self.revokes.overlapping(range).any(|revoke| Some(revoke.holder) != holder)
                || self.is_revoked_of(holder, range, waiting.mode)
        })
    }

    // ---- For tests

    /// Panics if an invariant of this module does not hold.
    pub(super) fn assert_invariants(&self, file: FileId) {
        for arrival in self.queue.arrivals() {
            let waiting = self.queue.get(arrival).expect("listed");
            if self.queue.is_behind(arrival, waiting) {
                continue;
            }
            let waits = waiting.asked && self.is_under_revoke(waiting);
            assert!(waits || !self.is_clear(waiting), "{file}: nothing stands before {waiting:?}");
            for (holder, required) in waiting.required() {
                for (part, other) in self.table.conflicts(required, holder, waiting.mode) {
                    let fits = |r: &&PendingRevoke| r.holder == other && (!r.downgrade || waiting.mode == Mode::Shared);
                    let asked: ExtentSet = self.revokes.overlapping(part).filter(fits).map(|r| r.range).collect();
                    assert!(asked.covers(part, |()| true), "{file}: {other} was not asked for {part}: {waiting:?}");
                }
            }
        }
        let owners = self.table.iter().flat_map(|(_, claim)| claim.holders());
        owners.for_each(|owner| assert!(self.is_open(*owner), "{file}: {owner} has tokens and not the file"));
        for holder in self.holders.keys() {
            let count = self.table.count_of(*holder);
            assert!(count <= REASSERTED_RANGES_MAX + RANGES_PER_HOLDER_MAX, "{file}: {holder} has {count} ranges");
        }
    }
}
