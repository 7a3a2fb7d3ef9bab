//! Power is lost at every step of what a file server's store does to its disk, and the store must come back whole.
//!
//! ```text
//! steps from a seed ─► PosixStore<SimDisk> ─► recording of every change of the disk
//!                                               │ for every change: the disk that a loss of power may leave, several times
//!                                               ▼
//!                  memory of what may be there ─► PosixStore again: recovery, then every byte is read and judged
//!                                               │ for some: more steps, and a second loss in recovery or later
//!                                               ▼
//!                                              the same judgement
//! ```
//!
//! [`steps`] are what is done, [`memory`] knows what may be left of it, [`recorded`] brings the two together, [`replay`]
//! loses the power, [`mod@lies`] show that it would find mistakes. The disk and what is assumed of it is [`pfs_file_server::store::disk::SimDisk`].

mod lies;
mod memory;
mod random;
mod recorded;
mod replay;
mod steps;
#[cfg(test)]
mod tests;

use clap::Parser;
use lies::LIES;
use pfs_file_server::store::disk::SimDisk;
use replay::{Counts, Loss};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Lose power at every step of a file server's store, and check every byte
#[derive(Debug, Parser)]
#[command(name = "pfs-powerloss")]
struct Flags {
    /// How many recordings, each from its own seed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed; the next ones follow it
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(5);

/// Seeds in which a lie must show.
const SEEDS_OF_LIES: std::ops::Range<u64> = 1..20;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let started = Instant::now();
    let caught = lies();
    let (counts, losses) = replay_all(flags.seed..flags.seed.saturating_add(flags.seeds));
    for loss in &losses {
        println!("{loss}\n");
    }
    println!("{caught} of {} lies caught", LIES.len());
    println!(
        "{} seeds, {} losses of power, {} of them after another one, {:.1} s",
        counts.seeds,
        counts.losses_of_power,
        counts.second,
        started.elapsed().as_secs_f64()
    );
    println!("{} boundaries, {} losses", counts.boundaries, losses.len());
    if losses.is_empty() && caught == LIES.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How many lies of disks are caught; those that are not are told.
fn lies() -> usize {
    let outcomes = LIES.map(|lie| match lies::caught(lie, SEEDS_OF_LIES) {
        Some(loss) => {
            eprintln!("caught: {}: {}", lie.mistake, loss.problem());
            true
        }
        None => {
            println!("not caught: {}", lie.mistake);
            false
        }
    });
    outcomes.into_iter().filter(|caught| *caught).count()
}

/// Replays seeds on all cores until one has losses.
fn replay_all(seeds: std::ops::Range<u64>) -> (Counts, Vec<Loss>) {
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let state = std::sync::Mutex::new((Counts::default(), Vec::new(), Instant::now()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (counts, losses) = replay::replay(seed, &|disk: SimDisk| disk);
            let mut state = state.lock().expect("nobody panics with it");
            let (sum, all, told) = &mut *state;
            sum.add(&counts);
            all.extend(losses);
            if !all.is_empty() {
                next.store(seeds.end, Ordering::Relaxed);
            }
            if told.elapsed() > PROGRESS {
                let of = seeds.end - seeds.start;
                eprintln!("{} of {of} seeds, {} boundaries, {} losses", sum.seeds, sum.boundaries, all.len());
                *told = Instant::now();
            }
        }
    };
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let (counts, losses, _) = state.into_inner().expect("nobody panics with it");
    (counts, losses)
}
