//! `pfs-sim replay`: one schedule again.

use clap::Args;
use pfs_sim::runner;
use std::process::ExitCode;

/// Run one schedule again
#[derive(Debug, Args)]
pub struct Flags {
    /// The schedule
    seed: u64,
    /// Print what happens
    #[arg(long)]
    trace: bool,
    /// Leave out these faults, by number
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// With a deliberate mistake (in a build with --cfg pfs_mutants)
    #[arg(long)]
    mutant: Option<String>,
}

pub fn run(flags: &Flags) -> ExitCode {
    if let Some(name) = &flags.mutant
        && !super::mutants::switch_on(name)
    {
        eprintln!("error: this build has no mutant {name}");
        return ExitCode::FAILURE;
    }
    let outcome = runner::run_one(flags.seed, &flags.without, flags.trace);
    outcome.trace.iter().for_each(|line| println!("{line}"));
    let (steps, delivered) = (outcome.stats.steps, outcome.stats.delivered);
    println!("seed {}: {steps} events, {delivered} messages, trace {:016x}", flags.seed, outcome.hash);
    match outcome.violation {
        None => {
            println!("no violation");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("violates {:?}: {}", violation.invariant, violation.text);
            ExitCode::FAILURE
        }
    }
}
