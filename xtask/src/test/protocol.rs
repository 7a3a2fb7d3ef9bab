//! The token protocol: in a simulated world, in every state of a model, and on real processes that are killed.
//!
//! Invariant: a program that says something else than that all of what was asked for ran and held has failed, whatever its
//! exit status.

use std::io::IsTerminal as _;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;

use super::Effort;
use super::findings::Findings;
use crate::faults;
use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace::{self, Built, Selection};

/// Schedules that the simulator's limit is for.
const SCHEDULES_PER_LIMIT: u64 = 20_000;
const SCHEDULES_LIMIT: Duration = Duration::from_secs(1200);
/// One more build of the core, and each mistake until it is found.
const MUTANTS_LIMIT: Duration = Duration::from_secs(1800);
/// On an idle machine of two cores a minute.
const MODEL_LIMIT: Duration = Duration::from_secs(900);

/// How a program is checked by its own last line, the line itself being what is shown if it passed.
struct Program<'a> {
    name: &'a str,
    command: Command,
    limit: Duration,
    last_line: &'a dyn Fn(&str) -> bool,
}

/// The command line of `cargo xtask faults`, for its defaults.
#[derive(Parser)]
struct FaultsLine {
    #[command(flatten)]
    flags: faults::Flags,
}

/// Runs seeded schedules, then the deliberate mistakes.
pub fn sim(effort: &Effort, verbose: bool, findings: &mut Findings) -> Result<()> {
    let built = release("pfs-sim")?;
    let program = built.program("pfs-sim")?;
    let schedules = effort.schedules;
    let mut run = Command::new(program);
    run.args(["run", "--seeds", &schedules.to_string()]);
    let limits = u32::try_from(schedules.div_ceil(SCHEDULES_PER_LIMIT))?;
    check(
        findings,
        verbose,
        Program {
            name: &format!("{schedules} schedules"),
            command: run,
            limit: SCHEDULES_LIMIT.saturating_mul(limits),
            last_line: &|line| held(line, "schedules", "violations", schedules),
        },
    );
    let mut mutants = Command::new(program);
    mutants.arg("mutants").current_dir(workspace::root()?);
    check(
        findings,
        verbose,
        Program {
            name: "mutants",
            command: mutants,
            limit: MUTANTS_LIMIT.saturating_mul(effort.time_factor),
            last_line: &all_mutants,
        },
    );
    Ok(())
}

/// Visits every state of the model's worlds.
pub fn model(verbose: bool, findings: &mut Findings) -> Result<()> {
    let built = release("pfs-model")?;
    check(
        findings,
        verbose,
        Program {
            name: "every state of two worlds",
            command: Command::new(built.program("pfs-model")?),
            limit: MODEL_LIMIT,
            last_line: &|line| held(line, "worlds", "violations", 2),
        },
    );
    Ok(())
}

/// Loses the power of a store's disk, then kills, stops and cuts off real servers and clients.
pub fn faults(built: &Built, effort: &Effort, verbose: bool, findings: &mut Findings) -> Result<()> {
    let seeds = effort.power_seeds;
    let (command, limit) = faults::store::program(built, 1, seeds)?;
    check(
        findings,
        verbose,
        Program {
            name: &format!("power lost in {seeds} recordings"),
            command,
            limit,
            last_line: &|line| held(line, "boundaries", "losses", seeds),
        },
    );
    let program = built.program(faults::PROGRAM)?;
    let rounds = effort.fault_rounds;
    let FaultsLine { flags } = FaultsLine::try_parse_from(["faults", "--rounds", &rounds.to_string()])?;
    findings.check(&format!("{rounds} rounds"), || {
        ensure!(faults::run_built(program, &flags)? == ExitCode::SUCCESS, "see above");
        Ok(String::new())
    });
    Ok(())
}

fn release(program: &str) -> Result<Built> {
    workspace::build(&Selection::ReleasePrograms(&[(program, program)]), Mpi::Open)
}

fn check(findings: &mut Findings, verbose: bool, program: Program<'_>) {
    let Program { name, command, limit, last_line } = program;
    findings.check(name, || {
        let step = Step::new(name, command, limit);
        // A person sees the program's own progress; a log gets a line each minute.
        let step = if std::io::stderr().is_terminal() { step.showing_stderr() } else { step };
        let finished = step.run()?;
        let last = finished.stdout.lines().last().unwrap_or_default();
        ensure!(last_line(last), "it ended with {last:?}{}", finished.indented_output());
        Ok(if verbose { finished.stdout.clone() } else { closing(&finished.stdout) })
    });
}

/// The last paragraph's lines that count something.
fn closing(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}

/// Whether a line is `N things, 0 wrongs` with at least so many things.
fn held(line: &str, things: &str, wrongs: &str, least: u64) -> bool {
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    matches!(words[..], [count, t, "0", w] if t == things && w == wrongs && count.parse::<u64>().is_ok_and(|n| n >= least))
}

/// Whether a line is `N of N mutants caught`.
fn all_mutants(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words[..], [caught, "of", all, "mutants", "caught"] if caught == all && caught != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_line_must_say_that_all_ran_and_held() {
        assert!(held("20000 schedules, 0 violations", "schedules", "violations", 20_000));
        assert!(held("20003 schedules, 0 violations", "schedules", "violations", 20_000), "old failures come on top");
        assert!(!held("19999 schedules, 0 violations", "schedules", "violations", 20_000));
        assert!(!held("20000 schedules, 1 violations", "schedules", "violations", 20_000));
        assert!(!held("", "schedules", "violations", 0));
        assert!(all_mutants("29 of 29 mutants caught"));
        assert!(!all_mutants("28 of 29 mutants caught"));
        assert!(!all_mutants("0 of 0 mutants caught"));
    }
    #[test]
    fn faults_get_their_rounds_and_their_defaults() {
        let FaultsLine { flags } = FaultsLine::try_parse_from(["faults", "--rounds", "7"]).unwrap();
        assert_eq!((flags.rounds, flags.only), (7, None));
        let FaultsLine { flags } = FaultsLine::try_parse_from(["faults", "--store", "--seeds", "3"]).unwrap();
        assert_eq!((flags.store, flags.seeds, flags.seed), (true, 3, 1));
        assert!(FaultsLine::try_parse_from(["faults", "--seeds", "3"]).is_err(), "only of a store");
    }
}
