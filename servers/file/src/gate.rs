//! The gate before the objects: admission and lease, asked before every access, and the waiting for barriers.
//!
//! Invariants: an access happens while a [`Chunk`] lives; a chunk begins only with a lasting lease and an operation that
//! nothing refuses; a fence, drain or removal has returned only when no chunk of what it refuses lives. An operation
//! ends with its [`Running`], also when its client goes away or a thread panics.

use crate::lease::{BootTime, Lease};
use parking_lot::Mutex;
use pfs_core::fence::{Admission, Fences, OperationId, Refused, Ticket};
use pfs_core::ids::{FileId, Stamp};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use std::sync::Arc;
use tokio::sync::Notify;

/// Why an operation may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The metadata server was not heard of for too long, or not at all yet.
    #[error(
        "this file server has had no word from the metadata server for the length of its lease and serves no data until it has; try again"
    )]
    NoLease,
    /// The operation is refused for ever.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<Denied> for ErrorDetail {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::NoLease => ErrorCode::OutOfStep,
            Denied::Refused(refused) => match refused {
                Refused::EarlierBoot { .. }
                | Refused::LaterBoot { .. }
                | Refused::Lapsed { .. }
                | Refused::Drained { .. } => ErrorCode::OutOfStep,
                Refused::FencedClient { .. } => ErrorCode::Stale,
                Refused::FencedGroup { .. } => ErrorCode::GroupFenced,
                Refused::Deleted(_) => ErrorCode::Deleted,
            },
        };
        ErrorDetail::new(code, denied.to_string())
    }
}

/// The gate of one file server.
#[derive(Debug)]
pub struct Gate {
    admission: Mutex<Admission>,
    chunk_ended: Notify,
    lease: Lease,
}

impl Gate {
    /// A gate that knows these fences and has no lease yet.
    pub fn new(fences: Fences) -> Self {
        Gate { admission: Mutex::new(Admission::new(fences)), chunk_ended: Notify::new(), lease: Lease::default() }
    }

    /// The server's lease.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What is refused now.
    pub fn fences(&self) -> Fences {
        self.admission.lock().fences().clone()
    }

    /// Lets an operation in; see [`Admission::begin`].
    pub fn begin(self: &Arc<Self>, stamp: Stamp, sequence: Option<u64>, file: FileId) -> Result<Running, Denied> {
        self.check_lease()?;
        let id = self.admission.lock().begin(stamp, sequence, file)?;
        Ok(Running { gate: self.clone(), id, ended: false })
    }

    /// Refuses more stamps, at once; the barrier is there when [`Gate::wait`] has returned.
    pub fn fence(&self, fences: &Fences) -> Ticket {
        self.admission.lock().fence(fences)
    }

    /// Refuses operations of one stamp up to a sequence, and returns when none of them can be applied any more.
    pub async fn drain(&self, stamp: Stamp, sequence: u64) {
        let ticket = self.admission.lock().drain(stamp, sequence);
        self.wait(&ticket).await;
    }

    /// Refuses a file's operations, and returns when none of them can be applied any more.
    pub async fn remove_file(&self, file: FileId) {
        let ticket = self.admission.lock().remove_file(file);
        self.wait(&ticket).await;
    }

    /// Returns when a refusal has become a barrier. It waits for the local disk only.
    pub async fn wait(&self, ticket: &Ticket) {
        loop {
            let mut ended = std::pin::pin!(self.chunk_ended.notified());
            // From here on no end of a chunk is missed.
            ended.as_mut().enable();
            if self.admission.lock().is_done(ticket) {
                return;
            }
            ended.await;
        }
    }

    fn check_lease(&self) -> Result<(), Denied> {
        if self.lease.lasts_at(BootTime::now()) { Ok(()) } else { Err(Denied::NoLease) }
    }
}

/// An operation that was let in. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    gate: Arc<Gate>,
    id: OperationId,
    ended: bool,
}

impl Running {
    /// Asks for one access to an object, which lasts as long as the returned value.
    pub fn chunk(&self) -> Result<Chunk<'_>, Denied> {
        self.gate.check_lease()?;
        self.gate.admission.lock().enter_chunk(self.id)?;
        Ok(Chunk { running: self })
    }

    /// Ends the operation; an error takes its success back.
    pub fn finish(mut self) -> Result<(), Denied> {
        self.ended = true;
        self.gate.admission.lock().end(self.id)?;
        self.gate.check_lease()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // It did not succeed, so nobody needs to hear that it was refused as well.
            let _ = self.gate.admission.lock().end(self.id);
        }
    }
}

/// One access to an object.
#[derive(Debug)]
pub struct Chunk<'a> {
    running: &'a Running,
}

impl Drop for Chunk<'_> {
    fn drop(&mut self) {
        self.running.gate.admission.lock().leave_chunk(self.running.id);
        self.running.gate.chunk_ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::ids::{Boot, ClientId, Holder};
    use std::time::Duration;
    use tokio::time::timeout;

    fn client() -> ClientId {
        ClientId::new(7).unwrap()
    }

    fn stamp() -> Stamp {
        Stamp { boot: Boot::new(1).unwrap(), holder: Holder::Client(client()), incarnation: client() }
    }

    fn file() -> FileId {
        FileId::new(1).unwrap()
    }

    fn open_gate() -> Arc<Gate> {
        let gate = Gate::new(Fences::default());
        gate.lease().begin(BootTime::now(), Duration::from_secs(3600));
        Arc::new(gate)
    }

    #[tokio::test]
    async fn a_fence_waits_for_a_chunk_in_another_thread() {
        let gate = open_gate();
        let running = gate.begin(stamp(), Some(1), file()).unwrap();
        let chunk = running.chunk().unwrap();
        let ticket = gate.fence(&Fences { incarnations: [client()].into(), ..Fences::default() });
        let mut barrier = std::pin::pin!(gate.wait(&ticket));
        assert!(timeout(Duration::from_millis(20), &mut barrier).await.is_err());
        std::thread::scope(|scope| {
            scope.spawn(move || drop(chunk));
        });
        timeout(Duration::from_secs(5), barrier).await.expect("the barrier is there when the chunk has ended");
        assert!(matches!(running.chunk(), Err(Denied::Refused(Refused::FencedClient { .. }))));
        assert!(running.finish().is_err());
    }

    #[tokio::test]
    async fn a_barrier_does_not_wait_between_chunks() {
        let gate = open_gate();
        let running = gate.begin(stamp(), Some(1), file()).unwrap();
        drop(running.chunk().unwrap());
        timeout(Duration::from_secs(5), gate.drain(stamp(), 1)).await.unwrap();
        assert!(running.chunk().is_err());
        timeout(Duration::from_secs(5), gate.remove_file(file())).await.unwrap();
    }

    #[test]
    fn without_a_lease_nothing_is_served() {
        let gate = Arc::new(Gate::new(Fences::default()));
        assert_eq!(gate.begin(stamp(), Some(1), file()).unwrap_err(), Denied::NoLease);
        gate.lease().begin(BootTime::now(), Duration::from_millis(20));
        let running = gate.begin(stamp(), Some(1), file()).unwrap();
        drop(running.chunk().unwrap());
        while gate.lease().lasts_at(BootTime::now()) {
            std::thread::yield_now();
        }
        assert_eq!(running.chunk().unwrap_err(), Denied::NoLease, "the lease is checked before every access");
        assert_eq!(running.finish().unwrap_err(), Denied::NoLease, "and before an answer is given");
    }

    #[test]
    fn a_dropped_operation_ends() {
        let gate = open_gate();
        drop(gate.begin(stamp(), Some(1), file()).unwrap());
        assert_eq!(gate.admission.lock().running(), 0);
    }
}
