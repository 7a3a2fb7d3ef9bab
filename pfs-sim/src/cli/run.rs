//! `pfs-sim run`: many schedules.

use anyhow::Result;
use clap::Args;
use pfs_sim::runner::{self, Summary};
use pfs_sim::transitions::Transition;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// From so many schedules on, every transition must have been reached.
const SCHEDULES_FOR_ALL: u64 = 5000;
/// Failing schedules whose stories are told.
const STORIES_MAX: usize = 3;

/// Run many schedules, and say what was reached and what was found
#[derive(Debug, Args)]
pub struct Flags {
    /// Number of schedules; those that failed once come first
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub fn run(flags: &Flags) -> Result<ExitCode> {
    let mut seeds = runner::regressions();
    seeds.extend(flags.first..flags.first + flags.seeds);
    seeds.truncate(usize::try_from(flags.seeds).unwrap_or(usize::MAX));
    let count = seeds.len();
    let terminal = std::io::stderr().is_terminal();
    let summary = runner::run_many(&seeds, flags.threads, |done, violations| {
        if terminal && done % 200 == 0 {
            eprint!("\r{done} of {count} schedules, {violations} violations ");
        }
        true
    });
    if terminal {
        eprint!("\r\x1b[K");
    }
    let wrong = complaints(&summary);
    if flags.json {
        println!("{}", as_json(&summary, &wrong));
    } else {
        print_text(&summary, &wrong)?;
    }
    Ok(if wrong.is_empty() && summary.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn complaints(summary: &Summary) -> Vec<String> {
    let mut wrong: Vec<String> = summary.too_small().into_iter().collect();
    if summary.schedules >= SCHEDULES_FOR_ALL {
        let never = |transition: Transition| format!("never reached: {} {}", transition.text().0, transition.text().1);
        wrong.extend(summary.unreached().into_iter().map(never));
    }
    wrong
}

fn print_text(summary: &Summary, wrong: &[String]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut machine = "";
    for transition in Transition::ALL {
        let (of, text) = transition.text();
        if of != machine {
            writeln!(out, "{of}")?;
            machine = of;
        }
        writeln!(out, "  {text:<44} {:>12}", summary.stats.count(*transition))?;
    }
    let [clients, servers, delivered] = summary.least;
    writeln!(
        out,
        "at least {clients} clients, {servers} file servers and {delivered} messages in a schedule; {} of {} with a fault; {} messages, {} accesses, {} events in all",
        summary.with_fault, summary.schedules, summary.stats.delivered, summary.stats.accesses, summary.stats.steps
    )?;
    for seed in summary.violations.keys().take(STORIES_MAX) {
        writeln!(out, "\n{}\n", runner::story(*seed))?;
    }
    for (seed, violation) in summary.violations.iter().skip(STORIES_MAX) {
        writeln!(out, "seed {seed} violates {:?}: {}", violation.invariant, violation.text)?;
    }
    for text in wrong {
        writeln!(out, "{text}")?;
    }
    writeln!(out, "{} schedules, {} violations", summary.schedules, summary.violations.len())?;
    Ok(())
}

fn as_json(summary: &Summary, wrong: &[String]) -> serde_json::Value {
    let reached = |transition: &Transition| {
        let (machine, text) = transition.text();
        json!({ "machine": machine, "transition": text, "count": summary.stats.count(*transition) })
    };
    let violations = summary.violations.iter().map(|(seed, violation)| {
        json!({ "seed": seed, "invariant": format!("{:?}", violation.invariant), "text": violation.text })
    });
    json!({
        "schedules": summary.schedules,
        "with_fault": summary.with_fault,
        "clients_min": summary.least[0],
        "file_servers_min": summary.least[1],
        "delivered_min": summary.least[2],
        "delivered": summary.stats.delivered,
        "accesses": summary.stats.accesses,
        "events": summary.stats.steps,
        "transitions": Transition::ALL.iter().map(reached).collect::<Vec<_>>(),
        "violations": violations.collect::<Vec<_>>(),
        "complaints": wrong,
    })
}
