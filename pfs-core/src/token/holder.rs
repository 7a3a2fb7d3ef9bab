//! What one client may do with one file under one holder's token: the client's half of the protocol.
//!
//! # How to drive it
//! An operation is one access. [`begin`](TokenHolder::begin) it, call [`poll_action`](TokenHolder::poll_action) until it
//! returns nothing and do what it says, wait for its [`HolderAction::Ready`], access the servers, and [`end`](TokenHolder::end) it. Pass every message of the manager on in the order of its stream.
//!
//! # Invariants
//! * An operation is pinned from `Ready` until `end`; while it is, its ranges are held in its mode.
//! * A range under a revoke is closed to new operations at once, and given up when the operations in it have ended and
//!   the collective grants that the revoke covers have arrived and were used.
//! * An operation never waits for a token while it is pinned.
//! * With local exclusion, operations that conflict run one after the other, in the order of their `begin`.

use super::message::{Ack, Acquire, FileSize, Grant, Mode, Revoke};
use crate::extent::{Extent, ExtentMap, ExtentSet};
use crate::ids::{Boot, FileId, Holder, RequestId};
use crate::pattern::RangePattern;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// One access, unique in its [`TokenHolder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(u64);

/// The ranges of one access: disjoint and in order.
pub type Ranges = SmallVec<[Extent; 1]>;

/// What the holder wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HolderAction {
    /// Send a request to the manager.
    Request(Acquire),
    /// The operation's ranges are pinned: go.
    Ready(OperationId),
    /// Tell the manager that a request is not wanted any more. It is answered all the same.
    Cancel(RequestId),
    /// Send an ack to the manager.
    Ack(Ack),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Behind an earlier operation of this client.
    Queued,
    /// A request is on its way.
    Requested(RequestId),
    Pinned,
    /// The caller has its error, but a server may still apply what was sent: it keeps its ranges from other holders, and
    /// is no obstacle for this client's own operations.
    Doubtful,
}

#[derive(Clone, Debug)]
struct Operation {
    mode: Mode,
    ranges: Ranges,
    desired: Option<Extent>,
    progress: Progress,
}

impl Operation {
    fn touches(&self, range: Extent) -> bool {
        self.ranges.iter().any(|r| r.overlaps(range))
    }

    /// Whether this client's own operation on `ranges` has to wait for this one.
    fn precedes(&self, mode: Mode, ranges: &[Extent]) -> bool {
        self.progress != Progress::Doubtful
            && self.mode.conflicts(mode)
            && ranges.iter().any(|range| self.touches(*range))
    }
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
    revokes: Vec<Revoke>,
    /// The last collective grant that was installed.
    collective_seen: u64,
    /// From the first byte to the last that was accessed since the last ack.
    used: Option<Extent>,
    boot: Boot,
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
            collective_seen: 0,
            used: None,
            boot,
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

    /// The access has failed, and whether its bytes will still be applied is not known. Until [`end`](Self::end) says
    /// that they can not, the ranges are kept from other holders. The caller sees to the order of its own later writes.
    pub fn doubt(&mut self, id: OperationId, next_request: impl FnMut() -> RequestId) {
        if let Some(operation) = self.operations.get_mut(&id).filter(|op| op.progress == Progress::Pinned) {
            operation.progress = Progress::Doubtful;
            self.advance(next_request);
        }
    }

    /// The manager has granted a request of this client.
    pub fn handle_grant(&mut self, grant: &Grant) {
        self.take_over(grant);
        let asked = |op: &&mut Operation| op.progress == Progress::Requested(grant.request);
        let found = self.operations.iter_mut().find(|(_, op)| asked(op));
        if let Some((&id, operation)) = found {
            operation.progress = Progress::Pinned;
            let ranges = operation.ranges.clone();
            self.note_use(&ranges);
            self.actions.push_back(HolderAction::Ready(id));
        }
        self.give_way();
    }

    /// A collective grant has arrived, by stream or by broadcast: this member pins the ranges that it will access.
    /// Nothing is pinned if `ranges` is empty. Returns nothing if the grant does not cover the ranges.
    pub fn install(&mut self, grant: &Grant, mode: Mode, ranges: Ranges) -> Option<OperationId> {
        self.take_over(grant);
        let covered = grant.mode >= mode && ranges.iter().all(|range| self.held.covers(*range, |held| *held >= mode));
        let id = (covered && !ranges.is_empty()).then(|| {
            self.note_use(&ranges);
            self.add(Operation { mode, ranges, desired: None, progress: Progress::Pinned })
        });
        self.collective_seen = self.collective_seen.max(grant.sequence);
        self.give_way();
        id
    }

    /// The manager will not grant a request. Returns the operation that it was for, which has ended.
    pub fn handle_refused(
        &mut self,
        request: RequestId,
        next_request: impl FnMut() -> RequestId,
    ) -> Option<OperationId> {
        let asked = |op: &Operation| op.progress == Progress::Requested(request);
        let id = self.operations.iter().find(|(_, op)| asked(op)).map(|(id, _)| *id)?;
        self.operations.remove(&id);
        self.advance(next_request);
        Some(id)
    }

    /// The manager wants a range back.
    pub fn handle_revoke(&mut self, revoke: Revoke) {
        self.revokes.push(revoke);
        self.give_way();
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self) -> Option<HolderAction> {
        self.actions.pop_front()
    }

    /// The boot of the last grant, for stamps.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// What is held now, for people.
    pub fn held(&self) -> impl Iterator<Item = (Extent, Mode)> {
        self.held.iter().map(|(range, mode)| (range, *mode))
    }

    /// A lower bound of the file's size. For bytes of a range that is pinned, "below it" is exact.
    pub fn known_size(&self) -> FileSize {
        self.known_size
    }

    /// What this client has written and must report.
    pub fn written_size(&self) -> Option<FileSize> {
        self.written_size
    }

    /// Takes over what somebody else knows about the size.
    pub fn learn_size(&mut self, size: FileSize) {
        if size.generation > self.known_size.generation {
            self.written_size = None;
        }
        self.known_size.learn(size);
    }

    /// Bytes before `end` were written under a pin of this client.
    pub fn record_write(&mut self, end: u64) {
        let written = FileSize { generation: self.known_size.generation, bytes: end };
        self.known_size.learn(written);
        match &mut self.written_size {
            Some(size) => size.learn(written),
            None => self.written_size = Some(written),
        }
    }

    /// Whether what is held reaches from `at` to infinity, so that nobody else can make the file longer.
    pub fn holds_to_infinity(&self, at: u64) -> bool {
        self.held.covers(Extent::from(at), |_| true)
    }

    fn add(&mut self, operation: Operation) -> OperationId {
        self.last_operation += 1;
        let id = OperationId(self.last_operation);
        self.operations.insert(id, operation);
        id
    }

    fn take_over(&mut self, grant: &Grant) {
        self.boot = grant.boot;
        for range in &grant.ranges {
            self.held.update(*range, |held| Some((*held).max(grant.mode)));
            for gap in self.held.gaps(*range) {
                self.held.insert(gap, grant.mode);
            }
        }
    }

    /// Whether a new operation may use these ranges: held, and not under a revoke.
    fn may_use(&self, mode: Mode, ranges: &[Extent]) -> bool {
        ranges.iter().all(|range| {
            self.held.covers(*range, |held| *held >= mode)
                && !self.revokes.iter().any(|revoke| revoke.range.overlaps(*range) && !allows(revoke, mode))
        })
    }

    /// Starts the queued operations that nothing of this client stands before.
    fn advance(&mut self, mut next_request: impl FnMut() -> RequestId) {
        let queued: SmallVec<[OperationId; 4]> =
            self.operations.iter().filter(|(_, op)| op.progress == Progress::Queued).map(|(id, _)| *id).collect();
        for id in queued {
            let operation = &self.operations[&id];
            let blocked = self.local_exclusion
                && self.operations.range(..id).any(|(_, op)| op.precedes(operation.mode, &operation.ranges));
            if blocked {
                continue;
            }
            let (mode, ranges, desired) = (operation.mode, operation.ranges.clone(), operation.desired);
            let progress = if self.may_use(mode, &ranges) {
                self.note_use(&ranges);
                self.actions.push_back(HolderAction::Ready(id));
                Progress::Pinned
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

    /// Acks the revokes that nothing stands before any more.
    fn give_way(&mut self) {
        let mut at = 0;
        while at < self.revokes.len() {
            let revoke = &self.revokes[at];
            let pinned = self.operations.values().any(|op| {
                matches!(op.progress, Progress::Pinned | Progress::Doubtful)
                    && op.touches(revoke.range)
                    && !allows(revoke, op.mode)
            });
            if pinned || revoke.covers_sequence > self.collective_seen {
                at += 1;
                continue;
            }
            let revoke = self.revokes.remove(at);
            let released = self.what_to_release(&revoke);
            for range in &released {
                self.held.update(*range, |_| revoke.downgrade.then_some(Mode::Shared));
            }
            self.used = self.operations.values().flat_map(|op| op.ranges.iter()).copied().reduce(Extent::hull);
            self.actions.push_back(HolderAction::Ack(Ack {
                revoke: revoke.revoke,
                holder: self.holder,
                file: self.file,
                released,
                size: self.written_size,
                undrained: Vec::new(),
            }));
        }
    }

    /// What a revoke asks for, and of what its requester would like the parts that this client has not been near to.
    fn what_to_release(&self, revoke: &Revoke) -> Vec<Extent> {
        let mut released: ExtentSet = std::iter::once(revoke.range).collect();
        if !revoke.downgrade {
            for (range, _) in self.held.within(revoke.wanted) {
                released.insert(range, ());
            }
            let in_use = self.operations.values().flat_map(|op| op.ranges.iter()).copied();
            for keep in in_use.chain(self.used) {
                released.remove(keep);
            }
            released.insert(revoke.range, ());
        }
        released.extents().collect()
    }

    fn note_use(&mut self, ranges: &[Extent]) {
        self.used = ranges.iter().copied().chain(self.used).reduce(Extent::hull);
    }
}

/// Whether an operation of this mode may go on in a range under this revoke.
fn allows(revoke: &Revoke, mode: Mode) -> bool {
    revoke.downgrade && mode == Mode::Shared
}
