//! An open file. Methods are `async`; buffers are owned, so a dropped future leaves nothing behind.

use crate::cache;
use crate::cache::write_back::{self, Reason};
use crate::client::Client;
use crate::data::attempts;
use crate::data::memory::destination::Destination;
use crate::data::memory::source::Source;
use crate::data::transfer;
use crate::error::{Error, ErrorKind};
use crate::group::{CommitSummary, GroupWatch};
use crate::links::{Answer, Method};
use crate::metadata::unexpected;
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use crate::token::Token;
use crate::types::{Access, FileStatus};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use pfs_core::cache::ReadAhead;
use pfs_core::extent::{Extent, FileOffset, MAX_FILE_BYTES};
use pfs_core::ids::{Holder, Instance, ObjectId, OpenId};
use pfs_core::layout::Recipe;
use pfs_core::pointer::{PointerChange, SharedPointer};
use pfs_core::token::message::{FileSize, Mode};
use pfs_proto::data::Allocation;
use pfs_proto::metadata::{MovedPointer, SlotSet};
use pfs_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// One open of one file. See [`close`](Self::close) for how it ends.
#[derive(Debug)]
pub struct FileDescriptor {
    client: Client,
    pub(crate) shared: Arc<SharedFile>,
    open: OpenId,
    access: Access,
    status: FileStatus,
    /// Where its reads are going.
    read_ahead: Mutex<ReadAhead>,
    /// Another member of the group closes the open, or it was closed.
    released: bool,
}

impl FileDescriptor {
    pub(crate) fn new(
        client: Client,
        shared: Arc<SharedFile>,
        open: OpenId,
        access: Access,
        status: FileStatus,
    ) -> Self {
        let read_ahead = Mutex::new(ReadAhead::default());
        FileDescriptor { client, shared, open, access, status, read_ahead, released: false }
    }

    /// What was known of the file when it was opened.
    pub fn status(&self) -> &FileStatus {
        &self.status
    }

    /// How the file is striped.
    pub fn recipe(&self) -> &Recipe {
        &self.shared.recipe
    }

    /// Under whose token accesses are made.
    pub fn holder(&self) -> Holder {
        self.shared.holder
    }

    /// Why the members of this file's group can not act together any more, if that is so.
    pub fn group_error(&self) -> Option<Error> {
        self.shared.group_watch().error()
    }

    /// The same for somebody who asks often.
    pub fn group_watch(&self) -> GroupWatch {
        self.shared.group_watch()
    }

    /// The client whose session this is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn state(&self) -> &Arc<ClientState> {
        self.client.state()
    }

    /// Reads up to `length` bytes from `offset`; fewer only at the end of the file.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, Error> {
        let Some(range) = self.range(offset, length as u64, Mode::Shared)? else { return Ok(Bytes::new()) };
        let token = Arc::new(self.shared.acquire(Mode::Shared, &[range]).await?);
        let Some(range) = self.before_end(range).await? else { return Ok(Bytes::new()) };
        if self.state().cache.takes(range.len()) {
            let mut buffer = vec![0; local(range.end(), range.start())];
            self.read_cached(&token, range, &mut buffer).await?;
            return Ok(buffer.into());
        }
        let destination = Destination::owned(&[range]);
        self.read_past_cache(&token, &[range], &destination).await?;
        Ok(destination.take().pop().map(Bytes::from).unwrap_or_default())
    }

    /// Writes all of `bytes` at `offset`. When it returns, every reader sees them; after [`sync`](Self::sync) they last.
    pub async fn write_at(&self, offset: u64, bytes: Bytes) -> Result<(), Error> {
        let Some(range) = self.range(offset, bytes.len() as u64, Mode::Exclusive)? else { return Ok(()) };
        let token = Arc::new(self.shared.acquire(Mode::Exclusive, &[range]).await?);
        if self.write_cached(range, &bytes).await? {
            return Ok(());
        }
        self.write_past_cache(&token, &[range], &Source::owned([(range, bytes)])).await
    }

    /// Writes several ranges, given by their offsets, in one access and as few requests as can be. No two may have a byte in
    /// common.
    pub async fn write_list(&self, mut parts: Vec<(u64, Bytes)>) -> Result<(), Error> {
        parts.sort_by_key(|(offset, _)| *offset);
        let extents = self.list(Mode::Exclusive, parts.iter().map(|(offset, bytes)| (*offset, bytes.len() as u64)))?;
        let token = Arc::new(self.shared.acquire(Mode::Exclusive, &extents).await?);
        let filled = parts.into_iter().map(|(_, bytes)| bytes).filter(|bytes| !bytes.is_empty());
        self.write_past_cache(&token, &extents, &Source::owned(extents.iter().copied().zip(filled))).await
    }

    /// Reads several ranges, each an offset and a length, in one access; what is past the end of the file is missing. They are
    /// in order, and no two have a byte in common.
    pub async fn read_list(&self, ranges: &[(u64, u64)]) -> Result<Vec<Bytes>, Error> {
        let extents = self.list(Mode::Shared, ranges.iter().copied())?;
        let Some(hull) = extents.iter().copied().reduce(Extent::hull) else {
            return Ok(vec![Bytes::new(); ranges.len()]);
        };
        let token = Arc::new(self.shared.acquire(Mode::Shared, &extents).await?);
        let end = self.before_end(hull).await?.map_or(0, |hull| hull.end());
        let there: Vec<Extent> = extents.iter().filter_map(|e| Extent::new(e.start(), e.end().min(end))).collect();
        let destination = Destination::owned(&there);
        if !there.is_empty() {
            self.read_past_cache(&token, &there, &destination).await?;
        }
        let mut read = destination.take().into_iter();
        let of_range = |&(offset, length): &(u64, u64)| match length > 0 && offset < end {
            true => read.next().map(Bytes::from).unwrap_or_default(),
            false => Bytes::new(),
        };
        Ok(ranges.iter().map(of_range).collect())
    }

    /// The extents of a list's ranges that have bytes, checked.
    fn list(&self, mode: Mode, ranges: impl Iterator<Item = (u64, u64)>) -> Result<Vec<Extent>, Error> {
        let mut extents: Vec<Extent> = Vec::new();
        for (offset, length) in ranges {
            let Some(extent) = self.range(offset, length, mode)? else { continue };
            if extents.last().is_some_and(|last| last.end() > extent.start()) {
                let message = format!("the ranges of a list for {} are not in order, or overlap", self.shared.name);
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            extents.push(extent);
        }
        Ok(extents)
    }

    /// Reads through the cache, which takes so many bytes, all of `range`, which is pinned by `token`.
    pub(crate) async fn read_cached(&self, token: &Arc<Token>, range: Extent, buffer: &mut [u8]) -> Result<(), Error> {
        let cache = &self.state().cache;
        let ahead = self.read_ahead.lock().note(range, cache.read_ahead_bytes());
        cache::read_ahead(self.state(), &self.shared, &ahead);
        cache::read(self.state(), &self.shared, token, range, buffer).await
    }

    /// Writes into the cache; false if it does not take the bytes.
    pub(crate) async fn write_cached(&self, range: Extent, bytes: &[u8]) -> Result<bool, Error> {
        Ok(self.state().cache.takes(range.len()) && cache::write(self.state(), &self.shared, range, bytes).await?)
    }

    /// Reads all of `extents` (disjoint, in order), which are pinned by `token`, past the cache; holes are zeros.
    pub(crate) async fn read_past_cache(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        destination: &Destination,
    ) -> Result<(), Error> {
        for extent in extents {
            write_back::flush(self.state(), &self.shared, *extent, Reason::Asked).await?;
        }
        transfer::read(self.state(), &self.shared, token, extents, destination).await
    }

    /// Writes `extents` (disjoint, in order), which are pinned by `token`, past the cache. What the cache has of them goes
    /// out before, so that it can not overtake these bytes, and is forgotten.
    pub(crate) async fn write_past_cache(
        &self,
        token: &Arc<Token>,
        extents: &[Extent],
        source: &Source,
    ) -> Result<(), Error> {
        let (cache, key) = (&self.state().cache, self.shared.key());
        for extent in extents {
            write_back::flush(self.state(), &self.shared, *extent, Reason::Asked).await?;
        }
        extents.iter().for_each(|extent| cache.invalidate(key, *extent));
        let written = transfer::write(self.state(), &self.shared, token, extents, source).await;
        // Once more: a read ahead may have begun between the two.
        extents.iter().for_each(|extent| cache.invalidate(key, *extent));
        written
    }

    /// Reserves space for `length` bytes from `offset`, so that writes there find room. Bytes stay as they are, holes are read as
    /// zeros; the file's size is at least the range's end afterwards.
    pub async fn allocate(&self, offset: u64, length: u64) -> Result<(), Error> {
        let Some(range) = self.range(offset, length, Mode::Exclusive)? else { return Ok(()) };
        let token = Arc::new(self.shared.acquire(Mode::Exclusive, &[range]).await?);
        transfer::allocate(self.state(), &self.shared, &token, range, Allocation::Reserve).await?;
        self.shared.record_write(range.end());
        Ok(())
    }

    /// Makes a hole of `length` bytes from `offset`: they are zeros and take no space, but for parts of blocks at its edges. The
    /// file's size stays.
    pub async fn punch(&self, offset: u64, length: u64) -> Result<(), Error> {
        let Some(range) = self.range(offset, length, Mode::Exclusive)? else { return Ok(()) };
        let token = Arc::new(self.shared.acquire(Mode::Exclusive, &[range]).await?);
        let Some(range) = self.before_end(range).await? else { return Ok(()) };
        let (cache, key) = (&self.state().cache, self.shared.key());
        // As with a write past the cache: what it has of the range may not come later.
        write_back::flush(self.state(), &self.shared, range, Reason::Asked).await?;
        cache.invalidate(key, range);
        let punched = transfer::allocate(self.state(), &self.shared, &token, range, Allocation::Punch).await;
        cache.invalidate(key, range);
        punched
    }

    /// Writes back what this client has collected of the file: the servers have it when this returns. It is not durable by
    /// that; see [`sync`](Self::sync).
    pub async fn flush_cache(&self) -> Result<(), Error> {
        write_back::flush(self.state(), &self.shared, Extent::ALL, Reason::Asked).await?;
        self.state().cache.take_error(self.shared.key()).map_or(Ok(()), Err)
    }

    /// Forgets what this client has read of the file, so that the next read sees what other members of its group have
    /// written. What it has written itself and not [flushed](Self::flush_cache) stays.
    pub fn drop_clean(&self) {
        self.state().cache.invalidate(self.shared.key(), Extent::ALL);
    }

    /// The extent of an access, checked against the open mode; nothing for an access without bytes.
    pub(crate) fn range(&self, offset: u64, length: u64, mode: Mode) -> Result<Option<Extent>, Error> {
        let allowed = match mode {
            Mode::Shared => self.access.reads(),
            Mode::Exclusive => self.access.writes(),
        };
        if !allowed {
            let doing = if mode == Mode::Shared { "reading" } else { "writing" };
            let message = format!("{} was not opened for {doing}", self.shared.name);
            return Err(Error::new(ErrorKind::NotPermitted, message));
        }
        match (length, Extent::with_length(FileOffset(offset), length)) {
            (0, _) if offset <= MAX_FILE_BYTES => Ok(None),
            (_, Some(range)) => Ok(Some(range)),
            _ => {
                let message = format!(
                    "{length} bytes at {offset} of {} end past the largest file offset, {MAX_FILE_BYTES}",
                    self.shared.name
                );
                Err(Error::new(ErrorKind::InvalidArgument, message))
            }
        }
    }

    /// The part of a pinned range that lies before the end of the file.
    pub(crate) async fn before_end(&self, range: Extent) -> Result<Option<Extent>, Error> {
        if range.end() <= self.shared.known_size().bytes {
            return Ok(Some(range));
        }
        let size = self.size().await?;
        Ok(Extent::new(range.start(), range.end().min(size)))
    }

    /// The file's size now, in bytes, with what any client has written and not reported.
    pub async fn size(&self) -> Result<u64, Error> {
        if let Some(bytes) = self.shared.exact_size() {
            return Ok(bytes);
        }
        let target = v1::fetch_metadata_request::Target::FileId(self.shared.id.get());
        let status = self.client.fetch(target).await;
        let status = status.map_err(|error| error.context(format_args!("size of {}", self.shared.name)))?;
        self.shared.learn_size(status.size);
        Ok(self.shared.known_size().bytes)
    }

    /// Cuts or extends the file to exactly this many bytes; new bytes are zeros.
    pub async fn set_size(&self, bytes: u64) -> Result<(), Error> {
        if bytes > MAX_FILE_BYTES {
            let message = format!("a size of {bytes} bytes is past the largest, {MAX_FILE_BYTES}");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        self.range(0, 0, Mode::Exclusive)?;
        let target = v1::update_metadata_request::Target::FileId(self.shared.id.get());
        let status = self.client.set_size_of(target, bytes).await;
        let status =
            status.map_err(|error| error.context(format_args!("set the size of {} to {bytes}", self.shared.name)))?;
        self.shared.learn_size(status.size);
        Ok(())
    }

    /// Moves the shared file pointer of this open, which all members of its group have in common, and returns where it was
    /// before. It begins at 0. What lies between there and where it was put by [`PointerChange::Advance`] is the caller's
    /// alone: no other call gets any of it, over restarts of the metadata server, too. One that was restarted may leave out
    /// what calls asked for that it did not answer.
    ///
    /// Fails if a member of the group was given up, since what it knew is lost.
    pub async fn move_pointer(&self, change: PointerChange) -> Result<SharedPointer, Error> {
        self.group_error().map_or(Ok(()), Err)?;
        let method = |operation: v1::OperationId| {
            let change = match change {
                PointerChange::Advance(by) => v1::move_pointer_request::Change::Advance(by),
                PointerChange::Set(to) => v1::move_pointer_request::Change::Set(to),
            };
            let operation = Some(operation);
            Method::MovePointer(v1::MovePointerRequest { operation, open_id: self.open.get(), change: Some(change) })
        };
        let answer = self.state().metadata.change(method).await;
        let answer = answer.map_err(|error| error.context(format_args!("shared pointer of {}", self.shared.name)))?;
        let Answer::Moved(reply) = answer else { return Err(unexpected("a shared pointer")) };
        // A member that was given up in a restart was told of before the answer.
        self.group_error().map_or(Ok(()), Err)?;
        let moved = MovedPointer::try_from(reply).map_err(|error| Error::malformed("the place of a pointer", error))?;
        Ok(moved.before)
    }

    /// Makes everything that this client has written to the file last: it survives a crash of every process and a loss
    /// of power when this returns.
    pub async fn sync(&self) -> Result<(), Error> {
        let summary = self.commit().await?;
        self.report_sync(summary).await
    }

    /// The first half of a sync: makes this client's objects durable. What it returns must be
    /// [reported](Self::report_sync), by this client or, merged with others', by another member of its group.
    pub async fn commit(&self) -> Result<CommitSummary, Error> {
        self.commit_for(Reason::Asked).await
    }

    async fn commit_for(&self, reason: Reason) -> Result<CommitSummary, Error> {
        let flushed = write_back::flush(self.state(), &self.shared, Extent::ALL, reason).await;
        if matches!(self.shared.holder, Holder::Group(_)) {
            self.drop_clean();
        }
        flushed.map_err(|error| error.context(format_args!("sync of {}", self.shared.name)))?;
        if let Some(error) = self.state().cache.take_error(self.shared.key()) {
            return Err(error);
        }
        let turn = self.shared.sync_turn().await;
        let slots = self.shared.take_unsynced()?;
        if slots.is_empty() {
            return Ok(CommitSummary { size: self.shared.written_size(), slots: SlotSet::new() });
        }
        // On the io thread, so that a dropped future does not lose track of what is durable.
        let (state, shared) = (self.state().clone(), self.shared.clone());
        let committed = self.state().io.spawn(commit_slots(state, shared, slots, turn)).await;
        committed.map_err(|_| Error::new(ErrorKind::NoSession, "the client was shut down during a sync"))?
    }

    /// The second half of a sync: makes size and objects known to the metadata server, durably.
    pub async fn report_sync(&self, summary: CommitSummary) -> Result<(), Error> {
        let Some(size) = summary.size.filter(|_| !summary.is_empty()) else { return Ok(()) };
        let report = v1::SyncReport { size: Some(size.into()), committed_slots: summary.slots.as_bytes().to_vec() };
        let target = v1::update_metadata_request::Target::FileId(self.shared.id.get());
        let change = v1::update_metadata_request::Change::Sync(report);
        let status = self.client.update(target, change).await;
        let status = status.map_err(|error| error.context(format_args!("sync of {}", self.shared.name)))?;
        self.shared.learn_size(status.size);
        self.shared.record_committed(&summary.slots);
        Ok(())
    }

    /// Syncs what was written and closes the file. A failed sync is told; the file is closed all the same, and what could
    /// not be written is lost. Others have to wait for as long as a write of unknown outcome may still be applied, as they
    /// would without the close; the caller does not.
    pub async fn close(mut self) -> Result<(), Error> {
        let committed = self.commit_for(Reason::Close).await;
        // Nobody learns anything of this close but that the file is open once less.
        let changed_nothing = committed.as_ref().is_ok_and(CommitSummary::is_empty);
        let synced = match committed {
            Ok(summary) => self.report_sync(summary).await,
            Err(error) => Err(error),
        };
        self.released = true;
        if !self.shared.try_leave() {
            self.close_in_background(Closing::InUse);
            return synced;
        }
        if synced.is_ok() && changed_nothing {
            if !close_later(self.state(), self.open, &self.shared) {
                self.close_in_background(Closing::Left);
            }
            return Ok(());
        }
        let closed = send_close(self.state().clone(), self.open, self.shared.clone()).await;
        synced.and(closed)
    }

    /// Lets go of an open that another member of the group closes. Nothing of this member may be left to sync. After an
    /// error nobody may close it: what this member wrote may still be applied. The end of the sessions does it then.
    pub async fn detach(mut self) -> Result<(), Error> {
        self.released = true;
        let (state, open, shared) = (self.state().clone(), self.open, self.shared.clone());
        let (io, patience) = (state.io.clone(), state.config.drain_patience);
        // It goes on after the time.
        let leaving = io.spawn(async move {
            shared.leave().await;
            state.forget_open(open.get());
        });
        match io.spawn(async move { tokio::time::timeout(patience, leaving).await }).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let text = format!("what this client wrote to {} may still be applied", self.shared.name);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    fn close_in_background(&self, closing: Closing) {
        // Not the client: the last one of it may not be dropped on its own background thread.
        let (state, open, shared) = (self.state().clone(), self.open, self.shared.clone());
        self.state().io.spawn(async move {
            if closing == Closing::Dropped
                && let Err(error) = write_back::flush(&state, &shared, Extent::ALL, Reason::Close).await
            {
                tracing::warn!(%error, "bytes of a file that was dropped without a close are lost");
            }
            if closing != Closing::Left {
                shared.leave().await;
            }
            note_closed(send_close(state, open, shared).await);
        });
    }
}

/// How far a close has come that goes on in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// The descriptor was dropped: nothing is done.
    Dropped,
    /// Synced. The descriptor has not left the file, since writes are running or in doubt.
    InUse,
    /// It has left: the metadata server is to be told.
    Left,
}

impl Drop for FileDescriptor {
    fn drop(&mut self) {
        if !std::mem::replace(&mut self.released, true) {
            self.close_in_background(Closing::Dropped);
        }
    }
}

/// Tells the metadata server that an open is over.
pub(crate) async fn send_close(state: Arc<ClientState>, open: OpenId, shared: Arc<SharedFile>) -> Result<(), Error> {
    let size = shared.written_size();
    let closed = state.metadata.change(|operation| close_call(operation, open, size)).await;
    closed.map(drop).map_err(|error| error.context(format_args!("close {}", shared.name)))
}

/// The same for an open whose end nobody waits for. False if that can not be had at once.
fn close_later(state: &ClientState, open: OpenId, shared: &Arc<SharedFile>) -> bool {
    let (size, shared) = (shared.written_size(), shared.clone());
    let done = move |closed: Result<Answer, Error>| {
        note_closed(closed.map(drop).map_err(|error| error.context(format_args!("close {}", shared.name))));
    };
    state.metadata.change_later(|operation| close_call(operation, open, size), done)
}

fn close_call(operation: v1::OperationId, open: OpenId, size: Option<FileSize>) -> Method {
    let (operation, open_id, size) = (Some(operation), open.get(), size.map(Into::into));
    Method::CloseFile(v1::CloseFileRequest { operation, open_id, size })
}

fn note_closed(closed: Result<(), Error>) {
    if let Err(error) = closed {
        tracing::warn!(%error, "a file was not closed in order");
    }
}

/// Makes these slots' objects durable; those for which that fails are put back.
async fn commit_slots(
    state: Arc<ClientState>,
    shared: Arc<SharedFile>,
    mut slots: BTreeMap<u32, Instance>,
    _turn: OwnedMutexGuard<()>,
) -> Result<CommitSummary, Error> {
    let mut running: FuturesUnordered<_> = slots
        .keys()
        .map(|&slot| {
            let (state, shared) = (&state, &shared);
            async move {
                let object = ObjectId { file: shared.id, slot };
                let attempt = || async {
                    shared.check_alive()?;
                    state.servers.commit(shared.recipe.primary(slot), shared.stamp(), object).await
                };
                (slot, attempts::persist(state, attempt).await)
            }
        })
        .collect();
    let (mut outcome, mut committed) = (Ok(()), SlotSet::new());
    let mut size = shared.written_size();
    while let Some((slot, answer)) = running.next().await {
        match answer {
            Ok((instance, length)) => {
                if slots.remove(&slot) != Some(instance) {
                    outcome = outcome.and(Err(shared.restarted(slot)));
                    continue;
                }
                committed.insert(slot);
                let generation = size.map_or(shared.known_size().generation, |size| size.generation);
                let bytes = shared.recipe.file_bytes_for(slot, length);
                size = size.max(Some(FileSize { generation, bytes }));
            }
            Err(error) => {
                shared.note_failure(&error);
                let doing = format!("sync of slot {slot} of {}", shared.name);
                outcome = outcome.and(Err(error.context(doing)));
            }
        }
    }
    drop(running);
    shared.put_back_unsynced(slots);
    outcome.map(|()| CommitSummary { size, slots: committed })
}

/// The index of a file offset in a buffer that starts at `base`.
fn local(offset: u64, base: u64) -> usize {
    usize::try_from(offset - base).expect("inside of a buffer")
}
