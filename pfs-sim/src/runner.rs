//! Runs many schedules, one, or one with fewer faults.

use crate::plan::Plan;
use crate::transitions::{Stats, Transition};
use crate::world::{Violation, World};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Seeds that failed once, each with the reason.
const REGRESSIONS: &str = include_str!("../seeds.txt");
/// Lines of a failing schedule's trace that are shown.
const LINES_SHOWN: usize = 60;
/// Fewest messages that a schedule has to deliver.
pub const DELIVERED_MIN: u64 = 200;

/// What one schedule has come to.
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What was found wrong.
    pub violation: Option<Violation>,
    /// What was reached.
    pub stats: Stats,
    /// Clients.
    pub clients: usize,
    /// File servers.
    pub servers: usize,
    /// Faults.
    pub faults: usize,
    /// The same for the same schedule.
    pub hash: u64,
    /// What happened, if that was asked for.
    pub trace: Vec<String>,
}

/// Runs one schedule, without the faults of these numbers.
pub fn run_one(seed: u64, without: &[usize], traced: bool) -> Outcome {
    let plan = Plan::new(seed, without);
    let (clients, servers, faults) = (plan.clients.len(), plan.servers, plan.faults.len());
    let mut world = World::new(plan, traced);
    let violation = world.run();
    let (hash, trace) = (world.hash(), world.trace());
    Outcome { seed, violation, stats: world.stats, clients, servers, faults, hash, trace }
}

/// Sums over many schedules.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Schedules that were run.
    pub schedules: u64,
    /// Schedules with a fault.
    pub with_fault: u64,
    /// Fewest clients, file servers and delivered messages of one that ran to its end.
    pub least: [u64; 3],
    /// Seeds that violated an invariant, with what was found.
    pub violations: BTreeMap<u64, Violation>,
    /// What was reached.
    pub stats: Stats,
}

impl Summary {
    fn add(&mut self, outcome: Outcome) {
        let sizes = [outcome.clients as u64, outcome.servers as u64, outcome.stats.delivered];
        if outcome.violation.is_none() {
            let first = self.schedules == self.violations.len() as u64;
            let smaller = |(least, size): (&mut u64, u64)| *least = if first { size } else { size.min(*least) };
            self.least.iter_mut().zip(sizes).for_each(smaller);
        }
        self.schedules += 1;
        self.with_fault += u64::from(outcome.faults > 0);
        self.stats.add(&outcome.stats);
        if let Some(violation) = outcome.violation {
            self.violations.insert(outcome.seed, violation);
        }
    }

    /// Transitions that were never reached.
    pub fn unreached(&self) -> Vec<Transition> {
        Transition::ALL.iter().copied().filter(|transition| self.stats.count(*transition) == 0).collect()
    }

    /// Why the schedules are not what they should be.
    pub fn too_small(&self) -> Option<String> {
        let [clients, servers, delivered] = self.least;
        if clients < 3 || servers < 2 || delivered < DELIVERED_MIN {
            return Some(format!("a schedule had {clients} clients, {servers} file servers, {delivered} messages"));
        }
        // Seeds that end in 0 have none.
        let should = self.schedules - self.schedules.div_ceil(10) - 1;
        (self.with_fault < should.min(self.schedules * 9 / 10))
            .then(|| format!("{} of {} schedules had a fault; it should be 9 of 10", self.with_fault, self.schedules))
    }
}

/// The seeds that failed once.
pub fn regressions() -> Vec<u64> {
    let number = |line: &str| line.split_whitespace().next().and_then(|word| word.parse().ok());
    REGRESSIONS.lines().filter(|line| !line.starts_with('#')).filter_map(number).collect()
}

/// Runs these seeds on some threads. `progress` is called now and then with how many are done; `false` ends the run.
pub fn run_many(seeds: &[u64], threads: usize, mut progress: impl FnMut(u64, u64) -> bool) -> Summary {
    let next = AtomicUsize::new(0);
    let found = AtomicU64::new(0);
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads.max(1) {
            let (sender, next, found) = (sender.clone(), &next, &found);
            scope.spawn(move || {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run_one(*seed, &[], false);
                    found.fetch_add(u64::from(outcome.violation.is_some()), Ordering::Relaxed);
                    if sender.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for outcome in receiver {
            summary.add(outcome);
            if !progress(summary.schedules, found.load(Ordering::Relaxed)) {
                next.store(seeds.len(), Ordering::Relaxed);
            }
        }
    });
    summary
}

/// Faults that a failing schedule does not need to fail in the same way, by leaving out one after the other.
pub fn shrink(seed: u64) -> Vec<usize> {
    let Some(whole) = run_one(seed, &[], false).violation else { return Vec::new() };
    let mut without = Vec::new();
    for fault in 0..Plan::new(seed, &[]).faults.len() {
        without.push(fault);
        let still = run_one(seed, &without, false).violation;
        if still.is_none_or(|violation| violation.invariant != whole.invariant) {
            without.pop();
        }
    }
    without
}

/// A failing schedule for people: its shortest form found, the end of its trace, and how to see all of it.
pub fn story(seed: u64) -> String {
    let without = shrink(seed);
    let outcome = run_one(seed, &without, true);
    let Some(violation) = outcome.violation else { return format!("seed {seed} does not fail") };
    let skipped = outcome.trace.len().saturating_sub(LINES_SHOWN);
    let mut text = format!("seed {seed} violates {:?}: {}\n", violation.invariant, violation.text);
    for line in outcome.trace.iter().filter(|line| line.contains("--- fault")) {
        text += &format!("  {line}\n");
    }
    text += &format!("  ... {skipped} lines\n");
    for line in &outcome.trace[skipped..] {
        text += &format!("  {line}\n");
    }
    let list: Vec<String> = without.iter().map(ToString::to_string).collect();
    let option = if list.is_empty() { String::new() } else { format!(" --without {}", list.join(",")) };
    text + &format!("replay: cargo run --release -p pfs-sim -- replay {seed} --trace{option}")
}
