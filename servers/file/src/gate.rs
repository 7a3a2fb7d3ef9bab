//! The gate before the objects: admission and lease, asked before every access, and the waiting for barriers.
//!
//! Invariants: an access happens while a [`Chunk`] lives; a chunk begins only with a lasting lease and an operation that
//! nothing refuses; a fence, drain or removal has returned only when no chunk of what it refuses lives; a lease that has
//! ended begins anew only when no chunk lives that began under it, what ran under it enters no further one, and what comes on
//! a connection of that time is not let in (rule 16): it may have been on its way since.
//! An operation ends with its [`Running`], also when its client goes away or a thread panics.

use crate::boot_time;
use parking_lot::Mutex;
use pfs_core::fence::lease::ServerLease;
use pfs_core::fence::{Admission, Fences, OperationId, Refused, Ticket};
use pfs_core::ids::{FileId, Stamp};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_server_runtime::ConnectionEpoch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Why an operation may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The metadata server was not heard of for too long, or not at all yet.
    #[error(
        "this file server has had no word from the metadata server for the length of its lease and serves no data until it has; try again"
    )]
    NoLease,
    /// The operation is refused, for ever if it is sent again as it is.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The code says what helps: after `OutOfStep` the same bytes may be sent again under the stamp of that moment.
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
    /// One lock for both: whoever is let in under a lease is known when that lease has ended.
    inside: Mutex<Inside>,
    chunk_ended: Notify,
    later_boot: Notify,
}

#[derive(Debug)]
struct Inside {
    admission: Admission,
    lease: ServerLease,
}

impl Inside {
    /// The admission, while the lease lasts.
    fn open(&mut self) -> Result<&mut Admission, Denied> {
        if self.lease.lasts_at(boot_time::now_ns()) { Ok(&mut self.admission) } else { Err(Denied::NoLease) }
    }

    /// The first half of a lapse, if there must be one before a lease can begin.
    fn lapse(&mut self) -> Option<Ticket> {
        self.lease.must_lapse(boot_time::now_ns()).then(|| self.admission.lapse())
    }
}

impl Gate {
    /// A gate that knows these fences and has no lease yet.
    pub fn new(fences: Fences) -> Self {
        let inside = Inside { admission: Admission::new(fences), lease: ServerLease::default() };
        Gate { inside: Mutex::new(inside), chunk_ended: Notify::new(), later_boot: Notify::new() }
    }

    /// Whether the server has a lease now.
    pub fn has_lease(&self) -> bool {
        self.inside.lock().lease.lasts_at(boot_time::now_ns())
    }

    /// Begins a lease: a registration that was sent at `sent_ns` was answered, and its fences are in force. If an earlier
    /// lease has ended, whatever ran under it is refused before, and this returns when it can touch no object any more.
    /// `begin_anew` ends the connections and raises their epoch by one.
    pub async fn begin_lease(&self, sent_ns: u64, duration: Duration, begin_anew: impl Fn()) {
        loop {
            let lapsing = {
                let mut inside = self.inside.lock();
                let lapsing = inside.lapse();
                if lapsing.is_none() {
                    inside.lease.begin(sent_ns, boot_time::nanoseconds(duration), boot_time::now_ns());
                    return;
                }
                lapsing
            };
            if let Some(ticket) = lapsing {
                self.wait(&ticket).await;
                begin_anew();
                self.inside.lock().lease.lapsed(boot_time::now_ns());
                tracing::warn!("the lease had ended; whatever ran under it was refused");
            }
        }
    }

    /// Goes on with the lease: a heartbeat that was sent at `sent_ns` was answered. False: it has ended.
    pub fn renew_lease(&self, sent_ns: u64, duration: Duration) -> bool {
        self.inside.lock().lease.renew(sent_ns, boot_time::nanoseconds(duration), boot_time::now_ns())
    }

    /// What is refused now.
    pub fn fences(&self) -> Fences {
        self.inside.lock().admission.fences().clone()
    }

    /// Lets an operation in; see [`Admission::begin`].
    pub fn begin(self: &Arc<Self>, stamp: Stamp, sequence: Option<u64>, file: FileId) -> Result<Running, Denied> {
        let begun = self.inside.lock().open()?.begin(stamp, sequence, file);
        if let Err(Refused::LaterBoot { .. }) = begun {
            self.later_boot.notify_one();
        }
        Ok(Running { gate: self.clone(), id: begun?, ended: false })
    }

    /// The same for a write, which must have come on a connection of the present lease's time: a lapse raises the epoch by one.
    pub fn begin_write(
        self: &Arc<Self>,
        stamp: Stamp,
        sequence: u64,
        file: FileId,
        epoch: ConnectionEpoch,
    ) -> Result<Running, Denied> {
        let running = self.begin(stamp, Some(sequence), file)?;
        if self.inside.lock().lease.lapses() != epoch.0 {
            return Err(Refused::Lapsed { stamp }.into());
        }
        Ok(running)
    }

    /// Lets an operation in that is one access and over with it, and begins the access. For a write, `epoch` is that of its
    /// connection, as in [`Gate::begin_write`].
    pub fn begin_single(
        &self,
        stamp: Stamp,
        sequence: u64,
        file: FileId,
        epoch: Option<ConnectionEpoch>,
    ) -> Result<Single<'_>, Denied> {
        let mut inside = self.inside.lock();
        let lapses = inside.lease.lapses();
        let admission = inside.open()?;
        let begun = admission.begin(stamp, Some(sequence), file);
        if let Err(Refused::LaterBoot { .. }) = begun {
            self.later_boot.notify_one();
        }
        let id = begun?;
        if epoch.is_some_and(|epoch| lapses != epoch.0) {
            // It has no access, so there is nothing to take back.
            let _ = admission.end(id);
            return Err(Refused::Lapsed { stamp }.into());
        }
        admission.enter_chunk(id).expect("nothing has refused it since it was let in");
        Ok(Single { gate: self, id, ended: false })
    }

    /// Returns when a request has come that is of a later boot than any that was heard of.
    pub async fn later_boot_met(&self) {
        self.later_boot.notified().await;
    }

    /// Refuses more stamps, at once; the barrier is there when [`Gate::wait`] has returned.
    pub fn fence(&self, fences: &Fences) -> Ticket {
        self.inside.lock().admission.fence(fences)
    }

    /// Refuses operations of one stamp up to a sequence, and returns when none of them can be applied any more.
    pub async fn drain(&self, stamp: Stamp, sequence: u64) {
        let ticket = self.inside.lock().admission.drain(stamp, sequence);
        self.wait(&ticket).await;
    }

    /// Refuses a file's operations, and returns when none of them can be applied any more.
    pub async fn remove_file(&self, file: FileId) {
        let ticket = self.inside.lock().admission.remove_file(file);
        self.wait(&ticket).await;
    }

    /// Returns when a refusal has become a barrier. It waits for the local disk only.
    pub async fn wait(&self, ticket: &Ticket) {
        loop {
            let mut ended = std::pin::pin!(self.chunk_ended.notified());
            // From here on no end of a chunk is missed.
            ended.as_mut().enable();
            if self.inside.lock().admission.is_done(ticket) {
                return;
            }
            ended.await;
        }
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
        self.gate.inside.lock().open()?.enter_chunk(self.id)?;
        Ok(Chunk { running: self })
    }

    /// Ends the operation; an error takes its success back.
    pub fn finish(mut self) -> Result<(), Denied> {
        self.ended = true;
        let mut inside = self.gate.inside.lock();
        inside.admission.end(self.id)?;
        inside.open().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // It did not succeed, so nobody needs to hear that it was refused as well.
            let _ = self.gate.inside.lock().admission.end(self.id);
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
        self.running.gate.inside.lock().admission.leave_chunk(self.running.id);
        self.running.gate.chunk_ended.notify_waiters();
    }
}

/// An operation with its only access. Dropping it ends both.
#[derive(Debug)]
pub struct Single<'a> {
    gate: &'a Gate,
    id: OperationId,
    ended: bool,
}

impl Single<'_> {
    /// Ends the access and the operation; an error takes its success back.
    pub fn finish(mut self) -> Result<(), Denied> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Denied> {
        self.ended = true;
        let ended = {
            let mut inside = self.gate.inside.lock();
            inside.admission.leave_chunk(self.id);
            let ended = inside.admission.end(self.id);
            ended.map_err(Denied::from).and_then(|()| inside.open().map(drop))
        };
        self.gate.chunk_ended.notify_waiters();
        ended
    }
}

impl Drop for Single<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // It did not succeed, so nobody needs to hear that it was refused as well.
            let _ = self.end();
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
