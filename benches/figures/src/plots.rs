//! Which plots there are.

use crate::plot::{self, Bar, Line};
use crate::samples::{Case, Samples};
use crate::table::{OURS, human};
use anyhow::Result;
use std::path::Path;

/// What is varied along an axis.
const SWEEPS: [(&str, &str, &str); 3] = [
    ("transfer", "bytes of a transfer", "throughput over transfer size"),
    ("ranks", "ranks", "throughput over ranks"),
    ("servers", "file servers", "throughput over servers"),
];

/// The contender that shows what the machine can do.
const LIMIT: &str = "raw TCP";

/// Draws all plots for which there are samples; returns their names.
pub fn draw(samples: &Samples, out: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for (workload, axis, title) in SWEEPS {
        for way in ["write", "read"] {
            let lines = sweep(samples, workload, way);
            if !lines.is_empty() {
                let name = format!("{workload}-{way}");
                let title = format!("{way}s: {title}");
                plot::lines(&out.join(&name), &title, axis, "MiB/s", &lines, &human)?;
                names.push(name);
            }
        }
    }
    let shares = shares(samples);
    if !shares.is_empty() {
        let parts = ["open", "transfers", "close"];
        plot::bars(&out.join("phases"), "pfs: share of time of each phase", "part of the time", &parts, &shares, None)?;
        names.push("phases".to_owned());
    }
    let efficiency = efficiency(samples);
    if !efficiency.is_empty() {
        let title = "pfs: throughput by that of raw TCP with the same large transfers";
        plot::bars(
            &out.join("efficiency"),
            title,
            "part of the limit",
            &["part of the limit"],
            &efficiency,
            Some(1.0),
        )?;
        names.push("efficiency".to_owned());
    }
    Ok(names)
}

fn sweep(samples: &Samples, workload: &str, way: &str) -> Vec<Line> {
    let cases: Vec<Case> =
        samples.cases().into_iter().filter(|case| case.workload == workload && case.way == way).collect();
    let mut names: Vec<String> = Vec::new();
    for name in cases.iter().flat_map(|case| samples.contenders(case)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let line = |name: String| {
        let point = |case: &Case| {
            let rate = samples.rate(case, &name)?;
            Some((case.setting, [rate.value, rate.low, rate.high]))
        };
        let mut points: Vec<_> = cases.iter().filter_map(point).collect();
        points.sort_by_key(|(setting, _)| *setting);
        Line { points, name: name.clone() }
    };
    names.into_iter().map(line).collect()
}

/// Workloads with no setting, in both directions.
fn plain(samples: &Samples) -> Vec<Case> {
    let wanted = |case: &Case| case.setting == 0 && ["write", "read"].contains(&case.way.as_str());
    samples.cases().into_iter().filter(wanted).collect()
}

fn shares(samples: &Samples) -> Vec<Bar> {
    let share = |case: Case| {
        let all = samples.of(&case, OURS);
        let sum = |part: fn(&crate::samples::Sample) -> f64| all.iter().map(|sample| part(sample)).sum::<f64>();
        let parts = [sum(|s| s.open_s), sum(|s| s.access_s), sum(|s| s.close_s)];
        let whole: f64 = parts.iter().sum();
        (whole > 0.0).then(|| Bar { name: name(&case), parts: parts.map(|part| part / whole).to_vec() })
    };
    plain(samples).into_iter().filter_map(share).collect()
}

fn efficiency(samples: &Samples) -> Vec<Bar> {
    let part = |case: Case| {
        let limit = Case { workload: "large".to_owned(), ..case.clone() };
        let ratio = samples.ratio((&case, OURS), (&limit, LIMIT))?;
        Some(Bar { name: name(&case), parts: vec![ratio.value] })
    };
    plain(samples).into_iter().filter_map(part).collect()
}

fn name(case: &Case) -> String {
    format!("{}, {}", case.workload, case.way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_made_of_what_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let samples = Samples::parse(&crate::samples::tests::text()).unwrap();
        assert_eq!(draw(&samples, directory.path()).unwrap(), ["transfer-write", "transfer-read"]);
        assert!(directory.path().join("transfer-read.png").exists());
        let line = &sweep(&samples, "transfer", "write")[0];
        assert_eq!(line.points, [(4096, [200.0, 200.0, 300.0]), (1_048_576, [200.0, 200.0, 300.0])]);
    }
}
