//! Hosts on one machine: network namespaces that a bridge joins, whose links can be made slow and can be cut.
//!
//! A cut is silent, as a broken switch is: a host sends to a hardware address that nobody has. Nothing is refused, so both
//! sides learn of it by time-outs only. It needs root, `ip` and, for slow links, `tc` (both of iproute2), and nothing else.
//!
//! Invariant: namespaces and bridge go with the value; processes in them must have ended before.

use crate::builder::Host;
use anyhow::{Context, Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

/// A hardware address that no host has.
const NOWHERE: &str = "02:66:ff:ff:ff:ff";
/// Networks that are tried, 10.213.x.0/24.
const NETWORKS: std::ops::Range<u8> = 1..250;
/// Hosts that fit one network.
const HOSTS_MAX: usize = 200;
/// What a slow link sends at once before its rate counts: more than the largest packet of the kernel, which it would cut up
/// otherwise, at many times the cost.
const BURST: &str = "256kb";
/// How long a packet may wait before a slow link, which bounds the queue there.
const QUEUE: &str = "50ms";

/// The hosts, numbered from 0.
#[derive(Debug)]
pub struct Network {
    number: u8,
    hosts: usize,
}

impl Network {
    /// A network of so many hosts, under a number that no other process has.
    pub fn new(hosts: usize) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "hosts of their own need network namespaces, and those need root: run this as root"
        );
        ensure!(hosts < HOSTS_MAX, "{hosts} hosts are too many for one network");
        let first = u8::try_from(std::process::id() % 249).unwrap_or(0);
        for step in 0..NETWORKS.end - NETWORKS.start {
            let number = NETWORKS.start + (first + step) % (NETWORKS.end - NETWORKS.start);
            let bridge = bridge(number);
            if ip(&["link", "add", &bridge, "type", "bridge", "forward_delay", "0"]).is_err() {
                if step == 0 {
                    ip(&["link", "show"]).context("`ip` is needed; install iproute2")?;
                }
                continue;
            }
            let network = Network { number, hosts };
            network.set_up(&bridge)?;
            return Ok(network);
        }
        bail!("no bridge can be made: this machine does not let root make network devices, or has too many of them")
    }

    fn set_up(&self, bridge: &str) -> Result<()> {
        ip(&["link", "set", bridge, "up"])?;
        for host in 0..self.hosts {
            let (namespace, place) = (self.namespace(host), host + 1);
            let (port, mac, address) =
                (format!("pfsf{}v{place}", self.number), self.mac(host), format!("{}/24", self.address(host)));
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

    /// The namespace of a host, as `ip netns` knows it.
    pub fn namespace(&self, host: usize) -> String {
        format!("pfsf{}n{}", self.number, host + 1)
    }

    fn mac(&self, host: usize) -> String {
        format!("02:66:{:02x}:00:00:{:02x}", self.number, host + 1)
    }

    /// A host's address.
    pub fn address(&self, host: usize) -> IpAddr {
        let place = u8::try_from(host + 1).expect("there are fewer than 200 hosts");
        Ipv4Addr::new(10, 213, self.number, place).into()
    }

    /// A host, as a cluster takes it for one of its servers.
    pub fn host(&self, host: usize) -> Host {
        Host { namespace: self.namespace(host), address: self.address(host) }
    }

    /// Gives this process's own host an address there, so that it reaches the others.
    pub fn reach_from_here(&self) -> Result<()> {
        let address = format!("10.213.{}.254/24", self.number);
        ip(&["addr", "replace", &address, "dev", &bridge(self.number)])
    }

    /// A command that runs on a host.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(program);
        command
    }

    /// From now on a host sends at most so many bits a second.
    pub fn limit(&self, host: usize, bits_per_second: u64) -> Result<()> {
        let rate = format!("{bits_per_second}bit");
        let shape = ["root", "tbf", "rate", &rate, "burst", BURST, "latency", QUEUE];
        tc(&[&["-n", &self.namespace(host), "qdisc", "replace", "dev", "eth0"], &shape[..]].concat())
    }

    /// Lets no packet pass between two hosts any more.
    pub fn cut(&self, one: usize, other: usize) -> Result<()> {
        self.point(one, other, NOWHERE)?;
        self.point(other, one, NOWHERE)
    }

    /// Ends a cut.
    pub fn join(&self, one: usize, other: usize) -> Result<()> {
        self.point(one, other, &self.mac(other))?;
        self.point(other, one, &self.mac(one))
    }

    /// Tells `from` which hardware address `to` has.
    fn point(&self, from: usize, to: usize, mac: &str) -> Result<()> {
        let (namespace, address) = (self.namespace(from), self.address(to).to_string());
        let place = ["neigh", "replace", &address, "lladdr", mac, "dev", "eth0", "nud", "permanent"];
        ip(&[&["-n", &namespace], &place[..]].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            // What was not made can not be removed; the port goes with the namespace.
            let _ = ip(&["netns", "del", &self.namespace(host)]);
        }
        if let Err(error) = ip(&["link", "del", &bridge(self.number)]) {
            eprintln!("a bridge between hosts is left behind: {error:#}");
        }
    }
}

fn bridge(number: u8) -> String {
    format!("pfsf{number}")
}

fn ip(arguments: &[&str]) -> Result<()> {
    run("ip", arguments)
}

fn tc(arguments: &[&str]) -> Result<()> {
    run("tc", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run `{program}`; install iproute2"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed with {}: {}", arguments.join(" "), output.status, text.trim());
    }
    Ok(())
}
