//! Giving way: holders are asked for what a request needs, and what they ack changes the table.

use super::FileTokens;
use super::revokes::PendingRevoke;
use crate::extent::{Extent, ExtentSet};
use crate::ids::{ClientId, FileId, Holder, RevokeId};
use crate::token::manager::{ManagerAction, Shared};
use crate::token::message::{Ack, Mode, Revoke};
use crate::token::{REVOKES_PER_HOLDER_MAX, WIDEN_BYTES_MIN};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};

/// A revoke to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Send {
    pub(super) holder: Holder,
    pub(super) range: Extent,
    pub(super) wanted: Extent,
    pub(super) downgrade: bool,
}

impl FileTokens {
    /// Asks every holder in the way to give up what is needed; the request stays in the queue until all have acked.
    pub(super) fn revoke_tokens_and_wait_for_ack(&mut self, file: FileId, arrival: u64, shared: &mut Shared) {
        let Some(waiting) = self.queue.get(arrival) else { return };
        let (mode, wanted) = (waiting.mode, waiting.desired);
        let downgrade = mode == Mode::Shared;
        let mut needed: BTreeMap<Holder, ExtentSet> = BTreeMap::new();
        for (holder, required) in waiting.required() {
            for (part, other) in self.table.conflicts(required, holder, mode) {
                needed.entry(other).or_default().insert(part, ());
            }
        }
        for (_, required) in waiting.required() {
            for revoke in self.revokes.overlapping(required).filter(|revoke| !revoke.downgrade || downgrade) {
                if let Some(parts) = needed.get_mut(&revoke.holder) {
                    parts.remove(revoke.range);
                }
            }
        }
        self.queue.mark_asked(arrival);
        for (holder, parts) in needed {
            for range in at_most(parts, REVOKES_PER_HOLDER_MAX) {
                let wanted = wanted.map_or(range, |wanted| wanted.hull(range));
                self.send_revoke(file, Send { holder, range, wanted, downgrade }, shared);
            }
        }
    }

    pub(super) fn send_revoke(&mut self, file: FileId, send: Send, shared: &mut Shared) -> RevokeId {
        let Send { holder, range, wanted, downgrade } = send;
        let state = self.holders.get_mut(&holder).expect("whoever has a claim has the file open");
        state.widen_bytes = WIDEN_BYTES_MIN;
        let id = shared.next_revoke();
        let members = shared.members(holder);
        let covers_sequence = if crate::mutant!(RevokeOvertakesGrant) { 0 } else { state.collective_sequence };
        self.counters.revokes += 1;
        shared.counters.revokes += 1;
        for to in members.iter().copied() {
            let revoke = Revoke { revoke: id, holder, file, range, wanted, downgrade, covers_sequence };
            shared.actions.push_back(ManagerAction::Revoke { to, revoke });
        }
        let missing = members.into_iter().collect();
        let pending = PendingRevoke { holder, range, downgrade, missing, released: None, sequence: state.sequence };
        self.revokes.insert(id, pending);
        id
    }

    /// A member has given up what a revoke asked for. Late and unknown acks change nothing.
    pub(in crate::token) fn ack(&mut self, file: FileId, from: ClientId, ack: &Ack, shared: &mut Shared) {
        let Some(revoke) = self.revokes.get_mut(ack.revoke) else { return };
        if revoke.holder != ack.holder || !revoke.missing.contains(&from) {
            return;
        }
        self.counters.acks += 1;
        shared.counters.acks += 1;
        let mut released: ExtentSet = ack.released.iter().copied().collect();
        released.insert(revoke.range, ());
        let mut concerned = BTreeSet::new();
        for range in self.ack_member(ack.revoke, from, released) {
            self.queue.add_touching(range, &mut concerned);
        }
        self.settle(file, concerned, shared);
    }

    /// Counts one member's ack; the last one changes the table. Returns what is free of the revoke.
    pub(super) fn ack_member(&mut self, id: RevokeId, member: ClientId, released: ExtentSet) -> SmallVec<[Extent; 4]> {
        let last = self.revokes.get_mut(id).is_some_and(|revoke| revoke.ack(member, released));
        let Some(revoke) = last.then(|| self.revokes.remove(id)).flatten() else { return SmallVec::new() };
        // What members offer beyond the revoke counts only if no grant was made meanwhile: it could name the same bytes.
        let untouched = self.holders.get(&revoke.holder).is_some_and(|state| state.sequence == revoke.sequence);
        let released: SmallVec<[Extent; 4]> = match revoke.released {
            Some(released) if untouched || crate::mutant!(OfferAfterNewerGrant) => released.extents().collect(),
            _ => smallvec![revoke.range],
        };
        for range in &released {
            if revoke.downgrade {
                self.table.downgrade(*range, revoke.holder);
            } else {
                self.table.take(*range, revoke.holder);
            }
        }
        released
    }

    /// Takes what is in a request's way without an ack: for a deliberate mistake.
    pub(super) fn take_unasked(&mut self, arrival: u64) {
        let Some(waiting) = self.queue.get(arrival) else { return };
        for (holder, range) in waiting.required() {
            let others: Vec<Holder> =
                self.table.conflicts(range, holder, waiting.mode).map(|(_, other)| other).collect();
            others.into_iter().for_each(|other| self.table.take(range, other));
        }
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
