//! What the task owns, and what it does after every command.

use super::handles::Handles;
use super::sizes::Queries;
use crate::clock;
use crate::namespace::Report;
use crate::sessions::Sessions;
use crate::upkeep::SizeWriter;
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId};
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{Acquire, FileSize};
use pfs_proto::token::{GrantMessage, ServerMessage};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Token requests that may wait for the grace after a restart.
pub(super) const DEFERRED_MAX: usize = 65_536;

/// What the task wants done by others.
pub(crate) struct Effects {
    /// Clients whose lease has run out.
    pub(crate) expired: mpsc::UnboundedSender<Vec<ClientId>>,
    /// Files without a name that nobody has open.
    pub(crate) reap: mpsc::UnboundedSender<FileId>,
    /// Sizes to be made durable.
    pub(crate) sizes: Arc<SizeWriter>,
}

/// A request that came in the grace after a restart.
pub(super) enum Deferred {
    Acquire(Acquire),
    Cancel(pfs_core::ids::RequestId),
}

/// Tokens, sessions and open handles.
pub(crate) struct State {
    pub(super) boot: Boot,
    pub(super) manager: TokenManager,
    pub(crate) sessions: Sessions,
    pub(super) handles: Handles,
    pub(super) queries: Queries,
    pub(super) effects: Effects,
    /// Requests that wait for the end of the grace; nothing once it is over.
    pub(super) deferred: Option<Vec<(ClientId, Deferred)>>,
    taking: BTreeMap<u64, oneshot::Sender<()>>,
    last_operation: u64,
}

impl State {
    /// At the start. Nothing is granted before [`State::end_grace`]: file servers may still serve tokens of the last boot.
    pub(crate) fn new(boot: Boot, sessions: Sessions, effects: Effects) -> Self {
        State {
            boot,
            manager: TokenManager::new(boot),
            sessions,
            handles: Handles::default(),
            queries: Queries::default(),
            effects,
            deferred: Some(Vec::new()),
            taking: BTreeMap::new(),
            last_operation: 0,
        }
    }

    /// Every file server refuses the tokens of earlier boots: requests are granted from now on.
    pub(crate) fn end_grace(&mut self) {
        for (client, deferred) in self.deferred.take().unwrap_or_default() {
            if self.sessions.is_live(client) {
                match deferred {
                    Deferred::Acquire(acquire) => self.acquire(client, acquire),
                    Deferred::Cancel(request) => self.manager.handle_cancel(client, request),
                }
            }
        }
    }

    /// Asks for a range of a file for the server itself. The receiver ends when nobody else has it.
    pub(crate) fn take(&mut self, file: FileId, range: Extent) -> (u64, oneshot::Receiver<()>) {
        let (taken, receiver) = oneshot::channel();
        self.last_operation += 1;
        self.taking.insert(self.last_operation, taken);
        self.manager.acquire_for_manager(self.last_operation, file, range);
        (self.last_operation, receiver)
    }

    /// Ends what [`State::take`] began.
    pub(crate) fn give_back(&mut self, operation: u64, file: FileId) {
        self.taking.remove(&operation);
        self.manager.release_for_manager(operation, file);
    }

    /// A client's record is durable: it may do things.
    pub(crate) fn activate(&mut self, client: ClientId) {
        self.manager.add_client(client);
        self.sessions.activate(client, clock::boottime_ms());
    }

    /// Ends a session in good order, unless it was given up meanwhile.
    pub(crate) fn remove_live_client(&mut self, client: ClientId) {
        if self.sessions.is_live(client) {
            self.remove_client(client);
        }
    }

    /// A client that can not write any more is gone: its tokens are free, its handles closed.
    pub(crate) fn remove_client(&mut self, client: ClientId) {
        self.sessions.remove(client);
        self.manager.remove_client(client);
        for file in self.handles.remove_client(client) {
            self.reap(file);
        }
        self.queries.remove_client(client);
    }

    /// A file has lost its name.
    pub(crate) fn unlinked(&mut self, file: FileId) {
        if self.handles.unlinked(file) {
            self.reap(file);
        }
    }

    pub(super) fn reap(&self, file: FileId) {
        // A closed channel: the server ends, and the next start finds the orphan.
        let _ = self.effects.reap.send(file);
    }

    /// A holder has written up to a size.
    pub(crate) fn learn(&mut self, file: FileId, size: FileSize) {
        if self.handles.known(file).is_some_and(|(known, _)| known.generation != size.generation) {
            return;
        }
        self.handles.learn(file, size);
        self.effects.sizes.record(file, &Report { size: Some(size), ..Report::default() });
    }

    /// Passes on what the manager wants done.
    pub(super) fn settle(&mut self) {
        while let Some(action) = self.manager.poll_action() {
            match action {
                ManagerAction::Grant { to, grant } => {
                    let known = self.handles.known(grant.file);
                    let (size, slots) = known
                        .map(|(size, slots)| (size, slots.clone()))
                        .unwrap_or_else(|| (FileSize { generation: 1, bytes: 0 }, pfs_proto::metadata::SlotSet::new()));
                    tracing::debug!(%to, holder = %grant.holder, file = %grant.file, mode = %grant.mode, "grant");
                    let message = GrantMessage { grant, size, committed_slots: slots };
                    self.sessions.send_message(to, ServerMessage::Grant(message));
                }
                ManagerAction::Revoke { to, revoke } => {
                    tracing::debug!(%to, holder = %revoke.holder, file = %revoke.file, range = %revoke.range, "revoke");
                    self.sessions.send_message(to, ServerMessage::Revoke(revoke));
                }
                ManagerAction::Refused { to, request, refusal } => {
                    self.sessions.send_message(to, ServerMessage::Refused(request, refusal.into()));
                }
                ManagerAction::ManagerGranted { operation, .. } => {
                    if let Some(taken) = self.taking.remove(&operation) {
                        // Whoever took it gives it back, listening or not.
                        let _ = taken.send(());
                    }
                }
            }
        }
    }

    /// Looks for leases that have run out.
    pub(super) fn tick(&mut self, now_ms: u64) {
        let expired = self.sessions.expire(now_ms);
        if !expired.is_empty() {
            // A closed channel: the server ends, and no client outlives its boot.
            let _ = self.effects.expired.send(expired);
        }
    }

    /// The server ends: so do the streams.
    pub(super) fn end(&mut self) {
        self.sessions.cut_streams();
    }

    /// Milliseconds of the lease clock.
    pub(super) fn now_ms() -> u64 {
        clock::boottime_ms()
    }
}
