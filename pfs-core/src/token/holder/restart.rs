//! The manager was restarted: what is held is said again, and what was on its way is asked for again (rule 18).

use super::giving_way::PendingRevoke;
use super::operation::Progress;
use super::{HolderAction, TokenHolder};
use crate::extent::Extent;
use crate::ids::{Boot, RequestId};
use crate::token::message::{FileSize, Grant, Mode};

/// A grant of a start of the manager that is over, or that is told just now what is held: the next one knows nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token was granted in {granted}, before the metadata server was restarted; ask for it again")]
pub struct StaleGrant {
    /// When it was granted.
    pub granted: Boot,
    /// The boot of this holder's stamps.
    pub now: Boot,
}

impl TokenHolder {
    /// What a restarted manager must know: what is held, and the largest size that was written. Until
    /// [`resumed`](Self::resumed) nothing is asked for and nothing is given up: the revokes of the old boot are void, and
    /// the new one sends none before it has taken over.
    pub fn reassert(&mut self) -> (Vec<(Extent, Mode)>, Option<FileSize>) {
        self.forget_the_old_manager();
        self.reasserting = true;
        (self.held().collect(), self.written_size)
    }

    /// The manager of this boot has taken over what was said. What is pinned stays pinned; what waited is asked for again.
    /// Parts of sets that nobody has claimed are not kept any longer: their collective asks again.
    pub fn resumed(&mut self, boot: Boot, next_request: impl FnMut() -> RequestId) {
        if boot <= self.boot {
            return;
        }
        self.forget_the_old_manager();
        self.boot = boot;
        self.reasserting = false;
        self.forget_sets();
        self.advance(next_request);
    }

    /// Whether the manager that counts knows nothing of a grant.
    pub(super) fn stale(&self, grant: &Grant) -> Option<StaleGrant> {
        (grant.boot != self.boot || self.reasserting).then_some(StaleGrant { granted: grant.boot, now: self.boot })
    }

    fn forget_the_old_manager(&mut self) {
        let writing = self.revokes.drain(..).filter(PendingRevoke::is_writing_back).map(|pending| pending.id());
        self.void_write_backs.extend(writing);
        self.collective_seen = 0;
        for operation in self.operations.values_mut() {
            if let Progress::Requested(_) = operation.progress {
                operation.progress = Progress::Queued;
            }
        }
        // The messages would reach the new manager, where their numbers may mean something else.
        let stays = |action: &HolderAction| matches!(action, HolderAction::Ready(_) | HolderAction::WriteBack { .. });
        self.actions.retain(stays);
    }
}
