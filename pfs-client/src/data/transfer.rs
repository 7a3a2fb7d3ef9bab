//! Reads and writes of pinned ranges: all servers at once, bytes in flight bounded.
//!
//! Each server of an access has a task of its own, which sends that server's requests; so a slow server holds up nobody
//! but who waits for it.
//!
//! Invariants:
//! * the token is held, through its `Arc`, by every request that is under way, so it outlives them all even if the caller
//!   goes away;
//! * a write whose outcome is unknown holds the token until its server has confirmed that it can not be applied any more,
//!   and no later write of this client goes to that server before. If the server can not be asked for long, the token
//!   goes, and the ack that gives its range up names the write (rule 7);
//! * a request has room among its server's bytes, and then among all of the client's, before anything is made for it: memory
//!   in flight is bounded by the configuration, and who waits for a slow server keeps no room of the others;
//! * a request that has ended has given back all bytes that were lent to it.

use crate::config::DataPath;
use crate::data::attempts;
use crate::data::memory::destination::Destination;
use crate::data::memory::source::Source;
use crate::data::plan::{DataRequest, plan};
use crate::data::quick::{self, Quick};
use crate::data::wire::write_body::WriteName;
use crate::error::{Error, ErrorKind};
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use crate::token::Token;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use pfs_core::extent::{Extent, ObjectOffset};
use pfs_core::ids::{Instance, ObjectId, ServerId, Stamp};
use pfs_proto::data::{Allocate, Allocation, ObjectExtent};
use pfs_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};

/// Pause between two attempts to drain a server that can not be asked.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Requests of one access to one server that are under way at once: while one is answered, the next is sent.
const REQUESTS_PER_SERVER: usize = 2;
/// An access that is so many small requests, or fewer, is made of such.
const SMALL_REQUESTS_MAX: u64 = 4;

/// What all requests of an access share.
#[derive(Clone, Debug)]
struct Job {
    state: Arc<ClientState>,
    file: Arc<SharedFile>,
    token: Arc<Token>,
    /// A request has failed, or the caller has gone away: no other one is begun.
    stopped: Arc<AtomicBool>,
}

/// Stops a job when the caller goes away.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Room for a request, at its server and in the client.
type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Writes `extents` under `token`; `source` has their bytes.
pub(crate) async fn write(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    source: &Source,
) -> Result<(), Error> {
    let outcome = match quick::write(state, file, token, extents, source).await {
        Quick::Done(outcome) => outcome,
        Quick::Not(pledge) => {
            let outcome = write_everywhere(state, file, token, extents, source).await;
            // Success says that nothing of before can be applied any more.
            if let (Ok(()), Some(pledge)) = (&outcome, pledge) {
                pledge.redeem();
            }
            outcome
        }
    };
    match (&outcome, extents.last()) {
        (Ok(()), Some(last)) => file.record_write(last.end()),
        (Ok(()), None) => {}
        (Err(_), _) => token.doubt(),
    }
    outcome
}

async fn write_everywhere(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    source: &Source,
) -> Result<(), Error> {
    let task = |job: Job, requests| {
        let source = source.clone();
        async move {
            let one = |request, room| {
                let Job { state, file, token, .. } = job.clone();
                write_one(state, file, token, request, source.clone(), room)
            };
            job.each_request(requests, one).await
        }
    };
    each_server(state, file, token, extents, task).await
}

/// Reads `extents` under `token` to `destination`.
pub(crate) async fn read(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    destination: &Destination,
) -> Result<(), Error> {
    if let Quick::Done(outcome) = quick::read(state, file, extents, destination).await {
        return outcome.and_then(|()| file.check_alive());
    }
    let outcome = each_server(state, file, token, extents, |job, requests| {
        let destination = destination.clone();
        async move {
            let one = |request, room| read_one(job.clone(), request, destination.clone(), room);
            job.each_request(requests, one).await
        }
    });
    outcome.await?;
    file.check_alive()
}

/// Has one task do the requests of each server.
async fn each_server<F>(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    task: impl Fn(Job, Vec<DataRequest>) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let stop = Stop(Arc::default());
    let mut of_server: BTreeMap<ServerId, Vec<DataRequest>> = BTreeMap::new();
    let bytes = extents.iter().map(|extent| extent.len()).sum();
    for request in plan(&file.recipe, extents, request_bytes_max_of(state, bytes)) {
        of_server.entry(file.recipe.primary(request.slot)).or_default().push(request);
    }
    let spawn = |requests| {
        let (state, file, token, stopped) = (state.clone(), file.clone(), token.clone(), stop.0.clone());
        state.io.clone().spawn(task(Job { state, file, token, stopped }, requests))
    };
    let mut running: FuturesUnordered<JoinHandle<_>> = of_server.into_values().map(spawn).collect();
    let mut outcome = Ok(());
    while let Some(done) = running.next().await {
        outcome = outcome.and(finished(done));
    }
    outcome
}

impl Job {
    /// Does requests to one server, a few at once, until one fails.
    async fn each_request<F>(
        &self,
        requests: Vec<DataRequest>,
        one: impl Fn(DataRequest, Room) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let mut running = FuturesUnordered::new();
        let mut outcome = Ok(());
        for request in requests {
            let room = loop {
                if running.len() >= REQUESTS_PER_SERVER {
                    outcome = outcome.and(running.next().await.unwrap_or(Ok(())));
                    continue;
                }
                // Those under way hold room until they are done, so they go on while there is none.
                let wanted = std::pin::pin!(self.room(&request));
                match select(wanted, running.next()).await {
                    Either::Left((room, _)) => break room,
                    Either::Right((Some(done), _)) => outcome = outcome.and(done),
                    Either::Right((None, wanted)) => break wanted.await,
                }
            };
            // Who has stopped the others tells why.
            if outcome.is_err() || self.stopped.load(Ordering::Relaxed) {
                break;
            }
            match self.file.check_alive().and(room) {
                Ok(room) => running.push(one(request, room)),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        while let Some(done) = running.next().await {
            outcome = outcome.and(done);
        }
        if outcome.is_err() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn room(&self, request: &DataRequest) -> Result<Room, Error> {
        let at_server = self.state.servers.room(self.file.recipe.primary(request.slot), request.bytes).await?;
        let bytes = u32::try_from(request.bytes).expect("requests are at most a few MiB");
        let budget = self.state.budget.clone().acquire_many_owned(bytes).await;
        Ok((at_server, budget.expect("the semaphore is never closed")))
    }
}

/// Payload bytes of one request.
pub(crate) fn request_bytes_max(state: &ClientState) -> u64 {
    match state.config.data_path {
        DataPath::Small => state.config.small_bytes_max.min(state.config.request_bytes_max) as u64,
        _ => state.config.request_bytes_max as u64,
    }
}

/// The same for an access of so many bytes. A few small requests cost less than a call of its own for all of them.
fn request_bytes_max_of(state: &ClientState, access_bytes: u64) -> u64 {
    let (all, small) = (request_bytes_max(state), state.config.small_bytes_max as u64);
    match state.config.data_path {
        DataPath::Auto if access_bytes <= SMALL_REQUESTS_MAX * small => all.min(small),
        _ => all,
    }
}

/// How a request goes.
pub(crate) fn data_path(state: &ClientState, request: &DataRequest) -> DataPath {
    match state.config.data_path {
        DataPath::Auto if request.bytes <= state.config.small_bytes_max as u64 => DataPath::Small,
        DataPath::Auto => DataPath::Bulk,
        chosen => chosen,
    }
}

/// Sends one request of a write, which has its `room`, until it is answered.
pub(crate) async fn write_one<R>(
    state: Arc<ClientState>,
    file: Arc<SharedFile>,
    token: Arc<Token>,
    request: DataRequest,
    source: Source,
    room: R,
) -> Result<(), Error> {
    let (path, request) = (data_path(&state, &request), Arc::new(request));
    let server = file.recipe.primary(request.slot);
    let send = |name| state.servers.write(server, path, name, &request, &source);
    let written = change(&state, &file, token, request.slot, send).await;
    drop(room);
    written.map_err(|error| describe(error, "write", &file, &request))
}

/// Sends a request that changes an object until it is answered, each time under a new name.
async fn change<F>(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: Arc<Token>,
    slot: u32,
    send: impl Fn(WriteName) -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<Instance, Error>>,
{
    let server = file.recipe.primary(slot);
    let doubts: Mutex<Vec<(Stamp, u64)>> = Mutex::default();
    let attempt = || async {
        file.check_alive()?;
        // First, so that the sequence of this attempt is larger than that of what is drained.
        state.servers.settle_doubts(server).await?;
        doubts.lock().clear();
        let object = ObjectId { file: file.id, slot };
        let name = WriteName { stamp: file.stamp(), sequence: state.next_sequence(), object };
        let answer = send(name).await;
        if answer.as_ref().is_err_and(|error| leaves_doubt(error.kind())) {
            state.servers.doubt(server, name.stamp, name.sequence);
            doubts.lock().push((name.stamp, name.sequence));
        }
        answer
    };
    match attempts::persist(state, attempt).await {
        Ok(instance) => {
            file.record_uncommitted(slot, instance);
            Ok(())
        }
        Err(error) => {
            file.note_failure(&error);
            let doubts = doubts.into_inner();
            if !doubts.is_empty() {
                settle(state, file, token, server, doubts);
            }
            Err(error)
        }
    }
}

/// Reserves the space of a range, or makes a hole of it, under `token`, at all servers at once.
pub(crate) async fn allocate(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    range: Extent,
    allocation: Allocation,
) -> Result<(), Error> {
    let of_slot = |slot: u32| {
        let [start, end] = [range.start(), range.end()].map(|at| file.recipe.object_length(slot, at));
        let extent = ObjectExtent::new(ObjectOffset(start), end.checked_sub(start)?)?;
        let (state, file, token) = (state.clone(), file.clone(), token.clone());
        Some(state.io.clone().spawn(async move {
            let server = file.recipe.primary(slot);
            let send = |WriteName { stamp, sequence, object }| {
                let message = Allocate { stamp, sequence, object, extent, allocation };
                state.servers.allocate(server, message)
            };
            let changed = change(&state, &file, token.clone(), slot, send).await;
            changed.map_err(|error| error.context(format_args!("{allocation:?} of {range} of {}", file.name)))
        }))
    };
    let mut running: FuturesUnordered<JoinHandle<_>> = (0..file.recipe.stripe_count()).filter_map(of_slot).collect();
    let mut outcome = Ok(());
    while let Some(done) = running.next().await {
        outcome = outcome.and(finished(done));
    }
    if outcome.is_err() {
        token.doubt();
    }
    outcome
}

async fn read_one(job: Job, request: DataRequest, destination: Destination, _room: Room) -> Result<(), Error> {
    let Job { state, file, token: _token, .. } = &job;
    let server = file.recipe.primary(request.slot);
    let times_damaged = AtomicU8::new(0);
    let attempt = || async {
        file.check_alive()?;
        // A write of this client that may still be applied could change the bytes behind the back of its own cache.
        state.servers.settle_doubts(server).await?;
        let message = v1::ReadRequest {
            stamp: Some(file.stamp().into()),
            sequence: state.next_sequence(),
            object: Some(ObjectId { file: file.id, slot: request.slot }.into()),
            extents: request.extents.iter().copied().map(Into::into).collect(),
            must_exist: file.is_committed(request.slot),
        };
        let path = data_path(state, &request);
        let Err(damaged) = state.servers.read(server, path, message, &request, &destination).await? else {
            return Ok(());
        };
        // A wire that flips a bit does not flip it again; what is damaged on the disk stays so.
        let (kind, hint) = match times_damaged.fetch_add(1, Ordering::Relaxed) {
            0 => (ErrorKind::Unavailable, "asked for again"),
            _ => (ErrorKind::DataLoss, "`pfs scrub` tells what is damaged on the server's disk"),
        };
        let (start, end) = (damaged.offset().0, damaged.end().0);
        let message = format!(
            "file {server} sent bytes {start}..{end} of the object in slot {} that do not have their checksum; {hint}",
            request.slot
        );
        tracing::warn!(file = file.name, "{message}");
        Err(Error::new(kind, message))
    };
    let answer = attempts::persist(state, attempt).await.inspect_err(|error| file.note_failure(error));
    answer.map_err(|error| describe(error, "read", file, &request))
}

/// Whether the request may still be applied after this error.
pub(crate) fn leaves_doubt(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Internal)
}

/// Keeps the token until the server has confirmed that the writes are over, in the background.
pub(crate) fn settle(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: Arc<Token>,
    server: ServerId,
    doubts: Vec<(Stamp, u64)>,
) {
    state.begin_drain();
    file.begin_drain();
    let (weak, file) = (Arc::downgrade(state), file.clone());
    state.io.spawn(async move {
        let (mut token, since) = (Some(token), Instant::now());
        loop {
            let Some(state) = weak.upgrade() else { return };
            if state.check_alive().is_err() {
                return;
            }
            match state.servers.settle_doubts(server).await {
                Ok(()) => {
                    state.end_drain();
                    return file.end_drain();
                }
                Err(error) => tracing::debug!(%server, %error, "a write's outcome is not known yet"),
            }
            if since.elapsed() >= state.config.drain_patience
                && let Some(token) = token.take()
            {
                // From here on the metadata server sees to it before anybody else gets the range.
                token.give_up_doubts(server, &doubts);
            }
            drop(state);
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
    });
}

fn finished<T>(done: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    match done {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::NoSession, "the client was shut down during a transfer")),
    }
}

pub(crate) fn describe(error: Error, doing: &str, file: &SharedFile, request: &DataRequest) -> Error {
    let (first, last) = (request.pieces[0], request.pieces[request.pieces.len() - 1]);
    let range = Extent::new(first.file_offset, last.file_offset + last.length).expect("requests have bytes");
    error.context(format_args!("{doing} of {} at {range}", file.name))
}
