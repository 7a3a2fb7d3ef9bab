//! The model of this very machine beside what was measured on it.
//!
//! All clients and servers share the machine's cores; a client's bytes go through one thread of it. Links are the hosts' own,
//! or none. Points of one client without limits made the model and check nothing.

use super::costs::Costs;
use super::predict::{WINDOW, WINDOW_PER_SERVER};
use super::queues::{Client, Stage, Stations, run};
use super::tokens::{self, Accesses};
use crate::hosts::{Kept, Op, Point};
use crate::load::{CALL_BYTES, Kind};
use serde::Serialize;

/// A measured value and the model's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The measurement's name of it.
    pub name: String,
    /// Megabits a second, or messages.
    pub measured: f64,
    /// The same of the model.
    pub model: f64,
}

impl Check {
    /// By how much the model is off, of what was measured.
    pub fn error(&self) -> f64 {
        if self.measured == self.model { 0.0 } else { self.model / self.measured - 1.0 }
    }

    /// A row of a table.
    pub fn row(&self) -> String {
        let Check { name, measured, model } = self;
        format!("| {name} | {measured:.0} | {model:.0} | {:+.0} % |", self.error() * 100.0)
    }
}

/// All that can be checked.
pub fn all(kept: &Kept, costs: &Costs) -> Vec<Check> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let made_of = |point: &&Point| point.count == 1 && point.link_bits_per_s.is_none();
    let mut checks: Vec<Check> = Vec::new();
    for point in kept.points.iter().filter(|point| !made_of(point)) {
        let measured = point.throughput(Kind::Pfs).value / 1e6;
        checks.push(Check { name: format!("{} Mbit/s", point.name()), measured, model: megabits(point, costs, cores) });
    }
    for point in kept.points.iter().filter(|point| point.op == Op::Write && point.link_bits_per_s.is_some()) {
        let call_bytes = CALL_BYTES as u64;
        let accesses = Accesses { each: (point.part_bytes as u64).div_ceil(call_bytes), bytes: call_bytes };
        let (requests, revokes) = tokens::first_writes(point.count, accesses);
        let name = |what: &str| format!("{what} of the first writes of {} clients", point.count);
        checks.push(Check { name: name("requests"), measured: point.tokens.requests as f64, model: requests });
        checks.push(Check { name: name("revokes"), measured: point.tokens.revokes as f64, model: revokes });
    }
    checks
}

/// The largest error of a throughput.
pub fn largest_error(checks: &[Check]) -> f64 {
    let throughputs = checks.iter().filter(|check| check.name.ends_with("Mbit/s"));
    throughputs.map(|check| check.error().abs()).fold(0.0, f64::max)
}

fn megabits(point: &Point, costs: &Costs, cores: usize) -> f64 {
    let cost = costs.cost(point.op);
    let mut stations = Stations::default();
    let cores = stations.add(cores);
    let threads: Vec<_> = (0..point.count).map(|_| stations.add(1)).collect();
    let client_links: Vec<_> = (0..point.count).map(|_| stations.add(1)).collect();
    let server_links: Vec<_> = (0..point.count).map(|_| stations.add(1)).collect();
    let requests = (point.part_bytes as u64).div_ceil(costs.request_bytes);
    let bytes = costs.request_bytes as f64;
    let on_wire = point.link_bits_per_s.map_or(0.0, |bits| bytes * 8.0 * costs.wire / bits as f64);
    let window = WINDOW.min(WINDOW_PER_SERVER * point.count as u64);
    let (threads, client_links, server_links) = (&threads, &client_links, &server_links);
    let client = |index: usize| Client {
        requests,
        window,
        stages: Box::new(move |request| {
            let server = ((index as u64 * requests + request) % point.count as u64) as usize;
            let stage = |at, takes_s, then_s| Stage { at, takes_s, then_s };
            // Only who sends is limited.
            let sender = match point.op {
                Op::Write => client_links[index],
                Op::Read => server_links[server],
            };
            let mut stages = vec![
                stage(vec![threads[index], cores], cost.client_s_per_byte * bytes, 0.0),
                stage(vec![sender], on_wire, costs.turn_s / 2.0),
                stage(vec![cores], cost.server_s_per_byte * bytes, costs.turn_s / 2.0),
            ];
            if point.op == Op::Read {
                stages.reverse();
            }
            stages
        }),
    };
    let clients: Vec<Client<'_>> = (0..point.count).map(client).collect();
    let seconds = run(&mut stations, &clients);
    (point.count * point.part_bytes) as f64 * 8.0 / seconds / 1e6
}
