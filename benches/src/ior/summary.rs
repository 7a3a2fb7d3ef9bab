//! The short summary of a test and the long one of all tests, in IOR's words.

use crate::ior::report::{Access, Context, Item, Point};
use std::fmt::Write as _;

const MIB: f64 = 1_048_576.0;
const MB: f64 = 1e6;

/// A test and all of its results.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The test.
    pub context: Context,
    /// Its results.
    pub points: Vec<Point>,
}

impl Outcome {
    fn of(&self, access: Access) -> Option<Numbers> {
        let points: Vec<&Point> = self.points.iter().filter(|point| point.access == access).collect();
        let first = points.first()?;
        let bandwidth = Spread::of(points.iter().map(|point| point.bandwidth() / MIB));
        let transfer = self.context.params.transfer_bytes as f64;
        let operations = Spread::of(points.iter().map(|point| point.bandwidth() / transfer));
        let mean_s = Spread::of(points.iter().map(|point| point.total_s)).mean;
        let walls: Vec<(f64, u64)> = points.iter().filter_map(|point| point.stonewall).collect();
        let stonewall = (!walls.is_empty()).then(|| {
            let seconds: f64 = walls.iter().map(|(seconds, _)| seconds).sum();
            let bytes: u64 = walls.iter().map(|(_, bytes)| bytes).sum();
            (seconds / walls.len() as f64, bytes as f64 / seconds / MIB)
        });
        Some(Numbers { bandwidth, operations, mean_s, stonewall, first_mib: first.bytes as f64 / MIB })
    }
}

struct Numbers {
    bandwidth: Spread,
    operations: Spread,
    mean_s: f64,
    /// Seconds, and MiB a second.
    stonewall: Option<(f64, f64)>,
    first_mib: f64,
}

/// Maximum, minimum, mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The greatest.
    pub max: f64,
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of all.
    pub deviation: f64,
}

impl Spread {
    /// Of values of which there is at least one.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Spread {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        Spread {
            max: values.clone().fold(f64::MIN, f64::max),
            min: values.fold(f64::MAX, f64::min),
            mean,
            deviation: variance.sqrt(),
        }
    }
}

/// `Max Write:` and `Max Read:`, for what was measured.
pub fn short(outcome: &Outcome) -> String {
    let mut text = String::new();
    for (access, name) in [(Access::Write, "Max Write: "), (Access::Read, "Max Read:  ")] {
        if let Some(numbers) = outcome.of(access) {
            let mib = numbers.bandwidth.max;
            writeln!(text, "{name}{mib:.2} MiB/sec ({:.2} MB/sec)", mib * MIB / MB).expect("to a string");
        }
    }
    text
}

/// The same as an object.
pub fn short_object(outcome: &Outcome) -> Item {
    let mut fields = Vec::new();
    for (access, mib_name, mb_name) in [(Access::Write, "writeMiB", "writeMB"), (Access::Read, "readMiB", "readMB")] {
        if let Some(numbers) = outcome.of(access) {
            fields.push((mib_name, numbers.bandwidth.max.into()));
            fields.push((mb_name, (numbers.bandwidth.max * MIB / MB).into()));
        }
    }
    Item::Object(fields)
}

/// The heads of the long summary's columns.
pub fn long_header() -> String {
    let heads = [
        "Max(MiB)",
        "Min(MiB)",
        "Mean(MiB)",
        "StdDev",
        "Max(OPs)",
        "Min(OPs)",
        "Mean(OPs)",
        "StdDev",
        "Mean(s)",
        "Stonewall(s)",
    ];
    let mut text = format!("\n{:<9}", "Operation");
    for head in heads {
        write!(text, " {head:>10}").expect("to a string");
    }
    text + " Stonewall(MiB) Test# #Tasks tPN reps fPP reord reordoff reordrand seed segcnt   blksiz    xsize aggs(MiB)   API RefNum\n"
}

/// A test's lines of the long summary.
pub fn long(outcome: &Outcome) -> String {
    let mut text = String::new();
    for access in [Access::Write, Access::Read] {
        let Some(numbers) = outcome.of(access) else { continue };
        write!(text, "{:<9} ", access.name()).expect("to a string");
        for spread in [numbers.bandwidth, numbers.operations] {
            let Spread { max, min, mean, deviation } = spread;
            write!(text, "{max:10.2} {min:10.2} {mean:10.2} {deviation:10.2} ").expect("to a string");
        }
        let (seconds, rate) = match numbers.stonewall {
            Some((seconds, rate)) => (format!("{seconds:.2}"), format!("{rate:.2}")),
            None => ("NA".to_owned(), "NA".to_owned()),
        };
        let Context { params, tasks, tasks_on_node0, .. } = &outcome.context;
        writeln!(
            text,
            "{:10.5} {seconds:>10} {rate:>13} {:5} {tasks:6} {tasks_on_node0:3} {:4} {:3} {:5} {:8} {:9} {:4} {:6} {:8} {:8} {:9.1} {:>3} {:6}",
            numbers.mean_s,
            params.id,
            params.repetitions,
            params.file_per_rank,
            params.reorder,
            params.task_offset,
            params.reorder_random,
            params.reorder_seed,
            params.segments,
            params.block_bytes,
            params.transfer_bytes,
            numbers.first_mib,
            params.api.name(),
            params.reference,
        )
        .expect("to a string");
    }
    text
}

/// The same as objects.
pub fn long_objects(outcome: &Outcome) -> Vec<Item> {
    let Context { params, tasks, tasks_on_node0, .. } = &outcome.context;
    let object = |access: Access| {
        let numbers = outcome.of(access)?;
        let mut fields: Vec<(&'static str, Item)> = vec![
            ("operation", access.name().into()),
            ("API", params.api.name().into()),
            ("TestID", params.id.into()),
            ("ReferenceNumber", params.reference.into()),
            ("segmentCount", params.segments.into()),
            ("blockSize", params.block_bytes.into()),
            ("transferSize", params.transfer_bytes.into()),
            ("numTasks", (*tasks).into()),
            ("tasksPerNode", (*tasks_on_node0).into()),
            ("repetitions", params.repetitions.into()),
            ("filePerProc", params.file_per_rank.into()),
            ("reorderTasks", params.reorder.into()),
            ("taskPerNodeOffset", params.task_offset.into()),
            ("reorderTasksRandom", params.reorder_random.into()),
            ("reorderTasksRandomSeed", params.reorder_seed.into()),
            ("bwMaxMIB", numbers.bandwidth.max.into()),
            ("bwMinMIB", numbers.bandwidth.min.into()),
            ("bwMeanMIB", numbers.bandwidth.mean.into()),
            ("bwStdMIB", numbers.bandwidth.deviation.into()),
            ("OPsMax", numbers.operations.max.into()),
            ("OPsMin", numbers.operations.min.into()),
            ("OPsMean", numbers.operations.mean.into()),
            ("OPsSD", numbers.operations.deviation.into()),
            ("MeanTime", numbers.mean_s.into()),
        ];
        if let Some((seconds, rate)) = numbers.stonewall {
            fields.push(("StoneWallTime", seconds.into()));
            fields.push(("StoneWallbwMeanMIB", rate.into()));
        }
        fields.push(("xsizeMiB", numbers.first_mib.into()));
        Some(Item::Object(fields))
    };
    [Access::Write, Access::Read].into_iter().filter_map(object).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ior::params::Params;

    fn outcome(points: &[(Access, f64)]) -> Outcome {
        let params =
            Params { block_bytes: 16 << 20, transfer_bytes: 4 << 20, segments: 4, repetitions: 2, ..Params::default() };
        let context = Context { params, tasks: 4, tasks_on_node0: 4, nodes: 1, api_version: String::new() };
        let points = points
            .iter()
            .map(|(access, total_s)| Point {
                access: *access,
                repetition: 0,
                bytes: 256 << 20,
                open_s: 0.01,
                access_s: total_s - 0.02,
                close_s: 0.01,
                total_s: *total_s,
                latency_s: 0.03,
                stonewall: None,
            })
            .collect();
        Outcome { context, points }
    }

    #[test]
    fn the_best_of_all_repetitions_is_the_maximum() {
        let outcome = outcome(&[(Access::Write, 1.0), (Access::Write, 0.5), (Access::Read, 2.0)]);
        let expected = "Max Write: 512.00 MiB/sec (536.87 MB/sec)\nMax Read:  128.00 MiB/sec (134.22 MB/sec)\n";
        assert_eq!(short(&outcome), expected);
        let text = long(&outcome);
        let write: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(write[..5], ["write", "512.00", "256.00", "384.00", "128.00"]);
        assert_eq!(write.len(), long_header().split_whitespace().count(), "a value for each column");
        assert_eq!(write[10..12], ["NA", "NA"]);
    }

    #[test]
    fn nothing_is_said_of_what_was_not_measured() {
        let only_read = outcome(&[(Access::Read, 1.0)]);
        assert!(!short(&only_read).contains("Write"));
        assert_eq!(long(&only_read).lines().count(), 1);
        assert_eq!(long_objects(&only_read).len(), 1);
    }

    #[test]
    fn a_stonewall_has_its_own_rate() {
        let mut outcome = outcome(&[(Access::Write, 1.0)]);
        outcome.points[0].stonewall = Some((0.5, 64 << 20));
        let text = long(&outcome);
        let write: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(write[10..12], ["0.50", "128.00"]);
        let json = serde_json::to_value(&long_objects(&outcome)[0]).unwrap();
        assert_eq!(json["StoneWallbwMeanMIB"], 128.0);
    }
}
