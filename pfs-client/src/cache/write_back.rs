//! Dirty bytes on their way to the servers: for a revoke, a sync, a close, a transfer past the cache, or to make room.

use super::Cache;
use crate::data::memory::source::Source;
use crate::data::plan::plan;
use crate::data::transfer;
use crate::error::{Error, ErrorKind};
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use futures::stream::{FuturesUnordered, StreamExt};
use pfs_core::cache::Batch;
use pfs_core::extent::Extent;
use pfs_core::ids::RevokeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

/// Why bytes are written back, which decides what becomes of those that can not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody waits for the outcome, or nobody has to know it: bytes that were not taken stay dirty.
    Asked,
    /// As `Asked`, by a close.
    Close,
    /// The range goes to others in any case: bytes that were not taken are dropped, and the next sync tells (rule 8).
    Revoke,
}

/// Writes everything dirty of `range` back and waits for what is on its way.
pub(crate) async fn flush(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    range: Extent,
    reason: Reason,
) -> Result<(), Error> {
    if !state.cache.is_pending(file.key(), range) {
        return Ok(());
    }
    // On the io thread, so that it goes on if the caller goes away.
    let flushing = run(state.clone(), file.clone(), range, reason);
    state.io.spawn(flushing).await.unwrap_or_else(|_| Err(shut_down()))
}

/// Writes everything dirty of all files back, as far as that is possible: the session ends.
pub(crate) async fn flush_all(state: &Arc<ClientState>) {
    for file in state.files() {
        if let Err(error) = run(state.clone(), file.clone(), Extent::ALL, Reason::Asked).await {
            tracing::warn!(%error, "bytes that were not synced are lost with the end of the session");
        }
    }
}

/// The cache's part of giving a range up: dirty bytes are written, clean ones forgotten, and the holder is told.
pub(crate) fn for_revoke(
    state: &Arc<ClientState>,
    file: Arc<SharedFile>,
    revoke: RevokeId,
    ranges: Vec<Extent>,
    downgrade: bool,
) {
    let state = state.clone();
    state.io.clone().spawn(async move {
        for range in &ranges {
            if let Err(error) = run(state.clone(), file.clone(), *range, Reason::Revoke).await {
                tracing::debug!(%error, "the session ended during a write-back");
            }
            if !downgrade {
                state.cache.invalidate(file.key(), *range);
            }
        }
        file.written_back(revoke);
    });
}

/// Starts to write back what should be, if that is not being done already.
pub(crate) fn in_background(state: &Arc<ClientState>) {
    let cache = &state.cache;
    if cache.next_write_back().is_none() || cache.in_background.swap(true, Ordering::AcqRel) {
        return;
    }
    let state = state.clone();
    state.io.clone().spawn(async move {
        let outcome = run_in_background(&state).await;
        state.cache.in_background.store(false, Ordering::Release);
        match outcome {
            // A write that came too late to be seen did not start another one.
            Ok(()) => in_background(&state),
            Err(error) => {
                tracing::debug!(%error, "dirty blocks could not be written back; tried again with the next write")
            }
        }
    });
}

async fn run_in_background(state: &Arc<ClientState>) -> Result<(), Error> {
    let mut running = Running::new();
    let mut outcome = Ok(());
    while outcome.is_ok() {
        let permit = permit(&state.cache).await;
        let Some((key, range)) = state.cache.next_write_back() else { break };
        let Some(file) = state.file(key.holder, key.file) else { break };
        match state.cache.take_dirty(key, range) {
            Some(batch) => running.push(start(state, &file, batch, permit, Reason::Asked)),
            // What is dirty there was written again while it is on its way.
            None => break,
        }
        outcome = ready(&mut running);
    }
    outcome.and(finish(running).await)
}

async fn run(state: Arc<ClientState>, file: Arc<SharedFile>, range: Extent, reason: Reason) -> Result<(), Error> {
    let (cache, key) = (&state.cache, file.key());
    let mut running = Running::new();
    let mut outcome = Ok(());
    while outcome.is_ok() {
        let mut changed = std::pin::pin!(cache.changed.notified());
        changed.as_mut().enable();
        if !cache.is_pending(key, range) {
            break;
        }
        let permit = permit(cache).await;
        match cache.take_dirty(key, range) {
            Some(batch) => running.push(start(&state, &file, batch, permit, reason)),
            None => {
                drop(permit);
                if cache.is_pending(key, range) {
                    changed.await;
                }
            }
        }
        outcome = ready(&mut running);
    }
    outcome.and(finish(running).await)
}

type Running = FuturesUnordered<JoinHandle<Result<(), Error>>>;

/// Room for one batch.
async fn permit(cache: &Cache) -> OwnedSemaphorePermit {
    cache.reserve.clone().acquire_many_owned(cache.batch_bytes).await.expect("the semaphore is never closed")
}

fn start(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    batch: Batch,
    permit: OwnedSemaphorePermit,
    reason: Reason,
) -> JoinHandle<Result<(), Error>> {
    state.io.spawn(write_batch(state.clone(), file.clone(), batch, permit, reason))
}

fn ready(running: &mut Running) -> Result<(), Error> {
    use futures::FutureExt;
    let mut outcome = Ok(());
    while let Some(Some(done)) = running.next().now_or_never() {
        outcome = outcome.and(done.unwrap_or_else(|_| Err(shut_down())));
    }
    outcome
}

async fn finish(mut running: Running) -> Result<(), Error> {
    let mut outcome = Ok(());
    while let Some(done) = running.next().await {
        outcome = outcome.and(done.unwrap_or_else(|_| Err(shut_down())));
    }
    outcome
}

async fn write_batch(
    state: Arc<ClientState>,
    file: Arc<SharedFile>,
    mut batch: Batch,
    mut permit: OwnedSemaphorePermit,
    reason: Reason,
) -> Result<(), Error> {
    let extents: Vec<Extent> = batch.extents().collect();
    let source = Source::gathered(&extents, state.cache.batches.share(batch.take_bytes()));
    let token = Arc::new(file.pin_for_write_back(&extents));
    let mut running = FuturesUnordered::new();
    let mut outcome = Ok(());
    for request in plan(&file.recipe, &extents, transfer::request_bytes_max(&state)) {
        // A batch may be a little more than its room: the last requests share what is left.
        let part = usize::try_from(request.bytes).map_or(0, |bytes| bytes.min(permit.num_permits()));
        let part = permit.split(part).expect("not more than there is");
        running.push(transfer::write_one(state.clone(), file.clone(), token.clone(), request, source.clone(), part));
    }
    let requests = running.len() as u64;
    while let Some(done) = running.next().await {
        outcome = outcome.and(done);
    }
    if outcome.is_err() {
        token.doubt();
    }
    let key = file.key();
    state.cache.settle(|blocks| {
        blocks.count_write_backs(requests, reason == Reason::Close);
        match (&outcome, reason) {
            (Ok(()), _) => blocks.written(batch),
            (Err(_), Reason::Asked | Reason::Close) => blocks.put_back(batch),
            (Err(error), Reason::Revoke) => {
                let why = format!("bytes of {} were given up before they could be written back", file.name);
                blocks.failed(batch, error.clone().context(why));
                outcome = Ok(());
            }
        }
    });
    tracing::trace!(?key, requests, "written back");
    outcome
}

fn shut_down() -> Error {
    Error::new(ErrorKind::NoSession, "the client was shut down during a write-back")
}
