//! Reads and writes of pinned ranges: all servers at once, bytes in flight bounded.
//!
//! Invariants:
//! * the token is held, through its `Arc`, by every request that is under way, so it outlives them all even if the caller
//!   goes away;
//! * a write whose outcome is unknown holds the token until its server has confirmed that it can not be applied any more,
//!   and no later write of this client goes to that server before. If the server can not be asked for long, the token
//!   goes, and the ack that gives its range up names the write (rule 7);
//! * the budget is taken before a payload is made, so memory in flight is bounded by the configuration.

use crate::data::attempts;
use crate::data::plan::{DataRequest, plan};
use crate::error::{Error, ErrorKind};
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use crate::token::Token;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use pfs_core::extent::Extent;
use pfs_core::ids::{ObjectId, ServerId, Stamp};
use pfs_proto::v1;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};

/// Pause between two attempts to drain a server that can not be asked.
const DRAIN_PAUSE: Duration = Duration::from_millis(500);

/// Writes `extents` under `token`. `payload` gives the bytes of a request when its turn comes.
pub(crate) async fn write(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    mut payload: impl FnMut(&DataRequest) -> Bytes,
) -> Result<(), Error> {
    let mut running = FuturesUnordered::new();
    let mut outcome = Ok(());
    for request in plan(&file.recipe, extents, state.config.request_bytes_max as u64) {
        let permit = budget(state, &request).await;
        if let Err(error) = file.check_alive() {
            outcome = Err(error);
            break;
        }
        let payload = payload(&request);
        let one = write_one(state.clone(), file.clone(), token.clone(), request, payload, permit);
        running.push(state.io.spawn(one));
        while let Some(done) = take_ready(&mut running) {
            outcome = outcome.and(finished(done));
        }
        if outcome.is_err() {
            break;
        }
    }
    while let Some(done) = running.next().await {
        outcome = outcome.and(finished(done));
    }
    match (&outcome, extents.last()) {
        (Ok(()), Some(last)) => file.record_write(last.end()),
        (Ok(()), None) => {}
        (Err(_), _) => token.doubt(),
    }
    outcome
}

/// Reads `extents` under `token`; `consume` takes the bytes of each request as they arrive.
pub(crate) async fn read(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    extents: &[Extent],
    mut consume: impl FnMut(&DataRequest, Bytes),
) -> Result<(), Error> {
    let mut running = FuturesUnordered::new();
    let mut outcome: Result<(), Error> = Ok(());
    let mut consumed = |done: Result<Result<Arrived, Error>, JoinError>| {
        let arrived = finished(done)?;
        consume(&arrived.request, arrived.payload);
        Ok(())
    };
    for request in plan(&file.recipe, extents, state.config.request_bytes_max as u64) {
        let permit = loop {
            // Answers hold their part of the budget until they are consumed, so consume while waiting for more.
            let wanted = std::pin::pin!(budget(state, &request));
            match futures::future::select(wanted, running.next()).await {
                futures::future::Either::Left((permit, _)) => break permit,
                futures::future::Either::Right((Some(done), _)) => outcome = outcome.and(consumed(done)),
                futures::future::Either::Right((None, wanted)) => break wanted.await,
            }
        };
        if outcome.is_err() {
            break;
        }
        let one = read_one(state.clone(), file.clone(), token.clone(), request, permit);
        running.push(state.io.spawn(one));
    }
    while let Some(done) = running.next().await {
        outcome = outcome.and(consumed(done));
    }
    outcome?;
    file.check_alive()
}

struct Arrived {
    request: DataRequest,
    payload: Bytes,
    _permit: OwnedSemaphorePermit,
}

/// Sends one request of a write, whose room in some budget is `permit`, until it is answered.
pub(crate) async fn write_one(
    state: Arc<ClientState>,
    file: Arc<SharedFile>,
    token: Arc<Token>,
    request: DataRequest,
    payload: Bytes,
    permit: OwnedSemaphorePermit,
) -> Result<(), Error> {
    let server = file.recipe.primary(request.slot);
    let doubts: Mutex<Vec<(Stamp, u64)>> = Mutex::default();
    let attempt = || async {
        file.check_alive()?;
        // First, so that the sequence of this attempt is larger than that of what is drained.
        state.servers.settle_doubts(server).await?;
        doubts.lock().clear();
        let (stamp, sequence) = (file.stamp(), state.next_sequence());
        let message = v1::WriteRequest {
            stamp: Some(stamp.into()),
            sequence,
            object: Some(ObjectId { file: file.id, slot: request.slot }.into()),
            extents: request.extents.iter().copied().map(Into::into).collect(),
            payload: payload.clone(),
        };
        let answer = state.servers.write(server, message).await;
        if answer.as_ref().is_err_and(|error| leaves_doubt(error.kind())) {
            state.servers.doubt(server, stamp, sequence);
            doubts.lock().push((stamp, sequence));
        }
        answer
    };
    let answer = attempts::persist(&state, attempt).await;
    drop(permit);
    match answer {
        Ok(instance) => {
            file.record_uncommitted(request.slot, instance);
            Ok(())
        }
        Err(error) => {
            file.note_failure(&error);
            let doubts = doubts.into_inner();
            if !doubts.is_empty() {
                settle(&state, &file, token, server, doubts);
            }
            Err(describe(error, "write", &file, &request))
        }
    }
}

async fn read_one(
    state: Arc<ClientState>,
    file: Arc<SharedFile>,
    token: Arc<Token>,
    request: DataRequest,
    permit: OwnedSemaphorePermit,
) -> Result<Arrived, Error> {
    let server = file.recipe.primary(request.slot);
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
        state.servers.read(server, message).await
    };
    let answer = attempts::persist(&state, attempt).await.inspect_err(|error| file.note_failure(error));
    drop(token);
    let payload = answer.map_err(|error| describe(error, "read", &file, &request))?.payload;
    if payload.len() as u64 != request.bytes {
        let message = format!("the server answered {} bytes instead of {}", payload.len(), request.bytes);
        return Err(describe(Error::new(ErrorKind::Internal, message), "read", &file, &request));
    }
    Ok(Arrived { request, payload, _permit: permit })
}

/// Whether the request may still be applied after this error.
fn leaves_doubt(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Internal)
}

/// Keeps the token until the server has confirmed that the writes are over, in the background.
fn settle(
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

async fn budget(state: &Arc<ClientState>, request: &DataRequest) -> OwnedSemaphorePermit {
    let bytes = u32::try_from(request.bytes).expect("requests are at most a few MiB");
    state.budget.clone().acquire_many_owned(bytes).await.expect("the semaphore is never closed")
}

fn take_ready<T>(running: &mut FuturesUnordered<JoinHandle<T>>) -> Option<Result<T, JoinError>> {
    use futures::FutureExt;
    running.next().now_or_never().flatten()
}

fn finished<T>(done: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    match done {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::NoSession, "the client was shut down during a transfer")),
    }
}

fn describe(error: Error, doing: &str, file: &SharedFile, request: &DataRequest) -> Error {
    let (first, last) = (request.pieces[0], request.pieces[request.pieces.len() - 1]);
    let range = Extent::new(first.file_offset, last.file_offset + last.length).expect("requests have bytes");
    error.context(format_args!("{doing} of {} at {range}", file.name))
}
