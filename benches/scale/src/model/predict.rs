//! What the model says of clusters that are larger than this machine.

use super::check::Check;
use super::costs::Costs;
use super::queues::{Client, Stage, Stations, run};
use super::tokens::Traffic;
use crate::hosts::Op;
use crate::plot::{self, Axes, Line, Scale};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Requests of one client that are under way at one server.
pub const WINDOW_PER_SERVER: u64 = 2;
/// Requests of one client that are under way at all.
pub const WINDOW: u64 = 32;

/// What the cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machines {
    /// Ranks that share a node's link.
    pub ranks_per_node: usize,
    /// Of a node and of a server.
    pub link_bytes_per_s: f64,
    /// Cores that serve.
    pub server_cores: usize,
    /// One way through the network.
    pub latency_s: f64,
    /// Bytes of each rank.
    pub part_bytes: u64,
}

/// Ranks, servers, and what they move together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// What is done.
    pub op: Op,
    /// Ranks.
    pub ranks: usize,
    /// Servers of the file.
    pub servers: usize,
    /// All ranks together.
    pub bytes_per_s: f64,
    /// Of the lesser of all nodes' links and all servers' links.
    pub share: f64,
}

/// Powers of ten up to the largest.
fn steps(most: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |step| Some(step * 10)).take_while(|step| *step <= most).collect()
}

/// For all powers of ten of ranks and of servers.
pub fn all(machines: &Machines, costs: &Costs, ranks: usize, servers: usize) -> Vec<Prediction> {
    let mut all = Vec::new();
    for op in Op::ALL {
        for servers in steps(servers) {
            for ranks in steps(ranks) {
                eprintln!("{}: {ranks} ranks, {servers} servers", op.name());
                all.push(one(machines, costs, op, ranks, servers));
            }
        }
    }
    all
}

fn one(machines: &Machines, costs: &Costs, op: Op, ranks: usize, servers: usize) -> Prediction {
    let cost = costs.cost(op);
    let nodes = ranks.div_ceil(machines.ranks_per_node);
    let mut stations = Stations::default();
    let ranks_cores: Vec<_> = (0..ranks).map(|_| stations.add(1)).collect();
    let node_links: Vec<_> = (0..nodes).map(|_| stations.add(1)).collect();
    let server_links: Vec<_> = (0..servers).map(|_| stations.add(1)).collect();
    let server_cores: Vec<_> = (0..servers).map(|_| stations.add(machines.server_cores)).collect();
    let bytes = costs.request_bytes as f64;
    let on_wire = bytes * costs.wire / machines.link_bytes_per_s;
    let requests = machines.part_bytes.div_ceil(costs.request_bytes);
    let window = WINDOW.min(WINDOW_PER_SERVER * (servers as u64).min(requests));
    let (ranks_cores, node_links) = (&ranks_cores, &node_links);
    let (server_links, server_cores) = (&server_links, &server_cores);
    let client = |rank: usize| Client {
        requests,
        window,
        stages: Box::new(move |request| {
            // Stripe units go to the servers in turn, over the whole shared file.
            let server = ((rank as u64 * requests + request) % servers as u64) as usize;
            let stage = |at, takes_s, then_s| Stage { at: vec![at], takes_s, then_s };
            let latency = machines.latency_s;
            let mut stages = vec![
                stage(ranks_cores[rank], cost.client_s_per_byte * bytes, 0.0),
                stage(node_links[rank / machines.ranks_per_node], on_wire, latency),
                stage(server_links[server], on_wire, 0.0),
                stage(server_cores[server], cost.server_s_per_byte * bytes, latency),
            ];
            if op == Op::Read {
                // The bytes come the other way round.
                stages.reverse();
                stages.iter_mut().for_each(|stage| stage.then_s = 0.0);
                (stages[0].then_s, stages[1].then_s) = (0.0, latency);
            }
            stages
        }),
    };
    let clients: Vec<Client<'_>> = (0..ranks).map(client).collect();
    let seconds = run(&mut stations, &clients);
    let bytes_per_s = (ranks as u64 * machines.part_bytes) as f64 / seconds;
    let links = nodes.min(servers) as f64 * machines.link_bytes_per_s;
    Prediction { op, ranks, servers, bytes_per_s, share: bytes_per_s / links }
}

#[derive(Serialize)]
struct Kept<'a> {
    machines: &'a Machines,
    costs: &'a Costs,
    checks: &'a [Check],
    predictions: &'a [Prediction],
    tokens: &'a [Traffic],
}

/// Writes figures, text and plots.
pub fn keep(
    directory: &Path,
    machines: &Machines,
    costs: &Costs,
    checks: &[Check],
    predictions: &[Prediction],
    traffic: &[Traffic],
) -> Result<()> {
    let kept = Kept { machines, costs, checks, predictions, tokens: traffic };
    fs::write(directory.join("model.json"), serde_json::to_string_pretty(&kept)? + "\n")?;
    fs::write(directory.join("model.md"), summary(machines, costs, checks, predictions, traffic))?;
    for op in Op::ALL {
        let axes = Axes {
            title: format!("model: {} of {} MiB a rank", op.name(), machines.part_bytes >> 20),
            x: "ranks".to_owned(),
            y: "GB/s of all together".to_owned(),
            scale: Scale::Logarithmic,
        };
        plot::draw(&directory.join(format!("model-{}", op.name())), &axes, &lines(op, predictions))?;
    }
    let axes = Axes {
        title: "model: token requests and revokes of a job's first writes".to_owned(),
        x: "ranks".to_owned(),
        y: "messages".to_owned(),
        scale: Scale::Logarithmic,
    };
    plot::draw(&directory.join("model-tokens"), &axes, &token_lines(traffic))
}

fn lines(op: Op, predictions: &[Prediction]) -> Vec<Line> {
    let mut servers: Vec<usize> = predictions.iter().map(|prediction| prediction.servers).collect();
    servers.sort_unstable();
    servers.dedup();
    let line = |servers: usize| Line {
        name: format!("{servers} servers"),
        points: predictions
            .iter()
            .filter(|prediction| prediction.op == op && prediction.servers == servers)
            .map(|prediction| (prediction.ranks as f64, prediction.bytes_per_s / 1e9))
            .collect(),
    };
    servers.into_iter().map(line).collect()
}

fn token_lines(traffic: &[Traffic]) -> Vec<Line> {
    super::Pattern::ALL
        .iter()
        .map(|pattern| Line {
            name: pattern.name().to_owned(),
            points: traffic
                .iter()
                .filter(|traffic| traffic.pattern == *pattern)
                .map(|traffic| (traffic.ranks as f64, (traffic.requests + traffic.revokes) as f64))
                .collect(),
        })
        .collect()
}

/// Everything in words.
pub fn summary(
    machines: &Machines,
    costs: &Costs,
    checks: &[Check],
    predictions: &[Prediction],
    traffic: &[Traffic],
) -> String {
    let mut text = String::new();
    let gib = f64::from(1u32 << 30);
    let _ = writeln!(
        text,
        "Measured: a write costs {:.2} and {:.2} CPU-s/GiB at client and server, a read {:.2} and {:.2}; {:.3} bytes on the \
         wire for one; a small operation {:.0} µs; a message about tokens {:.2} µs of the manager.\n",
        costs.write.client_s_per_byte * gib,
        costs.write.server_s_per_byte * gib,
        costs.read.client_s_per_byte * gib,
        costs.read.server_s_per_byte * gib,
        costs.wire,
        costs.turn_s * 1e6,
        costs.token_message_s * 1e6
    );
    let _ = writeln!(text, "| place | measured | model | error |\n|---|---|---|---|");
    for check in checks {
        let _ = writeln!(text, "{}", check.row());
    }
    let _ = writeln!(
        text,
        "\n{} ranks on a node, links of {:.0} Gbit/s, {} cores a server, {:.1} µs one way, {} MiB a rank.\n\n\
         | | ranks | servers | GB/s | share of the links |\n|---|---|---|---|---|",
        machines.ranks_per_node,
        machines.link_bytes_per_s * 8.0 / 1e9,
        machines.server_cores,
        machines.latency_s * 1e6,
        machines.part_bytes >> 20
    );
    for Prediction { op, ranks, servers, bytes_per_s, share } in predictions {
        let _ = writeln!(text, "| {} | {ranks} | {servers} | {:.2} | {share:.2} |", op.name(), bytes_per_s / 1e9);
    }
    let _ = writeln!(
        text,
        "\n| tokens of first writes | ranks | requests | revokes | manager's seconds |\n|---|---|---|---|---|"
    );
    for Traffic { pattern, ranks, requests, revokes } in traffic {
        let messages = (2 * requests + 2 * revokes) as f64;
        let seconds = messages * costs.token_message_s;
        let _ = writeln!(text, "| {} | {ranks} | {requests} | {revokes} | {seconds:.4} |", pattern.name());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::costs::Cost;
    use super::*;

    const COSTS: Costs = Costs {
        write: Cost { client_s_per_byte: 1e-10, server_s_per_byte: 1e-10 },
        read: Cost { client_s_per_byte: 1e-10, server_s_per_byte: 1e-10 },
        wire: 1.0,
        turn_s: 1e-5,
        request_bytes: 1 << 20,
        token_message_s: 1e-6,
    };

    const MACHINES: Machines =
        Machines { ranks_per_node: 4, link_bytes_per_s: 1e9, server_cores: 4, latency_s: 1e-6, part_bytes: 64 << 20 };

    /// Four ranks of one node fill its link, and no more servers help; sixteen nodes fill four servers.
    #[test]
    fn the_narrowest_links_are_filled() {
        for op in Op::ALL {
            let one_node = one(&MACHINES, &COSTS, op, 4, 4);
            assert!((0.9..=1.0).contains(&one_node.share), "{one_node:?}");
            let many = one(&MACHINES, &COSTS, op, 64, 4);
            assert!((0.9..=1.0).contains(&many.share), "{many:?}");
            assert!(many.bytes_per_s > 3.5 * one_node.bytes_per_s);
        }
    }

    #[test]
    fn steps_are_powers_of_ten() {
        assert_eq!(steps(10_000), [1, 10, 100, 1000, 10_000]);
        assert_eq!(steps(999), [1, 10, 100]);
    }
}
