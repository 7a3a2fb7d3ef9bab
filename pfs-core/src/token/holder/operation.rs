//! The accesses of one holder at one client, and their order.

use super::{HolderAction, TokenHolder};
use crate::extent::Extent;
use crate::ids::RequestId;
use crate::pattern::RangePattern;
use crate::token::message::{Acquire, Mode, SetId};
use smallvec::SmallVec;

/// One access, unique in its [`TokenHolder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(u64);

/// The ranges of one access: disjoint and in order.
pub type Ranges = SmallVec<[Extent; 1]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Behind an earlier operation of this client, or until the manager can be asked again.
    Queued,
    /// A request is on its way.
    Requested(RequestId),
    Pinned,
    /// A part of a set has arrived for an operation that has not begun. As good as pinned.
    Reserved(SetId),
    /// The cache writes what earlier operations have left. No obstacle for this client's own operations.
    WritingBack,
    /// The caller has its error, but a server may still apply what was sent: it keeps its ranges from other holders, and
    /// is no obstacle for this client's own operations.
    Doubtful,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) mode: Mode,
    pub(super) ranges: Ranges,
    pub(super) desired: Option<Extent>,
    pub(super) progress: Progress,
}

impl Operation {
    pub(super) fn touches(&self, range: Extent) -> bool {
        self.ranges.iter().any(|r| r.overlaps(range))
    }

    /// Whether this client's own operation on `ranges` has to wait for this one.
    pub(super) fn precedes(&self, mode: Mode, ranges: &[Extent]) -> bool {
        !matches!(self.progress, Progress::Doubtful | Progress::WritingBack)
            && self.mode.conflicts(mode)
            && ranges.iter().any(|range| self.touches(*range))
    }

    /// Whether its ranges may not be given up.
    pub(super) fn is_pinned(&self) -> bool {
        match self.progress {
            Progress::Queued | Progress::Requested(_) => false,
            Progress::Pinned | Progress::Reserved(_) | Progress::WritingBack => true,
            Progress::Doubtful => !crate::mutant!(DoubtForgotten),
        }
    }

    /// Whether requests of it may be on their way to a server. The part of a set that nobody has claimed has none.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.progress, Progress::Pinned | Progress::WritingBack | Progress::Doubtful)
    }
}

impl TokenHolder {
    pub(super) fn add(&mut self, operation: Operation) -> OperationId {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        self.operations.insert(id, operation);
        id
    }

    /// Starts the queued operations that nothing of this client stands before.
    pub(super) fn advance(&mut self, mut next_request: impl FnMut() -> RequestId) {
        let queued: SmallVec<[OperationId; 4]> =
            self.operations.iter().filter(|(_, op)| op.progress == Progress::Queued).map(|(id, _)| *id).collect();
        for id in queued {
            if self.is_blocked(id) {
                continue;
            }
            let operation = &self.operations[&id];
            let (mode, ranges, desired) = (operation.mode, operation.ranges.clone(), operation.desired);
            let progress = if self.may_use(mode, &ranges) {
                self.note_use(&ranges);
                self.actions.push_back(HolderAction::Ready(id));
                Progress::Pinned
            } else if self.reasserting {
                Progress::Queued
            } else {
                let request = next_request();
                self.actions.push_back(HolderAction::Request(Acquire {
                    request,
                    holder: self.holder,
                    file: self.file,
                    mode,
                    required: ranges.iter().map(|range| RangePattern::from(*range)).collect(),
                    desired,
                    collective: false,
                }));
                Progress::Requested(request)
            };
            self.operations.get_mut(&id).expect("just seen").progress = progress;
        }
    }

    /// Whether an operation has to wait for another one of this client: an earlier one, or one that is pinned for a set,
    /// which is ahead of all that waits since it must not wait for a token (rule 11).
    pub(super) fn is_blocked(&self, id: OperationId) -> bool {
        let operation = &self.operations[&id];
        self.local_exclusion
            && self.operations.iter().any(|(other, op)| {
                *other != id && (*other < id || op.is_pinned()) && op.precedes(operation.mode, &operation.ranges)
            })
    }
}
