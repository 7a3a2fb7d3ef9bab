//! One file under one holder's token in this process: shared by all its descriptors and by the token stream.
//!
//! Invariants:
//! * every change of the token state is followed by [`SharedFile::pump`] under the same lock, so messages leave in the
//!   order in which the state machine decided them;
//! * an operation in the state machine has a [`Token`] that ends it, or was refused;
//! * the metadata server is told of the last close only when no write of this client may be applied any more;
//! * `unsynced` lists every slot with bytes that were written and not yet made durable, but for those that the sync that
//!   holds `syncing` has taken; so no sync succeeds while another one is at work on bytes that were written before it.

mod cached;
mod closing;
mod sets;

use self::cached::Home;
use self::sets::Sets;
use crate::cache::Cache;
use crate::error::{Error, ErrorKind};
use crate::group::{GroupGrant, GroupWatch};
use crate::links::Links;
use crate::state::ClientState;
use crate::token::Token;
use parking_lot::{Mutex, MutexGuard};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, Instance, RequestId, Stamp};
use pfs_core::layout::Recipe;
use pfs_core::pattern::RangePattern;
use pfs_core::token::holder::{HolderAction, OperationId, Ranges, TokenHolder};
use pfs_core::token::message::{Acquire, FileSize, Mode, Revoke, Undrained};
use pfs_core::unsynced::Unsynced;
use pfs_proto::metadata::{FileMetadata, SlotSet};
use pfs_proto::status::ErrorDetail;
use pfs_proto::token::{ClientMessage, GrantMessage};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::{Notify, OwnedMutexGuard, oneshot};

/// See the module.
#[derive(Debug)]
pub(crate) struct SharedFile {
    pub(crate) id: FileId,
    pub(crate) holder: Holder,
    /// The holder is this client, or a group that has no other member.
    is_alone: bool,
    pub(crate) recipe: Recipe,
    /// What a user called it, for error messages.
    pub(crate) name: String,
    links: Arc<Links>,
    /// Why no collective access can succeed any more. Looked at very often, without a lock.
    group_error: Arc<OnceLock<Error>>,
    home: Home,
    /// Held by the sync that is at work.
    syncing: Arc<tokio::sync::Mutex<()>>,
    /// The file may be out of use.
    unused: Notify,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    tokens: TokenHolder,
    waiters: BTreeMap<OperationId, oneshot::Sender<Result<(), Error>>>,
    /// Collective requests of this member; their grants are not used before every member has them.
    collectives: BTreeMap<RequestId, Collective>,
    sets: Sets,
    /// Descriptors.
    users: usize,
    /// Servers that have not confirmed yet that the doubtful writes of a failed request are over.
    undrained: usize,
    /// The last descriptor waits to leave.
    is_leaving: bool,
    /// Written slots, with the server instance that took the bytes.
    unsynced: Unsynced<u32, Instance>,
    committed_slots: SlotSet,
    /// The session has ended, or the group was given up: nothing can be asked for any more.
    ended: Option<Error>,
}

/// A collective request that is not answered.
#[derive(Debug)]
struct Collective {
    acquire: Acquire,
    waiter: oneshot::Sender<Result<GrantMessage, Error>>,
}

impl SharedFile {
    /// A file that one descriptor is about to use. Its blocks are in `cache`, and `state` writes them back.
    pub(crate) fn new(
        file: FileMetadata,
        recipe: Recipe,
        (holder, is_alone): (Holder, bool),
        name: String,
        links: Arc<Links>,
        (cache, state): (Arc<Cache>, Weak<ClientState>),
    ) -> Self {
        let local_exclusion = matches!(holder, Holder::Client(_));
        let tokens = TokenHolder::new(holder, file.id, links.boot(), file.size, local_exclusion);
        let inner = Inner {
            tokens,
            waiters: BTreeMap::new(),
            collectives: BTreeMap::new(),
            sets: Sets::default(),
            users: 1,
            undrained: 0,
            is_leaving: false,
            unsynced: Unsynced::default(),
            committed_slots: file.committed_slots,
            ended: None,
        };
        let (group_error, home, inner) = (Arc::default(), Home { cache, state }, Mutex::new(inner));
        let (id, syncing, unused) = (file.id, Arc::default(), Notify::new());
        let shared =
            SharedFile { id, holder, is_alone, recipe, name, links, group_error, home, syncing, unused, inner };
        shared.home.cache.open(shared.key(), shared.links.boot(), shared.recipe.stripe_unit());
        shared
    }

    /// The fencing number of requests under what is held now.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { boot: self.inner.lock().tokens.boot(), holder: self.holder, incarnation: self.links.client }
    }

    /// Waits until `extents` are pinned in `mode`.
    pub(crate) async fn acquire(self: &Arc<Self>, mode: Mode, extents: &[Extent]) -> Result<Token, Error> {
        if let Some(token) = self.try_pin(mode, extents) {
            return Ok(token);
        }
        let (send, ready) = oneshot::channel();
        let token = {
            let mut inner = self.lock()?;
            let next = || self.links.next_request();
            let operation = inner.tokens.begin(mode, Ranges::from(extents), Some(Extent::ALL), next);
            inner.waiters.insert(operation, send);
            self.pump(&mut inner);
            Token::new(self.clone(), Some(operation), mode)
        };
        match ready.await {
            Ok(Ok(())) => Ok(token),
            Ok(Err(error)) => Err(error.context(format_args!("{mode} token for {}", self.name))),
            Err(_) => Err(self.ended_error()),
        }
    }

    /// Pins what is already held, or nothing.
    pub(crate) fn try_pin(self: &Arc<Self>, mode: Mode, extents: &[Extent]) -> Option<Token> {
        let mut inner = self.inner.lock();
        if inner.ended.is_some() {
            return None;
        }
        if extents.is_empty() {
            return Some(Token::new(self.clone(), None, mode));
        }
        let operation = inner.tokens.try_begin(mode, extents)?;
        Some(Token::new(self.clone(), Some(operation), mode))
    }

    /// One member's request for its whole group. The grant takes effect when every member installs it.
    pub(crate) async fn acquire_for_group(
        &self,
        mode: Mode,
        required: &[RangePattern],
        desired: Option<Extent>,
    ) -> Result<GroupGrant, Error> {
        let (send, answer) = oneshot::channel();
        {
            let mut inner = self.lock()?;
            if let Some(error) = self.group_error.get() {
                return Err(error.clone());
            }
            let request = self.links.next_request();
            let (holder, file, required) = (self.holder, self.id, required.to_vec());
            let acquire = Acquire { request, holder, file, mode, required, desired, collective: true };
            inner.collectives.insert(request, Collective { acquire: acquire.clone(), waiter: send });
            self.links.send(inner.tokens.boot(), ClientMessage::Acquire(acquire));
        }
        match answer.await {
            Ok(Ok(grant)) => Ok(GroupGrant::new(grant)),
            Ok(Err(error)) => Err(error.context(format_args!("collective {mode} token for {}", self.name))),
            Err(_) => Err(self.ended_error()),
        }
    }

    /// Waits until this client has been told of a start of the metadata server from which another member has a grant.
    pub(crate) async fn reach_boot(&self, boot: Boot) -> Result<(), Error> {
        self.links.access.until(|| self.inner.lock().tokens.boot() >= boot).await?;
        self.check_alive()
    }

    /// Takes over a collective grant and pins this member's part of it.
    pub(crate) fn install(
        self: &Arc<Self>,
        grant: &GroupGrant,
        mode: Mode,
        extents: &[Extent],
    ) -> Result<Token, Error> {
        let GrantMessage { grant, size, committed_slots } = grant.message();
        if grant.holder != self.holder || grant.file != self.id {
            let message = format!("a grant of {} to {} can not be used for {}", grant.file, grant.holder, self.name);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let mut inner = self.lock()?;
        inner.tokens.learn_size(*size);
        inner.committed_slots.extend(committed_slots);
        let installed = inner.tokens.install(grant, mode, Ranges::from(extents));
        self.pump(&mut inner);
        let operation = installed.map_err(|stale| {
            Error::new(ErrorKind::Stale, format!("the collective grant for {} can not be used", self.name))
                .with_source(stale)
        })?;
        if operation.is_none() && !extents.is_empty() {
            let message = format!("the collective grant for {} does not cover what this rank accesses", self.name);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        Ok(Token::new(self.clone(), operation, mode))
    }

    /// Ends an operation, whatever became of it.
    pub(crate) fn end(self: &Arc<Self>, operation: OperationId) {
        let mut inner = self.inner.lock();
        inner.waiters.remove(&operation);
        inner.tokens.end(operation, || self.links.next_request());
        self.pump(&mut inner);
        inner.sets.tell();
        self.tell_unused(&inner);
    }

    /// An operation has failed with requests that may still be applied; its token lives until they can not.
    pub(crate) fn doubt(self: &Arc<Self>, operation: OperationId) {
        let mut inner = self.inner.lock();
        inner.tokens.doubt(operation, || self.links.next_request());
        self.pump(&mut inner);
    }

    /// The operation is over for this client, though these writes of it may still be applied.
    pub(crate) fn give_up_doubt(self: &Arc<Self>, operation: OperationId, undrained: Vec<Undrained>) {
        let mut inner = self.inner.lock();
        inner.tokens.give_up_doubt(operation, undrained, || self.links.next_request());
        self.pump(&mut inner);
        self.tell_unused(&inner);
    }

    /// What a restarted metadata server must know.
    pub(crate) fn reassert(&self) -> (Vec<(Extent, Mode)>, Option<FileSize>) {
        self.inner.lock().tokens.reassert()
    }

    /// The metadata server of this boot has taken everything over: what waits is asked for again.
    pub(crate) fn resumed(self: &Arc<Self>, boot: Boot) {
        let mut inner = self.inner.lock();
        if inner.tokens.boot() >= boot {
            return;
        }
        inner.tokens.resumed(boot, || self.links.next_request());
        self.home.cache.resumed(self.key(), boot);
        for (_, mut collective) in std::mem::take(&mut inner.collectives) {
            let request = self.links.next_request();
            collective.acquire.request = request;
            self.links.send(boot, ClientMessage::Acquire(collective.acquire.clone()));
            inner.collectives.insert(request, collective);
        }
        self.ask_for_sets_again(&mut inner);
        self.pump(&mut inner);
    }

    pub(crate) fn handle_grant(self: &Arc<Self>, message: GrantMessage) {
        let mut inner = self.inner.lock();
        if let Some(collective) = inner.collectives.remove(&message.grant.request) {
            // A receiver that is gone belongs to a call that was dropped; its group is being torn down.
            let _ = collective.waiter.send(Ok(message));
            return;
        }
        inner.tokens.learn_size(message.size);
        inner.committed_slots.extend(&message.committed_slots);
        if message.grant.set.is_some() {
            return self.handle_set_grant(&mut inner, &message);
        }
        inner.tokens.handle_grant(&message.grant);
        self.pump(&mut inner);
    }

    /// Returns whether the request was one of this file's.
    pub(crate) fn handle_refused(self: &Arc<Self>, request: RequestId, error: &ErrorDetail) -> bool {
        let mut inner = self.inner.lock();
        if let Some(collective) = inner.collectives.remove(&request) {
            let _ = collective.waiter.send(Err(error.clone().into()));
            return true;
        }
        if inner.sets.refuse(request, error) {
            return true;
        }
        let Some(operation) = inner.tokens.handle_refused(request, || self.links.next_request()) else {
            return false;
        };
        if let Some(waiter) = inner.waiters.remove(&operation) {
            let _ = waiter.send(Err(error.clone().into()));
        }
        self.pump(&mut inner);
        true
    }

    pub(crate) fn handle_revoke(self: &Arc<Self>, revoke: Revoke) {
        let mut inner = self.inner.lock();
        inner.tokens.handle_revoke(revoke);
        self.pump(&mut inner);
    }

    /// The group can not act as one any more: a member was given up, or all of it. Independent accesses of a group that
    /// has lost a member go on; collective requests have nobody who could use their grants.
    pub(crate) fn handle_group_error(&self, error: &Error) {
        let mut inner = self.inner.lock();
        // The first reason stays.
        let _ = self.group_error.set(error.clone());
        for (_, collective) in std::mem::take(&mut inner.collectives) {
            let _ = collective.waiter.send(Err(error.clone()));
        }
    }

    /// A client was given up that may have been a member of this file's group, or have asked for sets of its tokens.
    pub(crate) fn handle_member_lost(self: &Arc<Self>, group: GroupId, member: ClientId) {
        self.abandon_sets_of(member);
        if self.holder == Holder::Group(group) {
            let message = format!(
                "{member} of the {group} that opened {} was given up by the metadata server; collective accesses can \
                 not go on: close the file and open it again without it",
                self.name
            );
            self.handle_group_error(&Error::new(ErrorKind::MemberLost, message));
        }
    }

    /// A group was given up as a whole: if it is this file's, all its operations end.
    pub(crate) fn handle_group_lost(&self, group: GroupId) {
        if self.holder == Holder::Group(group) {
            let message = format!(
                "the {group} that opened {} was given up by the metadata server as a whole, since a member kept a token \
                 that others wanted; what was not synced may be lost: open the file again",
                self.name
            );
            self.handle_end(&Error::new(ErrorKind::GroupLost, message));
        }
    }

    /// A request for this file has failed for good: what that says about the file is remembered.
    pub(crate) fn note_failure(&self, error: &Error) {
        if let (ErrorKind::GroupLost, Holder::Group(group)) = (error.kind(), self.holder) {
            self.handle_group_lost(group);
        }
    }

    /// Tells when the group can not act as one any more.
    pub(crate) fn group_watch(&self) -> GroupWatch {
        GroupWatch::new(self.group_error.clone())
    }

    /// The session, or the group, is over: nobody waits any longer.
    pub(crate) fn handle_end(&self, error: &Error) {
        self.handle_group_error(error);
        let mut inner = self.inner.lock();
        inner.ended.get_or_insert_with(|| error.clone());
        inner.sets.end(error);
        for (_, waiter) in std::mem::take(&mut inner.waiters) {
            let _ = waiter.send(Err(error.clone()));
        }
        self.tell_unused(&inner);
    }

    /// Does what the state machine wants done.
    fn pump(self: &Arc<Self>, inner: &mut MutexGuard<'_, Inner>) {
        let boot = inner.tokens.boot();
        while let Some(action) = inner.tokens.poll_action() {
            match action {
                HolderAction::Request(acquire) => self.links.send(boot, ClientMessage::Acquire(acquire)),
                HolderAction::Cancel(request) => self.links.send(boot, ClientMessage::Cancel(request)),
                HolderAction::WriteBack { revoke, ranges, downgrade } => self.give_up(inner, revoke, ranges, downgrade),
                HolderAction::Ack(ack) => self.links.send(boot, ClientMessage::Ack(ack)),
                HolderAction::Ready(operation) => {
                    if let Some(waiter) = inner.waiters.remove(&operation) {
                        // A receiver that is gone has a token that will end the operation.
                        let _ = waiter.send(Ok(()));
                    }
                }
            }
        }
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let inner = self.inner.lock();
        match &inner.ended {
            Some(error) => Err(error.clone()),
            None => Ok(inner),
        }
    }

    fn ended_error(&self) -> Error {
        let ended = self.inner.lock().ended.clone();
        ended.unwrap_or_else(|| Error::new(ErrorKind::NoSession, format!("{} was closed while it was used", self.name)))
    }

    /// Fails when the session is over: what this client does could hurt others then.
    pub(crate) fn check_alive(&self) -> Result<(), Error> {
        self.lock().map(drop)
    }

    /// A lower bound of the file's size.
    pub(crate) fn known_size(&self) -> FileSize {
        self.inner.lock().tokens.known_size()
    }

    /// The file's size if it follows from what this client holds that nobody can know better.
    pub(crate) fn exact_size(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let bytes = inner.tokens.known_size().bytes;
        // Members of a group hold the same tokens, so another one may have made the file longer.
        (self.is_alone && inner.tokens.holds_to_infinity(bytes)).then_some(bytes)
    }

    pub(crate) fn learn_size(&self, size: FileSize) {
        self.inner.lock().tokens.learn_size(size);
    }

    /// What this client has written, for whoever asks.
    pub(crate) fn written_size(&self) -> Option<FileSize> {
        self.inner.lock().tokens.written_size()
    }

    /// Bytes before `end` are at the servers or in the cache, under a pin.
    pub(crate) fn record_write(&self, end: u64) {
        self.inner.lock().tokens.record_write(end);
    }

    /// A server has taken bytes for a slot.
    pub(crate) fn record_uncommitted(&self, slot: u32, instance: Instance) {
        self.inner.lock().unsynced.note_written(slot, instance);
    }

    /// Takes the list of what must be made durable, or tells a loss since the last sync, once.
    pub(crate) fn take_unsynced(&self) -> Result<BTreeMap<u32, Instance>, Error> {
        self.inner.lock().unsynced.take().map_err(|slot| self.restarted(slot))
    }

    /// Puts back what could not be made durable.
    pub(crate) fn put_back_unsynced(&self, slots: BTreeMap<u32, Instance>) {
        self.inner.lock().unsynced.put_back(slots);
    }

    /// Waits until no other sync of the file is under way.
    pub(crate) async fn sync_turn(&self) -> OwnedMutexGuard<()> {
        self.syncing.clone().lock_owned().await
    }

    /// The error for a server that lost its memory between a write and its commit.
    pub(crate) fn restarted(&self, slot: u32) -> Error {
        let server = self.recipe.primary(slot);
        let message = format!(
            "file {server} was restarted after it had taken bytes of {} and before they were synced; some of them may \
             be lost: write them again",
            self.name
        );
        Error::new(ErrorKind::ServerRestarted, message)
    }

    /// Whether the slot has a durable object, so that its absence is a loss.
    pub(crate) fn is_committed(&self, slot: u32) -> bool {
        self.inner.lock().committed_slots.contains(slot)
    }

    pub(crate) fn record_committed(&self, slots: &SlotSet) {
        self.inner.lock().committed_slots.extend(slots);
    }
}
