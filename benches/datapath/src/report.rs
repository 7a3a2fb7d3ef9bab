//! What is kept: every sample, the figures, the machine; and the same figures as text.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

use crate::figures::{Figure, Target};
use crate::machine::Machine;
use crate::measure::Sample;

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Rounds of each case.
    pub rounds: u32,
    /// What came out.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Writes `summary.txt`, `figures.json` and `samples.csv` into `directory`, which is made.
    pub fn keep(&self, directory: &Path, samples: &[Sample]) -> Result<()> {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let keep = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        keep("summary.txt", &self.text())?;
        keep("figures.json", &(serde_json::to_string_pretty(self)? + "\n"))?;
        keep("samples.csv", &csv(samples))
    }

    /// The machine, what is told, and at the end a line `name value spread` for each figure with a target.
    pub fn text(&self) -> String {
        let Machine { processor, cores, memory_mib, kernel, load_at_begin, load_at_end, commit, .. } = &self.machine;
        let mut text = format!(
            "{processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}; load {load_at_begin} at begin, {load_at_end} at \
             end; commit {commit}; {} rounds; median, half the 95 % interval, target, verdict\n\n",
            self.rounds
        );
        let mut put = |wanted: bool| {
            for figure in self.figures.iter().filter(|figure| (figure.target == Target::Told) != wanted) {
                writeln!(text, "{figure}").expect("a string");
            }
        };
        put(false);
        put(true);
        text
    }
}

fn csv(samples: &[Sample]) -> String {
    let mut text = String::from(
        "case,round,contender,operations,bytes,wall_s,client_cpu_s,server_cpu_s,client_faults,server_faults\n",
    );
    for sample in samples {
        let Sample { case, round, contender, operations, bytes, client_faults, server_faults, .. } = sample;
        let [wall, client, server] = [sample.wall_s, sample.client_cpu_s, sample.server_cpu_s];
        let counts = format!("{case},{round},{contender},{operations},{bytes}");
        writeln!(text, "{counts},{wall:.6},{client:.6},{server:.6},{client_faults},{server_faults}").expect("a string");
    }
    text
}
