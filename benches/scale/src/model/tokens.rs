//! Token traffic of jobs of any size, counted at the real manager and the real holders.
//!
//! Every rank has a holder of its own, or all are one group. Messages arrive at once and in order; ranks take turns by chance,
//! from a seed, so counts come out the same each time.

use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::holder::{HolderAction, TokenHolder};
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{Acquire, FileSize, Mode};
use serde::Serialize;
use std::time::Instant;

/// What ranks do of whose job the traffic is told.
const TOLD: Accesses = Accesses { each: 8, bytes: 47_008 };
/// Orders of first writes that a count is the mean of.
const ORDERS: u64 = 20;
/// Ranks whose messages are timed.
const TIMED_RANKS: usize = 1000;

/// What each rank does.
#[derive(Clone, Copy, Debug)]
pub struct Accesses {
    /// How many.
    pub each: u64,
    /// Bytes of one.
    pub bytes: u64,
}

/// How ranks write one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// Opened together, written by collective calls.
    Collective,
    /// Every rank by itself, all of its segment in one piece behind the other.
    Segments,
    /// Every rank by itself, pieces of all ranks in turns.
    Interleaved,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 3] = [Pattern::Collective, Pattern::Segments, Pattern::Interleaved];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Collective => "collective",
            Pattern::Segments => "each alone, own segments",
            Pattern::Interleaved => "each alone, interleaved",
        }
    }
}

/// What a job's first writes cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// How they write.
    pub pattern: Pattern,
    /// Ranks.
    pub ranks: usize,
    /// Requests, each answered by a grant.
    pub requests: u64,
    /// Revokes, each answered by an ack.
    pub revokes: u64,
}

/// For powers of ten of ranks.
pub fn all(most: usize) -> Vec<Traffic> {
    let mut all = Vec::new();
    for pattern in Pattern::ALL {
        for ranks in std::iter::successors(Some(1), |ranks| Some(ranks * 10)).take_while(|ranks| *ranks <= most) {
            eprintln!("tokens: {}, {ranks} ranks", pattern.name());
            all.push(traffic(pattern, ranks, TOLD, 1));
        }
    }
    all
}

/// Mean requests and revokes of so many clients that each write a segment in so many calls of a length, as `pfs-scale hosts`
/// has them.
pub fn first_writes(clients: usize, accesses: Accesses) -> (f64, f64) {
    let all: Vec<Traffic> = (1..=ORDERS).map(|seed| traffic(Pattern::Segments, clients, accesses, seed)).collect();
    let mean = |count: fn(&Traffic) -> u64| all.iter().map(count).sum::<u64>() as f64 / ORDERS as f64;
    (mean(|traffic| traffic.requests), mean(|traffic| traffic.revokes))
}

/// Seconds that the manager takes for one message, on this machine.
pub fn message_seconds() -> f64 {
    let mut job = Job::new(TIMED_RANKS);
    let started = Instant::now();
    job.write(Pattern::Interleaved, TOLD, 1);
    let counters = job.manager.counters();
    // The holders' own time is in it too.
    started.elapsed().as_secs_f64() / (2 * counters.requests + 2 * counters.revokes) as f64
}

fn traffic(pattern: Pattern, ranks: usize, accesses: Accesses, seed: u64) -> Traffic {
    let mut job = Job::new(ranks);
    match pattern {
        Pattern::Collective => job.collective(accesses),
        _ => job.write(pattern, accesses, seed),
    }
    let counters = job.manager.counters();
    Traffic { pattern, ranks, requests: counters.requests, revokes: counters.revokes }
}

/// A manager and the holders of one file.
struct Job {
    manager: TokenManager,
    holders: Vec<TokenHolder>,
    file: FileId,
    last_request: u64,
}

impl Job {
    fn new(ranks: usize) -> Job {
        let (boot, file) = (Boot::new(1).expect("not 0"), FileId::new(1).expect("not 0"));
        let mut manager = TokenManager::new(boot);
        let size = FileSize { generation: 1, bytes: 0 };
        let mut holders = Vec::new();
        for rank in 0..ranks {
            let holder = Holder::Client(client(rank));
            manager.add_client(client(rank));
            manager.open(holder, file, OpenId::new(rank as u64 + 1).expect("counts from 1"));
            holders.push(TokenHolder::new(holder, file, boot, size, true));
        }
        Job { manager, holders, file, last_request: 0 }
    }

    /// All ranks make all of their accesses, whose turn it is by chance.
    fn write(&mut self, pattern: Pattern, accesses: Accesses, seed: u64) {
        let Accesses { each, bytes } = accesses;
        let ranks = self.holders.len() as u64;
        let mut left: Vec<(usize, u64)> = (0..self.holders.len()).map(|rank| (rank, 0)).collect();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while !left.is_empty() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let place = ((random >> 16) % left.len() as u64) as usize;
            let (rank, access) = left[place];
            let number = match pattern {
                Pattern::Interleaved => access * ranks + rank as u64,
                _ => rank as u64 * each + access,
            };
            self.access(rank, Extent::new(number * bytes, (number + 1) * bytes).expect("has bytes"));
            if access + 1 == each {
                left.swap_remove(place);
            } else {
                left[place].1 += 1;
            }
        }
    }

    /// One access of a rank from begin to end.
    fn access(&mut self, rank: usize, extent: Extent) {
        let last = &mut self.last_request;
        let operation =
            self.holders[rank].begin(Mode::Exclusive, [extent][..].into(), Some(Extent::ALL), || next(last));
        self.settle(rank);
        let last = &mut self.last_request;
        self.holders[rank].end(operation, || next(last));
        self.settle(rank);
    }

    /// Passes messages on until there are none; `rank` is the only one that may have something to say.
    fn settle(&mut self, rank: usize) {
        self.listen(rank);
        while let Some(action) = self.manager.poll_action() {
            let to = match action {
                ManagerAction::Grant { to, grant } => {
                    self.holders[place(to)].handle_grant(&grant);
                    to
                }
                ManagerAction::Revoke { to, revoke } => {
                    self.holders[place(to)].handle_revoke(revoke);
                    to
                }
                other => unreachable!("nothing is refused or truncated here: {other:?}"),
            };
            self.listen(place(to));
        }
    }

    /// What a holder wants done.
    fn listen(&mut self, rank: usize) {
        while let Some(action) = self.holders[rank].poll_action() {
            match action {
                HolderAction::Request(acquire) => self.manager.handle_acquire(client(rank), acquire),
                HolderAction::Ack(ack) => self.manager.handle_ack(client(rank), &ack),
                HolderAction::WriteBack { revoke, .. } => {
                    let last = &mut self.last_request;
                    self.holders[rank].written_back(revoke, || next(last));
                }
                HolderAction::Ready(_) | HolderAction::Cancel(_) => {}
            }
        }
    }

    /// One rank asks for all, once: what it gets covers every later collective too.
    fn collective(&mut self, accesses: Accesses) {
        let Accesses { each, bytes } = accesses;
        let (group, ranks) = (GroupId::new(1).expect("not 0"), self.holders.len());
        self.manager.add_group(group, (0..ranks).map(client).collect());
        let holder = Holder::Group(group);
        self.manager.open(holder, self.file, OpenId::new(u64::MAX).expect("not 0"));
        let required = RangePattern::new(0, bytes, bytes, ranks as u64 * each).expect("a possible range");
        let (request, file) = (next(&mut self.last_request), self.file);
        let desired = Some(Extent::ALL);
        let mode = Mode::Exclusive;
        let acquire = Acquire { request, holder, file, mode, required: vec![required], desired, collective: true };
        self.manager.handle_acquire(client(0), acquire);
        while self.manager.poll_action().is_some() {}
    }
}

fn next(last: &mut u64) -> RequestId {
    *last += 1;
    RequestId::new(*last).expect("counts from 1")
}

fn client(rank: usize) -> ClientId {
    ClientId::new(rank as u64 + 1).expect("counts from 1")
}

fn place(client: ClientId) -> usize {
    usize::try_from(client.get() - 1).expect("a rank")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collective_asks_once_whatever_its_size() {
        for ranks in [1, 10, 1000] {
            let Traffic { requests, revokes, .. } = traffic(Pattern::Collective, ranks, TOLD, 1);
            assert_eq!((requests, revokes), (1, 0));
        }
    }

    /// The first of many gets all and gives way to the others, about once for each rank. Grants widen after accesses that met no
    /// conflict, so a part of the accesses asks for nothing.
    #[test]
    fn segments_of_many_cost_a_few_messages_each() {
        let one = traffic(Pattern::Segments, 1, TOLD, 1);
        assert_eq!((one.requests, one.revokes), (1, 0), "the sole user gets all of the file");
        let many = traffic(Pattern::Segments, 100, TOLD, 1);
        assert!(many.requests < 100 * TOLD.each * 2 / 3 && many.revokes < 150, "{many:?}");
    }
}
