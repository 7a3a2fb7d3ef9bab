//! What was written to one file since it was last made durable, and who waits for that.
//!
//! Invariants:
//! * a byte that was written and is not durable is in `uncommitted`, `syncing` or `lost`;
//! * one sync runs at a time; a commit is answered by a sync that began after the commit was called, and one sync
//!   answers all who waited for it (group commit). A commit with nothing new waits only for the sync under way;
//! * when a sync fails, everything that it may have been about is `lost`: the system drops such bytes from
//!   its cache and reports the error once. Lost bytes leave the ledger only by a write that began after the failure,
//!   by truncation or with the object; until then every commit fails;
//! * a sync that ends early with nothing lost leaves everything uncommitted, and the next commit tries again.
//!
//! The ledger is about the names of a directory too: each change of a name is one more "byte" of it. Those are never
//! written again, so a directory whose sync failed fails its commits until the server is started anew.

use parking_lot::{Condvar, Mutex, MutexGuard};
use pfs_core::extent::{Extent, ExtentSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A write under way.
#[derive(Clone, Copy, Debug)]
#[must_use = "a write that has begun must be told to have ended"]
pub(super) struct WriteTicket {
    failures: u64,
    taken: u64,
}

/// Why a sync did not do what it should.
#[derive(Debug)]
pub(super) enum SyncFailure {
    /// The disk did not take the bytes: they may be gone.
    Lost(io::Error),
    /// The bytes are still there, and can be synced again.
    Unfinished(io::Error),
}

/// What a failed sync took.
#[derive(Debug)]
pub(super) struct Loss {
    /// First lost byte.
    pub(super) start: u64,
    /// Number of lost bytes; 0 when the sync failed with nothing written.
    pub(super) bytes: u64,
    /// What the disk said.
    pub(super) source: io::Error,
}

/// What a ledger has to remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Settled,
    /// Bytes that the next sync makes durable.
    Uncommitted,
    /// Bytes that no sync can make durable.
    Lost,
}

/// Counts the separate pieces in all ledgers of a store, to bound the memory that they take.
#[derive(Clone, Debug, Default)]
pub(super) struct PieceCount(Arc<AtomicUsize>);

impl PieceCount {
    /// Pieces now.
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The ledger of one file or directory.
#[derive(Debug)]
pub(super) struct SyncLedger {
    state: Mutex<State>,
    finished: Condvar,
    pieces: PieceCount,
}

#[derive(Debug, Default)]
struct State {
    uncommitted: ExtentSet,
    syncing: ExtentSet,
    lost: ExtentSet,
    failure: Option<io::Error>,
    /// What the last sync ended early for.
    unfinished: Option<io::Error>,
    failures: u64,
    /// How often something was taken out of `uncommitted`.
    taken: u64,
    syncs_begun: u64,
    syncs_finished: u64,
    last_success: u64,
    running: bool,
    /// What the store-wide count has of this ledger.
    counted: usize,
}

impl SyncLedger {
    pub(super) fn new(pieces: PieceCount) -> Self {
        SyncLedger { state: Mutex::default(), finished: Condvar::new(), pieces }
    }

    /// To be called before bytes are written.
    pub(super) fn begin_write(&self, extents: impl Iterator<Item = Extent>) -> WriteTicket {
        let mut state = self.state.lock();
        extents.for_each(|extent| state.uncommitted.insert(extent, ()));
        self.recount(&mut state);
        WriteTicket { failures: state.failures, taken: state.taken }
    }

    /// To be called when the bytes are written, or were not: then they count as written in part.
    pub(super) fn end_write(&self, ticket: WriteTicket, extents: impl Iterator<Item = Extent>, written: bool) {
        let mut state = self.state.lock();
        let unchanged = (state.taken, state.failures) == (ticket.taken, ticket.failures);
        if written && unchanged && state.lost.is_empty() {
            // All is still there as it was put at the beginning.
            return state.forget_settled_failure();
        }
        for extent in extents {
            // A sync that began meanwhile may have run ahead of these bytes.
            state.uncommitted.insert(extent, ());
            if state.failures != ticket.failures {
                state.lost.insert(extent, ());
            } else if written {
                state.lost.remove(extent);
            }
        }
        state.forget_settled_failure();
        self.recount(&mut state);
    }

    /// To be called when everything from `length` on was cut away.
    pub(super) fn cut(&self, length: u64) {
        let Some(gone) = Extent::new(length, u64::MAX) else { return };
        let mut state = self.state.lock();
        state.taken += 1;
        let State { uncommitted, syncing, lost, .. } = &mut *state;
        [uncommitted, syncing, lost].into_iter().for_each(|set| set.remove(gone));
        state.forget_settled_failure();
        self.recount(&mut state);
    }

    /// Makes durable what was written, and fails as long as there are lost bytes.
    pub(super) fn commit(&self, sync: impl FnOnce() -> io::Result<()>) -> Result<(), Loss> {
        self.commit_in_steps(|| sync().map_err(SyncFailure::Lost))
    }

    /// The same with a sync that can end early.
    pub(super) fn commit_in_steps(&self, sync: impl FnOnce() -> Result<(), SyncFailure>) -> Result<(), Loss> {
        let outcome = self.sync_once(sync, false);
        let state = self.state.lock();
        match (&outcome, state.first_loss()) {
            (_, Some(loss)) => Err(loss),
            (Ok(()), None) => Ok(()),
            (Err(error), None) => Err(Loss { start: 0, bytes: 0, source: copy(error) }),
        }
    }

    /// Waits for a sync that begins now, whatever was lost before. For changes that are no bytes, like a length.
    pub(super) fn sync_in_steps(&self, sync: impl FnOnce() -> Result<(), SyncFailure>) -> io::Result<()> {
        self.sync_once(sync, true)
    }

    /// Whether some of these bytes are lost.
    pub(super) fn has_lost(&self, extent: Extent) -> bool {
        self.state.lock().lost.overlapping(extent).next().is_some()
    }

    /// Whether the ledger may be forgotten.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock();
        match (state.lost.is_empty(), state.uncommitted.is_empty() && !state.running) {
            (false, _) => Standing::Lost,
            (true, false) => Standing::Uncommitted,
            (true, true) => Standing::Settled,
        }
    }

    /// Separate pieces of bytes that are not durable.
    pub(super) fn pieces(&self) -> usize {
        self.state.lock().counted
    }

    fn sync_once(&self, sync: impl FnOnce() -> Result<(), SyncFailure>, always: bool) -> io::Result<()> {
        let mut state = self.state.lock();
        if !always && state.is_clean() {
            return Ok(());
        }
        let joins = !always && state.running && state.uncommitted.is_empty();
        let needed = if joins { state.syncs_begun } else { state.syncs_begun + 1 };
        while state.running && state.syncs_finished < needed {
            self.finished.wait(&mut state);
        }
        if state.syncs_finished < needed {
            self.run(&mut state, sync);
        }
        if state.last_success >= needed {
            return Ok(());
        }
        let reason = state.failure.as_ref().or(state.unfinished.as_ref());
        Err(reason.map_or_else(|| io::Error::other("a sync failed"), copy))
    }

    fn run(&self, state: &mut MutexGuard<'_, State>, sync: impl FnOnce() -> Result<(), SyncFailure>) {
        state.running = true;
        state.syncs_begun += 1;
        state.taken += 1;
        state.syncing = std::mem::take(&mut state.uncommitted);
        let outcome = MutexGuard::unlocked(state, sync);
        state.running = false;
        state.syncs_finished = state.syncs_begun;
        let synced = std::mem::take(&mut state.syncing);
        match outcome {
            Ok(()) => {
                state.last_success = state.syncs_finished;
                state.unfinished = None;
                state.forget_settled_failure();
            }
            Err(SyncFailure::Unfinished(error)) => {
                synced.extents().for_each(|extent| state.uncommitted.insert(extent, ()));
                state.unfinished = Some(error);
            }
            Err(SyncFailure::Lost(error)) => {
                let written: Vec<Extent> = state.uncommitted.extents().chain(synced.extents()).collect();
                written.into_iter().for_each(|extent| state.lost.insert(extent, ()));
                state.failures += 1;
                state.failure = Some(error);
            }
        }
        self.recount(state);
        self.finished.notify_all();
    }

    fn recount(&self, state: &mut State) {
        let now = state.uncommitted.len() + state.syncing.len() + state.lost.len();
        if now >= state.counted {
            self.pieces.0.fetch_add(now - state.counted, Ordering::Relaxed);
        } else {
            self.pieces.0.fetch_sub(state.counted - now, Ordering::Relaxed);
        }
        state.counted = now;
    }
}

impl Drop for SyncLedger {
    fn drop(&mut self) {
        self.pieces.0.fetch_sub(self.state.get_mut().counted, Ordering::Relaxed);
    }
}

impl State {
    /// Nothing is waiting for a sync, and one has succeeded: before that, an earlier run of the server may have
    /// left bytes that are not durable.
    fn is_clean(&self) -> bool {
        self.uncommitted.is_empty()
            && !self.running
            && self.last_success > 0
            && self.failure.is_none()
            && self.unfinished.is_none()
    }

    fn forget_settled_failure(&mut self) {
        if self.lost.is_empty() {
            self.failure = None;
        }
    }

    fn first_loss(&self) -> Option<Loss> {
        let first = self.lost.extents().next()?;
        let source = self.failure.as_ref().map_or_else(|| io::Error::other("a sync failed"), copy);
        Some(Loss { start: first.start(), bytes: self.lost.extents().map(Extent::len).sum(), source })
    }
}

/// The same error once more; the kind and the number are what callers look at.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
#[path = "sync_ledger_tests.rs"]
mod tests;
