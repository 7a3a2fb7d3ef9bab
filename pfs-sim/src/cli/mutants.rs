//! `pfs-sim mutants`: shows that the simulator would find mistakes, by making them.
//!
//! The mistakes are in `pfs-core`, behind a cfg that no other build sets. So the command builds this program once more,
//! with the cfg, into a directory of its own, and runs the same command there.

use clap::Args;

/// Make deliberate mistakes in the state machines, one at a time, and see that each is found
#[derive(Debug, Args)]
pub struct Flags {
    /// Most schedules for each mutant
    #[arg(long, default_value_t = 3000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only this one
    #[arg(long)]
    only: Option<String>,
}

#[cfg(not(pfs_mutants))]
pub fn run(flags: &Flags) -> anyhow::Result<std::process::ExitCode> {
    use anyhow::{Context, ensure};
    use std::process::{Command, ExitCode};

    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("building pfs-sim with its mutants, into target/mutants");
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "pfs-sim", "--target-dir", "target/mutants"])
        .env("RUSTFLAGS", "--cfg pfs_mutants")
        .current_dir(root)
        .status()
        .context("building with mutants")?;
    ensure!(built.success(), "building with mutants failed");
    let mut hunt = Command::new(format!("{root}/target/mutants/release/pfs-sim"));
    hunt.args(["mutants", "--seeds", &flags.seeds.to_string(), "--first", &flags.first.to_string()]);
    hunt.args(["--threads", &flags.threads.to_string()]);
    if let Some(only) = &flags.only {
        hunt.args(["--only", only]);
    }
    let status = hunt.status().context("running the build with mutants")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(pfs_mutants))]
pub fn switch_on(_: &str) -> bool {
    false
}

#[cfg(pfs_mutants)]
pub use hunt::{run, switch_on};

#[cfg(pfs_mutants)]
mod hunt {
    use super::Flags;
    use anyhow::Result;
    use pfs_core::mutant::{Mutant, switch};
    use pfs_sim::runner::run_one;
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::mpsc;

    pub fn switch_on(name: &str) -> bool {
        let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == *name);
        switch(found.copied());
        found.is_some()
    }

    struct Caught {
        mutant: Mutant,
        by: Option<(u64, String)>,
        tried: u64,
    }

    pub fn run(flags: &Flags) -> Result<ExitCode> {
        let named = |mutant: &&Mutant| flags.only.as_ref().is_none_or(|only| format!("{mutant:?}") == *only);
        let mutants: Vec<Mutant> = Mutant::ALL.iter().filter(named).copied().collect();
        println!("{:<30} {:>9}  {:<22} {}", "mutant", "at seed", "by", "what it does");
        let (next, caught) = (AtomicUsize::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..flags.threads.max(1) {
                let (sender, next, mutants) = (sender.clone(), &next, &mutants);
                scope.spawn(move || {
                    while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if sender.send(hunt(*mutant, flags)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for Caught { mutant, by, tried } in receiver {
                caught.fetch_add(u64::from(by.is_some()), Ordering::Relaxed);
                let (at, by) = by.map_or_else(
                    || ("-".to_owned(), format!("NOT CAUGHT in {tried}")),
                    |(seed, by)| (seed.to_string(), by),
                );
                println!("{:<30} {at:>9}  {by:<22} {}", format!("{mutant:?}"), mutant.description());
            }
        });
        let caught = caught.into_inner();
        println!("{caught} of {} mutants caught", mutants.len());
        Ok(if caught == mutants.len() as u64 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn hunt(mutant: Mutant, flags: &Flags) -> Caught {
        switch(Some(mutant));
        let mut by = None;
        let mut tried = 0;
        for seed in flags.first..flags.first + flags.seeds {
            tried += 1;
            // A broken promise inside a machine counts, too.
            let outcome = std::panic::catch_unwind(|| run_one(seed, &[], false).violation);
            by = match outcome {
                Ok(violation) => violation.map(|violation| (seed, format!("{:?}", violation.invariant))),
                Err(_) => Some((seed, "an assertion".to_owned())),
            };
            if by.is_some() {
                break;
            }
        }
        switch(None);
        Caught { mutant, by, tried }
    }
}
