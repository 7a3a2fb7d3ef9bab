//! What the coordinator and the token manager want done, after every function and in their order.

use super::errands::Burial;
use super::state::{NotLive, State};
use pfs_core::ids::{ClientId, Holder, RequestId};
use pfs_core::session::coordinator::{Action, Victim};
use pfs_core::token::manager::ManagerAction;
use pfs_core::token::message::{FileSize, Grant, Refusal};
use pfs_proto::metadata::SlotSet;
use pfs_proto::token::{GrantMessage, ServerFrame, ServerMessage};

impl State {
    /// Does everything that is to be done.
    pub(super) fn settle(&mut self) {
        let now_ms = Self::now_ms();
        while let Some(action) = self.coordinator.poll_action(now_ms) {
            self.act(action, now_ms);
        }
        for errand in self.errands.take() {
            // A closed channel: the server ends, and the next start finds in the store who is to be shut out.
            let _ = self.effects.errands.send(errand);
        }
    }

    fn act(&mut self, action: Action<ServerMessage>, now_ms: u64) {
        match action {
            Action::Send { to, number, message } => self.send_frame(to, ServerFrame::Message { number, message }),
            Action::Cut(client) => {
                let error = (!self.has_session(client)).then(|| NotLive::NoSession(client).into());
                self.sessions.cut(client, error);
            }
            Action::Tokens(action) => self.act_on_tokens(action, now_ms),
            Action::Reasserted(client) => {
                tracing::info!(%client, name = self.sessions.name(client), "a session goes on after the restart");
                self.coordinator.send(client, ServerMessage::Reasserted, now_ms);
            }
            Action::Record(victim) => self.bury(victim),
            Action::Fence { server, victim } => self.errands.fence(server, victim),
            Action::Drain { server, stamp, sequence } => self.errands.drain(server, stamp, sequence),
            Action::Freed(victim) => self.freed(victim),
            Action::MemberLost { group, member, tell } => {
                self.send_all(&tell, &ServerMessage::MemberLost { group, member }, now_ms);
            }
            Action::GroupLost { group, tell } => {
                for client in tell {
                    self.coordinator.send_group_lost(client, group, ServerMessage::GroupLost(group), now_ms);
                }
            }
            Action::GraceOver => self.grace_over(),
        }
    }

    fn act_on_tokens(&mut self, action: ManagerAction, now_ms: u64) {
        match action {
            ManagerAction::Grant { to, grant } => self.grant(to, grant, now_ms),
            ManagerAction::Revoke { to, revoke } => {
                tracing::debug!(%to, holder = %revoke.holder, file = %revoke.file, range = %revoke.range, "revoke");
                self.coordinator.send(to, ServerMessage::Revoke(revoke), now_ms);
            }
            ManagerAction::Refused { to, request, refusal } => self.refused(to, request, refusal, now_ms),
            ManagerAction::ManagerGranted { operation, .. } => {
                if let Some(taken) = self.taking.remove(&operation) {
                    // Whoever took it gives it back, listening or not.
                    let _ = taken.send(());
                }
            }
        }
    }

    fn grant(&mut self, to: ClientId, grant: Grant, now_ms: u64) {
        let known = self.handles.known(grant.file).map(|(size, slots)| (size, slots.clone()));
        let nothing = || (FileSize { generation: 1, bytes: 0 }, SlotSet::new());
        let (size, committed_slots) = known.unwrap_or_else(nothing);
        tracing::debug!(%to, holder = %grant.holder, file = %grant.file, mode = %grant.mode, "grant");
        self.sessions.end_request(grant.set.map_or(to, |set| set.client), grant.request);
        self.coordinator.send(to, ServerMessage::Grant(GrantMessage { grant, size, committed_slots }), now_ms);
    }

    fn refused(&mut self, to: ClientId, request: RequestId, refusal: Refusal, now_ms: u64) {
        // The first request of this number may still wait.
        if !matches!(refusal, Refusal::Repeated(_)) {
            self.sessions.end_request(to, request);
        }
        self.coordinator.send(to, ServerMessage::Refused(request, refusal.into()), now_ms);
    }

    /// Sends a frame on a client's connection; one that takes no more is broken.
    pub(super) fn send_frame(&mut self, to: ClientId, frame: ServerFrame) {
        if let Some(connection) = self.sessions.send(to, frame) {
            self.coordinator.handle_disconnected(to, connection);
        }
    }

    fn send_all(&mut self, to: &[ClientId], message: &ServerMessage, now_ms: u64) {
        for client in to {
            self.coordinator.send(*client, message.clone(), now_ms);
        }
    }

    fn bury(&mut self, victim: Victim) {
        self.burials.insert(victim);
        let (members, written) = match victim {
            Victim::Client(client) => {
                tracing::warn!(%client, name = self.sessions.name(client), "the client is given up");
                (vec![client], self.handles.written_by(client))
            }
            Victim::Group(group) => {
                tracing::warn!(%group, "the group does not give way; it is given up");
                self.fenced_groups.insert(group);
                let holder = Holder::Group(group);
                (self.coordinator.tokens().members(holder), self.handles.written_under(holder))
            }
        };
        let may_have_written = |file: &_| {
            let writers = self.coordinator.tokens().exclusive_clients(*file);
            writers.iter().any(|writer| members.contains(writer))
        };
        let written = written.into_iter().filter(may_have_written).collect();
        self.errands.record(Burial { victim, members, written });
    }

    fn freed(&mut self, victim: Victim) {
        self.burials.remove(&victim);
        match victim {
            Victim::Client(client) => {
                tracing::info!(%client, "the client is shut out everywhere and its tokens are free");
                self.errands.forget(victim);
                self.close_all(client);
            }
            Victim::Group(group) => {
                tracing::info!(%group, "the group is shut out everywhere and its tokens are free");
                for file in self.handles.remove_group(group) {
                    self.reap(file);
                }
                self.forget_groups();
            }
        }
    }

    /// The record of a group that is shut out is of use as long as a member lives that may name it again.
    pub(super) fn forget_groups(&mut self) {
        if self.fenced_groups.is_empty() {
            return;
        }
        let named = self.coordinator.fences().1.groups;
        let burials = &self.burials;
        let gone = |group: &_| !named.contains(group) && !burials.contains(&Victim::Group(*group));
        for group in self.fenced_groups.extract_if(.., gone) {
            self.errands.forget(Victim::Group(group));
        }
    }

    fn grace_over(&mut self) {
        tracing::info!("tokens are granted from now on");
        self.effects.grace_over.cancel();
        self.closed.clear();
        for file in std::mem::take(&mut self.orphans) {
            if self.handles.unlinked(file) {
                self.reap(file);
            }
        }
    }
}
