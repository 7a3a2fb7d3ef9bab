//! What the world is like at one moment, as small as it can be said.
//!
//! # Invariants
//! * everything is of a fixed size and copied: a state is a value;
//! * [`State::canonical`] gives all states that differ only by the names of clients, the names of servers or the age of
//!   what was written one form, so each is visited once.

use crate::client::{Client, Operation, Request, Step};
use crate::manager::{Manager, Phase, Record};
use crate::server::Server;
use std::hash::{Hash, Hasher};

/// The two blocks of the only file. Block `b` lies at server `b % S`.
pub const BLOCKS: usize = 2;

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Nothing: there is no token.
    #[default]
    None,
    /// To read.
    Shared,
    /// To read and write.
    Exclusive,
}

impl Mode {
    /// Whether two holders may not have these at the same time.
    pub fn conflicts(self, other: Mode) -> bool {
        self != Mode::None && other != Mode::None && (self == Mode::Exclusive || other == Mode::Exclusive)
    }
}

/// Something that must never happen and that the state after it does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Breach {
    /// A write was applied whose stamp's fence had been answered.
    WriteAfterFence = 1,
    /// A write was applied over a later one that had been completed or read.
    LateWrite = 2,
    /// A read returned bytes older than a write that was completed, or a read that had returned, before.
    StaleRead = 4,
    /// A token was granted after a restart while somebody could still have what the manager had forgotten.
    GrantInGrace = 8,
    /// What a client re-asserted conflicted with what another had.
    ConflictingReassertion = 16,
}

/// One moment. `C` clients, `S` file servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State<const C: usize, const S: usize> {
    /// The clients.
    pub clients: [Client<S>; C],
    /// The metadata server.
    pub manager: Manager<C>,
    /// The file servers.
    pub servers: [Server; S],
    /// Which write each block has. Later writes have greater numbers.
    pub disk: [u8; BLOCKS],
    /// The newest write of each block that somebody was told is there: it was completed, or read.
    pub seen: [u8; BLOCKS],
    /// Clients that were given up.
    pub deaths: u8,
    /// Starts of the metadata server after the first.
    pub restarts: u8,
    /// Breaches so far, as bits.
    pub breaches: u8,
}

impl<const C: usize, const S: usize> State<C, S> {
    /// Everybody is there, nobody has a token.
    pub fn new() -> Self {
        State {
            clients: [Client::new(); C],
            manager: Manager { boot: 0, grace: false, records: [Record::new(); C] },
            servers: [Server::new(); S],
            disk: [0; BLOCKS],
            seen: [0; BLOCKS],
            deaths: 0,
            restarts: 0,
            breaches: 0,
        }
    }

    /// Notes a breach.
    pub fn breach(&mut self, breach: Breach) {
        self.breaches |= breach as u8;
    }

    /// Whether there was such a breach.
    pub fn has(&self, breach: Breach) -> bool {
        self.breaches & breach as u8 != 0
    }

    /// The number of the next write.
    pub fn next_value(&self) -> u8 {
        let written = self.clients.iter().map(|client| client.value);
        written.chain(self.disk).chain(self.seen).max().unwrap_or(0) + 1
    }

    /// The one form for all states that are alike: from two such states the same events lead to states that are alike again,
    /// and a condition holds in both or in neither. Names of clients and servers do not matter, nor what a dead client
    /// believes, nor the numbers of writes and boots that nobody can compare any more. So the states are finite in
    /// number though there is no bound to the number of reads, writes and hand-overs.
    pub fn canonical(mut self) -> Self {
        self.forget_the_dead();
        self.renumber_writes();
        self.renumber_boots();
        let mut form = self.with_clients_sorted();
        if S == 2 {
            form = form.min(self.with_servers_swapped().with_clients_sorted());
        }
        form
    }

    /// Of a write's number only this matters: which of the writes that may still be applied are older. And what nobody was
    /// told is as if it was, if no write that may still be applied comes between.
    fn renumber_writes(&mut self) {
        let mut open = 0u32;
        self.clients.iter().filter(|client| client.writes()).for_each(|client| open |= 1 << client.value);
        for (disk, seen) in self.disk.iter().zip(&self.seen).filter(|(disk, seen)| disk < seen) {
            // A stale block stays one.
            open |= 1 << disk | 1 << seen;
        }
        let rank = |value: u8| (open & ((1 << value) - 1)).count_ones() as u8;
        for (disk, seen) in self.disk.iter_mut().zip(&mut self.seen) {
            (*disk, *seen) = (rank(*disk), rank(*seen));
        }
        for client in &mut self.clients {
            client.value = if client.writes() { rank(client.value) } else { 0 };
        }
    }

    /// What nobody asks for any more: a dead client's answers, its requests that are not under way where they will be refused,
    /// and, after the grace, whether a server was told of the boot.
    fn forget_the_dead(&mut self) {
        for (c, (client, record)) in self.clients.iter_mut().zip(&self.manager.records).enumerate() {
            if record.phase < Phase::Recorded || client.operation == Operation::Idle {
                continue;
            }
            for (request, server) in client.requests.iter_mut().zip(&self.servers) {
                let barred = record.phase == Phase::Freed && server.fences >> c & 1 == 1;
                if !request.is_open() || barred && request.step == Step::Waiting(0) {
                    *request = Request::default();
                }
            }
            client.end_doubt();
        }
        if !self.manager.grace {
            self.servers.iter_mut().for_each(|server| server.told = true);
        }
    }

    /// Of boots, too, only the order matters, and only of those that a server or a living client may still compare.
    fn renumber_boots(&mut self) {
        let mut used = 1u32 << self.manager.boot;
        self.servers.iter().for_each(|server| used |= 1 << server.floor);
        for (client, record) in self.clients.iter().zip(&self.manager.records) {
            if record.phase < Phase::Recorded {
                used |= 1 << client.boot;
            }
            client.requests.iter().filter(|request| request.is_open()).for_each(|request| used |= 1 << request.boot);
        }
        let rank = |boot: u8| (used & ((1 << boot) - 1)).count_ones() as u8;
        self.manager.boot = rank(self.manager.boot);
        self.servers.iter_mut().for_each(|server| server.floor = rank(server.floor));
        for client in &mut self.clients {
            client.boot = rank(client.boot);
            for request in client.requests.iter_mut().filter(|request| request.is_open()) {
                request.boot = rank(request.boot);
            }
        }
    }

    fn with_clients_sorted(mut self) -> Self {
        let mut keys: [u64; C] = std::array::from_fn(|c| self.packed_client(c));
        for end in (1..C).rev() {
            for c in 0..end {
                if keys[c] > keys[c + 1] {
                    keys.swap(c, c + 1);
                    self.swap_clients(c, c + 1);
                }
            }
        }
        self
    }

    /// All about one client in one number.
    fn packed_client(&self, c: usize) -> u64 {
        let (client, record) = (&self.clients[c], &self.manager.records[c]);
        let mut bits = Bits::default();
        bits.push(client.suspended as u8, 1).push(client.boot, 2).push(client.token as u8, 2);
        bits.push(client.revoked as u8, 2).push(client.operation as u8, 2).push(client.value, 3);
        bits.push(record.phase as u8, 3).push(record.token as u8, 2).push(record.asked as u8, 2);
        bits.push(record.held as u8, 2).push(record.wish as u8, 2).push(record.place, 2).push(record.missing, 2);
        for (request, server) in client.requests.iter().zip(&self.servers) {
            bits.push(request.step.number(), 3).push(request.boot, 2).push(server.fences >> c & 1, 1);
        }
        bits.0
    }

    /// All that is about no client in one number.
    fn packed_rest(&self) -> u64 {
        let mut bits = Bits::default();
        bits.push(self.manager.boot, 2).push(self.manager.grace as u8, 1);
        for server in &self.servers {
            bits.push(server.serving as u8, 1).push(server.floor, 2).push(server.told as u8, 1).push(server.crashes, 2);
        }
        self.disk.iter().chain(&self.seen).for_each(|value| {
            bits.push(*value, 3);
        });
        bits.push(self.deaths, 2).push(self.restarts, 2).push(self.breaches, 5);
        bits.0
    }

    fn swap_clients(&mut self, a: usize, b: usize) {
        self.clients.swap(a, b);
        self.manager.records.swap(a, b);
        for server in &mut self.servers {
            let differ = (server.fences >> a ^ server.fences >> b) & 1;
            server.fences ^= differ << a | differ << b;
        }
    }

    fn with_servers_swapped(mut self) -> Self {
        self.servers.swap(0, 1);
        self.disk.swap(0, 1);
        self.seen.swap(0, 1);
        for client in &mut self.clients {
            client.requests.swap(0, 1);
        }
        for record in &mut self.manager.records {
            record.missing = record.missing >> 1 & 1 | (record.missing & 1) << 1;
        }
        self
    }
}

/// Two states that are alike hash alike, and a hash of few words is what most of the time goes to.
impl<const C: usize, const S: usize> Hash for State<C, S> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (0..C).for_each(|c| hasher.write_u64(self.packed_client(c)));
        hasher.write_u64(self.packed_rest());
    }
}

/// Numbers side by side.
#[derive(Default)]
struct Bits(u64);

impl Bits {
    fn push(&mut self, value: u8, width: u32) -> &mut Self {
        debug_assert!(u32::from(value) < 1 << width, "{value} needs more than {width} bits");
        self.0 = self.0 << width | u64::from(value);
        self
    }
}

impl<const C: usize, const S: usize> Default for State<C, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const S: usize> Client<S> {
    /// Whether it has a write that may still be applied.
    pub fn writes(&self) -> bool {
        matches!(self.operation, Operation::Write | Operation::Doubt)
    }
}
