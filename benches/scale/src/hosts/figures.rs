//! What was measured.

use crate::load::{Done, Kind};
use pfs_bench_datapath::statistics::Median;
use serde::{Deserialize, Serialize};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// All write their parts and make them durable.
    Write,
    /// All read their parts.
    Read,
}

impl Op {
    /// Both.
    pub const ALL: [Op; 2] = [Op::Write, Op::Read];

    /// Its name, which also is the command for a client.
    pub fn name(self) -> &'static str {
        match self {
            Op::Write => "write",
            Op::Read => "read",
        }
    }
}

/// One transfer of all clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// All bytes.
    pub bytes: u64,
    /// From the first begin to the last end.
    pub seconds: f64,
    /// CPU seconds of the clients.
    pub client_cpu_s: f64,
    /// CPU seconds of the servers.
    pub server_cpu_s: f64,
}

impl Run {
    /// Of the clients' answers.
    pub fn of(bytes: u64, done: &[Done], server_cpu_s: f64) -> Run {
        let start = done.iter().map(|done| done.start_ns).min().unwrap_or(0);
        let end = done.iter().map(|done| done.end_ns).max().unwrap_or(0);
        let cpu: u64 = done.iter().map(|done| done.cpu_ns).sum();
        Run { bytes, seconds: (end - start) as f64 / 1e9, client_cpu_s: cpu as f64 / 1e9, server_cpu_s }
    }

    /// Payload bits a second.
    pub fn bits_per_s(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds
    }
}

/// Token traffic of the clients' first writes, before which nobody had a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Requests.
    pub requests: u64,
    /// Ranges that were taken back.
    pub revokes: u64,
}

/// One place of the measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Servers, and clients.
    pub count: usize,
    /// What each link sends at most in bits a second, if it is limited.
    pub link_bits_per_s: Option<u64>,
    /// Bytes of each client's part.
    pub part_bytes: usize,
    /// What was done.
    pub op: Op,
    /// Of the first writes.
    pub tokens: Tokens,
    /// Nanoseconds of one small write of one client that is alone, raw and of the file system.
    pub small_ns: [u64; 2],
    /// Raw TCP's, by round.
    pub raw: Vec<Run>,
    /// The file system's, by round.
    pub pfs: Vec<Run>,
}

impl Point {
    /// Without runs yet.
    pub fn new(count: usize, link_bits_per_s: Option<u64>, part_bytes: usize, op: Op, tokens: Tokens) -> Point {
        Point { count, link_bits_per_s, part_bytes, op, tokens, small_ns: [0; 2], raw: Vec::new(), pfs: Vec::new() }
    }

    /// The runs of one side.
    pub fn runs(&self, kind: Kind) -> &[Run] {
        match kind {
            Kind::Raw => &self.raw,
            Kind::Pfs => &self.pfs,
        }
    }

    pub(super) fn runs_mut(&mut self, kind: Kind) -> &mut Vec<Run> {
        match kind {
            Kind::Raw => &mut self.raw,
            Kind::Pfs => &mut self.pfs,
        }
    }

    /// Bits a second.
    pub fn throughput(&self, kind: Kind) -> Median {
        Median::of(&self.runs(kind).iter().map(Run::bits_per_s).collect::<Vec<_>>())
    }

    /// The file system's throughput by raw TCP's, within each round.
    pub fn ratio(&self) -> Median {
        let ratios = self.pfs.iter().zip(&self.raw).map(|(ours, raw)| ours.bits_per_s() / raw.bits_per_s());
        Median::of(&ratios.collect::<Vec<_>>())
    }

    /// CPU seconds for each byte of the clients, and of the servers.
    pub fn cpu_s_per_byte(&self, kind: Kind) -> (f64, f64) {
        let of = |cpu: fn(&Run) -> f64| {
            Median::of(&self.runs(kind).iter().map(|run| cpu(run) / run.bytes as f64).collect::<Vec<_>>()).value
        };
        (of(|run| run.client_cpu_s), of(|run| run.server_cpu_s))
    }

    /// `write-4-shaped` or `read-8-unshaped`.
    pub fn name(&self) -> String {
        let limit = if self.link_bits_per_s.is_some() { "shaped" } else { "unshaped" };
        format!("{}-{}-{limit}", self.op.name(), self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lasts_from_the_first_begin_to_the_last_end() {
        let done = |start_ns, end_ns| Done { start_ns, end_ns, cpu_ns: 500_000_000, small_ns: 0 };
        let run = Run::of(1_000_000, &[done(1_000_000_000, 2_000_000_000), done(1_500_000_000, 3_000_000_000)], 0.25);
        assert_eq!(run, Run { bytes: 1_000_000, seconds: 2.0, client_cpu_s: 1.0, server_cpu_s: 0.25 });
        assert_eq!(run.bits_per_s(), 4e6);
    }
}
