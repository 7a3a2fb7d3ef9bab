//! Who has which host of a round's network, and which of them are cut apart now.
//!
//! Invariant: what is cut is remembered, so that all of it can be joined again.

use anyhow::Result;
use pfs_testkit::{Host, Network as Hosts};
use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;

/// Who has a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// The metadata server.
    Metadata,
    /// A file server, from 0.
    FileServer(usize),
    /// A client's place, from 0.
    Client(usize),
    /// The ranks of the MPI job, who share one.
    Ranks,
    /// One of them, from 0; it has no host of its own.
    Rank(usize),
}

impl Node {
    fn is_server(self) -> bool {
        matches!(self, Node::Metadata | Node::FileServer(_))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Metadata => f.write_str("the metadata server"),
            Node::FileServer(index) => write!(f, "file-{index}"),
            Node::Client(index) => write!(f, "client {index}"),
            Node::Ranks => f.write_str("the ranks"),
            Node::Rank(index) => write!(f, "rank {index}"),
        }
    }
}

/// The hosts.
#[derive(Debug)]
pub struct Network {
    hosts: Hosts,
    nodes: Vec<Node>,
    cuts: BTreeSet<(Node, Node)>,
}

impl Network {
    /// A network with this many file servers and clients, and a host for ranks.
    pub fn new(file_servers: usize, clients: usize) -> Result<Self> {
        let nodes: Vec<Node> = [Node::Metadata]
            .into_iter()
            .chain((0..file_servers).map(Node::FileServer))
            .chain((0..clients).map(Node::Client))
            .chain([Node::Ranks])
            .collect();
        Ok(Network { hosts: Hosts::new(nodes.len())?, nodes, cuts: BTreeSet::new() })
    }

    fn place(&self, node: Node) -> usize {
        self.nodes.iter().position(|known| *known == node).expect("a node of this network")
    }

    /// The hosts of the servers, as a cluster takes them.
    pub fn server_hosts(&self) -> Vec<Host> {
        self.servers().into_iter().map(|node| self.hosts.host(self.place(node))).collect()
    }

    /// A command that runs on a host.
    pub fn command(&self, node: Node, program: &std::path::Path) -> Command {
        self.hosts.command(self.place(node), program)
    }

    /// All servers.
    pub fn servers(&self) -> Vec<Node> {
        self.nodes.iter().copied().filter(|node| node.is_server()).collect()
    }

    /// Lets no packet pass between two hosts any more.
    pub fn cut(&mut self, one: Node, other: Node) -> Result<()> {
        self.hosts.cut(self.place(one), self.place(other))?;
        self.cuts.insert((one, other));
        Ok(())
    }

    /// Ends a cut.
    pub fn join(&mut self, one: Node, other: Node) -> Result<()> {
        self.cuts.remove(&(one, other));
        self.hosts.join(self.place(one), self.place(other))
    }

    /// Ends all cuts.
    pub fn join_all(&mut self) -> Result<()> {
        for (one, other) in self.cuts.clone() {
            self.join(one, other)?;
        }
        Ok(())
    }
}
