//! What is measured, and what is wanted of it.

use crate::figures::{Measure, Target, Wanted};
use crate::measure::Case;
use crate::work::Job;

/// The file system's file on one server.
pub const OURS: &str = "ours";
/// The file system's file on four servers.
pub const OURS_4: &str = "ours4";
/// The raw TCP program.
pub const RAW: &str = "raw";
/// Local writes.
pub const PWRITE: &str = "pwrite";

const MIB: usize = 1 << 20;
const BOTH: &[&str] = &[RAW, OURS];
const WITH_FOUR: &[&str] = &[RAW, OURS, OURS_4];

const fn case(name: &'static str, job: Job, contenders: &'static [&'static str]) -> Case {
    Case { name, job, fresh: false, contenders }
}

/// All cases, in the order in which they run.
pub const CASES: [Case; 13] = [
    case("write-16m", Job::Write { call_bytes: 16 * MIB }, WITH_FOUR),
    Case { fresh: true, ..case("write-16m-fresh", Job::Write { call_bytes: 16 * MIB }, BOTH) },
    case("write-1m", Job::Write { call_bytes: MIB }, BOTH),
    case("read-16m", Job::Read { call_bytes: 16 * MIB }, WITH_FOUR),
    case("read-1m", Job::Read { call_bytes: MIB }, BOTH),
    case("write-4k-d1", Job::WriteBlocks { depth: 1 }, BOTH),
    case("write-4k-d16", Job::WriteBlocks { depth: 16 }, BOTH),
    case("write-4k-d64", Job::WriteBlocks { depth: 64 }, BOTH),
    case("read-4k-d1", Job::ReadBlocks { depth: 1 }, BOTH),
    case("read-4k-d16", Job::ReadBlocks { depth: 16 }, BOTH),
    case("read-4k-d64", Job::ReadBlocks { depth: 64 }, BOTH),
    case("write-list", Job::WriteLists, &[RAW, OURS, PWRITE]),
    case("read-list", Job::ReadLists, BOTH),
];

/// Cases of which flame graphs are kept.
pub const HOT: [&str; 6] = ["write-16m", "write-16m-fresh", "read-16m", "write-4k-d16", "read-4k-d16", "write-list"];

/// The figures of a case, those with a target first.
pub fn wanted(case: &Case) -> Vec<Wanted> {
    let figure = |suffix, measure, target| Wanted { case: case.name, suffix, measure, target };
    let mut all = match case.job {
        Job::Write { .. } | Job::Read { .. } => vec![
            figure("cpu", Measure::CpuRatio(OURS, RAW), Target::AtMost(1.25)),
            figure("wall", Measure::ThroughputRatio(OURS, RAW), Target::AtLeast(0.80)),
        ],
        Job::WriteBlocks { depth: 16 } | Job::ReadBlocks { depth: 16 } => {
            vec![figure("cpu", Measure::CpuRatio(OURS, RAW), Target::AtMost(2.0))]
        }
        Job::WriteBlocks { .. } | Job::ReadBlocks { .. } | Job::ReadLists => {
            vec![figure("cpu", Measure::CpuRatio(OURS, RAW), Target::Told)]
        }
        Job::WriteLists => {
            let above = Measure::CpuPerOperationAbove(OURS, PWRITE);
            vec![
                figure("us-above-pwrite", above, Target::AtMost(2.5)),
                figure("cpu", Measure::CpuRatio(OURS, RAW), Target::Told),
            ]
        }
    };
    match case.job {
        Job::Write { .. } | Job::Read { .. } => {
            // A fresh file's pages are faults of nobody: the kernel makes them in `pwrite`.
            all.push(figure("client-faults-gib", Measure::ClientFaults(OURS), Target::AtMost(1000.0)));
            all.push(figure("server-faults-gib", Measure::ServerFaults(OURS), Target::AtMost(1000.0)));
            if case.contenders.contains(&OURS_4) {
                all.push(figure("4-servers-cpu", Measure::CpuRatio(OURS_4, OURS), Target::AtMost(1.2)));
            }
            all.extend(case.contenders.iter().flat_map(|name| {
                let told = match *name {
                    RAW => ["raw-cpu-s-gib", "raw-gib-s"],
                    OURS => ["ours-cpu-s-gib", "ours-gib-s"],
                    _ => ["ours4-cpu-s-gib", "ours4-gib-s"],
                };
                [
                    figure(told[0], Measure::CpuPerGib(name), Target::Told),
                    figure(told[1], Measure::Throughput(name), Target::Told),
                ]
            }));
        }
        _ => all.extend(case.contenders.iter().map(|name| {
            let suffix = match *name {
                RAW => "raw-us",
                OURS => "ours-us",
                _ => "pwrite-us",
            };
            figure(suffix, Measure::CpuPerOperation(name), Target::Told)
        })),
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let all: Vec<Wanted> = CASES.iter().flat_map(wanted).collect();
        let names: HashSet<String> = all.iter().map(|wanted| format!("{}-{}", wanted.case, wanted.suffix)).collect();
        assert_eq!(names.len(), all.len());
    }
}
