//! The metadata server: a shell around the coordinator, as thin as the real one, and a store that survives it.
//!
//! What the store holds: the counters of boots and clients, sessions, recorded deaths and group fences, file servers,
//! sizes, intents to truncate, and the answers of changes. Everything is written some time before it is relied on: the
//! shell goes on when the write has come back.

use crate::file_server::ServerRpc;
use crate::invariants::Invariant;
use crate::model::WriteId;
use crate::plan::{MS, Node};
use crate::transitions::Transition;
use crate::world::{Event, FILES, GRACE_MS, REVOKE_TIMEOUT_MS, TERMS, World};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, ServerId, Stamp};
use pfs_core::session::coordinator::{Action, Coordinator, HelloRefused, Victim};
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello, Welcome};
use pfs_core::token::manager::ManagerAction;
use pfs_core::token::message::{Ack, Acquire, AcquireSet, FileSize, Grant, Mode, Reassertion, Refusal, Revoke};
use pfs_core::token::size::KnownSize;
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds between two attempts at what a file server has not confirmed.
const RETRY_US: u64 = 60 * MS;
/// Requests for more ranges are not compared with others.
const RANGES_COMPARED_MAX: u64 = 64;

/// What a client sends on its connection.
#[derive(Clone, Debug)]
pub enum ClientFrame {
    /// The first frame.
    Hello(Hello),
    /// A sign of life.
    Heartbeat(Heartbeat),
    /// A message with its number.
    Message(u64, ClientMessage),
    /// The end.
    Fin,
}

/// What the metadata server sends on a connection.
#[derive(Clone, Debug)]
pub enum ServerFrame {
    /// The first frame.
    Welcome(Welcome),
    /// There is no session of that client.
    Refused,
    /// A heartbeat's answer.
    Heartbeat(HeartbeatAnswer),
    /// A message with its number.
    Message(u64, ServerMessage),
    /// The end.
    Fin,
}

/// What clients say.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    Acquire(Acquire),
    AcquireSet(AcquireSet),
    Ack(Ack),
    Cancel(RequestId),
    /// An answer to a question for a size.
    Size {
        ask: u64,
        size: FileSize,
    },
    Reassert(Reassertion),
    ReassertDone,
    Call {
        number: u64,
        call: Call,
    },
}

/// What clients are told.
#[derive(Clone, Debug)]
pub enum ServerMessage {
    Grant(Grant, FileSize),
    Revoke(Revoke),
    Refused(RequestId),
    SizeQuery { ask: u64, file: FileId },
    Reasserted,
    MemberLost { group: GroupId, member: ClientId },
    GroupLost(GroupId),
    Reply { number: u64, reply: Reply },
}

/// A request that is answered by a reply. A change carries its number in the session, so it happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Open a file, for oneself.
    Open { file: usize },
    /// Open a file for a new group.
    OpenTogether { file: usize, members: Vec<ClientId> },
    /// Cut a file, or make it longer.
    SetSize { file: usize, bytes: u64, write: WriteId },
    /// Ask for the exact size.
    GetSize { file: usize },
    /// Make a size durable.
    Synced { file: usize, size: FileSize },
    /// Close a file.
    Close { file: usize, open: OpenId, size: Option<FileSize> },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Opened { open: OpenId, group: Option<GroupId>, size: FileSize },
    Done,
    Size(FileSize),
    Failed,
}

/// What comes without a session.
#[derive(Clone, Debug)]
pub enum MetaRpc {
    /// A process wants to be a client.
    Register { client: usize, life: u64 },
    /// A file server has started, or its lease has run out.
    RegisterServer { server: usize, sent_ms: u64 },
    /// A file server's sign of life.
    Beat { server: usize, boot: Boot, version: u64, sent_ms: u64 },
    /// A fence is in force.
    Fenced { server: usize, victim: Victim },
    /// A drain is in force.
    Drained { server: usize, stamp: Stamp, sequence: u64 },
    /// Objects were cut.
    Truncated { server: usize, operation: u64 },
}

/// What has become durable.
#[derive(Clone, Debug)]
pub enum DiskDone {
    Client { id: ClientId, client: usize, life: u64 },
    Server { server: usize, sent_ms: u64 },
    Victim(Victim),
    Freed(Victim),
    Intent { operation: u64 },
    Cut { operation: u64 },
    Synced { client: ClientId, number: u64, file: usize, size: FileSize },
    Closed { client: ClientId, number: u64, file: usize, open: OpenId, size: Option<FileSize> },
}

/// A truncation that is to be carried out.
#[derive(Clone, Debug)]
struct Intent {
    file: usize,
    size: FileSize,
    client: ClientId,
    number: u64,
    write: WriteId,
}

/// What survives the server.
#[derive(Clone, Debug)]
struct Store {
    boot: u64,
    next_client: u64,
    next_number: u64,
    clients: BTreeSet<ClientId>,
    dead: BTreeSet<ClientId>,
    groups: BTreeMap<GroupId, BTreeSet<ClientId>>,
    servers: BTreeSet<ServerId>,
    sizes: Vec<FileSize>,
    intents: BTreeMap<u64, Intent>,
    answers: BTreeSet<(ClientId, u64)>,
}

/// A truncation on its way.
#[derive(Debug)]
struct Cutting {
    intent: Intent,
    missing: BTreeSet<usize>,
    durable: bool,
}

/// A question for an exact size.
#[derive(Debug)]
struct SizeAsk {
    client: ClientId,
    number: u64,
    file: usize,
    missing: BTreeSet<ClientId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RpcKey {
    Fence(usize, Victim),
    Drain(usize, Stamp, u64),
    Truncate(usize, u64),
}

/// A request whose grant or refusal is awaited, for the counts and for [`Invariant::RequestsAreGrantedInOrder`].
#[derive(Debug)]
struct Asked {
    required: Extent,
    step: u64,
    /// The number of requests before it.
    arrival: u64,
    holder: Holder,
    file: FileId,
    mode: Mode,
    /// The ranges, unless they are too many to be granted one by one.
    ranges: Vec<Extent>,
}

impl Asked {
    fn conflicts(&self, other: &Asked) -> bool {
        self.file == other.file
            && self.holder != other.holder
            && self.mode.conflicts(other.mode)
            && self.ranges.iter().any(|range| other.ranges.iter().any(|theirs| range.overlaps(*theirs)))
    }
}

/// One start of the server.
struct Running {
    coordinator: Coordinator<ServerMessage>,
    connection_of: BTreeMap<ClientId, (usize, u64)>,
    client_of: BTreeMap<usize, ClientId>,
    /// The number of the last message of each client that was handled.
    handled: BTreeMap<ClientId, u64>,
    sizes: Vec<KnownSize>,
    cuttings: BTreeMap<u64, Cutting>,
    asks: BTreeMap<u64, SizeAsk>,
    early_calls: Vec<(ClientId, u64, Call)>,
    rpcs: BTreeSet<RpcKey>,
    asked: BTreeMap<(ClientId, RequestId), Asked>,
    /// Requests that were asked for since the start.
    arrivals: u64,
    /// When a sign of life of each client last came.
    heard_ms: BTreeMap<ClientId, u64>,
    timer_at: Option<u64>,
    retrying: bool,
    disk_free_at: u64,
}

/// The metadata server.
pub struct Meta {
    /// Counts its starts, failed ones too.
    pub epoch: u64,
    store: Store,
    running: Option<Box<Running>>,
    /// Group fences by member clients that were freed, and clients: nothing of theirs lands any more.
    pub freed: BTreeSet<Victim>,
}

/// The id of a file.
pub fn file_id(file: usize) -> FileId {
    FileId::new(file as u64 + 1).expect("counts from 1")
}

/// The number of a file.
pub fn file_number(id: FileId) -> usize {
    id.get() as usize - 1
}

/// The id of a file server.
pub fn server_id(server: usize) -> ServerId {
    ServerId::new(server as u32 + 1).expect("counts from 1")
}

/// The number of a file server.
pub fn server_number(id: ServerId) -> usize {
    id.get() as usize - 1
}

impl Meta {
    /// A server with an empty store.
    pub fn new() -> Self {
        let store = Store {
            boot: 0,
            next_client: 1,
            next_number: 1,
            clients: BTreeSet::new(),
            dead: BTreeSet::new(),
            groups: BTreeMap::new(),
            servers: BTreeSet::new(),
            sizes: vec![FileSize { generation: 1, bytes: 0 }; FILES],
            intents: BTreeMap::new(),
            answers: BTreeSet::new(),
        };
        Meta { epoch: 0, store, running: None, freed: BTreeSet::new() }
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }
}

impl Default for Meta {
    fn default() -> Self {
        Meta::new()
    }
}

impl World {
    fn running(&mut self) -> Option<&mut Running> {
        self.meta.running.as_deref_mut()
    }

    fn meta_ms(&self) -> u64 {
        self.clock(Node::Meta)
    }

    /// The server starts with what its store holds.
    pub fn meta_start(&mut self, epoch: u64) {
        if self.meta.epoch != epoch {
            return;
        }
        let now_ms = self.meta_ms();
        let store = &mut self.meta.store;
        store.boot += 1;
        let boot = Boot::new(store.boot).expect("counts from 1");
        let mut coordinator = Coordinator::new(boot, TERMS, GRACE_MS, REVOKE_TIMEOUT_MS, store.next_client, now_ms);
        store.servers.iter().for_each(|server| coordinator.know_server(*server));
        store.clients.iter().filter(|c| !store.dead.contains(c)).for_each(|client| coordinator.know_client(*client));
        store.dead.iter().for_each(|client| coordinator.know_dead(*client));
        for (group, members) in &store.groups {
            coordinator.know_group_fence(*group, members.clone());
        }
        coordinator.start(now_ms);
        let mut running = Running {
            coordinator,
            connection_of: BTreeMap::new(),
            client_of: BTreeMap::new(),
            handled: BTreeMap::new(),
            sizes: store.sizes.iter().copied().map(KnownSize::new).collect(),
            cuttings: BTreeMap::new(),
            asks: BTreeMap::new(),
            early_calls: Vec::new(),
            rpcs: BTreeSet::new(),
            asked: BTreeMap::new(),
            arrivals: 0,
            heard_ms: BTreeMap::new(),
            timer_at: None,
            retrying: false,
            disk_free_at: self.now,
        };
        for (operation, intent) in &store.intents {
            let from = Extent::from(intent.size.bytes);
            running.coordinator.manager().acquire_for_manager(*operation, file_id(intent.file), from);
            let cutting = Cutting { intent: intent.clone(), missing: BTreeSet::new(), durable: true };
            running.cuttings.insert(*operation, cutting);
        }
        self.meta.running = Some(Box::new(running));
        self.note(|| format!("M starts as {boot}"));
        self.meta_pump();
    }

    /// The server ends at once, and is back after a while.
    pub fn meta_crash(&mut self, for_us: u64) {
        if self.meta.running.take().is_none() {
            return;
        }
        self.meta.epoch += 1;
        self.break_all_connections();
        self.after(for_us, Event::MetaStart { epoch: self.meta.epoch });
    }

    /// Has something become durable.
    fn write(&mut self, done: DiskDone) {
        let took = if self.rng.chance(50) { self.rng.between(5, 60) * MS } else { self.rng.between(100, 900) };
        let epoch = self.meta.epoch;
        let now = self.now;
        let Some(running) = self.running() else { return };
        running.disk_free_at = running.disk_free_at.max(now) + took;
        let at = running.disk_free_at;
        self.at(at, Event::MetaDisk { epoch, done: Box::new(done) });
    }

    /// Something is durable.
    pub fn meta_disk(&mut self, epoch: u64, done: DiskDone) {
        if self.meta.epoch != epoch || !self.meta.is_up() {
            return;
        }
        let now_ms = self.meta_ms();
        let store = &mut self.meta.store;
        let running = self.meta.running.as_deref_mut().expect("it is up");
        match done {
            DiskDone::Client { id, client, life } => {
                store.clients.insert(id);
                running.coordinator.activate(id, now_ms);
                let boot = running.coordinator.boot();
                let event = Event::ClientRegistered { client, life, id, boot };
                self.send(Node::Meta, Node::Client(client), event);
            }
            DiskDone::Server { server, sent_ms } => {
                store.servers.insert(server_id(server));
                running.coordinator.handle_server(server_id(server), None, now_ms);
                let (version, fences) = running.coordinator.fences();
                let boot = running.coordinator.boot();
                let drains = running.coordinator.drains(server_id(server));
                self.tell_server(server, ServerRpc::Registered { boot, version, fences, sent_ms, drains });
            }
            DiskDone::Victim(victim) => {
                match victim {
                    Victim::Client(client) => {
                        store.dead.insert(client);
                    }
                    Victim::Group(group) => {
                        let members = running.coordinator.tokens().members(Holder::Group(group));
                        store.groups.insert(group, members.into_iter().collect());
                    }
                }
                running.coordinator.handle_recorded(victim, now_ms);
            }
            DiskDone::Freed(victim) => {
                let (_, fences) = running.coordinator.fences();
                if let Victim::Client(client) = victim {
                    store.dead.remove(&client);
                    store.clients.remove(&client);
                    store.answers.retain(|(owner, _)| *owner != client);
                }
                store.groups.retain(|group, _| fences.groups.contains(group));
            }
            DiskDone::Intent { operation } => self.cut_objects(operation),
            DiskDone::Cut { operation } => self.cut_is_done(operation),
            DiskDone::Synced { client, number, file, size } => {
                store.sizes[file].learn(size);
                running.sizes[file].set(store.sizes[file]);
                self.reply(client, number, Reply::Done);
            }
            DiskDone::Closed { client, number, file, open, size } => {
                // The size is durable before its tokens are free.
                size.into_iter().for_each(|size| store.sizes[file].learn(size));
                running.coordinator.manager().close(Holder::Client(client), file_id(file), open);
                self.reply(client, number, Reply::Done);
            }
        }
        self.meta_pump();
    }

    // ---- Connections

    /// A frame has arrived.
    pub fn meta_frame(&mut self, connection: usize, frame: ClientFrame) {
        let now_ms = self.meta_ms();
        let Some(running) = self.running() else { return };
        let current = running.client_of.get(&connection).copied();
        let current = current.filter(|client| running.connection_of.get(client).is_some_and(|c| c.0 == connection));
        match (frame, current) {
            (ClientFrame::Hello(hello), None) => self.hello(connection, hello),
            (ClientFrame::Heartbeat(beat), Some(client)) => {
                running.heard_ms.insert(client, now_ms);
                if let Some(answer) = running.coordinator.handle_heartbeat(client, beat, now_ms) {
                    self.send_down(connection, ServerFrame::Heartbeat(answer));
                }
            }
            (ClientFrame::Message(number, message), Some(client))
                if running.coordinator.handle_arrival(client, number) =>
            {
                let last = running.handled.insert(client, number).unwrap_or(0);
                self.message_is_the_next(last, number, || format!("of {client}"));
                self.message(client, message);
            }
            (ClientFrame::Fin, Some(_)) => {
                self.close_at_meta(connection);
                self.meta_disconnected(connection);
            }
            _ => {}
        }
        self.meta_pump();
    }

    fn hello(&mut self, connection: usize, hello: Hello) {
        let now_ms = self.meta_ms();
        let Some(running) = self.running() else { return };
        match running.coordinator.handle_hello(hello, now_ms) {
            Ok((welcome, number)) => {
                running.client_of.insert(connection, hello.client);
                let before = running.connection_of.insert(hello.client, (connection, number));
                self.send_down(connection, ServerFrame::Welcome(welcome));
                if let Some((before, _)) = before {
                    self.close_at_meta(before);
                }
            }
            Err(HelloRefused::NoSession(client)) => {
                self.note(|| format!("M refuses the hello of {client}"));
                self.reach(Transition::HelloRefused);
                self.send_down(connection, ServerFrame::Refused);
                self.close_at_meta(connection);
            }
            Err(HelloRefused::TooEarly(_)) => self.close_at_meta(connection),
        }
    }

    /// A connection is over.
    pub fn meta_disconnected(&mut self, connection: usize) {
        let Some(running) = self.running() else { return };
        if let Some(client) = running.client_of.get(&connection).copied()
            && let Some((current, number)) = running.connection_of.get(&client).copied()
            && current == connection
        {
            running.connection_of.remove(&client);
            running.coordinator.handle_disconnected(client, number);
        }
    }

    fn message(&mut self, client: ClientId, message: ClientMessage) {
        let now_ms = self.meta_ms();
        let step = self.stats.steps;
        let store = &self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let live = running.coordinator.is_live(client);
        match message {
            ClientMessage::Acquire(acquire) if live => {
                let hull = acquire.required.iter().map(|pattern| pattern.hull()).reduce(Extent::hull);
                if let Some(required) = hull {
                    running.arrivals += 1;
                    let few =
                        acquire.required.iter().map(|pattern| pattern.count()).sum::<u64>() <= RANGES_COMPARED_MAX;
                    let ranges =
                        acquire.required.iter().filter(|_| few).flat_map(|pattern| pattern.extents()).collect();
                    let Acquire { request, holder, file, mode, .. } = acquire;
                    let arrival = running.arrivals;
                    running
                        .asked
                        .insert((client, request), Asked { required, step, arrival, holder, file, mode, ranges });
                }
                if running.coordinator.in_grace() {
                    self.stats.reach(Transition::GraceWaited);
                }
                running.coordinator.manager().handle_acquire(client, acquire);
            }
            ClientMessage::AcquireSet(set) if live => running.coordinator.manager().handle_acquire_set(client, set),
            ClientMessage::Ack(ack) => self.acked(client, ack),
            ClientMessage::Cancel(request) if live => running.coordinator.manager().handle_cancel(client, request),
            ClientMessage::Size { ask, size } => {
                if let Some(asked) = running.asks.get_mut(&ask) {
                    running.sizes[asked.file].learn(size);
                    asked.missing.remove(&client);
                }
                self.answer_asks();
            }
            ClientMessage::Reassert(reassertion) => {
                let file = file_number(reassertion.file);
                let taken_over = running.coordinator.handle_reassert(client, &reassertion, now_ms);
                match taken_over {
                    Ok(()) => {
                        if let Some(size) = reassertion.size {
                            running.sizes[file].learn(size);
                        }
                        if store.dead.contains(&client) || !store.clients.contains(&client) {
                            let text = format!("{client} was given up, and what it says is taken over");
                            self.violate(Invariant::TheGivenUpStayOut, text);
                        }
                    }
                    Err(refusal) => {
                        self.note(|| format!("M does not take over what {client} says: {refusal}"));
                    }
                }
            }
            ClientMessage::ReassertDone => running.coordinator.handle_reassert_done(client, now_ms),
            ClientMessage::Call { number, call } if live => self.call(client, number, call),
            _ => {}
        }
    }

    fn acked(&mut self, client: ClientId, ack: Ack) {
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        if let Some(size) = ack.size {
            running.sizes[file_number(ack.file)].learn(size);
            self.stats.reach(Transition::AckWithSize);
        }
        if !ack.undrained.is_empty() {
            self.stats.reach(Transition::AckUndrained);
        }
        if ack.released.len() > 1 {
            self.stats.reach(Transition::AckOffersMore);
        }
        let (file, holder) = (ack.file, ack.holder);
        let pieces = |running: &Running| {
            let tokens = running.coordinator.tokens().tokens(file);
            tokens.iter().filter(|line| line.holders.contains(&holder)).count()
        };
        let before = pieces(running);
        running.coordinator.handle_ack(client, ack);
        if pieces(running) > before {
            self.stats.reach(Transition::TableSplit);
        }
    }

    // ---- Calls

    fn call(&mut self, client: ClientId, number: u64, call: Call) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let coordinator = &mut running.coordinator;
        match call {
            Call::Open { file } => {
                let open = store.open();
                coordinator.manager().open(Holder::Client(client), file_id(file), open);
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Opened { open, group: None, size });
            }
            Call::OpenTogether { file, members } => {
                if !members.iter().all(|member| coordinator.is_live(*member)) {
                    return self.reply(client, number, Reply::Failed);
                }
                let (open, group) = (store.open(), GroupId::new(store.open().get()).expect("counts from 1"));
                coordinator.manager().add_group(group, members);
                coordinator.manager().open(Holder::Group(group), file_id(file), open);
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Opened { open, group: Some(group), size });
            }
            Call::SetSize { .. } | Call::GetSize { .. } if coordinator.in_grace() => {
                running.early_calls.push((client, number, call));
            }
            Call::SetSize { file, bytes, write } => self.set_size(client, number, file, bytes, write),
            Call::GetSize { file } => {
                let missing: BTreeSet<ClientId> =
                    coordinator.manager().exclusive_clients(file_id(file)).into_iter().collect();
                let ask = store.open().get();
                for member in &missing {
                    let query = ServerMessage::SizeQuery { ask, file: file_id(file) };
                    self.say(*member, query);
                }
                let ask_state = SizeAsk { client, number, file, missing };
                self.running().expect("it is up").asks.insert(ask, ask_state);
                self.answer_asks();
            }
            Call::Synced { file, size } => self.write(DiskDone::Synced { client, number, file, size }),
            Call::Close { file, open, size } => {
                size.into_iter().for_each(|size| running.sizes[file].learn(size));
                self.write(DiskDone::Closed { client, number, file, open, size });
            }
        }
    }

    fn answer_asks(&mut self) {
        let Some(running) = self.running() else { return };
        let ready: Vec<u64> = running.asks.iter().filter(|(_, a)| a.missing.is_empty()).map(|(ask, _)| *ask).collect();
        for ask in ready {
            let Some(running) = self.running() else { return };
            if let Some(SizeAsk { client, number, file, .. }) = running.asks.remove(&ask) {
                let size = running.sizes[file].get();
                self.reply(client, number, Reply::Size(size));
            }
        }
    }

    fn set_size(&mut self, client: ClientId, number: u64, file: usize, bytes: u64, write: WriteId) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let same = |intent: &Intent| (intent.client, intent.number) == (client, number);
        if running.cuttings.values().any(|cutting| same(&cutting.intent)) {
            return;
        }
        if store.answers.contains(&(client, number)) {
            return self.reply(client, number, Reply::Done);
        }
        let operation = store.open().get();
        let from = Extent::from(bytes.min(running.sizes[file].get().bytes));
        let size = FileSize { generation: 0, bytes };
        let intent = Intent { file, size, client, number, write };
        running.cuttings.insert(operation, Cutting { intent, missing: BTreeSet::new(), durable: false });
        running.coordinator.manager().acquire_for_manager(operation, file_id(file), from);
    }

    /// The range of a truncation is the manager's.
    fn cut_is_granted(&mut self, operation: u64) {
        self.stats.reach(Transition::GrantToManager);
        let Some(running) = self.running() else { return };
        let Some(cutting) = running.cuttings.get_mut(&operation) else { return };
        if cutting.durable {
            return self.cut_objects(operation);
        }
        cutting.intent.size.generation = running.sizes[cutting.intent.file].get().generation + 1;
        self.write(DiskDone::Intent { operation });
    }

    /// The intent is durable.
    fn cut_objects(&mut self, operation: u64) {
        let servers = self.servers.len();
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let Some(cutting) = running.cuttings.get_mut(&operation) else { return };
        cutting.durable = true;
        cutting.missing = (0..servers).collect();
        let Intent { file, size, .. } = cutting.intent;
        store.intents.insert(operation, cutting.intent.clone());
        store.sizes[file].learn(size);
        running.sizes[file].set(size);
        running.rpcs.extend((0..servers).map(|server| RpcKey::Truncate(server, operation)));
        self.note(|| format!("M cuts file {} to {} bytes, {operation}", file + 1, size.bytes));
        self.try_rpcs();
    }

    /// The objects are cut, and that is durable.
    fn cut_is_done(&mut self, operation: u64) {
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        let Some(Cutting { intent, .. }) = running.cuttings.remove(&operation) else { return };
        store.intents.remove(&operation);
        if store.clients.contains(&intent.client) {
            store.answers.insert((intent.client, intent.number));
        }
        running.coordinator.manager().release_for_manager(operation, file_id(intent.file));
        self.model.succeed(intent.write, self.now);
        self.reply(intent.client, intent.number, Reply::Done);
    }

    fn reply(&mut self, client: ClientId, number: u64, reply: Reply) {
        self.say(client, ServerMessage::Reply { number, reply });
    }

    fn say(&mut self, client: ClientId, message: ServerMessage) {
        let now_ms = self.meta_ms();
        if let Some(running) = self.running() {
            running.coordinator.send(client, message, now_ms);
        }
    }

    // ---- Without a session

    /// Something has arrived that needs no session.
    pub fn meta_rpc(&mut self, rpc: MetaRpc) {
        let now_ms = self.meta_ms();
        let store = &mut self.meta.store;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match rpc {
            MetaRpc::Register { client, life } => {
                let id = ClientId::new(store.next_client).expect("counts from 1");
                store.next_client += 1;
                running.coordinator.admit(id, now_ms);
                self.write(DiskDone::Client { id, client, life });
            }
            MetaRpc::RegisterServer { server, sent_ms } => self.write(DiskDone::Server { server, sent_ms }),
            MetaRpc::Beat { server, boot, version, sent_ms } => {
                let own = running.coordinator.boot();
                let fenced = (boot == own).then_some(version);
                let before = running.coordinator.burials();
                running.coordinator.handle_server(server_id(server), fenced, now_ms);
                if running.coordinator.burials() < before {
                    self.stats.reach(Transition::FencedByHeartbeat);
                }
                self.tell_server(server, ServerRpc::BeatAnswer { boot: own, sent_ms });
            }
            MetaRpc::Fenced { server, victim } => {
                if running.rpcs.remove(&RpcKey::Fence(server, victim)) {
                    self.stats.reach(Transition::FencedByCall);
                }
                running.coordinator.handle_fenced(server_id(server), victim, now_ms);
            }
            MetaRpc::Drained { server, stamp, sequence } => {
                if running.rpcs.remove(&RpcKey::Drain(server, stamp, sequence)) {
                    self.stats.reach(Transition::Drained);
                }
                running.coordinator.handle_drained(server_id(server), stamp, sequence);
            }
            MetaRpc::Truncated { server, operation } => {
                running.rpcs.remove(&RpcKey::Truncate(server, operation));
                if let Some(cutting) = running.cuttings.get_mut(&operation)
                    && cutting.missing.remove(&server)
                    && cutting.missing.is_empty()
                {
                    self.write(DiskDone::Cut { operation });
                }
            }
        }
        self.meta_pump();
    }

    fn tell_server(&mut self, server: usize, rpc: ServerRpc) {
        let rpc = Box::new(rpc);
        self.send(Node::Meta, Node::Server(server), Event::Server { server, rpc });
    }

    /// It is time to try again.
    pub fn meta_retry(&mut self, epoch: u64) {
        if self.meta.epoch == epoch
            && let Some(running) = self.running()
        {
            running.retrying = false;
            self.try_rpcs();
        }
    }

    fn try_rpcs(&mut self) {
        let Some(running) = self.running() else { return };
        let (version, fences) = running.coordinator.fences();
        let rpcs: Vec<RpcKey> = running.rpcs.iter().copied().collect();
        let first = !rpcs.is_empty() && !std::mem::replace(&mut running.retrying, true);
        for key in rpcs {
            match key {
                RpcKey::Fence(server, victim) => {
                    self.reach(Transition::FenceSent);
                    self.tell_server(server, ServerRpc::Fence { victim, version, fences: fences.clone() });
                }
                RpcKey::Drain(server, stamp, sequence) => {
                    self.tell_server(server, ServerRpc::Drain { stamp, sequence });
                }
                RpcKey::Truncate(server, operation) => {
                    let Some(cutting) = self.running().and_then(|r| r.cuttings.get(&operation)) else { continue };
                    let Intent { file, size, .. } = cutting.intent;
                    self.tell_server(server, ServerRpc::Truncate { operation, file, size });
                }
            }
        }
        if first {
            self.after(RETRY_US, Event::MetaRetry { epoch: self.meta.epoch });
        }
    }

    // ---- What the coordinator wants

    /// The coordinator is called.
    pub fn meta_timer(&mut self, epoch: u64) {
        if self.meta.epoch != epoch || !self.meta.is_up() {
            return;
        }
        let now_ms = self.meta_ms();
        let waived = {
            let running = self.running().expect("it is up");
            running.timer_at = None;
            let before = running.coordinator.burials();
            running.coordinator.handle_timeout(now_ms);
            running.coordinator.burials() < before
        };
        if waived {
            self.reach(Transition::FencedByLapse);
        }
        self.meta_pump();
    }

    fn meta_pump(&mut self) {
        let now_ms = self.meta_ms();
        while let Some(action) = self.running().and_then(|running| running.coordinator.poll_action(now_ms)) {
            self.act(action);
        }
        let epoch = self.meta.epoch;
        let Some(running) = self.running() else { return };
        let wanted = running.coordinator.poll_timeout();
        let Some(wanted) = wanted else { return };
        // What is overdue is looked at again soon, and not at once for ever.
        let at = self.when(Node::Meta, wanted.max(now_ms + 1));
        let running = self.running().expect("it is up");
        if running.timer_at.is_none_or(|planned| at < planned) {
            running.timer_at = Some(at);
            self.at(at, Event::MetaTimer { epoch });
        }
    }

    fn act(&mut self, action: Action<ServerMessage>) {
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match action {
            Action::Send { to, number, message } => {
                if let Some((connection, _)) = running.connection_of.get(&to).copied() {
                    self.send_down(connection, ServerFrame::Message(number, message));
                }
            }
            Action::Cut(client) => {
                if let Some((connection, _)) = running.connection_of.remove(&client) {
                    self.close_at_meta(connection);
                }
            }
            Action::Tokens(action) => self.act_on_tokens(action),
            Action::Reasserted(client) => self.say(client, ServerMessage::Reasserted),
            Action::Record(victim) => {
                self.note(|| format!("M gives {victim:?} up"));
                self.stats.reach(Transition::Record);
                let now_ms = self.clock(Node::Meta);
                let heard_ms = self.running().map(|running| running.heard_ms.clone()).unwrap_or_default();
                match victim {
                    Victim::Group(_) => self.reach(Transition::StuckGroup),
                    Victim::Client(client) => {
                        if heard_ms.get(&client).is_some_and(|heard| now_ms - heard < TERMS.lease_ms) {
                            self.reach(Transition::StuckClient);
                        }
                    }
                }
                self.write(DiskDone::Victim(victim));
            }
            Action::Fence { server, victim } => {
                running.rpcs.insert(RpcKey::Fence(server_number(server), victim));
                self.try_rpcs();
            }
            Action::Drain { server, stamp, sequence } => {
                self.stats.reach(Transition::Drain);
                running.rpcs.insert(RpcKey::Drain(server_number(server), stamp, sequence));
                self.try_rpcs();
            }
            Action::Freed(victim) => self.freed(victim),
            Action::MemberLost { group, member, tell } => {
                self.reach(Transition::MemberLost);
                for to in tell {
                    self.say(to, ServerMessage::MemberLost { group, member });
                }
            }
            Action::GroupLost { group, tell } => {
                let now_ms = self.meta_ms();
                let Some(running) = self.running() else { return };
                for to in tell {
                    running.coordinator.send_group_lost(to, group, ServerMessage::GroupLost(group), now_ms);
                }
            }
            Action::GraceOver => {
                let boot = running.coordinator.boot();
                self.note(|| "M ends the grace".into());
                self.stats.reach(Transition::GraceOver);
                self.earlier_boots_are_over(boot);
                for (client, number, call) in std::mem::take(&mut self.running().expect("it is up").early_calls) {
                    self.call(client, number, call);
                }
            }
        }
    }

    fn freed(&mut self, victim: Victim) {
        self.note(|| format!("M frees {victim:?}"));
        self.holders_changed = true;
        self.meta.freed.insert(victim);
        self.the_freed_have_stopped(victim);
        let Some(running) = self.running() else { return };
        running.rpcs.retain(|key| !matches!(key, RpcKey::Fence(_, v) if *v == victim));
        if let Victim::Client(client) = victim {
            running.asks.values_mut().for_each(|ask| {
                ask.missing.remove(&client);
            });
            running.rpcs.retain(|key| !matches!(key, RpcKey::Drain(_, stamp, _) if stamp.incarnation == client));
            self.end_writes_of(client);
            self.reach(Transition::FreedClient);
        } else {
            self.reach(Transition::FreedGroup);
        }
        self.answer_asks();
        self.write(DiskDone::Freed(victim));
    }

    fn act_on_tokens(&mut self, action: ManagerAction) {
        let step = self.stats.steps;
        let Some(running) = self.meta.running.as_deref_mut() else { return };
        match action {
            ManagerAction::Grant { to, grant } => {
                let size = running.sizes[file_number(grant.file)].get();
                // The request of a set is another client's.
                let own = grant.set.is_none().then_some((to, grant.request));
                let asked = own.and_then(|own| running.asked.remove(&own));
                self.count_grant(&grant, asked.as_ref(), step);
                if let Some(asked) = asked {
                    self.is_granted_in_order(to, &asked);
                }
                self.note(|| {
                    let Grant { holder, file, mode, ranges, sequence, .. } = &grant;
                    format!("M grants {holder} {mode} {ranges:?} of {file}, #{sequence}, to {to}")
                });
                self.say(to, ServerMessage::Grant(grant, size));
            }
            ManagerAction::Revoke { to, revoke } => {
                self.reach(if revoke.downgrade { Transition::RevokeDowngrade } else { Transition::RevokeFull });
                if matches!(revoke.holder, Holder::Group(_)) {
                    self.reach(Transition::RevokeOfGroup);
                }
                if revoke.covers_sequence > 0 {
                    self.reach(Transition::RevokeCovers);
                }
                self.note(|| {
                    let Revoke { revoke, holder, file, range, downgrade, .. } = &revoke;
                    let how = if *downgrade { " down to shared" } else { "" };
                    format!("M revokes {range:?} of {file} from {holder}{how}, {revoke}, at {to}")
                });
                self.say(to, ServerMessage::Revoke(revoke));
            }
            ManagerAction::Refused { to, request, refusal } => {
                running.asked.remove(&(to, request));
                let cancelled = refusal == Refusal::Cancelled;
                self.reach(if cancelled { Transition::RefusalCancelled } else { Transition::Refusal });
                self.note(|| format!("M refuses {request} of {to}: {refusal}"));
                self.say(to, ServerMessage::Refused(request));
            }
            ManagerAction::ManagerGranted { operation, .. } => self.cut_is_granted(operation),
        }
    }

    /// [`Invariant::RequestsAreGrantedInOrder`]. The requests of clients that are given up wait for nothing any more.
    fn is_granted_in_order(&mut self, to: ClientId, granted: &Asked) {
        let Some(running) = self.running() else { return };
        let before = |((client, _), asked): &(&(ClientId, RequestId), &Asked)| {
            asked.arrival < granted.arrival && running.coordinator.is_live(*client) && asked.conflicts(granted)
        };
        if let Some(((client, request), asked)) = running.asked.iter().find(before) {
            let text = format!(
                "{to} was granted {:?} of {} for {} before {request} of {client} for {}, which came earlier",
                granted.ranges, granted.file, granted.holder, asked.holder
            );
            self.violate(Invariant::RequestsAreGrantedInOrder, text);
        }
    }

    fn count_grant(&mut self, grant: &Grant, asked: Option<&Asked>, step: u64) {
        let hull = grant.ranges.iter().copied().reduce(Extent::hull);
        if grant.collective {
            self.reach(Transition::GrantCollective);
        }
        if grant.set.is_some() {
            self.reach(Transition::GrantSet);
        }
        if let (Some(asked), Some(hull)) = (asked, hull) {
            let at_once = asked.step == step;
            self.reach(if at_once { Transition::GrantImmediate } else { Transition::GrantAfterWait });
            if hull.len() > asked.required.len() {
                let unlimited = hull.end() == pfs_core::extent::INFINITY;
                self.reach(if unlimited { Transition::GrantUnlimited } else { Transition::GrantWidened });
            }
            if grant.ranges.len() == 1 && asked.required.len() > 100_000 && hull.len() < u64::MAX / 2 {
                self.reach(Transition::GrantHull);
            }
        }
    }

    // ---- Rest

    /// Whether nobody waits for anything here.
    pub fn meta_is_quiet(&self) -> bool {
        let Some(running) = &self.meta.running else { return false };
        !running.coordinator.in_grace()
            && running.coordinator.tokens().counters().waiting == 0
            && running.coordinator.burials() == 0
            && running.rpcs.is_empty()
            && running.cuttings.is_empty()
            && running.asks.is_empty()
    }

    /// Why somebody waits.
    pub fn meta_unrest(&self) -> String {
        let Some(running) = &self.meta.running else { return "the metadata server is down".into() };
        if self.meta_is_quiet() {
            return String::new();
        }
        let waiting = running.coordinator.tokens().counters().waiting;
        format!(
            "at the metadata server: grace {}, {waiting} requests wait, {} burials, to be confirmed {:?}, {} truncations, {} sizes",
            running.coordinator.in_grace(),
            running.coordinator.burials(),
            running.rpcs,
            running.cuttings.len(),
            running.asks.len(),
        )
    }

    /// Whether a size that was given is right.
    pub fn check_size(&mut self, file: usize, size: FileSize, began: u64) {
        if let Err(text) = self.model.size(file, size.bytes, began, self.now) {
            self.violate(Invariant::SizesAreExact, text);
        }
    }
}

impl Store {
    fn open(&mut self) -> OpenId {
        self.next_number += 1;
        OpenId::new(self.next_number).expect("counts from 1")
    }
}
