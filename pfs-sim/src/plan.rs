//! What a seed stands for: how many there are of each, how they access files, and what goes wrong when.
//!
//! Faults are drawn before the schedule begins, from a sequence of their own. So one of them can be left out and the
//! others stay what they are: that is how a failing schedule is made shorter.

use crate::rng::Rng;

/// Microseconds in a millisecond.
pub const MS: u64 = 1000;

/// When accesses end and everything is healed.
pub const WORK_ENDS_US: u64 = 3600 * MS;

/// A machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The metadata server.
    Meta,
    /// A file server, from 0.
    Server(usize),
    /// A client, from 0.
    Client(usize),
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Node::Meta => f.write_str("M"),
            Node::Server(server) => write!(f, "S{}", server + 1),
            Node::Client(client) => write!(f, "C{}", client + 1),
        }
    }
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing gets through between two nodes.
    Partition(Node, Node),
    /// Nothing gets to or from a node.
    Isolate(Node),
    /// A client's connection to the metadata server breaks.
    Cut(usize),
    /// A node stands still.
    Pause(Node),
    /// A node ends at once and comes back.
    Crash(Node),
    /// Messages are slow, repeated and out of order.
    Storm,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at_us: u64,
    /// How long it lasts.
    pub for_us: u64,
    /// What it is.
    pub kind: FaultKind,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.for_us / MS;
        match self.kind {
            FaultKind::Partition(a, b) => write!(f, "{a} and {b} are cut off from each other for {ms} ms"),
            FaultKind::Isolate(node) => write!(f, "{node} is cut off from all for {ms} ms"),
            FaultKind::Cut(client) => write!(f, "C{}'s connection breaks", client + 1),
            FaultKind::Pause(node) => write!(f, "{node} stands still for {ms} ms"),
            FaultKind::Crash(node) => write!(f, "{node} crashes and is back in {ms} ms"),
            FaultKind::Storm => write!(f, "the network is slow and repeats itself for {ms} ms"),
        }
    }
}

/// How a client accesses files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Independent accesses go through the block cache.
    pub cached: bool,
    /// Thousandths of its independent accesses that write.
    pub writes: u64,
    /// Milliseconds between two accesses, at most.
    pub think_ms_max: u64,
}

/// One schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Of each client.
    pub clients: Vec<Habits>,
    /// Number of file servers.
    pub servers: usize,
    /// The first so many clients open a file together.
    pub group: usize,
    /// The group's ranks are holders of their own, too: collectives ask by sets.
    pub atomic: bool,
    /// What goes wrong, by time.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed, without the faults of these numbers.
    pub fn new(seed: u64, without: &[usize]) -> Self {
        let mut rng = Rng::new(seed, 1);
        let clients = 3 + usize::from(rng.chance(350)) + usize::from(rng.chance(100));
        let servers = 2 + usize::from(rng.chance(250));
        let group = [0, 2, 2, 3][rng.below(4) as usize];
        let habits = (0..clients).map(|_| Habits {
            cached: rng.chance(550),
            writes: rng.between(300, 800),
            think_ms_max: rng.pick(&[30, 80, 200]),
        });
        let clients: Vec<Habits> = habits.collect();
        let atomic = rng.chance(500);
        let mut rng = Rng::new(seed, 2);
        let count = if seed.is_multiple_of(10) { 0 } else { 1 + rng.below(5) };
        let mut faults: Vec<Fault> = (0..count).map(|_| fault(&mut rng, clients.len(), servers)).collect();
        faults.sort_by_key(|fault| fault.at_us);
        let keep = |(number, fault): (usize, Fault)| (!without.contains(&number)).then_some(fault);
        let faults = faults.into_iter().enumerate().filter_map(keep).collect();
        Plan { seed, clients, servers, group, atomic, faults }
    }

    /// When the metadata server is back, if it crashes soon.
    pub fn restart_soon_after(&self, now: u64) -> Option<u64> {
        let soon =
            |fault: &&Fault| fault.kind == FaultKind::Crash(Node::Meta) && (now..now + 400 * MS).contains(&fault.at_us);
        self.faults.iter().find(soon).map(|fault| fault.at_us + fault.for_us)
    }
}

fn fault(rng: &mut Rng, clients: usize, servers: usize) -> Fault {
    let client = |rng: &mut Rng| rng.below(clients as u64) as usize;
    let server = |rng: &mut Rng| Node::Server(rng.below(servers as u64) as usize);
    let any = |rng: &mut Rng| match rng.below(10) {
        0 => Node::Meta,
        1..4 => server(rng),
        _ => Node::Client(client(rng)),
    };
    let kind = match rng.below(100) {
        0..14 => FaultKind::Partition(Node::Client(client(rng)), Node::Meta),
        14..24 => FaultKind::Partition(Node::Client(client(rng)), server(rng)),
        24..33 => FaultKind::Partition(server(rng), Node::Meta),
        33..41 => FaultKind::Isolate(any(rng)),
        41..47 => FaultKind::Cut(client(rng)),
        47..62 => FaultKind::Pause(any(rng)),
        62..70 => FaultKind::Crash(Node::Client(client(rng))),
        70..80 => FaultKind::Crash(server(rng)),
        80..94 => FaultKind::Crash(Node::Meta),
        _ => FaultKind::Storm,
    };
    let for_ms = match rng.below(4) {
        0 => rng.between(5, 100),
        1 => rng.between(100, 900),
        2 => rng.between(900, 1600),
        _ => rng.between(1600, 3000),
    };
    Fault { at_us: rng.between(100, 3200) * MS, for_us: for_ms * MS, kind }
}
