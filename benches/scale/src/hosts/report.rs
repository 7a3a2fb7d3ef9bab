//! The figures as files, as a table and as plots.

use super::figures::{Op, Point};
use crate::load::Kind;
use crate::plot::{self, Axes, Line, Scale};
use anyhow::{Context, Result};
use pfs_bench_datapath::figures::{Figure, Target};
use pfs_bench_datapath::machine::Machine;
use pfs_bench_datapath::statistics::Median;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The figures' file in their directory.
pub const FILE: &str = "hosts.json";
/// The file system's throughput by raw TCP's over the same links: the least that is wanted.
const TARGET: f64 = 0.95;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// What the bridge passes without limits.
    pub bridge_bits_per_s: f64,
    /// What each link sends at most, where it is limited.
    pub link_bits_per_s: u64,
    /// The places.
    pub points: Vec<Point>,
}

/// What the model needs of a report.
#[derive(Debug, Deserialize)]
pub struct Kept {
    /// As in [`Report`].
    pub link_bits_per_s: u64,
    /// As in [`Report`].
    pub points: Vec<Point>,
}

/// Reads the figures of a directory.
pub fn read(directory: &Path) -> Result<Kept> {
    let path = directory.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what `pfs-scale hosts` writes", path.display()))
}

impl Report {
    /// Writes figures, table and plots.
    pub fn keep(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join(FILE), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(directory.join("summary.md"), format!("{}\n{}", self.heading(), self.table()))?;
        for op in Op::ALL {
            let name = format!("hosts-{}", op.name());
            plot::draw(&directory.join(name), &self.axes(op), &self.lines(op))?;
        }
        Ok(())
    }

    fn heading(&self) -> String {
        let Machine { processor, cores, kernel, commit, load_at_begin, load_at_end, .. } = &self.machine;
        format!(
            "{processor}, {cores} cores, kernel {kernel}, commit {commit}, load {load_at_begin} before and {load_at_end} \
             after.\nThe bridge between all hosts passes {:.0} Mbit/s, a limited link {:.0} Mbit/s.\n",
            self.bridge_bits_per_s / 1e6,
            self.link_bits_per_s as f64 / 1e6
        )
    }

    /// A line for each place.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| place | pfs Mbit/s | raw Mbit/s | pfs by raw | share of the links | CPU-s/GiB pfs, raw |\n\
             |---|---|---|---|---|---|\n",
        );
        for point in &self.points {
            let [raw, pfs] = Kind::ALL.map(|kind| point.throughput(kind).value);
            let share = point
                .link_bits_per_s
                .map_or("–".to_owned(), |bits| format!("{:.3}", pfs / (bits as f64 * point.count as f64)));
            let cpu = |kind| {
                let (client, server) = point.cpu_s_per_byte(kind);
                (client + server) * f64::from(1u32 << 30)
            };
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {} | {share} | {:.2}, {:.2} |",
                point.name(),
                pfs / 1e6,
                raw / 1e6,
                shown(&point.ratio()),
                cpu(Kind::Pfs),
                cpu(Kind::Raw)
            );
        }
        text
    }

    /// `name ratio spread verdict` for what there is a target of.
    pub fn last_lines(&self) -> String {
        let mut text = String::new();
        for point in self.points.iter().filter(|point| point.link_bits_per_s.is_some()) {
            let ratio = point.ratio();
            let figure = Figure::new(format!("{}-by-raw", point.name()), &ratio, Target::AtLeast(TARGET), true);
            let _ = writeln!(text, "{} {} (at least {TARGET}: {})", figure.name, shown(&ratio), figure.judged());
        }
        for op in Op::ALL {
            if let Some(growth) = self.growth(op) {
                let _ = writeln!(text, "{}-growth {growth:.3} of a straight line from 1 to 8 servers", op.name());
            }
        }
        text
    }

    /// The throughput of the most servers by that of one, by the number of servers.
    fn growth(&self, op: Op) -> Option<f64> {
        let shaped = |point: &&Point| point.op == op && point.link_bits_per_s.is_some();
        let one = self.points.iter().filter(shaped).min_by_key(|point| point.count)?;
        let most = self.points.iter().filter(shaped).max_by_key(|point| point.count)?;
        let pfs = |point: &Point| point.throughput(Kind::Pfs).value;
        Some(pfs(most) / pfs(one) / (most.count as f64 / one.count as f64))
    }

    fn axes(&self, op: Op) -> Axes {
        Axes {
            title: format!("{}: links of {:.0} Mbit/s", op.name(), self.link_bits_per_s as f64 / 1e6),
            x: "servers, and clients".to_owned(),
            y: "Mbit/s of all together".to_owned(),
            scale: Scale::Linear,
        }
    }

    fn lines(&self, op: Op) -> Vec<Line> {
        let shaped: Vec<&Point> =
            self.points.iter().filter(|point| point.op == op && point.link_bits_per_s.is_some()).collect();
        let line = |name: &str, value: &dyn Fn(&Point) -> f64| Line {
            name: name.to_owned(),
            points: shaped.iter().map(|point| (point.count as f64, value(point) / 1e6)).collect(),
        };
        let link = self.link_bits_per_s as f64;
        vec![
            line("the links' own rate", &|point| point.count as f64 * link),
            line("raw TCP", &|point| point.throughput(Kind::Raw).value),
            line("pfs", &|point| point.throughput(Kind::Pfs).value),
        ]
    }
}

fn shown(median: &Median) -> String {
    format!("{:.3} ±{:.1} %", median.value, median.spread() * 100.0)
}
