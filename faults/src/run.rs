//! Many rounds, and the table of what went wrong in them.

use crate::network::Network;
use crate::plan::{FaultKind, Size, data_path, faults, overlap};
use crate::round::{Outcome, World};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use pfs_client::DataPath;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

/// Rounds that follow each other on one cluster.
const ROUNDS_PER_CLUSTER: u64 = 4;

/// Run rounds of faults under load
#[derive(Debug, Args)]
pub struct Flags {
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seed of the first round; the next ones follow it. Rounds of a seed have the same faults at the same times
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Lease of clients and file servers in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..))]
    lease_ms: u64,
    /// Clients at work
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    clients: u64,
    /// Ranks of an MPI job beside them; 0 for none
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=16))]
    ranks: u64,
    /// File servers
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    file_servers: u64,
    /// Only these faults
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',')]
    only: Vec<FaultKind>,
    /// Only this way for data: auto, bulk, small or unary; without it, rounds take turns
    #[arg(long, value_name = "PATH")]
    data_path: Option<DataPath>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What all rounds together have shown.
#[derive(Debug, Default, Serialize)]
struct Summary {
    rounds: u64,
    seed: u64,
    wrong_bytes: usize,
    hangs: usize,
    /// How often each fault was made.
    faults: BTreeMap<&'static str, u64>,
    /// Rounds with each way for data.
    data_paths: BTreeMap<&'static str, u64>,
    /// Rounds in which two faults were in force at the same time.
    combinations: u64,
    writes: usize,
    reads: usize,
    syncs: u64,
    sessions_lost: u64,
    sessions_lost_without_a_fault: usize,
    /// Operations that ended with an error, by kind.
    errors: BTreeMap<String, u64>,
    seconds: f64,
}

/// Runs all rounds, or up to the first that fails.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let size = Size {
        file_servers: usize::try_from(flags.file_servers)?,
        clients: usize::try_from(flags.clients)?,
        ranks: usize::try_from(flags.ranks)?,
        lease_ms: flags.lease_ms,
    };
    let mut kinds = if flags.only.is_empty() { FaultKind::ALL.to_vec() } else { flags.only.clone() };
    if size.ranks == 0 {
        kinds.retain(|kind| !kind.is_of_ranks());
        ensure!(!kinds.is_empty(), "faults of ranks need some: give --ranks");
    }
    let started = Instant::now();
    let mut summary = Summary { seed: flags.seed, ..Summary::default() };
    summary.faults = kinds.iter().map(|kind| (kind.name(), 0)).collect();
    let mut network = Network::new(size.file_servers, size.clients)?;
    let mut next = flags.seed;
    let mut passed = true;
    while passed && next < flags.seed + flags.rounds {
        let end = (next + ROUNDS_PER_CLUSTER).min(flags.seed + flags.rounds);
        passed = some_rounds(next..end, flags, size, &kinds, &mut network, &mut summary)?;
        next = end;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    report(&summary, flags.json)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rounds on one cluster. False: one of them failed.
fn some_rounds(
    seeds: std::ops::Range<u64>,
    flags: &Flags,
    size: Size,
    kinds: &[FaultKind],
    network: &mut Network,
    summary: &mut Summary,
) -> Result<bool> {
    let directory = tempfile::Builder::new().prefix("pfs-faults-").tempdir().context("cannot make a directory")?;
    let mut passed = true;
    let mut world = World::start(network, directory.path(), size)?;
    for seed in seeds {
        let started = Instant::now();
        let plan = faults(seed, size, kinds);
        let text: Vec<String> = plan.iter().map(ToString::to_string).collect();
        let way = flags.data_path.unwrap_or_else(|| data_path(seed));
        let (round, faults) = (summary.rounds + 1, text.join("; "));
        eprintln!("round {round}/{} (seed {seed}, {}): {faults}", flags.rounds, way.name());
        let outcome = match world.round(&format!("round-{seed}"), seed, &plan, way) {
            Ok(outcome) => outcome,
            Err(error) => {
                let logs = world.log_tails();
                drop(world);
                let kept = directory.keep();
                let text =
                    format!("the round of seed {seed} could not be run; {logs}\nall logs are in {}", kept.display());
                return Err(error.context(text));
            }
        };
        *summary.data_paths.entry(way.name()).or_default() += 1;
        for fault in &plan {
            *summary.faults.entry(fault.kind.name()).or_default() += 1;
        }
        summary.combinations += u64::from(overlap(&plan));
        add(summary, &outcome);
        let lost = outcome.history.lost;
        eprintln!(
            "  {} writes, {} reads, {} syncs, {lost} sessions lost, errors {:?}, {:.1} s",
            outcome.history.writes.len(),
            outcome.history.reads.len(),
            outcome.history.syncs,
            outcome.history.errors,
            started.elapsed().as_secs_f64()
        );
        for text in &outcome.lost_without_a_fault {
            eprintln!("  lost without a fault of its own: {text}");
        }
        if !tell_failure(&outcome, seed, flags) {
            passed = false;
            break;
        }
    }
    drop(world);
    if !passed {
        eprintln!("  what the clients told, and the servers' logs, are in {}", directory.keep().display());
    }
    Ok(passed)
}

/// True: nothing failed.
fn tell_failure(outcome: &Outcome, seed: u64, flags: &Flags) -> bool {
    if outcome.wrong.is_empty() && outcome.hangs.is_empty() {
        return true;
    }
    for text in outcome.wrong.iter().map(|text| format!("wrong: {text}")) {
        eprintln!("  {text}");
    }
    for text in outcome.hangs.iter().map(|text| format!("hang: {text}")) {
        eprintln!("  {text}");
    }
    let only: Vec<&str> = flags.only.iter().map(|kind| kind.name()).collect();
    let only = if only.is_empty() { String::new() } else { format!(" --only {}", only.join(",")) };
    let way = flags.data_path.unwrap_or_else(|| data_path(seed)).name();
    eprintln!(
        "  again: cargo xtask faults --rounds 1 --seed {seed} --data-path {way} --lease-ms {} --clients {} \
         --ranks {} --file-servers {}{only}",
        flags.lease_ms, flags.clients, flags.ranks, flags.file_servers
    );
    false
}

fn add(summary: &mut Summary, outcome: &Outcome) {
    summary.rounds += 1;
    summary.wrong_bytes += outcome.wrong.len();
    summary.hangs += outcome.hangs.len();
    summary.writes += outcome.history.writes.len();
    summary.reads += outcome.history.reads.len();
    summary.syncs += outcome.history.syncs;
    summary.sessions_lost += outcome.history.lost;
    summary.sessions_lost_without_a_fault += outcome.lost_without_a_fault.len();
    for (kind, count) in &outcome.history.errors {
        *summary.errors.entry(kind.clone()).or_default() += count;
    }
}

fn report(summary: &Summary, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    println!("fault                       times");
    for (name, count) in &summary.faults {
        println!("{name:<26} {count:>6}");
    }
    println!("{:<26} {:>6}", "two at the same time", summary.combinations);
    for (name, count) in &summary.data_paths {
        println!("{:<26} {count:>6}", format!("rounds with data path {name}"));
    }
    println!(
        "{} writes, {} reads and {} syncs checked; {} sessions lost, {} of them without a fault of their own; {:.0} s",
        summary.writes,
        summary.reads,
        summary.syncs,
        summary.sessions_lost,
        summary.sessions_lost_without_a_fault,
        summary.seconds
    );
    println!("{} rounds, {} wrong bytes, {} hangs", summary.rounds, summary.wrong_bytes, summary.hangs);
    Ok(())
}
