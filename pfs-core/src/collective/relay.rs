//! Gathering within a node.
//!
//! Many small messages of one node's ranks to an aggregator elsewhere cost more than their bytes. With a relay they go to the
//! *leader*, the node's first rank, which passes on one message for all of them; bytes that are read come the same way back.
//!
//! ```text
//! node 0  rank 0 (leader) ══════════╗          write: a rank's bytes for aggregators elsewhere in one message to its leader,
//!         rank 1 ──> rank 0         ║                 then one message from each leader to each aggregator
//!         rank 2 ──> rank 0         ▼
//! node 1  rank 3 (leader) ──> rank 4, aggregator       within a node messages go straight
//! ```
//!
//! Invariants: a message takes the relay if its two ranks are on different nodes, and never else; a leader knows how long the
//! messages are that it passes on, as it walks along the pieces of its node's ranks, like an aggregator.

use super::Nodes;
use super::survey::Survey;
use crate::hints::{Hints, Switch};

/// Messages that are shorter on average are worth being passed on together: about where sending one costs as much as its
/// bytes.
pub const RELAYED_BYTES_MAX: u64 = 16 << 10;

/// Who passes on messages between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    nodes: Nodes,
}

/// A message that a leader passes on for a rank of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// The rank.
    pub member: u32,
    /// The aggregator, on another node.
    pub aggregator: u32,
    /// How long the message is.
    pub bytes: u64,
}

impl Relay {
    /// The relay of an access with so many aggregators, if it pays or is asked for.
    pub(super) fn of(nodes: &Nodes, survey: &Survey, aggregators: usize, hints: &Hints) -> Option<Relay> {
        let is_wanted = match hints.node_gather {
            Switch::Enable => nodes.count() > 1,
            Switch::Disable => false,
            Switch::Automatic => pays(nodes, survey, aggregators, hints.cb_buffer_bytes),
        };
        is_wanted.then(|| Relay { nodes: nodes.clone() })
    }

    /// The leader of a rank's node.
    pub fn leader(&self, rank: u32) -> u32 {
        self.nodes.ranks_of(self.nodes.node_of(rank)).next().expect("a rank is on its node")
    }

    /// Whether messages between two ranks are passed on by the leader of the one that is no aggregator.
    pub fn is_between(&self, rank: u32, aggregator: u32) -> bool {
        self.nodes.node_of(rank) != self.nodes.node_of(aggregator)
    }

    /// For whom a rank passes messages on, in order.
    pub(super) fn members(&self, leader: u32) -> impl Iterator<Item = u32> + '_ {
        let is_leader = self.leader(leader) == leader;
        self.nodes.ranks_of(self.nodes.node_of(leader)).filter(move |member| is_leader && *member != leader)
    }
}

/// Several nodes, several ranks on one of them, and short messages.
fn pays(nodes: &Nodes, survey: &Survey, aggregators: usize, buffer_bytes: u64) -> bool {
    let (ranks, aggregators) = (survey.ranks_with_bytes.max(1) as u64, aggregators.max(1) as u64);
    let round_bytes = (survey.bytes / aggregators).min(buffer_bytes);
    nodes.count() > 1 && nodes.have_neighbours() && round_bytes / ranks < RELAYED_BYTES_MAX
}
