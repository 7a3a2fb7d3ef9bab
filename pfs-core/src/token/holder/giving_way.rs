//! Revokes: from their arrival over the end of the operations and the write-back to the ack (rule 5).

use super::{HolderAction, TokenHolder};
use crate::extent::{Extent, ExtentSet};
use crate::ids::{RequestId, RevokeId};
use crate::token::message::{Ack, Mode, Revoke};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Operations run there, or a collective grant that it covers is still to come.
    Waiting,
    /// The cache has been told.
    WritingBack,
    /// The cache is done. The ack goes out when no write-back of unknown outcome stands before it.
    Written,
}

#[derive(Debug)]
pub(super) struct PendingRevoke {
    revoke: Revoke,
    stage: Stage,
    /// What is given up beyond the revoked range, since the requester would like it and this client does not use it.
    offered: ExtentSet,
}

impl PendingRevoke {
    pub(super) fn id(&self) -> RevokeId {
        self.revoke.revoke
    }

    pub(super) fn is_writing_back(&self) -> bool {
        self.stage == Stage::WritingBack
    }

    /// Whether an operation of this mode may go on in the range.
    fn allows(&self, mode: Mode) -> bool {
        self.revoke.downgrade && mode == Mode::Shared
    }
}

/// Whether no revoke closes the range to new operations.
pub(super) fn is_open(revokes: &[PendingRevoke], mode: Mode, range: Extent) -> bool {
    !revokes.iter().any(|pending| {
        let closed = pending.revoke.range.overlaps(range) || pending.offered.overlapping(range).next().is_some();
        closed && !pending.allows(mode)
    })
}

impl TokenHolder {
    /// The manager wants a range back.
    pub fn handle_revoke(&mut self, revoke: Revoke) {
        self.revokes.push(PendingRevoke { revoke, stage: Stage::Waiting, offered: ExtentSet::new() });
        self.give_way();
    }

    /// What [`HolderAction::WriteBack`] asked for is done, or has failed for good: the blocks are dropped, and the next
    /// sync says so (rule 8).
    pub fn written_back(&mut self, revoke: RevokeId, next_request: impl FnMut() -> RequestId) {
        if let Some(at) = self.void_write_backs.iter().position(|void| *void == revoke) {
            // Numbers begin again with a restarted manager, so the first answer is taken for the void one's. Should it
            // be the other's, that one waits for both: late, and never too early.
            self.void_write_backs.swap_remove(at);
            return;
        }
        let writing = |pending: &&mut PendingRevoke| pending.id() == revoke && pending.is_writing_back();
        if let Some(pending) = self.revokes.iter_mut().find(writing) {
            pending.stage = Stage::Written;
            self.give_way();
            self.advance(next_request);
        }
    }

    /// Takes every revoke as far as it can go.
    pub(super) fn give_way(&mut self) {
        let mut at = 0;
        while at < self.revokes.len() {
            match self.revokes[at].stage {
                Stage::Waiting if !self.is_in_the_way(&self.revokes[at]) => {
                    self.write_back(at);
                    if crate::mutant!(AckBeforeFlush) {
                        self.ack(at);
                    } else {
                        at += 1;
                    }
                }
                Stage::Written if !self.is_in_the_way(&self.revokes[at]) => self.ack(at),
                _ => at += 1,
            }
        }
    }

    /// Whether an operation or a collective grant that is to come stands before the next step of a revoke.
    fn is_in_the_way(&self, pending: &PendingRevoke) -> bool {
        let pinned = self
            .operations
            .values()
            .any(|op| op.is_pinned() && op.touches(pending.revoke.range) && !pending.allows(op.mode));
        (pinned && !crate::mutant!(AckBeforeOperationEnds)) || pending.revoke.covers_sequence > self.collective_seen
    }

    fn write_back(&mut self, at: usize) {
        let offered = self.what_to_offer(&self.revokes[at].revoke);
        let pending = &mut self.revokes[at];
        pending.stage = Stage::WritingBack;
        pending.offered = offered;
        let mut ranges = pending.offered.clone();
        ranges.insert(pending.revoke.range, ());
        self.actions.push_back(HolderAction::WriteBack {
            revoke: pending.revoke.revoke,
            ranges: ranges.extents().collect(),
            downgrade: pending.revoke.downgrade,
        });
    }

    fn ack(&mut self, at: usize) {
        let PendingRevoke { revoke, offered: mut released, .. } = self.revokes.remove(at);
        // Whatever has begun there meanwhile has a newer grant, or is a write-back of unknown outcome.
        for keep in self.operations.values().flat_map(|op| op.ranges.iter()) {
            released.remove(*keep);
        }
        released.insert(revoke.range, ());
        for range in released.extents() {
            self.held.update(range, |_| revoke.downgrade.then_some(Mode::Shared));
        }
        self.used = self.operations.values().flat_map(|op| op.ranges.iter()).copied().reduce(Extent::hull);
        self.actions.push_back(HolderAction::Ack(Ack {
            revoke: revoke.revoke,
            holder: self.holder,
            file: self.file,
            undrained: self.undrained.take(&released),
            released: released.extents().collect(),
            size: self.written_size,
        }));
    }

    /// What the requester of a revoke would like and this client has not been near to.
    fn what_to_offer(&self, revoke: &Revoke) -> ExtentSet {
        if revoke.downgrade {
            return ExtentSet::new();
        }
        let mut offered: ExtentSet = self.held.within(revoke.wanted).map(|(range, _)| range).collect();
        let in_use = self.operations.values().flat_map(|op| op.ranges.iter()).copied();
        for keep in in_use.chain(self.used) {
            offered.remove(keep);
        }
        offered.remove(revoke.range);
        offered
    }

    /// A newer grant names the range: it is not given up unasked.
    pub(super) fn keep(&mut self, range: Extent) {
        for pending in &mut self.revokes {
            pending.offered.remove(range);
        }
    }
}
