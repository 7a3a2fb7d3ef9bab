//! Single ranks' performance: warnings of those far from the mean (`-j`), times of each (`-vvv`), and a file of all
//! (`saveRankPerformanceDetailsCSV`).

use crate::ior::output::Output;
use crate::ior::params::Params;
use crate::ior::report::Point;
use crate::ranks::Ranks;
use anyhow::{Context, Result, bail};
use std::fs::OpenOptions;
use std::io::Write;

/// What IOR writes above the ranks' performance.
pub const RANKS_HEADER: &str = "access,rank,runtime-with-openclose,runtime,throughput-withopenclose,throughput\n";

/// Tells what is asked for. `times` are the moments of the own phase: opened, begun, moved, closing, closed. Collective.
pub fn details(ranks: &Ranks, params: &Params, point: &Point, times: [f64; 5], output: &mut Output) -> Result<()> {
    let [opened, begun, moved, closing, closed] = times;
    let access = point.access.name();
    if params.verbose >= 3 {
        let moments = [
            ("open stop", opened),
            ("start", begun),
            ("stop", moved),
            ("close start", closing),
            ("close stop", closed),
        ];
        for (name, time) in moments {
            println!(
                "Test {}: Iter={}, Task={}, Time={time:.6}, {access} {name}",
                params.id, point.repetition, ranks.rank
            );
        }
    }
    if params.outlier_s == 0 && params.rank_details.is_none() {
        return Ok(());
    }
    let own = [opened, moved - begun, closed - closing, closed];
    let all = ranks.all(&own);
    if !ranks.is_root() {
        return Ok(());
    }
    if params.outlier_s > 0 {
        let names = ["elapsed create time", "elapsed transfer time", "elapsed close time", "end time"];
        for (number, name) in names.into_iter().enumerate() {
            let values: Vec<f64> = all.iter().map(|times| times[number]).collect();
            for text in outliers(&values, params.outlier_s as f64, access, name) {
                if params.warnings_as_errors > 0 {
                    bail!("{text} (warnings are errors)");
                }
                output.say(&format!("WARNING: {text}"));
            }
        }
    }
    if let Some(name) = &params.rank_details {
        let mut file =
            OpenOptions::new().append(true).open(name).with_context(|| format!("Cannot open {name} for writes"))?;
        file.write_all(rank_lines(point, &all).as_bytes()).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

fn outliers(values: &[f64], threshold_s: f64, access: &str, what: &str) -> Vec<String> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    let far = values.iter().enumerate().filter(|(_, value)| (**value - mean).abs() > threshold_s);
    far.map(|(rank, value)| {
        format!("for task {rank}, {access} {what} is {value:.6} (mean={mean:.6}, stddev={deviation:.6})")
    })
    .collect()
}

fn rank_lines(point: &Point, all: &[Vec<f64>]) -> String {
    let share = point.bytes as f64 / all.len() as f64;
    let line = |(rank, times): (usize, &Vec<f64>)| {
        let (total, access) = (times[3], times[1]);
        let (name, whole, moving) = (point.access.name(), share / total, share / access);
        format!("{name},{rank},{total:.10e},{access:.10e},{whole:.10e},{moving:.10e}\n")
    };
    all.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ior::report::Access;

    #[test]
    fn ranks_far_from_the_mean_are_told() {
        let warnings = outliers(&[1.0, 1.0, 1.0, 9.0], 5.0, "write", "end time");
        assert_eq!(warnings, ["for task 3, write end time is 9.000000 (mean=3.000000, stddev=3.464102)"]);
        assert!(outliers(&[1.0, 2.0], 1.0, "write", "end time").is_empty());
    }

    #[test]
    fn each_rank_has_a_line_with_as_many_fields_as_the_header() {
        let (repetition, bytes, total_s, stonewall) = (0, 2048, 2.0, None);
        let (open_s, access_s, close_s, latency_s) = (0.0, 1.0, 0.0, 0.0);
        let access = Access::Read;
        let point = Point { access, repetition, bytes, open_s, access_s, close_s, total_s, latency_s, stonewall };
        let text = rank_lines(&point, &[vec![0.0, 1.0, 0.0, 2.0], vec![0.0, 0.5, 0.0, 1.0]]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert!(lines.iter().all(|line| line.len() == RANKS_HEADER.split(',').count()));
        let numbers: Vec<f64> = lines[1][2..].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!((lines[1][0], lines[1][1], &numbers[..]), ("read", "1", &[1.0, 0.5, 1024.0, 2048.0][..]));
    }
}
