//! The metadata server: a shell around the coordinator, as thin as the real one, and a store that survives it.
//!
//! What the store holds: the counters of boots and clients, sessions, recorded deaths and group fences, file servers,
//! sizes, intents to truncate, and the answers of changes. Everything is written some time before it is relied on: the
//! shell goes on when the write has come back.

mod actions;
mod calls;
mod connections;
mod message;
mod rpc;

pub use message::{Call, ClientFrame, ClientMessage, DiskDone, MetaRpc, Reply, ServerFrame, ServerMessage};

use crate::file_server::ServerRpc;
use crate::invariants::Invariant;
use crate::model::WriteId;
use crate::plan::{MS, Node};
use crate::world::{Event, FILES, GRACE_MS, REVOKE_TIMEOUT_MS, TERMS, World};
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, ServerId, Stamp};
use pfs_core::session::coordinator::{Coordinator, Victim};
use pfs_core::token::message::{FileSize, Mode};
use pfs_core::token::size::KnownSize;
use std::collections::{BTreeMap, BTreeSet};

/// Microseconds between two attempts at what a file server has not confirmed.
const RETRY_US: u64 = 60 * MS;
/// Requests for more ranges are not compared with others.
const RANGES_COMPARED_MAX: u64 = 64;

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
            DiskDone::Client { id, client, life, sent_ms } => {
                store.clients.insert(id);
                running.coordinator.activate(id, now_ms);
                let boot = running.coordinator.boot();
                let event = Event::ClientRegistered { client, life, id, boot, sent_ms };
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
    fn has_recorded(&self, victim: Victim) -> bool {
        match victim {
            Victim::Client(client) => self.dead.contains(&client),
            Victim::Group(group) => self.groups.contains_key(&group),
        }
    }

    fn open(&mut self) -> OpenId {
        self.next_number += 1;
        OpenId::new(self.next_number).expect("counts from 1")
    }
}
