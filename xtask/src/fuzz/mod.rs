//! `fuzz`: builds the fuzz targets with coverage and lets libFuzzer run each for some minutes.
//!
//! It needs no nightly compiler and no `cargo fuzz`: the compiler's own coverage pass is all that libFuzzer asks for. What it
//! finds new goes into `target/fuzz/corpus`, and with `--keep` what reaches new code into the corpus of the source tree.

mod build;
mod target;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::interrupt;
use crate::setup::{self, Need};
use target::Target;

/// Give every parser random input, guided by the code that it reaches
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Which targets; without TARGET, all of them
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,

    /// How many minutes each target runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub minutes: u64,

    /// Keep inputs that reach new code in fuzz/corpus, from where the tests replay them
    #[arg(long)]
    keep: bool,
}

impl Flags {
    /// All targets for so many minutes each.
    pub fn all(minutes: u64) -> Self {
        Flags { targets: Vec::new(), minutes, keep: false }
    }
}

/// Installs what is missing, builds, and runs the targets one after the other.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let names = chosen(&flags.targets, build::target_names()?)?;
    setup::run(&[Need::Fuzzer])?;
    let programs = build::build()?;
    let (mut inputs, mut failed) = (0, Vec::new());
    for name in &names {
        interrupt::check()?;
        let target = Target::new(name, &programs)?;
        let found = target.run(Duration::from_secs(flags.minutes * 60))?;
        inputs += found.inputs;
        match found.failure {
            Some(failure) => {
                println!("{name}: FAILED{failure}");
                failed.push(name.as_str());
            }
            None if flags.keep => target.keep()?,
            None => {}
        }
    }
    println!("{} targets, {inputs} inputs, {} failures", names.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(asked: &[String], all: Vec<String>) -> Result<Vec<String>> {
    for name in asked {
        ensure!(all.contains(name), "there is no fuzz target {name:?}; there are {}", all.join(", "));
    }
    Ok(if asked.is_empty() { all } else { asked.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_targets_are_refused() {
        let all = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(chosen(&[], all()).unwrap(), ["a", "b"]);
        assert_eq!(chosen(&["b".to_owned()], all()).unwrap(), ["b"]);
        let error = chosen(&["c".to_owned()], all()).unwrap_err().to_string();
        assert!(error.contains("there are a, b"), "{error}");
    }

    #[test]
    fn there_are_targets() {
        assert!(build::target_names().unwrap().contains(&"messages".to_owned()));
    }
}
