//! Servers and clients on hosts of their own, with and without a limit on their links.
//!
//! Invariants: raw TCP and the file system move the same parts over the same links, in turns, every other round in the
//! opposite order; a throughput is all bytes by the time from the first begin to the last end; every byte that is read is
//! compared.

mod cluster;
mod figures;
mod report;

pub use figures::{Op, Point, Run, Tokens};
pub use report::{FILE, Kept, Report, read};

use crate::load::Kind;
use anyhow::{Context, Result, ensure};
use clap::Args;
use cluster::{Bench, World};
use pfs_bench_datapath::machine::Machine;
use pfs_testkit::Network;
use std::path::{Path, PathBuf};

/// Servers, and as many clients.
pub const COUNTS: [usize; 4] = [1, 2, 4, 8];
/// The links of all clients together have at most this part of what the bridge passes.
const PART_OF_BRIDGE: f64 = 1.0 / 3.0;
/// Rates are multiples of this many bits a second.
const RATE_STEP: u64 = 1_000_000;
/// Seconds that a transfer takes where the link limits it.
const SECONDS: f64 = 1.5;
/// Bytes of a client's part without limits.
const UNLIMITED_BYTES: usize = 64 << 20;
/// Parts are multiples of this.
const PART_STEP: usize = 1 << 20;

/// Measure the throughput of 1, 2, 4 and 8 servers and as many clients, each on a host with a link of its own
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Rounds with limited links; 21 or more give an interval worth its name
    #[arg(long, default_value_t = 21, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Rounds without limits, which the model is made of
    #[arg(long, default_value_t = 7, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub unlimited_rounds: u32,
    /// Megabits a second of each link [default: an eighth of a third of what the bridge passes]
    #[arg(long, value_name = "N")]
    pub megabits: Option<u64>,
    /// Where figures go
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The `pfs-raw` program
    #[arg(long, value_name = "FILE")]
    pub raw: PathBuf,
    /// Folder in memory for the stores
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub memory: PathBuf,
    /// The source tree's commit, to be kept with the figures
    #[arg(long, default_value = "unknown")]
    pub commit: String,
}

/// Measures everything and keeps it.
pub fn run(flags: &Flags) -> Result<()> {
    let machine = Machine::describe(&flags.commit);
    let most = COUNTS[COUNTS.len() - 1];
    let network = Network::new(1 + 2 * most)?;
    let bench = Bench { network: &network, raw: &flags.raw, memory: &flags.memory, most };

    let bridge = bridge_bits(&bench)?;
    let bits = flags.megabits.map_or_else(|| rate(bridge, most), |megabits| megabits * 1_000_000);
    ensure!(bits >= RATE_STEP, "the bridge passes {:.0} Mbit/s only, too few to share", bridge / 1e6);
    eprintln!("the bridge passes {:.0} Mbit/s; each link gets {:.0}", bridge / 1e6, bits as f64 / 1e6);

    let mut points = Vec::new();
    for count in COUNTS {
        points.extend(measure(&bench, count, None, UNLIMITED_BYTES, flags.unlimited_rounds)?);
    }
    bench.limit(bits)?;
    for count in COUNTS {
        points.extend(measure(&bench, count, Some(bits), part(bits), flags.rounds)?);
    }
    let report = Report { machine: machine.at_end(), bridge_bits_per_s: bridge, link_bits_per_s: bits, points };
    report.keep(&flags.out).with_context(|| format!("keep the figures in {}", flags.out.display()))?;
    print!("{}", report.table());
    print!("{}", report.last_lines());
    Ok(())
}

/// What all raw clients together write without limits, in bits a second.
fn bridge_bits(bench: &Bench<'_>) -> Result<f64> {
    let mut world = World::start(bench, bench.most, UNLIMITED_BYTES)?;
    world.transfer(Kind::Raw, Op::Write)?;
    let runs = (0..3).map(|_| world.transfer(Kind::Raw, Op::Write)).collect::<Result<Vec<Run>>>()?;
    world.end()?;
    Ok(runs.iter().map(Run::bits_per_s).fold(0.0, f64::max))
}

fn rate(bridge: f64, links: usize) -> u64 {
    let fair = bridge * PART_OF_BRIDGE / links as f64;
    fair as u64 / RATE_STEP * RATE_STEP
}

fn part(bits: u64) -> usize {
    let bytes = bits as f64 / 8.0 * SECONDS;
    (bytes as usize / PART_STEP).max(1) * PART_STEP
}

/// Both ways and both operations in turns, on so many servers and clients.
fn measure(bench: &Bench<'_>, count: usize, bits: Option<u64>, bytes: usize, rounds: u32) -> Result<Vec<Point>> {
    let limit = bits.map_or("no limit".to_owned(), |bits| format!("{:.0} Mbit/s a link", bits as f64 / 1e6));
    eprintln!("{count} servers, {count} clients, {limit}, {rounds} rounds");
    let mut world = World::start(bench, count, bytes)?;
    let tokens = world.first_writes()?;
    let mut points: Vec<Point> = Op::ALL.map(|op| Point::new(count, bits, bytes, op, tokens)).into();
    for kind in Kind::ALL {
        world.transfer(kind, Op::Write)?;
    }
    for round in 0..rounds {
        let mut kinds = Kind::ALL;
        if round % 2 == 1 {
            kinds.reverse();
        }
        for point in &mut points {
            for kind in kinds {
                let run = world.transfer(kind, point.op)?;
                point.runs_mut(kind).push(run);
            }
        }
    }
    let small = world.latency()?;
    points.iter_mut().for_each(|point| point.small_ns = small);
    world.end()?;
    Ok(points)
}

/// The program that runs now, which is its own load too.
fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("find this program")
}

/// A folder in memory that is removed with the value.
fn folder(memory: &Path) -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("pfs-scale-").tempdir_in(memory);
    made.with_context(|| format!("make a folder in {}", memory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_links_have_a_third_of_the_bridge() {
        assert_eq!(rate(3.3e9, 8), 137_000_000);
        assert_eq!(part(137_000_000), 24 << 20);
        assert_eq!(part(1000), PART_STEP);
    }
}
