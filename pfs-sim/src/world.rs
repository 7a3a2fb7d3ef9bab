//! The world: a virtual clock, a queue of events, and the nodes that they happen to.

mod clock;
mod event;

pub use event::Event;

use crate::client::Client;
use crate::collective::Collectives;
use crate::file_server::{FileServer, OpenDoubt};
use crate::invariants::Invariant;
use crate::metadata::Meta;
use crate::model::{Model, WriteId};
use crate::network::Network;
use crate::plan::{FaultKind, MS, Node, Plan, WORK_ENDS_US};
use crate::rng::Rng;
use crate::transitions::{Stats, Transition};
use clock::Clock;
use event::{Queued, kind_of, node_of};
use pfs_core::ids::ClientId;
use pfs_core::session::Terms;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// Leases and heartbeats of this world.
pub const TERMS: Terms = Terms { lease_ms: 1000, heartbeat_ms: 250 };
/// How long a restarted metadata server waits for clients.
pub const GRACE_MS: u64 = 2200;
/// How long a holder may keep others waiting without getting on.
pub const REVOKE_TIMEOUT_MS: u64 = 2500;
/// How long a session outlives its connection.
pub const PATIENCE_MS: u64 = 4000;
/// By then everything must have been answered, and everybody be at rest.
const QUIET_BY_US: u64 = WORK_ENDS_US + 14_000 * MS;
/// Files of the world: one that all share, and the one that the group has opened.
pub const FILES: usize = 2;
/// Events after which a schedule is taken for endless.
const STEPS_MAX: u64 = 200_000;
/// Events that a trace keeps.
const TRACE_MAX: usize = 4000;
/// What was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant does not hold.
    pub invariant: Invariant,
    /// Why.
    pub text: String,
    /// When.
    pub at_us: u64,
}

/// One world, in the middle of one schedule.
pub struct World {
    /// Microseconds since the beginning.
    pub now: u64,
    /// What the seed stands for.
    pub plan: Plan,
    /// Dice for everything but the plan.
    pub rng: Rng,
    /// What the bytes may be.
    pub model: Model,
    /// What was reached.
    pub stats: Stats,
    /// Connections and partitions.
    pub net: Network,
    /// The metadata server.
    pub meta: Meta,
    /// The file servers.
    pub servers: Vec<FileServer>,
    /// The clients.
    pub clients: Vec<Client>,
    /// Collective accesses under way.
    pub collectives: Collectives,
    /// Writes of unknown outcome that may still be applied.
    pub open_doubts: Vec<OpenDoubt>,
    /// Writes that were in the memory of sessions that are over.
    pub lost_writes: BTreeMap<ClientId, Vec<WriteId>>,
    /// Who writes under the name of which session.
    pub writers: BTreeMap<ClientId, usize>,
    /// Nothing new is begun, and nothing fails any more.
    pub healed: bool,
    /// Holders, fences or leases have changed in this step.
    pub holders_changed: bool,
    clocks: BTreeMap<Node, Clock>,
    paused: BTreeMap<Node, u64>,
    storm_until: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    violation: Option<Violation>,
    trace: Option<VecDeque<(u64, String)>>,
    hash: u64,
}

impl World {
    /// A world at its beginning.
    pub fn new(plan: Plan, traced: bool) -> Self {
        let mut rng = Rng::new(plan.seed, 3);
        let mut nodes = vec![Node::Meta];
        nodes.extend((0..plan.servers).map(Node::Server));
        nodes.extend((0..plan.clients.len()).map(Node::Client));
        let clock = |rng: &mut Rng| Clock { offset_ms: rng.below(50_000), rate_ppm: 995_000 + rng.between(0, 10_000) };
        let clocks = nodes.iter().map(|node| (*node, clock(&mut rng))).collect();
        let mut world = World {
            now: 0,
            model: Model::new(FILES),
            stats: Stats::default(),
            net: Network::default(),
            meta: Meta::new(),
            servers: (0..plan.servers).map(FileServer::new).collect(),
            clients: plan.clients.iter().map(|habits| Client::new(*habits)).collect(),
            collectives: Collectives::default(),
            open_doubts: Vec::new(),
            lost_writes: BTreeMap::new(),
            writers: BTreeMap::new(),
            healed: false,
            holders_changed: false,
            clocks,
            paused: BTreeMap::new(),
            storm_until: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            violation: None,
            trace: traced.then(VecDeque::new),
            hash: plan.seed,
            plan,
            rng,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.at(0, Event::MetaStart { epoch: 0 });
        for server in 0..self.servers.len() {
            self.at(10 + server as u64, Event::ServerStart { server, instance: 0 });
        }
        for client in 0..self.clients.len() {
            self.at(2 * MS + client as u64, Event::ClientStart { client, life: 0 });
        }
        for number in 0..self.plan.faults.len() {
            self.at(self.plan.faults[number].at_us, Event::Fault { number });
        }
        self.at(WORK_ENDS_US, Event::Heal);
    }

    /// Runs the schedule to its end, or to the first violation.
    pub fn run(&mut self) -> Option<Violation> {
        while self.violation.is_none() {
            if !self.step() {
                break;
            }
        }
        if self.violation.is_none() {
            self.check_the_end();
        }
        self.violation.clone()
    }

    fn step(&mut self) -> bool {
        let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() else { return false };
        if self.healed && (at > QUIET_BY_US || self.is_quiet()) {
            return false;
        }
        self.now = at;
        if let Some(node) = node_of(&event)
            && let Some(until) = self.paused.get(&node).copied()
        {
            if until > self.now {
                self.at(until, event);
                return true;
            }
            self.paused.remove(&node);
        }
        self.stats.steps += 1;
        if self.stats.steps > STEPS_MAX {
            self.violate(Invariant::EverythingIsAnswered, format!("{STEPS_MAX} events, and no end"));
        }
        self.hash = (self.hash.rotate_left(5) ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind_of(&event);
        self.handle(event);
        self.check_the_step();
        true
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Frame { connection, up } => self.handle_frame(connection, up),
            Event::Accept { connection } => self.handle_accept(connection),
            Event::Connected { connection, made } => self.handle_connected(connection, made),
            Event::Broken { connection } => self.handle_broken(connection),
            Event::Arrive { from, to, event } => self.arrive(from, to, event),
            Event::ClientTimer { client, life } => self.client_timer(client, life),
            Event::ClientPump { client, life } => self.client_pump(client, life),
            Event::ClientWork { client, life } => self.client_work(client, life),
            Event::ClientStart { client, life } => self.client_start(client, life),
            Event::ClientRegistered { client, life, id, boot, sent_ms } => {
                self.client_registered(client, life, id, boot, sent_ms);
            }
            Event::DataSend { client, life, request } => self.data_send(client, life, request),
            Event::Data { server, instance, request } => self.server_data(server, instance, *request),
            Event::Answer { client, life, answer } => self.client_answer(client, life, *answer),
            Event::Mpi { client, life, message } => self.client_mpi(client, life, *message),
            Event::Meta { rpc } => self.meta_rpc(*rpc),
            Event::MetaDisk { epoch, done } => self.meta_disk(epoch, *done),
            Event::MetaTimer { epoch } => self.meta_timer(epoch),
            Event::MetaRetry { epoch } => self.meta_retry(epoch),
            Event::MetaStart { epoch } => self.meta_start(epoch),
            Event::Server { server, rpc } => self.server_rpc(server, *rpc),
            Event::ServerTimer { server, instance } => self.server_timer(server, instance),
            Event::ServerChunk { server, instance, operation } => self.server_chunk(server, instance, operation),
            Event::ServerStart { server, instance } => self.server_start(server, instance),
            Event::Fault { number } => self.fault(number),
            Event::Heal => self.heal(),
        }
    }

    // ---- Time

    /// Has an event happen at a time.
    pub fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued { at, sequence: self.sequence, event }));
    }

    /// Has an event happen so many microseconds from now.
    pub fn after(&mut self, us: u64, event: Event) {
        self.at(self.now + us, event);
    }

    /// What a node's clock shows, in milliseconds.
    pub fn clock(&self, node: Node) -> u64 {
        self.clocks[&node].at(self.now)
    }

    /// When a node's clock shows this many milliseconds; now if it has.
    pub fn when(&self, node: Node, ms: u64) -> u64 {
        self.clocks[&node].when(ms).max(self.now)
    }

    /// Until when a node stands still, if it does.
    pub fn paused_until(&self, node: Node) -> Option<u64> {
        self.paused.get(&node).copied().filter(|until| *until > self.now)
    }

    // ---- The network of datagrams

    /// How long a message is on its way.
    pub fn delay(&mut self) -> u64 {
        match self.rng.below(100) {
            _ if self.now < self.storm_until => self.rng.between(100, 120 * MS),
            0..3 => self.rng.between(MS, 40 * MS),
            _ => self.rng.between(40, 400),
        }
    }

    /// Whether the network repeats a message now, or changes the order.
    pub fn mischief(&mut self) -> bool {
        let per_mille = if self.now < self.storm_until { 80 } else { 2 };
        !self.plan.seed.is_multiple_of(10) && !self.healed && self.rng.chance(per_mille)
    }

    /// Sends a datagram: it arrives later, or never, and not in order.
    pub fn send(&mut self, from: Node, to: Node, event: Event) {
        let delay = self.delay();
        self.after(delay, Event::Arrive { from, to, event: Box::new(event) });
    }

    fn arrive(&mut self, from: Node, to: Node, event: Box<Event>) {
        if let Some(until) = self.net.blocked_until(from, to, self.now) {
            // Somebody repeats it when the way is free again, or nobody does.
            if self.rng.chance(500) {
                let late = if self.rng.chance(400) { self.rng.between(MS, 1200 * MS) } else { self.delay() };
                self.at(until + late, Event::Arrive { from, to, event });
            }
            return;
        }
        if let Some(until) = self.paused_until(to) {
            return self.at(until, Event::Arrive { from, to, event });
        }
        self.stats.delivered += 1;
        self.handle(*event);
    }

    // ---- Faults

    fn fault(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let fault = self.plan.faults[number];
        self.note(|| format!("--- fault {number}: {fault}"));
        let until = self.now + fault.for_us;
        match fault.kind {
            FaultKind::Partition(a, b) => self.net.block(a, Some(b), until),
            FaultKind::Isolate(node) => self.net.block(node, None, until),
            FaultKind::Cut(client) => self.cut_client(client),
            FaultKind::Pause(node) => {
                if let Node::Server(server) = node {
                    self.land_chunks(server);
                }
                // A shorter one inside does not end it: what waits for its end would come after what has just arrived.
                let until = self.paused.get(&node).map_or(until, |known| until.max(*known));
                self.paused.insert(node, until);
            }
            FaultKind::Crash(Node::Meta) => self.meta_crash(fault.for_us),
            FaultKind::Crash(Node::Server(server)) => self.server_crash(server, fault.for_us),
            FaultKind::Crash(Node::Client(client)) => self.client_crash(client, fault.for_us),
            FaultKind::Storm => self.storm_until = until,
        }
    }

    fn heal(&mut self) {
        self.note(|| "--- everything is healed, and nothing new is begun".into());
        self.healed = true;
        self.net.heal(self.now);
        self.storm_until = 0;
        let standing: Vec<Node> = self.paused.keys().copied().collect();
        for node in standing {
            // Events that wait for the end of the pause are in the queue for that time; it is over when they come.
            self.note(|| format!("{node} stood still until now or a little longer"));
        }
    }

    fn is_quiet(&self) -> bool {
        self.paused.values().all(|until| *until <= self.now)
            && self.meta_is_quiet()
            && self.servers.iter().all(FileServer::is_quiet)
            && self.clients.iter().all(Client::is_quiet)
            && self.collectives.is_empty()
    }

    fn check_the_end(&mut self) {
        if !self.is_quiet() {
            let text = self.what_is_not_quiet();
            return self.violate(Invariant::EverythingIsAnswered, text);
        }
        for server in 0..self.servers.len() {
            self.lose_unsynced(server, 1000);
        }
    }

    fn what_is_not_quiet(&self) -> String {
        let mut texts = vec![self.meta_unrest()];
        texts.extend(self.clients.iter().enumerate().map(|(client, state)| state.unrest(client)));
        texts.extend(self.servers.iter().filter_map(FileServer::unrest));
        if !self.collectives.is_empty() {
            texts.push("a collective has not ended".into());
        }
        texts.retain(|text| !text.is_empty());
        texts.join("; ")
    }

    // ---- What is found

    /// An invariant does not hold. The first one counts.
    pub fn violate(&mut self, invariant: Invariant, text: String) {
        if self.violation.is_none() {
            self.note(|| format!("VIOLATION: {invariant:?}: {text}"));
            self.violation = Some(Violation { invariant, text, at_us: self.now });
        }
    }

    /// Counts a transition.
    pub fn reach(&mut self, transition: Transition) {
        self.stats.reach(transition);
    }

    /// Writes a line of the trace, if there is one.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back((self.now, text()));
        }
    }

    /// The trace's lines.
    pub fn trace(&self) -> Vec<String> {
        let line = |(at, text): &(u64, String)| format!("{:>10.3} ms  {text}", *at as f64 / 1000.0);
        self.trace.iter().flatten().map(line).collect()
    }

    /// A number that two runs have in common only if they were the same.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
