//! What a client's session and holders want done, and what the metadata server tells.

use super::{Access, OpenFile, OpenState, Process, Stage, What};
use crate::metadata::{Call, ClientFrame, ClientMessage, Reply, ServerFrame, ServerMessage};
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, World};
use pfs_core::ids::{Boot, ClientId, FileId, Holder, OpenId, RequestId};
use pfs_core::session::client::{EndReason, SessionAction};
use pfs_core::token::holder::{HolderAction, TokenHolder};
use pfs_core::token::message::{FileSize, Grant, Reassertion, Revoke};

impl World {
    /// The session wants to be called.
    pub fn client_timer(&mut self, client: usize, life: u64) {
        if !self.lives(client, life) {
            return;
        }
        let now_ms = self.clock(Node::Client(client));
        if let Some(process) = self.process(client) {
            process.timer_at = None;
            process.session.handle_timeout(now_ms);
        }
        self.client_settle(client);
    }

    /// The attempt to connect has ended.
    pub fn client_connected(&mut self, client: usize, made: bool) {
        let now_ms = self.clock(Node::Client(client));
        if let Some(process) = self.process(client) {
            if made {
                process.session.handle_connected(now_ms);
            } else {
                process.connection = None;
                process.session.handle_disconnected(now_ms);
            }
        }
        self.client_settle(client);
    }

    /// The connection is gone.
    pub fn client_disconnected(&mut self, client: usize) {
        let now_ms = self.clock(Node::Client(client));
        if let Some(process) = self.process(client) {
            process.connection = None;
            process.session.handle_disconnected(now_ms);
        }
        self.client_settle(client);
    }

    /// A frame has arrived on the current connection.
    pub fn client_frame(&mut self, client: usize, connection: usize, frame: ServerFrame) {
        let now_ms = self.clock(Node::Client(client));
        let Some(process) = self.process(client) else { return };
        match frame {
            ServerFrame::Welcome(welcome) => {
                if std::mem::replace(&mut process.counted_boot, welcome.boot) != welcome.boot {
                    (process.seen, process.sent) = (0, 0);
                }
                process.session.handle_welcome(welcome, now_ms);
                process.connections += 1;
                let again = process.connections > 1;
                self.reach(if again { Transition::ReconnectResume } else { Transition::Connect });
            }
            ServerFrame::Refused => process.session.handle_given_up(),
            ServerFrame::Heartbeat(answer) => process.session.handle_heartbeat_answer(answer, now_ms),
            ServerFrame::Message(number, message) => {
                let handle = process.session.handle_arrival(number, now_ms);
                let seen = process.seen;
                if handle {
                    process.seen = number;
                    self.message_is_the_next(seen, number, || format!("to C{}", client + 1));
                    self.client_told(client, message);
                } else {
                    self.reach(if number <= seen { Transition::RepeatedIgnored } else { Transition::Gap });
                }
            }
            ServerFrame::Fin => {
                self.close_at_client(connection);
                self.client_disconnected(client);
            }
        }
        self.client_settle(client);
    }

    fn client_told(&mut self, client: usize, message: ServerMessage) {
        let now_ms = self.clock(Node::Client(client));
        self.holders_changed = true;
        match message {
            ServerMessage::Grant(grant, size) => self.granted(client, grant, size),
            ServerMessage::Revoke(revoke) => self.revoked(client, revoke),
            ServerMessage::Refused(request) => self.refused(client, request),
            ServerMessage::SizeQuery { ask, file } => {
                let Some(process) = self.process(client) else { return };
                let own = process.files.iter().filter(|open| open.id() == file && open.is_there());
                let size = own.filter_map(|open| open.tokens.written_size()).max();
                let size = size.unwrap_or(FileSize { generation: 1, bytes: 0 });
                process.session.send(ClientMessage::Size { ask, size });
            }
            ServerMessage::Reasserted => {
                if let Some(process) = self.process(client) {
                    process.session.handle_reasserted(now_ms);
                }
            }
            ServerMessage::MemberLost { group, member } => self.rank_lost(client, group, Some(member)),
            ServerMessage::GroupLost(group) => {
                self.note(|| format!("C{} has lost {group}", client + 1));
                if let Some(process) = self.process(client) {
                    let of_group = process.files.iter_mut().filter(|open| open.holder == Holder::Group(group));
                    of_group.for_each(|open| open.lost = true);
                }
                self.rank_lost(client, group, None);
            }
            ServerMessage::Reply { number, reply } => self.replied(client, number, reply),
        }
    }

    fn granted(&mut self, client: usize, grant: Grant, size: FileSize) {
        let Some(process) = self.process(client) else { return };
        if let Some((collective, round)) = process.collective_requests.remove(&grant.request)
            && grant.collective
        {
            return self.collective_granted(client, collective, round, grant, size);
        }
        let Some(process) = self.process(client) else { return };
        let Some(at) = process.find(grant.holder, grant.file) else { return };
        let tokens = &mut process.files[at].tokens;
        if grant.boot == tokens.boot() {
            tokens.learn_size(size);
        }
        match grant.set {
            Some(_) => tokens.handle_set_grant(&grant),
            None => tokens.handle_grant(&grant),
        }
    }

    fn refused(&mut self, client: usize, request: RequestId) {
        let Some(process) = self.process(client) else { return };
        if let Some((collective, _)) = process.collective_requests.remove(&request) {
            return self.collective_refused(collective);
        }
        for at in 0..process.files.len() {
            let last = &mut process.last_request;
            let next = || Process::next_request(last);
            let Some(operation) = process.files[at].tokens.handle_refused(request, next) else { continue };
            let found = process.accesses.iter().find(|(_, a)| a.file == at && a.operation == operation);
            if let Some((&number, _)) = found
                && let Some(Access { what: What::Write { write, .. }, .. }) = process.accesses.remove(&number)
            {
                self.model.doubt(write);
                self.model.end(write, self.now);
            }
            return;
        }
    }

    fn revoked(&mut self, client: usize, revoke: Revoke) {
        let Some(process) = self.process(client) else { return };
        let Some(at) = process.find(revoke.holder, revoke.file) else { return self.nothing_to_give(client, &revoke) };
        let pinned = process
            .accesses
            .values()
            .any(|access| access.file == at && access.stage != Stage::Waiting && access.range.overlaps(revoke.range));
        let not_seen = revoke.covers_sequence > process.files[at].collective_seen;
        process.files[at].tokens.handle_revoke(revoke);
        self.reach(match () {
            () if not_seen => Transition::RevokeNotSeen,
            () if pinned => Transition::RevokePinned,
            () => Transition::RevokeIdle,
        });
    }

    fn replied(&mut self, client: usize, number: u64, reply: Reply) {
        let Some(process) = self.process(client) else { return };
        let Some(asked) = process.calls.remove(&number) else { return };
        match (asked.call, reply) {
            (Call::Open { file, .. }, Reply::Opened { open, size, grant, .. }) => {
                let holder = Holder::Client(process.id);
                self.opened(client, holder, file, open, Vec::new(), size);
                if let Some(grant) = grant {
                    self.granted_with_open(client, &grant, size);
                }
            }
            (Call::OpenTogether { members, file }, Reply::Opened { open, group: Some(group), size, .. }) => {
                self.group_opened(client, group, file, open, members, size);
            }
            (Call::OpenTogether { .. }, _) => self.group_failed(),
            (Call::GetSize { file }, Reply::Size(size)) => self.check_size(file, size, asked.began),
            (Call::SetSize { write, .. }, _) => self.model.succeed(write, self.now),
            (Call::Synced { .. }, _) => self.size_synced(client),
            (Call::Close { file, .. }, _) => self.close_told(client, file),
            _ => {}
        }
    }

    /// A process has opened a file.
    pub(crate) fn opened(
        &mut self,
        client: usize,
        holder: Holder,
        file: usize,
        open: OpenId,
        members: Vec<ClientId>,
        size: FileSize,
    ) {
        let rank = client < self.plan.group;
        let cached = self.clients[client].habits.cached && !(file == 1 && rank);
        let Some(process) = self.process(client) else { return };
        let id: FileId = crate::metadata::file_id(file);
        if process.find(holder, id).is_some() {
            return;
        }
        let boot = process.session.boot();
        let exclusion = matches!(holder, Holder::Client(_));
        let tokens = TokenHolder::new(holder, id, boot, size, exclusion);
        let (lost, state, collective_seen) = (false, OpenState::Open, 0);
        let opened = OpenFile { holder, file, tokens, open, members, cached, lost, state, collective_seen };
        process.cache.open(opened.key(), boot, crate::model::STRIPE_UNIT);
        process.files.push(opened);
    }

    fn granted_with_open(&mut self, client: usize, grant: &Grant, size: FileSize) {
        let Some(process) = self.process(client) else { return };
        if let Some(at) = process.find(grant.holder, grant.file) {
            process.files[at].tokens.learn_size(size);
            process.files[at].tokens.handle_grant(grant);
            self.reach(Transition::GrantedWithOpen);
        }
    }

    // ---- What is to be done

    /// Does whatever the machines of a client want, until they want nothing more.
    pub(crate) fn client_settle(&mut self, client: usize) {
        loop {
            let Some(process) = self.process(client) else { return };
            if let Some(action) = process.session.poll_action() {
                self.session_action(client, action);
                continue;
            }
            let mut files = process.files.iter_mut().enumerate();
            if let Some((at, action)) = files.find_map(|(at, file)| file.tokens.poll_action().map(|a| (at, a))) {
                self.holder_action(client, at, action);
                continue;
            }
            if !self.advance_jobs(client) && !self.claim_sets(client) {
                break;
            }
        }
        self.plan_client(client);
    }

    /// Sees that the client is called when it is time.
    fn plan_client(&mut self, client: usize) {
        let life = self.clients[client].life;
        let Some(process) = self.process(client) else { return };
        let busy = !process.data.is_empty() || !process.doubts.is_empty() || process.is_parked();
        let pump = busy && !process.pumping;
        process.pumping |= pump;
        let wanted = process.session.poll_timeout();
        let planned = process.timer_at;
        if pump {
            self.after(15 * MS, Event::ClientPump { client, life });
        }
        if let Some(wanted) = wanted {
            let at = self.when(Node::Client(client), wanted);
            if planned.is_none_or(|planned| at < planned) {
                self.process(client).expect("just seen").timer_at = Some(at);
                self.at(at, Event::ClientTimer { client, life });
            }
        }
    }

    fn session_action(&mut self, client: usize, action: SessionAction<ClientMessage>) {
        let Some(process) = self.process(client) else { return };
        let connection = process.connection;
        match action {
            SessionAction::Connect => {
                if let Some(connection) = connection {
                    self.close_at_client(connection);
                }
                let connection = self.connect(client);
                self.process(client).expect("just seen").connection = Some(connection);
            }
            SessionAction::Hello(hello) => self.frame_up(connection, ClientFrame::Hello(hello)),
            SessionAction::Heartbeat(beat) => self.frame_up(connection, ClientFrame::Heartbeat(beat)),
            SessionAction::Send { number, message } => {
                let repeated = number <= process.sent;
                process.sent = process.sent.max(number);
                if repeated {
                    self.reach(Transition::Repeated);
                }
                self.frame_up(connection, ClientFrame::Message(number, message));
            }
            SessionAction::Reassert => self.reassert(client),
            SessionAction::Resumed { boot } => {
                self.reach(Transition::Resumed);
                self.note(|| format!("C{} goes on under {boot}", client + 1));
                self.resumed(client, boot);
            }
            SessionAction::Suspend => {
                self.reach(Transition::Suspend);
                self.note(|| format!("C{} suspends", client + 1));
            }
            SessionAction::Resume => {
                self.reach(Transition::Resume);
                self.note(|| format!("C{} goes on", client + 1));
                self.pump(client);
            }
            SessionAction::End(reason) => {
                let given_up = reason == EndReason::GivenUp;
                self.reach(if given_up { Transition::GivenUp } else { Transition::Unreachable });
                self.note(|| format!("C{}'s session ends: {reason}", client + 1));
                let pause = self.rng.between(20, 200) * MS;
                self.client_gone(client, pause);
            }
        }
    }

    fn frame_up(&mut self, connection: Option<usize>, frame: ClientFrame) {
        if let Some(connection) = connection {
            self.send_up(connection, frame);
        }
    }

    fn reassert(&mut self, client: usize) {
        self.reach(Transition::Reassert);
        let Some(process) = self.process(client) else { return };
        let mut said = 0;
        for open in process.files.iter_mut().filter(|open| !open.lost && open.state != OpenState::Closed) {
            let (mut ranges, size) = open.tokens.reassert();
            if !open.is_there() {
                ranges.clear();
            }
            said += 1;
            let file = open.id();
            let (holder, members, opens) = (open.holder, open.members.clone(), vec![open.open]);
            let reassertion = Reassertion { holder, members, file, opens, ranges, size };
            process.session.send(ClientMessage::Reassert(reassertion));
        }
        process.session.send(ClientMessage::ReassertDone);
        for _ in 0..said {
            self.reach(Transition::Reasserts);
        }
    }

    fn resumed(&mut self, client: usize, boot: Boot) {
        self.holders_changed = true;
        let Some(process) = self.process(client) else { return };
        let last = &mut process.last_request;
        for open in &mut process.files {
            open.tokens.resumed(boot, || Process::next_request(last));
            open.collective_seen = 0;
            process.cache.resumed(open.key(), boot);
        }
        let again: Vec<_> = process.calls.iter().map(|(number, asked)| (*number, asked.call.clone())).collect();
        for (number, call) in again {
            process.session.send(ClientMessage::Call { number, call });
        }
        self.reach(Transition::ResumedHolder);
        self.ranks_resumed(client);
    }

    fn holder_action(&mut self, client: usize, at: usize, action: HolderAction) {
        let Some(process) = self.process(client) else { return };
        match action {
            HolderAction::Request(acquire) => process.session.send(ClientMessage::Acquire(acquire)),
            HolderAction::Cancel(request) => process.session.send(ClientMessage::Cancel(request)),
            HolderAction::Ack(ack) => {
                self.note(|| format!("C{} acks {} of {}: {:?}", client + 1, ack.revoke, ack.holder, ack.released));
                self.holders_changed = true;
                self.process(client).expect("just seen").session.send(ClientMessage::Ack(ack));
            }
            HolderAction::Ready(operation) => {
                let found = process.accesses.iter_mut().find(|(_, a)| a.file == at && a.operation == operation);
                if let Some((&number, access)) = found {
                    access.stage = Stage::Pinned;
                    self.reach(Transition::PinAfterGrant);
                    self.run_access(client, number);
                }
            }
            HolderAction::WriteBack { revoke, ranges, downgrade } => {
                self.revoke_job(client, at, revoke, ranges, downgrade);
            }
        }
    }
}

impl Process {
    /// Whether an access is pinned and waits until accesses are allowed.
    fn is_parked(&self) -> bool {
        self.accesses.values().any(|access| access.stage == Stage::Pinned)
    }
}
