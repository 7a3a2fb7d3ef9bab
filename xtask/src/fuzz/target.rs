//! One target: runs of libFuzzer, one after the other, with a line on how far it is after each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::build;
use crate::step::{Finished, Step};
use crate::{interrupt, workspace};

/// Time between two lines of progress.
const SLICE: Duration = Duration::from_secs(10);
/// The longest that the fuzzer may take to come to its end after its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Longest input. Everything interesting happens with few bytes.
const INPUT_BYTES_MAX: u32 = 1 << 16;
/// Memory of the process; more is a failure.
const MEMORY_MIB_MAX: u32 = 1024;
/// Seconds for one input; more is a failure.
const INPUT_SECONDS_MAX: u32 = 10;

/// A target and its folders.
pub struct Target {
    name: String,
    program: PathBuf,
    /// In the source tree.
    corpus: PathBuf,
    /// What was found new.
    found: PathBuf,
    /// Inputs that failed.
    failures: PathBuf,
}

/// What runs of a target have shown.
#[derive(Debug, Default)]
pub struct Found {
    /// Inputs tried.
    pub inputs: u64,
    /// What went wrong, indented for a report.
    pub failure: Option<String>,
}

impl Target {
    /// The target whose program lies in `programs`.
    pub fn new(name: &str, programs: &Path) -> Result<Self> {
        let own = build::folder()?;
        let target = Target {
            name: name.to_owned(),
            program: programs.join(name),
            corpus: workspace::root()?.join("fuzz/corpus").join(name),
            found: own.join("corpus").join(name),
            failures: own.join("failures").join(name),
        };
        for folder in [&target.corpus, &target.found, &target.failures] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok(target)
    }

    /// Runs it for so long, or until it fails.
    pub fn run(&self, time: Duration) -> Result<Found> {
        let started = Instant::now();
        let mut found = Found::default();
        while found.failure.is_none() && started.elapsed() < time {
            interrupt::check()?;
            let slice = SLICE.min(time.saturating_sub(started.elapsed())).max(Duration::from_secs(1));
            let finished = self.slice(slice)?;
            let told = Told::of(&finished.stderr);
            found.inputs += told.inputs;
            found.failure = (!finished.status.success()).then(|| self.failure(&finished));
            let (seconds, of) = (started.elapsed().as_secs(), time.as_secs());
            println!("{}: {seconds} s of {of} s, {} inputs, {} edges reached", self.name, found.inputs, told.edges);
        }
        Ok(found)
    }

    fn slice(&self, time: Duration) -> Result<Finished> {
        let mut command = Command::new(&self.program);
        command.arg(format!("-max_total_time={}", time.as_secs()));
        command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
        command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
        command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        command.args(["-print_final_stats=1", "-use_value_profile=1"]);
        command.arg(format!("-artifact_prefix={}/", self.failures.display()));
        command.args([&self.found, &self.corpus]);
        Step::new(&self.name, command, time + PATIENCE).run_any_status()
    }

    fn failure(&self, finished: &Finished) -> String {
        // The run's own story is at the end; what comes before it are thousands of lines of progress.
        let lines: Vec<&str> = finished.stderr.lines().filter(|line| !line.starts_with('#')).collect();
        let last = &lines[lines.len().saturating_sub(40)..];
        let told: String = last.iter().map(|line| format!("\n    {line}")).collect();
        format!(
            "{told}\n  the input is in {}; when it is corrected, keep it in {}",
            self.failures.display(),
            self.corpus.display()
        )
    }

    /// Takes inputs that reach new code over into the source tree.
    pub fn keep(&self) -> Result<()> {
        let before = count(&self.corpus)?;
        let mut command = Command::new(&self.program);
        command.arg("-set_cover_merge=1").args([&self.corpus, &self.found]);
        Step::new(format!("{} merge", self.name), command, PATIENCE * 5).run()?;
        println!("{}: {} new inputs kept in {}", self.name, count(&self.corpus)? - before, self.corpus.display());
        Ok(())
    }
}

fn count(folder: &Path) -> Result<usize> {
    Ok(fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?.count())
}

/// What a run of libFuzzer says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    inputs: u64,
    edges: u64,
}

impl Told {
    fn of(stderr: &str) -> Self {
        let after = |line: &str, word: &str| {
            line.split_once(word).and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        };
        let last = |word| stderr.lines().rev().find_map(|line| after(line, word)).unwrap_or(0);
        // A run that fails does not come to its final figures; its lines begin with the number of inputs.
        let begun = stderr.lines().rev().find_map(|line| after(line, "#")).unwrap_or(0);
        Told { inputs: begun.max(last("stat::number_of_executed_units:")), edges: last(" cov: ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found() {
        let stderr = "INFO: seed corpus: files: 12\n#2\tINITED cov: 300 ft: 301 corp: 5/9b exec/s: 0\n\
                      #1234\tNEW    cov: 345 ft: 400 corp: 6/10b\nDone\nstat::number_of_executed_units: 1300\n";
        assert_eq!(Told::of(stderr), Told { inputs: 1300, edges: 345 });
        assert_eq!(Told::of("#77\tpulse  cov: 5 ft: 6\npanic"), Told { inputs: 77, edges: 5 });
        assert_eq!(Told::of(""), Told::default());
    }
}
