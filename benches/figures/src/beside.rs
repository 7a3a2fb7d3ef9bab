//! Figures of the other measurements of the same day and machine, which lie beside the suite's directory.

use crate::table::{short, verdict, wanted};
use anyhow::{Context, Result};
use pfs_bench_datapath::figures::{Figure, Target};
use serde::Deserialize;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Measurements that keep `figures.json`, by their directories' names.
const MEASUREMENTS: [&str; 2] = ["datapath", "collective"];

/// What is read of a measurement's figures.
#[derive(Deserialize)]
struct Kept {
    machine: Machine,
    rounds: u32,
    figures: Vec<Figure>,
}

#[derive(Deserialize)]
struct Machine {
    commit: String,
}

/// Their targets as Markdown; nothing where nothing was measured.
pub fn markdown(suite: &Path) -> Result<String> {
    let suite = fs::canonicalize(suite).with_context(|| format!("finding {}", suite.display()))?;
    let mut text = String::new();
    for measurement in MEASUREMENTS {
        let path = suite.with_file_name(measurement).join("figures.json");
        if path.exists() {
            let kept = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let kept = serde_json::from_str(&kept).with_context(|| format!("{} has no figures", path.display()))?;
            section(&mut text, measurement, &kept);
        }
    }
    Ok(text)
}

fn section(text: &mut String, measurement: &str, kept: &Kept) {
    let Kept { machine, rounds, figures } = kept;
    let judged: Vec<&Figure> = figures.iter().filter(|figure| figure.target != Target::Told).collect();
    if judged.is_empty() {
        return;
    }
    let commit = &machine.commit;
    writeln!(text, "\n## Targets of `cargo xtask bench {measurement}`\n\nCommit {commit}, {rounds} rounds.\n")
        .expect("to a string");
    text.push_str("| figure | median | 95 % | target | |\n|---|---|---|---|---|\n");
    for figure in judged {
        let (name, value, [low, high]) = (&figure.name, short(figure.value), figure.interval.map(short));
        let (target, judged) = (wanted(figure.target), verdict(figure));
        writeln!(text, "| {name} | {value} | {low} – {high} | {target} | {judged} |").expect("to a string");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_bench_datapath::machine;
    use pfs_bench_datapath::report::Report;
    use pfs_bench_datapath::statistics::Median;

    #[test]
    fn what_another_measurement_keeps_is_read() {
        let day = tempfile::tempdir().unwrap();
        let suite = day.path().join("suite");
        fs::create_dir(&suite).unwrap();
        assert_eq!(markdown(&suite).unwrap(), "");
        let median = Median { value: 0.9, low: 0.88, high: 0.92, count: 21 };
        let figure = |name: &str, target| Figure::new(name.to_owned(), &median, target, true);
        let keep = |figures| {
            let report = Report { machine: machine::Machine::describe("abc"), rounds: 21, figures };
            report.keep(&day.path().join("datapath"), &[]).unwrap();
        };
        keep(vec![figure("rate", Target::Told)]);
        assert_eq!(markdown(&suite).unwrap(), "", "nothing was judged");
        keep(vec![figure("wall", Target::AtLeast(0.8)), figure("rate", Target::Told)]);
        let text = markdown(&suite).unwrap();
        assert!(text.contains("`cargo xtask bench datapath`\n\nCommit abc, 21 rounds."), "{text}");
        assert!(text.ends_with("| wall | 0.90 | 0.88 – 0.92 | ≥ 0.80 | met |\n"), "{text}");
    }
}
