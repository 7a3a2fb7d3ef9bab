//! Hosts on one machine: a network namespace for each server and client, joined by a bridge, and cut apart at will.
//!
//! A cut is silent, as a broken switch is: a host sends to a hardware address that nobody has. Nothing is refused, so both
//! sides learn of it by time-outs only. It needs root and `ip` (iproute2), and nothing else.
//!
//! Invariant: namespaces and bridge go with the value; processes in them must have ended before.

use anyhow::{Context, Result, bail, ensure};
use pfs_testkit::Host;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

/// A hardware address that no host has.
const NOWHERE: &str = "02:66:ff:ff:ff:ff";
/// Networks that are tried, 10.213.x.0/24.
const NETWORKS: std::ops::Range<u8> = 1..250;

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
    number: u8,
    nodes: Vec<Node>,
    cuts: BTreeSet<(Node, Node)>,
}

impl Network {
    /// A network with this many file servers and clients, and a host for ranks, under a number that no other run has.
    pub fn new(file_servers: usize, clients: usize) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "cutting hosts off needs network namespaces, and those need root: run this as root"
        );
        let nodes: Vec<Node> = [Node::Metadata]
            .into_iter()
            .chain((0..file_servers).map(Node::FileServer))
            .chain((0..clients).map(Node::Client))
            .chain([Node::Ranks])
            .collect();
        ensure!(nodes.len() < 200, "{} hosts are too many for one network", nodes.len());
        let first = u8::try_from(std::process::id() % 249).unwrap_or(0);
        for step in 0..NETWORKS.end - NETWORKS.start {
            let number = NETWORKS.start + (first + step) % (NETWORKS.end - NETWORKS.start);
            let bridge = format!("pfsf{number}");
            if ip(&["link", "add", &bridge, "type", "bridge", "forward_delay", "0"]).is_err() {
                if step == 0 {
                    ip(&["link", "show"]).context("`ip` is needed; install iproute2")?;
                }
                continue;
            }
            let network = Network { number, nodes, cuts: BTreeSet::new() };
            network.set_up(&bridge)?;
            return Ok(network);
        }
        bail!("no bridge can be made: this machine does not let root make network devices, or has too many of them")
    }

    fn set_up(&self, bridge: &str) -> Result<()> {
        ip(&["link", "set", bridge, "up"])?;
        for &node in &self.nodes {
            let (namespace, place) = (self.namespace(node), self.place(node));
            let (port, mac, address) =
                (format!("pfsf{}v{place}", self.number), self.mac(node), format!("{}/24", self.address(node)));
            ip(&["netns", "add", &namespace])?;
            let pair = ["type", "veth", "peer", "name", "eth0", "address", &mac, "netns", &namespace];
            ip(&[&["link", "add", &port], &pair[..]].concat())?;
            ip(&["link", "set", &port, "master", bridge, "up"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        Ok(())
    }

    fn place(&self, node: Node) -> usize {
        self.nodes.iter().position(|known| *known == node).expect("a node of this network") + 1
    }

    /// The namespace of a host.
    pub fn namespace(&self, node: Node) -> String {
        format!("pfsf{}n{}", self.number, self.place(node))
    }

    fn mac(&self, node: Node) -> String {
        format!("02:66:{:02x}:00:00:{:02x}", self.number, self.place(node))
    }

    fn address(&self, node: Node) -> IpAddr {
        let place = u8::try_from(self.place(node)).expect("there are fewer than 200 hosts");
        Ipv4Addr::new(10, 213, self.number, place).into()
    }

    /// The hosts of the servers, as a cluster takes them.
    pub fn server_hosts(&self) -> Vec<Host> {
        let servers = self.nodes.iter().filter(|node| node.is_server());
        servers.map(|&node| Host { namespace: self.namespace(node), address: self.address(node) }).collect()
    }

    /// A command that runs on a host.
    pub fn command(&self, node: Node, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node)]).arg(program);
        command
    }

    /// All servers.
    pub fn servers(&self) -> Vec<Node> {
        self.nodes.iter().copied().filter(|node| node.is_server()).collect()
    }

    /// Lets no packet pass between two hosts any more.
    pub fn cut(&mut self, one: Node, other: Node) -> Result<()> {
        self.point(one, other, NOWHERE)?;
        self.point(other, one, NOWHERE)?;
        self.cuts.insert((one, other));
        Ok(())
    }

    /// Ends a cut.
    pub fn join(&mut self, one: Node, other: Node) -> Result<()> {
        self.cuts.remove(&(one, other));
        self.point(one, other, &self.mac(other))?;
        self.point(other, one, &self.mac(one))
    }

    /// Ends all cuts.
    pub fn join_all(&mut self) -> Result<()> {
        for (one, other) in self.cuts.clone() {
            self.join(one, other)?;
        }
        Ok(())
    }

    /// Tells `from` which hardware address `to` has.
    fn point(&self, from: Node, to: Node, mac: &str) -> Result<()> {
        let (namespace, address) = (self.namespace(from), self.address(to).to_string());
        let place = ["neigh", "replace", &address, "lladdr", mac, "dev", "eth0", "nud", "permanent"];
        ip(&[&["-n", &namespace], &place[..]].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for &node in &self.nodes {
            // What was not made can not be removed; the port goes with the namespace.
            let _ = ip(&["netns", "del", &self.namespace(node)]);
        }
        if let Err(error) = ip(&["link", "del", &format!("pfsf{}", self.number)]) {
            eprintln!("the bridge of the faults is left behind: {error:#}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip`; install iproute2")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("ip {} failed with {}: {}", arguments.join(" "), output.status, text.trim());
    }
    Ok(())
}
