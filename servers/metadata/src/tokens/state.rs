//! What is behind the lock, and the server's own requests for ranges.

use super::errands::{Errand, Errands};
use super::handles::Handles;
use super::sizes::Queries;
use crate::clock;
use crate::namespace::{KnownSessions, Report};
use crate::sessions::Sessions;
use crate::upkeep::SizeWriter;
use pfs_core::extent::Extent;
use pfs_core::ids::{ClientId, FileId, GroupId, OpenId, ServerId};
use pfs_core::session::coordinator::{Coordinator, Victim};
use pfs_core::token::manager::Counters;
use pfs_core::token::message::FileSize;
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::token::ServerMessage;
use pfs_server_runtime::CancellationToken;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// The ways to those who do what takes time.
pub(crate) struct Effects {
    /// Who is to be shut out, and what belongs to it.
    pub(crate) errands: mpsc::UnboundedSender<Errand>,
    /// Files without a name that nobody has open.
    pub(crate) reap: mpsc::UnboundedSender<FileId>,
    /// Sizes to be made durable.
    pub(crate) sizes: Arc<SizeWriter>,
    /// Is cancelled when the grace after the start is over.
    pub(crate) grace_over: CancellationToken,
}

/// Why a client may not do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotLive {
    #[error("{0} has no session at this metadata server; connect again")]
    NoSession(ClientId),
    #[error("the session of {0} is being brought over from the last start of the metadata server; try again")]
    Awaited(ClientId),
}

impl From<NotLive> for Status {
    fn from(refused: NotLive) -> Self {
        let code = match refused {
            NotLive::NoSession(_) => ErrorCode::NoSession,
            NotLive::Awaited(_) => ErrorCode::Unavailable,
        };
        status(code, refused.to_string())
    }
}

/// Tokens, sessions and open handles.
pub(crate) struct State {
    pub(super) coordinator: Coordinator<ServerMessage>,
    pub(crate) sessions: Sessions,
    pub(super) handles: Handles,
    pub(super) queries: Queries,
    pub(super) effects: Effects,
    /// What is to be handed out when a function has been applied.
    pub(super) errands: Errands,
    /// Who is being shut out.
    pub(super) burials: BTreeSet<Victim>,
    /// Groups that are recorded as shut out.
    pub(super) fenced_groups: BTreeSet<GroupId>,
    /// Files without a name that somebody may still have open: looked at when the grace is over.
    pub(super) orphans: Vec<FileId>,
    /// Opens that ended in the grace: another member of the group may not know.
    pub(super) closed: BTreeSet<OpenId>,
    pub(super) taking: BTreeMap<u64, oneshot::Sender<()>>,
    /// Files that tokens were asked of since the last sample, with their counts from before that.
    pub(super) busy: BTreeMap<FileId, Counters>,
    last_operation: u64,
}

impl State {
    /// At the start, in the grace: what the store knows is told to the coordinator, which has to be new.
    pub(crate) fn new(
        mut coordinator: Coordinator<ServerMessage>,
        mut sessions: Sessions,
        servers: impl IntoIterator<Item = ServerId>,
        known: KnownSessions,
        orphans: Vec<FileId>,
        effects: Effects,
    ) -> Self {
        let now_ms = Self::now_ms();
        servers.into_iter().for_each(|server| coordinator.know_server(server));
        for (client, name) in known.living {
            coordinator.know_client(client);
            sessions.add(client, name, now_ms);
        }
        let living: BTreeSet<ClientId> = coordinator.clients().collect();
        let (mut errands, mut burials, mut fenced_groups) = (Errands::default(), BTreeSet::new(), BTreeSet::new());
        for client in known.dead {
            coordinator.know_dead(client);
            burials.insert(Victim::Client(client));
        }
        for (group, members) in known.fenced_groups {
            let left: BTreeSet<ClientId> = members.into_iter().filter(|member| living.contains(member)).collect();
            if left.is_empty() {
                errands.forget(Victim::Group(group));
            } else {
                coordinator.know_group_fence(group, left);
                burials.insert(Victim::Group(group));
                fenced_groups.insert(group);
            }
        }
        coordinator.start(now_ms);
        State {
            coordinator,
            sessions,
            handles: Handles::default(),
            queries: Queries::default(),
            effects,
            errands,
            burials,
            fenced_groups,
            orphans,
            closed: BTreeSet::new(),
            taking: BTreeMap::new(),
            busy: BTreeMap::new(),
            last_operation: 0,
        }
    }

    /// Milliseconds of the lease clock.
    pub(super) fn now_ms() -> u64 {
        clock::boottime_ms()
    }

    /// Asks for a range of a file for the server itself. The receiver ends when nobody else has it.
    pub(crate) fn take(&mut self, file: FileId, range: Extent) -> (u64, oneshot::Receiver<()>) {
        let (taken, receiver) = oneshot::channel();
        self.last_operation += 1;
        self.taking.insert(self.last_operation, taken);
        self.coordinator.manager().acquire_for_manager(self.last_operation, file, range);
        (self.last_operation, receiver)
    }

    /// Ends what [`State::take`] began.
    pub(crate) fn give_back(&mut self, operation: u64, file: FileId) {
        self.taking.remove(&operation);
        self.coordinator.manager().release_for_manager(operation, file);
    }

    /// A new client, whose record is to be made durable now. Nothing: no number is reserved.
    pub(crate) fn admit(&mut self, name: String) -> Option<ClientId> {
        let client = self.sessions.next_client()?;
        let now_ms = Self::now_ms();
        self.coordinator.admit(client, now_ms);
        self.sessions.add(client, name, now_ms);
        Some(client)
    }

    /// A client's record is durable: it may do things.
    pub(crate) fn activate(&mut self, client: ClientId) {
        self.coordinator.activate(client, Self::now_ms());
    }

    /// Whether a client may do things.
    pub(crate) fn check(&self, client: ClientId) -> Result<(), NotLive> {
        match self.coordinator.is_live(client) {
            true => Ok(()),
            false if self.coordinator.is_awaited(client) => Err(NotLive::Awaited(client)),
            false => Err(NotLive::NoSession(client)),
        }
    }

    /// Whether a client has a session that it can end.
    pub(crate) fn has_session(&self, client: ClientId) -> bool {
        self.coordinator.is_live(client) || self.coordinator.is_awaited(client)
    }

    /// A session has ended in good order, or its record could not be made. One that is being shut out stays until it is.
    pub(crate) fn remove_client(&mut self, client: ClientId) {
        if !self.burials.contains(&Victim::Client(client)) {
            self.coordinator.remove(client, Self::now_ms());
            self.close_all(client);
        }
    }

    /// A client that can not write any more is gone: its handles are closed.
    pub(super) fn close_all(&mut self, client: ClientId) {
        self.sessions.remove(client);
        for file in self.handles.remove_client(client) {
            self.reap(file);
        }
        self.queries.remove_client(client);
        self.forget_groups();
    }

    /// A file has lost its name.
    pub(crate) fn unlinked(&mut self, file: FileId) {
        if self.coordinator.in_grace() {
            self.orphans.push(file);
        } else if self.handles.unlinked(file) {
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

    /// Looks for what has run out.
    pub(super) fn tick(&mut self, now_ms: u64) {
        if self.next_timeout_ms().is_some_and(|due_ms| due_ms <= now_ms) {
            self.coordinator.handle_timeout(now_ms);
        }
    }

    /// When there is something to be looked for.
    pub(super) fn next_timeout_ms(&self) -> Option<u64> {
        self.coordinator.poll_timeout()
    }

    /// The server ends: so do the connections.
    pub(super) fn end(&mut self) {
        self.sessions.cut_all();
    }
}
