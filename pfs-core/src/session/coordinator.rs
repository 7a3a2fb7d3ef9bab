//! The metadata server's half of sessions: who lives, who is silent, who is shut out, and what may be granted when.
//!
//! # How to drive it
//! Tell it first what the store knows ([`know_client`](Coordinator::know_client), [`know_dead`](Coordinator::know_dead),
//! [`know_group_fence`](Coordinator::know_group_fence), [`know_server`](Coordinator::know_server)), then
//! [`start`](Coordinator::start). After each `handle_*` and after each use of [`manager`](Coordinator::manager), call
//! [`poll_action`](Coordinator::poll_action) until it returns nothing and do what it says, in that order. Call
//! [`handle_timeout`](Coordinator::handle_timeout) when [`poll_timeout`](Coordinator::poll_timeout) has come, or oftener.
//! `D` is what clients are sent.
//!
//! # Invariants
//! * client numbers are admitted in increasing order; every number below the floor of [`fences`](Coordinator::fences) that
//!   is not listed there as living is dead for ever;
//! * a victim goes recorded → fenced → freed (rule 17), and nothing of it is taken over on the way;
//! * a fence is in force when every file server has confirmed it or has surely stopped to serve (rules 15, 16);
//! * nothing of a victim is freed before it has stopped to use its cache, where no fence reaches: a client when its lease has
//!   surely run out, a member of a group when it has heard of the loss or is itself freed (rule 8);
//! * from a start until the end of the grace nothing is granted; the grace ends when every client that the store knows has
//!   spoken or its fence is in force, and every file server that the store knows refuses earlier boots (rule 18).

use super::link::{Arrival, Inbox, Outbox};
use super::{Heartbeat, HeartbeatAnswer, Hello, Terms, Welcome};
use crate::fence::Fences;
use crate::ids::{Boot, ClientId, GroupId, Holder, RevokeId, ServerId, Stamp};
use crate::token::manager::{ManagerAction, TokenManager};
use crate::token::message::{Ack, Reassertion, Refusal, Revoke, Undrained};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages that are kept for a client that does not acknowledge them; past it the client is given up.
const UNSEEN_MAX: usize = 65_536;

/// Who is shut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Victim {
    /// A client, with all it has.
    Client(ClientId),
    /// A group as a whole; its members live on.
    Group(GroupId),
}

/// What the coordinator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<D> {
    /// Send a numbered message on the client's connection.
    Send {
        /// The client.
        to: ClientId,
        /// The message's number.
        number: u64,
        /// The message.
        message: D,
    },
    /// End the client's connection.
    Cut(ClientId),
    /// Turn this into a message and [`send`](Coordinator::send) it, or do what it says.
    Tokens(ManagerAction),
    /// The client has spoken, everything that it held is taken over: tell it.
    Reasserted(ClientId),
    /// Make it durable that the victim is shut out, then call [`Coordinator::handle_recorded`].
    Record(Victim),
    /// Have a file server refuse the victim: try until it has confirmed, then call [`Coordinator::handle_fenced`].
    /// No longer of interest after [`Action::Freed`].
    Fence {
        /// The file server.
        server: ServerId,
        /// Whom it must refuse.
        victim: Victim,
    },
    /// Have a file server drain a client's write: try until it has confirmed, then call
    /// [`Coordinator::handle_drained`].
    Drain {
        /// The file server.
        server: ServerId,
        /// The stamp of the write.
        stamp: Stamp,
        /// Its number.
        sequence: u64,
    },
    /// The victim can reach nothing any more and its tokens are free: close its handles. A client's record may go; a
    /// group's may go when [`Coordinator::fences`] does not name it any more.
    Freed(Victim),
    /// A client was given up that is a member of this group: tell the members that live.
    MemberLost {
        /// The group.
        group: GroupId,
        /// The client.
        member: ClientId,
        /// Those who live.
        tell: Vec<ClientId>,
    },
    /// A group was shut out as a whole, which is durable: tell the members, by [`Coordinator::send_group_lost`].
    GroupLost {
        /// The group.
        group: GroupId,
        /// Its members.
        tell: Vec<ClientId>,
    },
    /// Tokens are granted from now on, and nobody comes back from an earlier boot.
    GraceOver,
}

/// Why a hello was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloRefused {
    /// It was given up, or never was.
    #[error("{0} has no session at this metadata server; connect again as a new client")]
    NoSession(ClientId),
    /// Its record is not durable yet, or it speaks to a start of the server that has not come.
    #[error("{0} is not welcome yet; try again")]
    TooEarly(ClientId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its record is on the way to the disk.
    Joining,
    /// It had a session at an earlier boot and has not spoken in this one.
    Unheard,
    /// It is saying what it holds.
    Reasserting,
    Live,
    /// It is being shut out.
    GivenUp,
}

/// A revoke whose ack is awaited from one client.
#[derive(Clone, Copy, Debug)]
struct Asked {
    holder: Holder,
    /// When it was sent, or when the client was last seen to get on.
    since_ms: u64,
}

#[derive(Debug)]
struct ClientState<D> {
    phase: Phase,
    outbox: Outbox<D>,
    inbox: Inbox,
    /// Its connections so far; the last one counts.
    connections: u64,
    connected: bool,
    last_heard_ms: u64,
    progress: u64,
    asked: BTreeMap<RevokeId, Asked>,
}

#[derive(Clone, Copy, Debug)]
struct ServerState {
    /// When it was last heard in this boot.
    last_heard_ms: Option<u64>,
    /// The version of the fences of this boot that it has in force; nothing before it has shown that it has any.
    fenced: Option<u64>,
}

#[derive(Debug)]
struct Burial {
    recorded: bool,
    /// The version of the fences that first names the victim.
    version: u64,
    /// File servers that have not confirmed.
    missing: BTreeSet<ServerId>,
    /// When the victim's own lease has surely run out, by which it uses its cache.
    stops_ms: u64,
    /// Members of a group that may not know of its loss, with the number of the message that tells them once that is sent.
    unaware: BTreeMap<ClientId, Option<u64>>,
}

/// An ack that waits for drains.
#[derive(Debug)]
struct HeldAck {
    from: ClientId,
    ack: Ack,
    missing: BTreeSet<Undrained>,
}

/// See the module.
#[derive(Debug)]
pub struct Coordinator<D> {
    boot: Boot,
    terms: Terms,
    revoke_timeout_ms: u64,
    started_ms: u64,
    /// The last time at which timeouts were handled.
    handled_ms: u64,
    /// When clients of earlier boots that have not spoken are given up; nothing once the grace is over.
    grace_ends_ms: Option<u64>,
    manager: TokenManager,
    clients: BTreeMap<ClientId, ClientState<D>>,
    /// Every number below was admitted.
    floor: u64,
    servers: BTreeMap<ServerId, ServerState>,
    fences_version: u64,
    fenced_groups: BTreeMap<GroupId, BTreeSet<ClientId>>,
    burials: BTreeMap<Victim, Burial>,
    held_acks: BTreeMap<(ClientId, RevokeId), HeldAck>,
    /// Drains that file servers are told before they serve again, since they have lapsed while they were asked, with the
    /// version of the fences that names them.
    late_drains: BTreeMap<(ServerId, Stamp), (u64, u64)>,
    actions: VecDeque<Action<D>>,
}

impl<D: Clone> Coordinator<D> {
    /// A coordinator for this start. `floor`: every client number below it was used. Clients of earlier boots are
    /// awaited for `grace_ms`; a holder that does not give way and shows no progress is shut out after
    /// `revoke_timeout_ms`.
    pub fn new(boot: Boot, terms: Terms, grace_ms: u64, revoke_timeout_ms: u64, floor: u64, now_ms: u64) -> Self {
        Coordinator {
            boot,
            terms,
            revoke_timeout_ms,
            started_ms: now_ms,
            handled_ms: 0,
            grace_ends_ms: Some(now_ms + grace_ms),
            manager: TokenManager::in_grace(boot),
            clients: BTreeMap::new(),
            floor,
            servers: BTreeMap::new(),
            fences_version: 1,
            fenced_groups: BTreeMap::new(),
            burials: BTreeMap::new(),
            held_acks: BTreeMap::new(),
            late_drains: BTreeMap::new(),
            actions: VecDeque::new(),
        }
    }

    /// At the start: a client had a session when the last boot ended.
    pub fn know_client(&mut self, client: ClientId) {
        let state = ClientState { phase: Phase::Unheard, ..ClientState::new(self.started_ms) };
        self.clients.insert(client, state);
        self.manager.add_client(client);
    }

    /// At the start, after all servers are known: a client was recorded as dead, and may not be fenced everywhere.
    pub fn know_dead(&mut self, client: ClientId) {
        self.bury(Victim::Client(client), true);
    }

    /// At the start, after all servers are known: a group was recorded as shut out.
    pub fn know_group_fence(&mut self, group: GroupId, members: BTreeSet<ClientId>) {
        self.fenced_groups.insert(group, members);
        self.bury(Victim::Group(group), true);
    }

    /// A file server has registered once, in this boot or an earlier one. It may still serve stamps of earlier boots.
    pub fn know_server(&mut self, server: ServerId) {
        self.servers.entry(server).or_insert(ServerState { last_heard_ms: None, fenced: None });
    }

    /// What the store knows has been told.
    pub fn start(&mut self, now_ms: u64) {
        self.check_grace(now_ms);
    }

    /// The token manager, for opens, closes and the server's own requests.
    pub fn manager(&mut self) -> &mut TokenManager {
        &mut self.manager
    }

    /// The same, to look at.
    pub fn tokens(&self) -> &TokenManager {
        &self.manager
    }

    /// This start of the metadata server.
    pub fn boot(&self) -> Boot {
        self.boot
    }

    /// Whether nothing is granted yet.
    pub fn in_grace(&self) -> bool {
        self.grace_ends_ms.is_some()
    }

    // ---- File servers

    /// What file servers must refuse now, with its version.
    pub fn fences(&self) -> (u64, Fences) {
        let dead = |client: &ClientId| self.burials.get(&Victim::Client(*client)).is_some_and(|burial| burial.recorded);
        let fences = Fences {
            boot_floor: Some(self.boot),
            incarnations: BTreeSet::new(),
            groups: self.fenced_groups.keys().copied().collect(),
            incarnation_floor: self.floor,
            live_below_floor: self.clients.keys().filter(|client| !dead(client)).copied().collect(),
        };
        (self.fences_version, fences)
    }

    /// Operations (stamp and sequence) that a file server must drain before it serves: it is told them with the fences.
    pub fn drains(&self, server: ServerId) -> Vec<(Stamp, u64)> {
        let own = self.late_drains.iter().filter(|((at, _), _)| *at == server);
        own.map(|((_, stamp), (sequence, _))| (*stamp, *sequence)).collect()
    }

    /// A file server was heard. `fenced` is the version of this boot's fences that it says to have in force, durably; it
    /// is nothing in a registration, and in a heartbeat of another boot.
    pub fn handle_server(&mut self, server: ServerId, fenced: Option<u64>, now_ms: u64) {
        let state = self.servers.entry(server).or_insert(ServerState { last_heard_ms: None, fenced: None });
        if let Some(version) = fenced {
            state.last_heard_ms = Some(now_ms);
            state.fenced = state.fenced.max(Some(version));
            self.late_drains.retain(|(at, _), (_, named)| *at != server || *named > version);
            let confirmed =
                self.burials.iter().filter(|(_, burial)| burial.recorded && burial.version <= version).map(|(v, _)| *v);
            for victim in confirmed.collect::<Vec<_>>() {
                self.handle_fenced(server, victim, now_ms);
            }
        } else {
            // It is being told. Until it shows that it knows, it may serve under the lease that it had or under the one
            // that the answer gives it; neither began later than now.
            *state = ServerState { last_heard_ms: Some(now_ms), fenced: None };
        }
        self.check_grace(now_ms);
    }

    /// A file server has confirmed a fence: nothing older of the victim can read or write there any more.
    pub fn handle_fenced(&mut self, server: ServerId, victim: Victim, now_ms: u64) {
        if let Some(burial) = self.burials.get_mut(&victim)
            && burial.recorded
        {
            burial.missing.remove(&server);
            self.free_if_fenced(victim, now_ms);
            self.check_grace(now_ms);
        }
    }

    /// A file server has confirmed a drain.
    pub fn handle_drained(&mut self, server: ServerId, stamp: Stamp, sequence: u64) {
        let drained = |u: &Undrained| u.server == server && u.boot == stamp.boot && u.sequence <= sequence;
        for held in self.held_acks.values_mut() {
            if held.from == stamp.incarnation && held.ack.holder == stamp.holder {
                held.missing.retain(|undrained| !drained(undrained));
            }
        }
        self.pass_acks();
    }

    /// Whether a file server has surely stopped to serve: it was not heard for its lease and a margin (rule 16).
    pub fn has_lapsed(&self, server: ServerId, now_ms: u64) -> bool {
        now_ms >= self.lapses_ms(server)
    }

    // ---- Clients

    /// A new client, with the next number; its record is on the way to the disk.
    pub fn admit(&mut self, client: ClientId, now_ms: u64) {
        assert!(client.get() >= self.floor, "client numbers only grow");
        self.floor = client.get() + 1;
        self.clients.insert(client, ClientState::new(now_ms));
    }

    /// The client's record is durable: its lease begins.
    pub fn activate(&mut self, client: ClientId, now_ms: u64) {
        if let Some(state) = self.clients.get_mut(&client) {
            state.phase = Phase::Live;
            state.last_heard_ms = now_ms;
            self.manager.add_client(client);
        }
    }

    /// A client has ended in good order, or its record could not be made: it can not write any more.
    pub fn remove(&mut self, client: ClientId, now_ms: u64) {
        if self.clients.get(&client).is_some_and(|state| state.phase != Phase::GivenUp) {
            self.forget(client, now_ms);
            self.check_grace(now_ms);
        }
    }

    /// Whether the client may do things: it has spoken in this boot and was not given up.
    pub fn is_live(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|state| state.phase == Phase::Live)
    }

    /// Whether the client has a session that it has yet to bring over from an earlier boot.
    pub fn is_awaited(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|state| matches!(state.phase, Phase::Unheard | Phase::Reasserting))
    }

    /// Whether the client has a connection now.
    pub fn is_connected(&self, client: ClientId) -> bool {
        self.clients.get(&client).is_some_and(|state| state.connected)
    }

    /// How many victims are being shut out.
    pub fn burials(&self) -> usize {
        self.burials.len()
    }

    /// All clients that are not being shut out.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> {
        self.clients.iter().filter(|(_, state)| state.phase != Phase::GivenUp).map(|(client, _)| *client)
    }

    /// A client has made a connection. Returns the welcome, to be sent on it before anything else, and the connection's
    /// number.
    pub fn handle_hello(&mut self, hello: Hello, now_ms: u64) -> Result<(Welcome, u64), HelloRefused> {
        let Hello { client, boot, received } = hello;
        if crate::mutant!(ReassertAcceptedLate) && boot < self.boot && !self.is_live(client) {
            let state = self.clients.entry(client).or_insert_with(|| ClientState::new(now_ms));
            state.phase = Phase::Reasserting;
            self.manager.add_client(client);
        }
        let state = self.clients.get_mut(&client).ok_or(HelloRefused::NoSession(client))?;
        match state.phase {
            Phase::Joining => return Err(HelloRefused::TooEarly(client)),
            Phase::GivenUp => return Err(HelloRefused::NoSession(client)),
            _ if boot > self.boot => return Err(HelloRefused::TooEarly(client)),
            Phase::Live if boot != self.boot => return Err(HelloRefused::NoSession(client)),
            Phase::Live => {}
            Phase::Unheard | Phase::Reasserting => {
                state.phase = Phase::Reasserting;
                if boot != self.boot {
                    // Its answer to the last welcome was lost with it: nothing has been said yet.
                    state.inbox = Inbox::default();
                    state.outbox = Outbox::default();
                }
            }
        }
        state.connections += 1;
        state.connected = true;
        state.last_heard_ms = now_ms;
        let welcome = Welcome { boot: self.boot, received: state.inbox.received() };
        if boot == self.boot {
            state.outbox.acknowledge(received);
            let unseen = state.outbox.unseen();
            if !crate::mutant!(UnseenNotRepeated) {
                self.actions.extend(unseen.map(|(number, message)| Action::Send { to: client, number, message }));
            }
        }
        let connections = state.connections;
        self.note_awareness(client, now_ms);
        Ok((welcome, connections))
    }

    /// A client's connection has ended.
    pub fn handle_disconnected(&mut self, client: ClientId, connection: u64) {
        if let Some(state) = self.clients.get_mut(&client)
            && state.connections == connection
        {
            state.connected = false;
        }
    }

    /// A sign of life. Nothing is answered to one who was given up.
    pub fn handle_heartbeat(&mut self, client: ClientId, beat: Heartbeat, now_ms: u64) -> Option<HeartbeatAnswer> {
        let state = self.clients.get_mut(&client)?;
        if !matches!(state.phase, Phase::Live | Phase::Reasserting) {
            return None;
        }
        state.last_heard_ms = now_ms;
        state.outbox.acknowledge(beat.received);
        if beat.progress != state.progress {
            state.progress = beat.progress;
            state.asked.values_mut().for_each(|asked| asked.since_ms = now_ms);
        }
        let answer = HeartbeatAnswer { number: beat.number, received: state.inbox.received() };
        self.note_awareness(client, now_ms);
        Some(answer)
    }

    /// A numbered message has arrived. True: it is to be handled now. A gap cuts the connection.
    pub fn handle_arrival(&mut self, client: ClientId, number: u64) -> bool {
        let Some(state) = self.clients.get_mut(&client) else { return false };
        if !matches!(state.phase, Phase::Live | Phase::Reasserting) {
            return false;
        }
        match state.inbox.arrive(number) {
            Arrival::Next => true,
            Arrival::Repeated => false,
            Arrival::Gap => {
                state.connected = false;
                self.actions.push_back(Action::Cut(client));
                false
            }
        }
    }

    /// A client of an earlier boot says what it holds. A client that says what can not be true is given up.
    pub fn handle_reassert(&mut self, client: ClientId, reassertion: &Reassertion, now_ms: u64) -> Result<(), Refusal> {
        let phase = self.clients.get(&client).map(|state| state.phase);
        if phase != Some(Phase::Reasserting) {
            return Err(Refusal::NoSession(client));
        }
        if let Holder::Group(group) = reassertion.holder
            && self.fenced_groups.contains_key(&group)
        {
            let tell = vec![client];
            self.actions.push_back(Action::GroupLost { group, tell });
            return Ok(());
        }
        self.tell_of_the_dead(client, reassertion);
        let taken_over = self.manager.reassert(client, reassertion);
        if taken_over.is_err() {
            self.give_up(client, now_ms);
        }
        taken_over
    }

    /// The earlier boot may have ended before it could tell everybody which members a group has lost.
    fn tell_of_the_dead(&mut self, client: ClientId, reassertion: &Reassertion) {
        let Holder::Group(group) = reassertion.holder else { return };
        let lives = |member: &ClientId| self.clients.get(member).is_some_and(|state| state.phase != Phase::GivenUp);
        let dead: Vec<ClientId> = reassertion.members.iter().filter(|member| !lives(member)).copied().collect();
        for member in dead {
            self.actions.push_back(Action::MemberLost { group, member, tell: vec![client] });
        }
    }

    /// A client of an earlier boot has said all.
    pub fn handle_reassert_done(&mut self, client: ClientId, now_ms: u64) {
        if let Some(state) = self.clients.get_mut(&client)
            && state.phase == Phase::Reasserting
        {
            state.phase = Phase::Live;
            state.last_heard_ms = now_ms;
            self.actions.push_back(Action::Reasserted(client));
            self.check_grace(now_ms);
        }
    }

    /// A member has given up what a revoke asked for.
    pub fn handle_ack(&mut self, from: ClientId, ack: Ack) {
        let Some(state) = self.clients.get_mut(&from).filter(|state| state.phase == Phase::Live) else { return };
        state.asked.remove(&ack.revoke);
        for Undrained { server, boot, sequence } in &ack.undrained {
            let stamp = Stamp { boot: *boot, holder: ack.holder, incarnation: from };
            self.actions.push_back(Action::Drain { server: *server, stamp, sequence: *sequence });
        }
        // An ack names each write once. Another one that gives up the same bytes waits for it, too.
        let same_bytes = |held: &&HeldAck| {
            (held.from, held.ack.holder, held.ack.file) == (from, ack.holder, ack.file)
                && held.ack.released.iter().any(|range| ack.released.iter().any(|other| other.overlaps(*range)))
        };
        let before = self.held_acks.values().filter(same_bytes).flat_map(|held| &held.missing);
        let missing: BTreeSet<Undrained> = ack.undrained.iter().chain(before).copied().collect();
        if missing.is_empty() {
            return self.manager.handle_ack(from, &ack);
        }
        self.held_acks.insert((from, ack.revoke), HeldAck { from, ack, missing });
    }

    /// Tells a client that a group was shut out. What the group has is not freed before the client has seen this message.
    pub fn send_group_lost(&mut self, to: ClientId, group: GroupId, message: D, now_ms: u64) {
        self.send(to, message, now_ms);
        let number = self.clients.get(&to).map(|state| state.outbox.last());
        let burial = self.burials.get_mut(&Victim::Group(group));
        if let Some(told) = burial.and_then(|burial| burial.unaware.get_mut(&to)) {
            *told = told.or(number);
        }
    }

    /// Sends a message to a client: numbered, and repeated until it has arrived.
    pub fn send(&mut self, to: ClientId, message: D, now_ms: u64) {
        let Some(state) = self.clients.get_mut(&to) else { return };
        if !matches!(state.phase, Phase::Live | Phase::Reasserting) {
            return;
        }
        let number = state.outbox.push(message.clone());
        if state.connected {
            self.actions.push_back(Action::Send { to, number, message });
        }
        if state.outbox.len() > UNSEEN_MAX {
            self.give_up(to, now_ms);
        }
    }

    // ---- The end of clients and groups

    /// Shuts a client out.
    pub fn give_up(&mut self, client: ClientId, now_ms: u64) {
        let Some(state) = self.clients.get_mut(&client).filter(|state| state.phase != Phase::GivenUp) else { return };
        state.phase = Phase::GivenUp;
        state.connected = false;
        state.asked.clear();
        self.actions.push_back(Action::Cut(client));
        self.bury(Victim::Client(client), false);
        self.check_grace(now_ms);
    }

    /// Shuts a group out as a whole.
    pub fn give_up_group(&mut self, group: GroupId) {
        let members: BTreeSet<ClientId> = self.manager.members(Holder::Group(group)).into_iter().collect();
        if members.is_empty() || self.fenced_groups.contains_key(&group) {
            return;
        }
        for member in &members {
            if let Some(state) = self.clients.get_mut(member) {
                state.asked.retain(|_, asked| asked.holder != Holder::Group(group));
            }
        }
        self.fenced_groups.insert(group, members);
        self.bury(Victim::Group(group), false);
    }

    /// It is durable that the victim is shut out.
    pub fn handle_recorded(&mut self, victim: Victim, now_ms: u64) {
        if let Some(burial) = self.burials.get_mut(&victim)
            && !std::mem::replace(&mut burial.recorded, true)
        {
            self.fences_version += 1;
            burial.version = self.fences_version;
            match victim {
                Victim::Client(client) => self.tell_of_loss(client),
                Victim::Group(group) => self.tell_of_group_loss(group),
            }
            self.send_fences(victim, now_ms);
            self.check_grace(now_ms);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.poll_timeout().is_some_and(|due_ms| now_ms > due_ms + self.terms.heartbeat_ms) {
            self.listen_again(now_ms);
        }
        self.handled_ms = now_ms;
        let lease_ms = self.terms.lease_ms;
        let silent = |state: &ClientState<D>| now_ms.saturating_sub(state.last_heard_ms) > lease_ms;
        let grace_over = self.grace_ends_ms.is_some_and(|ends_ms| now_ms >= ends_ms);
        let given_up = self.clients.iter().filter(|(_, state)| match state.phase {
            Phase::Live => silent(state),
            Phase::Reasserting => silent(state) && grace_over,
            Phase::Unheard => grace_over,
            Phase::Joining | Phase::GivenUp => false,
        });
        for client in given_up.map(|(client, _)| *client).collect::<Vec<_>>() {
            self.give_up(client, now_ms);
        }
        self.give_up_the_stuck(now_ms);
        let victims: Vec<Victim> = self.burials.keys().copied().collect();
        for victim in victims {
            self.drop_lapsed(victim, now_ms);
            self.free_if_fenced(victim, now_ms);
        }
        self.drop_lapsed_drains(now_ms);
        self.check_grace(now_ms);
    }

    /// This server stood still itself, for so long that whatever was sent to it meanwhile is still unread: nobody's silence
    /// can be told from its own. So everybody is heard anew, which is always safe, since clients stop by themselves. What is
    /// waited for from file servers is not touched: it is *their* lease, and they renew it only by an answer.
    fn listen_again(&mut self, now_ms: u64) {
        for state in self.clients.values_mut().filter(|s| matches!(s.phase, Phase::Live | Phase::Reasserting)) {
            state.last_heard_ms = now_ms;
            state.asked.values_mut().for_each(|asked| asked.since_ms = now_ms);
        }
        if let Some(ends_ms) = &mut self.grace_ends_ms {
            *ends_ms = (*ends_ms).max(now_ms + self.terms.lease_ms);
        }
    }

    /// When `handle_timeout` must be called next.
    pub fn poll_timeout(&self) -> Option<u64> {
        let leases = self.clients.values().filter(|state| matches!(state.phase, Phase::Live | Phase::Reasserting));
        let leases = leases.map(|state| state.last_heard_ms + self.terms.lease_ms + 1);
        let asked = self.clients.values().flat_map(|state| state.asked.values());
        let asked = asked.map(|asked| asked.since_ms + self.revoke_timeout_ms);
        let awaited = self.burials.values().flat_map(|burial| burial.missing.iter());
        let drains = self.held_acks.values().flat_map(|held| held.missing.iter().map(|u| &u.server));
        let grace = self.servers.iter().filter(|(_, s)| self.in_grace() && s.fenced.is_none()).map(|(id, _)| id);
        let lapses = awaited.chain(drains).chain(grace).map(|server| self.lapses_ms(*server));
        let stops = self.burials.values().filter(|burial| burial.recorded).map(|burial| burial.stops_ms);
        // What has come and could not be acted on waits for something else than time.
        leases
            .chain(asked)
            .chain(lapses)
            .chain(stops)
            .chain(self.grace_ends_ms)
            .filter(|at_ms| *at_ms > self.handled_ms)
            .min()
    }

    /// The next thing to be done, in order.
    pub fn poll_action(&mut self, now_ms: u64) -> Option<Action<D>> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        let action = self.manager.poll_action()?;
        if let ManagerAction::Revoke { to, revoke } = &action {
            self.await_ack(*to, revoke, now_ms);
        }
        Some(Action::Tokens(action))
    }

    fn await_ack(&mut self, to: ClientId, revoke: &Revoke, now_ms: u64) {
        if let Some(state) = self.clients.get_mut(&to).filter(|state| state.phase == Phase::Live) {
            state.asked.insert(revoke.revoke, Asked { holder: revoke.holder, since_ms: now_ms });
        }
    }

    /// Shuts out who has neither acked nor got on for too long (rule 8).
    fn give_up_the_stuck(&mut self, now_ms: u64) {
        let stuck = |asked: &&Asked| now_ms >= asked.since_ms + self.revoke_timeout_ms;
        let holders = self.clients.values().flat_map(|state| state.asked.values().filter(stuck)).map(|a| a.holder);
        for holder in holders.collect::<BTreeSet<_>>() {
            match holder {
                Holder::Client(client) => self.give_up(client, now_ms),
                Holder::Group(group) => self.give_up_group(group),
            }
        }
    }

    /// Durable first, then told: a restart that found no record would take the client over again, and its group would have
    /// given it up.
    fn tell_of_loss(&mut self, client: ClientId) {
        for group in self.manager.groups_of(client) {
            let mut tell = self.manager.members(Holder::Group(group));
            tell.retain(|member| *member != client);
            self.actions.push_back(Action::MemberLost { group, member: client, tell });
        }
    }

    fn bury(&mut self, victim: Victim, recorded: bool) {
        let missing = self.servers.keys().copied().collect();
        let stops_ms = self.stops_ms(victim);
        let burial = Burial { recorded, version: self.fences_version, missing, stops_ms, unaware: BTreeMap::new() };
        self.burials.insert(victim, burial);
        if !recorded {
            self.actions.push_back(Action::Record(victim));
        }
        if recorded || crate::mutant!(FenceBeforeRecord) {
            self.send_fences(victim, self.started_ms);
        }
    }

    fn send_fences(&mut self, victim: Victim, now_ms: u64) {
        if crate::mutant!(FenceSkipped)
            && let Some(burial) = self.burials.get_mut(&victim)
        {
            burial.missing.clear();
        }
        self.drop_lapsed(victim, now_ms);
        let Some(burial) = self.burials.get(&victim) else { return };
        for server in &burial.missing {
            self.actions.push_back(Action::Fence { server: *server, victim });
        }
        self.free_if_fenced(victim, now_ms);
    }

    /// Servers that serve nobody need not confirm: when they are back they are told before they serve.
    fn drop_lapsed(&mut self, victim: Victim, now_ms: u64) {
        let lapsed: Vec<ServerId> = match self.burials.get(&victim) {
            Some(burial) => burial.missing.iter().filter(|s| self.has_lapsed(**s, now_ms)).copied().collect(),
            None => return,
        };
        if let Some(burial) = self.burials.get_mut(&victim).filter(|burial| burial.recorded) {
            lapsed.iter().for_each(|server| {
                burial.missing.remove(server);
            });
        }
    }

    fn free_if_fenced(&mut self, victim: Victim, now_ms: u64) {
        let fenced = |burial: &Burial| burial.recorded && burial.missing.is_empty();
        let stopped = |burial: &Burial| burial.stops_ms <= now_ms && burial.unaware.is_empty();
        let ready = |burial: &Burial| fenced(burial) && (stopped(burial) || crate::mutant!(FreedBeforeItStops));
        if !self.burials.get(&victim).is_some_and(ready) {
            return;
        }
        self.burials.remove(&victim);
        match victim {
            Victim::Client(client) => self.forget(client, now_ms),
            Victim::Group(group) => self.manager.remove_group(group),
        }
        self.actions.push_back(Action::Freed(victim));
    }

    fn forget(&mut self, client: ClientId, now_ms: u64) {
        self.clients.remove(&client);
        self.manager.remove_client(client);
        self.held_acks.retain(|(from, _), _| *from != client);
        self.fenced_groups.retain(|_, members| {
            members.remove(&client);
            !members.is_empty()
        });
        self.note_awareness(client, now_ms);
    }

    // ---- Caches of those who are shut out

    /// When a client of whom nothing more is heard has surely stopped to use what it has in its cache. A group's members go
    /// on; they are told.
    fn stops_ms(&self, victim: Victim) -> u64 {
        match victim {
            Victim::Client(client) => {
                // It may have been heard at the end of the last boot.
                let heard_ms = self.clients.get(&client).map_or(self.started_ms, |state| state.last_heard_ms);
                heard_ms + self.terms.lease_ms + self.terms.margin_ms()
            }
            Victim::Group(_) => 0,
        }
    }

    /// Durable first, then told, and freed when all know.
    fn tell_of_group_loss(&mut self, group: GroupId) {
        let tell = self.manager.members(Holder::Group(group));
        if let Some(burial) = self.burials.get_mut(&Victim::Group(group)) {
            burial.unaware = tell.iter().map(|member| (*member, None)).collect();
        }
        self.actions.push_back(Action::GroupLost { group, tell });
    }

    /// A client has acknowledged messages, or is gone: groups may wait for no more than that.
    fn note_awareness(&mut self, client: ClientId, now_ms: u64) {
        let seen = self.clients.get(&client).map(|state| state.outbox.acknowledged());
        let mut concerned = Vec::new();
        for (victim, burial) in self.burials.iter_mut().filter(|(_, burial)| burial.unaware.contains_key(&client)) {
            let told = burial.unaware.get(&client).copied().flatten();
            if seen.is_none_or(|seen| told.is_some_and(|told| told <= seen)) {
                burial.unaware.remove(&client);
                concerned.push(*victim);
            }
        }
        for victim in concerned {
            self.free_if_fenced(victim, now_ms);
            self.check_grace(now_ms);
        }
    }

    fn pass_acks(&mut self) {
        let ready = self.held_acks.iter().filter(|(_, held)| held.missing.is_empty()).map(|(key, _)| *key);
        for key in ready.collect::<Vec<_>>() {
            if let Some(held) = self.held_acks.remove(&key) {
                self.manager.handle_ack(held.from, &held.ack);
            }
        }
    }

    /// A server that has lapsed refuses everything that it was doing then (see [`crate::fence::Admission::lapse`]), and
    /// is told of what may still be on its way to it before it serves again.
    fn drop_lapsed_drains(&mut self, now_ms: u64) {
        let servers: BTreeSet<ServerId> =
            self.held_acks.values().flat_map(|held| held.missing.iter().map(|u| u.server)).collect();
        let lapsed: BTreeSet<ServerId> = servers.into_iter().filter(|s| self.has_lapsed(*s, now_ms)).collect();
        if lapsed.is_empty() {
            return;
        }
        self.fences_version += 1;
        for held in self.held_acks.values_mut() {
            for undrained in held.missing.extract_if(.., |undrained| lapsed.contains(&undrained.server)) {
                let stamp = Stamp { boot: undrained.boot, holder: held.ack.holder, incarnation: held.from };
                let (sequence, version) = self.late_drains.entry((undrained.server, stamp)).or_default();
                *sequence = undrained.sequence.max(*sequence);
                *version = self.fences_version;
            }
        }
        self.pass_acks();
    }

    /// When a file server's lease has surely run out, if it is not heard again.
    fn lapses_ms(&self, server: ServerId) -> u64 {
        let heard_ms = self.servers.get(&server).and_then(|state| state.last_heard_ms).unwrap_or(self.started_ms);
        if crate::mutant!(ClientLeaseInPlaceOfServers) {
            return self.started_ms;
        }
        heard_ms + self.terms.lease_ms + self.terms.margin_ms()
    }

    fn check_grace(&mut self, now_ms: u64) {
        if self.grace_ends_ms.is_none() {
            return;
        }
        let servers_know =
            self.servers.iter().all(|(server, state)| state.fenced.is_some() || self.has_lapsed(*server, now_ms));
        let awaited = |state: &ClientState<D>| !matches!(state.phase, Phase::Live | Phase::Joining);
        let clients_spoke = !self.clients.values().any(awaited) && self.burials.is_empty();
        let servers_know = servers_know || crate::mutant!(GraceIgnoresServers);
        let clients_spoke = clients_spoke || crate::mutant!(GraceIgnoresClients);
        if servers_know && clients_spoke {
            self.grace_ends_ms = None;
            self.manager.end_grace();
            self.actions.push_back(Action::GraceOver);
        }
    }
}

impl<D> ClientState<D> {
    fn new(now_ms: u64) -> Self {
        ClientState {
            phase: Phase::Joining,
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            connections: 0,
            connected: false,
            last_heard_ms: now_ms,
            progress: 0,
            asked: BTreeMap::new(),
        }
    }
}
