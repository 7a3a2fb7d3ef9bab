//! Lends a caller's buffers to transfers that run on another thread, without a copy, for as long as a [`Recall`] or a
//! [`RecallBuffers`] lives.
//!
//! # Why this is sound
//!
//! [`lend`] and [`lend_mut`] take borrowed slices and hand out [`LentSlice`]s or [`LentBuffers`], which have no lifetime,
//! and a guard. What must never happen is that anybody touches the memory after the guard's end.
//!
//! * **Bytes that are sent.** A `LentSlice` goes out only through a [`Shipment`]. It is entered in the [`Loan`] when it
//!   begins and taken out when its last owner is dropped; every [`Bytes`] made of the memory is an owner. The end
//!   of the guard *recalls* the loan: from then on no shipment begins, and it waits until none is entered. Since entering and
//!   recalling happen under one lock, no owner exists afterwards.
//! * **Bytes that are copied.** [`Held`] keeps the loan's lock, which the guard needs before it can end, for as long as slices
//!   of it live.
//! * **Bytes that are received.** [`LentBuffers`] gives access only while its lock is held. The guard recalls under the same
//!   lock, after which access is refused. The lock also makes accesses of several tasks follow each other.
//! * **However the access ends.** The recall is in the `drop` of the guard, which is a variable of the future that makes the
//!   access: it happens when the future is done, when it panics, and when it is dropped unfinished. What is left is a guard
//!   that is forgotten, alone or with its future, before the borrow of the memory ends. So both functions are `unsafe`, and
//!   so is every `async` function of this crate that borrows (see [`crate::FileDescriptor::read_into`]): who calls them
//!   promises not to forget. The blocking calls keep the promise, since they poll the future where it lies on their stack.
//!   Forgetting what the guard does not own (a slice, a shipment, bytes) leaks an owner; then the guard waits for ever, which
//!   is a hang and not a dangling pointer.
//! * **A transport that does not let go.** Each shipment names the [`KillSwitch`] of the connection that it goes on. Whoever
//!   waits for it throws the switch, again and again, until it is gone: a connection that is killed fails its streams
//!   and drops their frames (see [`pfs_proto::kill_switch`]); a request that no connection has taken yet is dropped
//!   with the future that waits for it, or when the attempt to connect has timed out. So the wait ends with a peer that
//!   stopped reading too.
//!
//! The slices are borrowed from the caller for longer than the guard lives: shared ones are not written meanwhile, and nobody else
//! uses exclusive ones.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use pfs_proto::kill_switch::KillSwitch;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two throws of a switch.
pub(crate) const KILL_PAUSE: Duration = Duration::from_millis(20);

/// The memory was given back to the caller, who does not wait for the outcome any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recalled;

/// What is lent in one call, and who has it.
#[derive(Debug, Default)]
struct Loan {
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    recalled: bool,
    last: u64,
    shipments: BTreeMap<u64, KillSwitch>,
}

/// One lent slice.
#[derive(Clone, Debug)]
pub(crate) struct LentSlice {
    loan: Arc<Loan>,
    start: *const u8,
    length: usize,
}

// SAFETY: the memory is a `&[u8]`, which may be shared between threads; when it may be touched is said by the module.
unsafe impl Send for LentSlice {}
// SAFETY: as above; there is no interior mutability outside of the loan's lock.
unsafe impl Sync for LentSlice {}

/// Makes slices that may be sent. When the guard is dropped, nobody has their bytes any more.
///
/// # Safety
/// The guard is dropped before the borrow of any of the slices ends.
pub(crate) unsafe fn lend(slices: &[&[u8]]) -> (Vec<LentSlice>, Recall) {
    let loan = Arc::new(Loan::default());
    let lent = |slice: &&[u8]| LentSlice { loan: loan.clone(), start: slice.as_ptr(), length: slice.len() };
    (slices.iter().map(lent).collect(), Recall(loan))
}

/// Ends a loan when it is dropped, and waits until nobody has anything of it.
#[derive(Debug)]
#[must_use = "it ends the loan when it is dropped"]
pub(crate) struct Recall(Arc<Loan>);

impl Drop for Recall {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.recalled = true;
        while !state.shipments.is_empty() {
            let switches: Vec<KillSwitch> = state.shipments.values().cloned().collect();
            // Not under the lock: what a kill wakes may drop a shipment.
            parking_lot::MutexGuard::unlocked(&mut state, || switches.iter().for_each(KillSwitch::kill));
            if !state.shipments.is_empty() {
                self.0.returned.wait_for(&mut state, KILL_PAUSE);
            }
        }
    }
}

impl LentSlice {
    /// Begins to send slices of the same call on a connection with this switch. The receiver fails when nobody has any
    /// of their bytes any more.
    pub(crate) fn ship(&self, switch: &KillSwitch) -> Result<(Arc<Shipment>, oneshot::Receiver<()>), Recalled> {
        let mut state = self.loan.state.lock();
        if state.recalled {
            return Err(Recalled);
        }
        state.last += 1;
        let number = state.last;
        state.shipments.insert(number, switch.clone());
        let (released, is_released) = oneshot::channel();
        Ok((Arc::new(Shipment { loan: self.loan.clone(), number, _released: released }), is_released))
    }

    /// Keeps the loan from ending, for a short look at slices of the same call.
    pub(crate) fn hold(&self) -> Result<Held<'_>, Recalled> {
        let state = self.loan.state.lock();
        if state.recalled {
            return Err(Recalled);
        }
        Ok(Held { loan: &self.loan, _state: state })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Where a part of it begins.
    ///
    /// # Panics
    /// If it is not inside of the slice, or the slice is of another call.
    fn part(&self, loan: &Arc<Loan>, range: &Range<usize>) -> *const u8 {
        assert!(Arc::ptr_eq(loan, &self.loan), "a slice of another call");
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {} bytes", self.length);
        // SAFETY: the offset is inside of the slice.
        unsafe { self.start.add(range.start) }
    }
}

/// The right to read lent slices while it lives. The guard's end waits for it.
pub(crate) struct Held<'a> {
    loan: &'a Arc<Loan>,
    _state: MutexGuard<'a, State>,
}

impl Held<'_> {
    /// A part of a slice.
    ///
    /// # Panics
    /// If it is not inside of the slice, or the slice is of another call.
    pub(crate) fn bytes(&self, slice: &LentSlice, range: Range<usize>) -> &[u8] {
        let start = slice.part(self.loan, &range);
        // SAFETY: inside of a slice that is borrowed until its loan was recalled, which needs the lock that is held here.
        unsafe { std::slice::from_raw_parts(start, range.end - range.start) }
    }
}

/// The right to read lent slices, and to make [`Bytes`] of them, which share it.
#[derive(Debug)]
pub(crate) struct Shipment {
    loan: Arc<Loan>,
    number: u64,
    /// Dropped with the shipment, after it was taken out of the loan.
    _released: oneshot::Sender<()>,
}

impl Shipment {
    /// A part of a slice.
    ///
    /// # Panics
    /// If it is not inside of the slice, or the slice is of another call.
    pub(crate) fn bytes(self: &Arc<Self>, slice: &LentSlice, range: Range<usize>) -> Bytes {
        let start = slice.part(&self.loan, &range);
        Bytes::from_owner(Owner { _shipment: self.clone(), start, length: range.end - range.start })
    }
}

impl Drop for Shipment {
    fn drop(&mut self) {
        let mut state = self.loan.state.lock();
        state.shipments.remove(&self.number);
        if state.shipments.is_empty() {
            self.loan.returned.notify_all();
        }
    }
}

/// A part of a slice in the hands of the transport.
struct Owner {
    _shipment: Arc<Shipment>,
    start: *const u8,
    length: usize,
}

// SAFETY: as for `LentSlice`.
unsafe impl Send for Owner {}

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range is inside of a slice that is borrowed until its loan was recalled and no shipment is left;
        // this owner has one.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// Lent buffers, to be filled.
#[derive(Debug)]
pub(crate) struct LentBuffers {
    /// Nothing after the recall.
    buffers: Mutex<Option<Vec<RawBuffer>>>,
}

#[derive(Debug)]
struct RawBuffer {
    start: *mut u8,
    length: usize,
}

// SAFETY: it stands for a `&mut [u8]`, which may be sent to another thread.
unsafe impl Send for RawBuffer {}

/// Makes buffers that may be filled. When the guard is dropped, nobody fills them any more.
///
/// # Safety
/// The guard is dropped before the borrow of any of the buffers ends.
pub(crate) unsafe fn lend_mut(buffers: &mut [&mut [u8]]) -> (Arc<LentBuffers>, RecallBuffers) {
    let raw = |buffer: &mut &mut [u8]| RawBuffer { start: buffer.as_mut_ptr(), length: buffer.len() };
    let lent = Arc::new(LentBuffers { buffers: Mutex::new(Some(buffers.iter_mut().map(raw).collect())) });
    (lent.clone(), RecallBuffers(lent))
}

/// Ends a loan of buffers when it is dropped.
#[derive(Debug)]
#[must_use = "it ends the loan when it is dropped"]
pub(crate) struct RecallBuffers(Arc<LentBuffers>);

impl Drop for RecallBuffers {
    fn drop(&mut self) {
        self.0.buffers.lock().take();
    }
}

impl LentBuffers {
    /// Gives access to a part of a buffer, for the time of `fill`, to nobody else meanwhile.
    ///
    /// # Panics
    /// If it is not inside of the buffer.
    pub(crate) fn with<R>(
        &self,
        buffer: usize,
        range: Range<usize>,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, Recalled> {
        let buffers = self.buffers.lock();
        let Some(buffers) = &*buffers else { return Err(Recalled) };
        let RawBuffer { start, length } = &buffers[buffer];
        assert!(range.start <= range.end && range.end <= *length, "{range:?} of {length} bytes");
        // SAFETY: inside of a buffer that is borrowed exclusively until it was recalled, which needs the lock that is held
        // here; the lock also keeps every other access away.
        Ok(fill(unsafe { std::slice::from_raw_parts_mut(start.add(range.start), range.end - range.start) }))
    }
}

#[cfg(test)]
#[path = "loan_tests.rs"]
mod tests;
