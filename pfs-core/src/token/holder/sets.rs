//! Grants that are parts of a set: several holders' tokens for one atomic collective (rule 12).
//!
//! A part may arrive before this client knows that it is meant: whoever asked for the set says so by MPI. So it is
//! reserved, as good as pinned, from its arrival until its operation has claimed it and ended.

use super::operation::{Operation, Progress};
use super::{OperationId, Ranges, TokenHolder};
use crate::ids::{ClientId, RequestId};
use crate::token::message::{Grant, SetId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Sets {
    reserved: BTreeMap<SetId, OperationId>,
    /// Not wanted any more, and not arrived.
    abandoned: BTreeSet<SetId>,
}

impl TokenHolder {
    /// A part of a set was granted to this holder: its ranges are kept until [`claim_set`](Self::claim_set) and the end of
    /// that operation, or [`abandon_set`](Self::abandon_set).
    pub fn handle_set_grant(&mut self, grant: &Grant) {
        if self.stale(grant).is_some() {
            return;
        }
        self.take_over(grant);
        if let Some(set) = grant.set
            && !self.sets.abandoned.remove(&set)
        {
            let (mode, ranges) = (grant.mode, Ranges::from(grant.ranges.as_slice()));
            self.note_use(&ranges);
            let progress = Progress::Reserved(set);
            let operation = self.add(Operation { mode, ranges, desired: None, progress });
            self.sets.reserved.insert(set, operation);
        }
        self.give_way();
    }

    /// The operation for which a part of a set was granted, pinned; nothing while the part has not arrived, or while another
    /// operation of this client runs in its way. Ask again after whatever happens to this holder; after a restart of the
    /// manager it never comes.
    pub fn claim_set(&mut self, set: SetId) -> Option<OperationId> {
        let id = *self.sets.reserved.get(&set)?;
        let operation = &self.operations[&id];
        let blocked = self.local_exclusion
            && self
                .operations
                .values()
                .any(|op| op.progress == Progress::Pinned && op.precedes(operation.mode, &operation.ranges));
        if blocked {
            return None;
        }
        self.sets.reserved.remove(&set);
        self.operations.get_mut(&id).expect("just seen").progress = Progress::Pinned;
        Some(id)
    }

    /// The operation for which a set was asked for will not come: its part is free, whether it has arrived or not.
    pub fn abandon_set(&mut self, set: SetId, next_request: impl FnMut() -> RequestId) {
        match self.sets.reserved.remove(&set) {
            Some(operation) => self.end(operation, next_request),
            None => {
                self.sets.abandoned.insert(set);
            }
        }
    }

    /// A client that may have asked for sets is gone: nobody will say what its parts are for.
    pub fn abandon_sets_of(&mut self, client: ClientId, mut next_request: impl FnMut() -> RequestId) {
        let theirs: Vec<SetId> = self.sets.reserved.keys().filter(|set| set.client == client).copied().collect();
        for set in theirs {
            self.abandon_set(set, &mut next_request);
        }
    }

    /// A restarted manager knows of no sets of before: nobody claims what has arrived. What was abandoned stays so: another
    /// client may have asked the new manager for it already, before this one was taken over.
    pub(super) fn forget_sets(&mut self) {
        for operation in std::mem::take(&mut self.sets.reserved).into_values() {
            self.operations.remove(&operation);
        }
    }
}
