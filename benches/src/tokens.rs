//! The token manager under load, in process: for the criterion bench and for `pfs-token-figures`.
//!
//! The load: one file, of which many holders have many exclusive ranges of equal length with a free range behind each. A
//! step is one acquire and one release of such a free range, at a place and by a holder that look random. The ranges
//! touch others on both sides, so nothing is at the table's edge, and no two holders' ranges may be joined.

use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{Ack, Acquire, Grant, Mode, Release, Revoke};

/// Bytes of one range.
pub const RANGE_BYTES: u64 = 4096;

/// A manager with one open file.
#[derive(Debug)]
pub struct Load {
    manager: TokenManager,
    file: FileId,
    holders: u64,
    live: u64,
    last_request: u64,
    random: u64,
}

impl Load {
    /// `holders` clients with `live` ranges in turns.
    pub fn new(holders: u64, live: u64) -> Load {
        let (boot, file) = (Boot::new(1).expect("not 0"), FileId::new(1).expect("not 0"));
        let mut manager = TokenManager::new(boot);
        for number in 1..=holders {
            manager.add_client(client(number));
            manager.open(Holder::Client(client(number)), file, OpenId::new(number).expect("counts from 1"));
        }
        let mut load = Load { manager, file, holders, live, last_request: 0, random: 88_172_645_463_325_252 };
        for range in 0..live {
            load.acquire(1 + range % holders, range * 2 * RANGE_BYTES);
        }
        load
    }

    /// Ranges in the manager's table.
    pub fn live_ranges(&self) -> u64 {
        self.manager.file_counters(self.file).live_ranges
    }

    /// One acquire and one release of a range that nobody has.
    pub fn pair(&mut self) {
        // Marsaglia's xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let of = 1 + (self.random >> 20) % self.holders;
        let start = ((self.random >> 8) % self.live.max(1)) * 2 * RANGE_BYTES + RANGE_BYTES;
        let sequence = self.acquire(of, start);
        let range = Extent::new(start, start + RANGE_BYTES).expect("has bytes");
        let holder = Holder::Client(client(of));
        let release = Release { holder, file: self.file, range, last_grant_sequence: sequence };
        self.manager.handle_release(client(of), &release);
    }

    /// Asks for a range, acks for everybody who is asked to give way, and returns the grant's sequence.
    pub fn acquire(&mut self, of: u64, start: u64) -> u64 {
        let required = RangePattern::new(start, RANGE_BYTES, RANGE_BYTES, 1).expect("a possible range");
        self.ask(Holder::Client(client(of)), vec![required], false);
        self.answer_revokes().sequence
    }

    /// All holders have the same range shared; one of them takes it for itself, and they share it again.
    pub fn write_what_all_read(&mut self, start: u64) {
        let required = RangePattern::new(start, RANGE_BYTES, RANGE_BYTES, 1).expect("a possible range");
        for of in 1..=self.holders {
            self.ask_in(Mode::Shared, Holder::Client(client(of)), vec![required], false);
            self.answer_revokes();
        }
        self.acquire(1, start);
    }

    /// A collective write of a group of all clients: one request, whatever the number of ranks and blocks.
    pub fn collective(&mut self, ranks: u64, blocks: u64) -> Acquire {
        let group = GroupId::new(1).expect("not 0");
        if self.manager.members(Holder::Group(group)).is_empty() {
            (1..=ranks).for_each(|rank| self.manager.add_client(client(rank)));
            self.manager.add_group(group, (1..=ranks).map(client).collect());
            self.manager.open(Holder::Group(group), self.file, OpenId::new(u64::MAX).expect("not 0"));
        }
        let required = RangePattern::new(0, RANGE_BYTES, 2 * RANGE_BYTES, ranks * blocks).expect("a possible range");
        let acquire = self.ask(Holder::Group(group), vec![required], true);
        self.answer_revokes();
        acquire
    }

    fn ask(&mut self, holder: Holder, required: Vec<RangePattern>, collective: bool) -> Acquire {
        self.ask_in(Mode::Exclusive, holder, required, collective)
    }

    fn ask_in(&mut self, mode: Mode, holder: Holder, required: Vec<RangePattern>, collective: bool) -> Acquire {
        self.last_request += 1;
        let request = RequestId::new(self.last_request).expect("counts from 1");
        let acquire = Acquire { request, holder, file: self.file, mode, required, desired: None, collective };
        let from = match holder {
            Holder::Client(client) => client,
            Holder::Group(_) => client(1),
        };
        self.manager.handle_acquire(from, acquire.clone());
        acquire
    }

    fn answer_revokes(&mut self) -> Grant {
        loop {
            match self.manager.poll_action() {
                Some(ManagerAction::Revoke { to, revoke }) => {
                    let Revoke { revoke, holder, file, range, .. } = revoke;
                    let ack = Ack { revoke, holder, file, released: vec![range], size: None, undrained: Vec::new() };
                    self.manager.handle_ack(to, &ack);
                }
                Some(ManagerAction::Grant { grant, .. }) => return grant,
                other => panic!("{other:?} instead of a grant"),
            }
        }
    }
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).expect("counts from 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_leaves_the_table_as_it_was() {
        let mut load = Load::new(7, 100);
        (0..1000).for_each(|_| load.pair());
        assert_eq!(load.live_ranges(), 100);
    }

    #[test]
    fn a_collective_is_one_request_and_one_grant() {
        let mut load = Load::new(1, 0);
        for blocks in [1, 10, 1000] {
            let acquire = load.collective(1024, blocks);
            assert_eq!(acquire.required.len(), 1);
        }
        assert_eq!(load.manager.counters().grants, 3);
    }
}
