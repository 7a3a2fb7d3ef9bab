//! What one client may do with one file under one holder's token: the client's half of the protocol.
//!
//! # How to drive it
//! An operation is one access. [`begin`](TokenHolder::begin) it, call [`poll_action`](TokenHolder::poll_action) until it
//! returns nothing and do what it says, wait for its [`HolderAction::Ready`], access the servers, and
//! [`end`](TokenHolder::end) it. Pass every message of the manager on in the order of its stream, and answer every
//! [`HolderAction::WriteBack`] with one [`written_back`](TokenHolder::written_back). When the manager was restarted, send
//! what [`reassert`](TokenHolder::reassert) returns, and call [`resumed`](TokenHolder::resumed) when it was accepted.
//!
//! # Invariants
//! * An operation is pinned from `Ready` until it ends; while it is, its ranges are held in its mode.
//! * A range under a revoke is closed to new operations at once. It is written back when the operations in it have ended
//!   and the collective grants that the revoke covers have arrived and were used, and given up after that.
//! * An operation of unknown outcome holds the ack back, or is named in it (rule 7).
//! * An operation never waits for a token while it is pinned.
//! * A close frees all tokens, without revokes and acks. So it waits until the file is not [in use](TokenHolder::is_in_use)
//!   and until what was [given up](TokenHolder::give_up_doubt) is drained.
//! * With local exclusion, operations that conflict run one after the other, in the order of their `begin`.
//! * What is held was granted in [`boot`](TokenHolder::boot), or was taken over by it.

mod doubt;
mod giving_way;
mod operation;
mod restart;
mod sets;
mod size;

pub use operation::{OperationId, Ranges};
pub use restart::StaleGrant;

use super::message::{Ack, Acquire, FileSize, Grant, Mode};
use crate::extent::{Extent, ExtentMap};
use crate::ids::{Boot, FileId, Holder, RequestId, RevokeId};
use doubt::UndrainedWrites;
use giving_way::{PendingRevoke, is_open};
use operation::{Operation, Progress};
use sets::Sets;
use std::collections::{BTreeMap, VecDeque};

/// What the holder wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderAction {
    /// Send a request to the manager.
    Request(Acquire),
    /// The operation's ranges are pinned: go.
    Ready(OperationId),
    /// Tell the manager that a request is not wanted any more. It is answered all the same.
    Cancel(RequestId),
    /// Write the dirty blocks of these ranges back and forget the clean ones, then call
    /// [`written_back`](TokenHolder::written_back). The operations there have ended, and no new one begins.
    WriteBack {
        /// Names it in the answer.
        revoke: RevokeId,
        /// What is given up afterwards: disjoint, in order.
        ranges: Vec<Extent>,
        /// The ranges stay held to read: clean blocks may stay, only dirty ones must be written.
        downgrade: bool,
    },
    /// Send an ack to the manager.
    Ack(Ack),
}

/// The state of one (holder, file) at one client.
#[derive(Debug)]
pub struct TokenHolder {
    holder: Holder,
    file: FileId,
    /// Conflicting operations of this client run one after the other.
    local_exclusion: bool,
    held: ExtentMap<Mode>,
    /// By `begin`.
    operations: BTreeMap<OperationId, Operation>,
    last_operation: u64,
    revokes: Vec<PendingRevoke>,
    /// Write-backs for revokes that a restart has made void, whose answers are still to come.
    void_write_backs: Vec<RevokeId>,
    undrained: UndrainedWrites,
    sets: Sets,
    /// The last collective grant that was installed.
    collective_seen: u64,
    /// From the first byte to the last that was accessed since the last ack.
    used: Option<Extent>,
    boot: Boot,
    /// A restarted manager was told what is held, and has not taken it over yet: nothing is asked for.
    reasserting: bool,
    known_size: FileSize,
    written_size: Option<FileSize>,
    actions: VecDeque<HolderAction>,
}

impl TokenHolder {
    /// A holder without tokens. `local_exclusion` for a client that is its own holder, and for atomic mode; a group's
    /// member in non-atomic mode leaves the order of its own accesses to MPI's rules.
    pub fn new(holder: Holder, file: FileId, boot: Boot, size: FileSize, local_exclusion: bool) -> Self {
        TokenHolder {
            holder,
            file,
            local_exclusion,
            held: ExtentMap::new(),
            operations: BTreeMap::new(),
            last_operation: 0,
            revokes: Vec::new(),
            void_write_backs: Vec::new(),
            undrained: UndrainedWrites::default(),
            sets: Sets::default(),
            collective_seen: 0,
            used: None,
            boot,
            reasserting: false,
            known_size: size,
            written_size: None,
            actions: VecDeque::new(),
        }
    }

    /// Starts an operation on `ranges` (disjoint, in order, at least one). `next_request` is called for a number if the
    /// manager must be asked.
    pub fn begin(
        &mut self,
        mode: Mode,
        ranges: Ranges,
        desired: Option<Extent>,
        next_request: impl FnMut() -> RequestId,
    ) -> OperationId {
        let operation = Operation { mode, ranges, desired, progress: Progress::Queued };
        let id = self.add(operation);
        self.advance(next_request);
        id
    }

    /// Pins `ranges` if that is possible now without asking anybody.
    pub fn try_begin(&mut self, mode: Mode, ranges: &[Extent]) -> Option<OperationId> {
        let blocked = self.local_exclusion && self.operations.values().any(|op| op.precedes(mode, ranges));
        if blocked || !self.may_use(mode, ranges) {
            return None;
        }
        self.note_use(ranges);
        Some(self.add(Operation { mode, ranges: ranges.into(), desired: None, progress: Progress::Pinned }))
    }

    /// Pins `ranges` for writing dirty blocks back: other holders wait for it, this client's own operations do not.
    /// The ranges are held, since what is dirty is always held.
    pub fn begin_write_back(&mut self, ranges: Ranges) -> OperationId {
        self.add(Operation { mode: Mode::Exclusive, ranges, desired: None, progress: Progress::WritingBack })
    }

    /// The access is over: answered by the servers, or known never to be applied.
    pub fn end(&mut self, id: OperationId, next_request: impl FnMut() -> RequestId) {
        if let Some(operation) = self.operations.remove(&id) {
            if let Progress::Requested(request) = operation.progress {
                self.actions.push_back(HolderAction::Cancel(request));
            }
            self.give_way();
            self.advance(next_request);
        }
    }

    /// The manager has granted a request of this client.
    pub fn handle_grant(&mut self, grant: &Grant) {
        if self.stale(grant).is_some() {
            // The request goes out again, or has gone, under a new number.
            return;
        }
        self.take_over(grant);
        if let Some(id) = self.find_request(grant.request) {
            // A set that was granted meanwhile may be in its way; at its end the operation gets its turn.
            let blocked = self.is_blocked(id);
            let operation = self.operations.get_mut(&id).expect("just found");
            operation.progress = if blocked { Progress::Queued } else { Progress::Pinned };
            let ranges = operation.ranges.clone();
            self.note_use(&ranges);
            if !blocked {
                self.actions.push_back(HolderAction::Ready(id));
            }
        }
        self.give_way();
    }

    /// A collective grant has arrived, by stream or by broadcast: this member pins the ranges that it will access.
    /// Nothing is pinned if `ranges` is empty, or if the grant does not cover them. A grant of another boot is refused:
    /// the restarted manager knows nothing of it, and the collective asks again.
    pub fn install(&mut self, grant: &Grant, mode: Mode, ranges: Ranges) -> Result<Option<OperationId>, StaleGrant> {
        if let Some(stale) = self.stale(grant)
            && !crate::mutant!(OldBootGrantInstalled)
        {
            return Err(stale);
        }
        self.take_over(grant);
        let covered = grant.mode >= mode && ranges.iter().all(|range| self.held.covers(*range, |held| *held >= mode));
        let id = (covered && !ranges.is_empty()).then(|| {
            self.note_use(&ranges);
            self.add(Operation { mode, ranges, desired: None, progress: Progress::Pinned })
        });
        self.collective_seen = self.collective_seen.max(grant.sequence);
        self.give_way();
        Ok(id)
    }

    /// The manager will not grant a request. Returns the operation that it was for, which has ended.
    pub fn handle_refused(
        &mut self,
        request: RequestId,
        next_request: impl FnMut() -> RequestId,
    ) -> Option<OperationId> {
        let id = self.find_request(request)?;
        self.operations.remove(&id);
        self.advance(next_request);
        Some(id)
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<HolderAction> {
        self.actions.pop_front()
    }

    /// Whether an access runs, or may still be applied: a close would give its bytes to others before it has ended.
    pub fn is_in_use(&self) -> bool {
        self.operations.values().any(Operation::is_under_way) && !crate::mutant!(ClosedInUse)
    }

    /// The boot of stamps.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// What is held now, for people.
    pub fn held(&self) -> impl Iterator<Item = (Extent, Mode)> {
        self.held.iter().map(|(range, mode)| (range, *mode))
    }

    fn find_request(&self, request: RequestId) -> Option<OperationId> {
        let asked = |op: &Operation| op.progress == Progress::Requested(request);
        self.operations.iter().find(|(_, op)| asked(op)).map(|(id, _)| *id)
    }

    fn take_over(&mut self, grant: &Grant) {
        for range in &grant.ranges {
            self.held.update(*range, |held| Some((*held).max(grant.mode)));
            for gap in self.held.gaps(*range) {
                self.held.insert(gap, grant.mode);
            }
            self.keep(*range);
        }
    }

    /// Whether a new operation may use these ranges: held, and not being given up.
    fn may_use(&self, mode: Mode, ranges: &[Extent]) -> bool {
        ranges
            .iter()
            .all(|range| self.held.covers(*range, |held| *held >= mode) && is_open(&self.revokes, mode, *range))
    }

    fn note_use(&mut self, ranges: &[Extent]) {
        self.used = ranges.iter().copied().chain(self.used).reduce(Extent::hull);
    }
}
