//! Flame graphs: where the CPU time of a job goes, in this process and in the servers.
//!
//! `perf` samples the processor's time by the clock, because machines in a cloud have no counters. Stacks come from the
//! debugging information, so the programs need no other build than the one that is measured.

use anyhow::{Context, Result, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options as FoldOptions};
use inferno::flamegraph::{self, Options as GraphOptions};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::contenders::Contender;
use crate::measure::{Case, prepare};
use crate::work::Material;

/// How often a second every running thread is looked at; no divisor of the kernel's own tick.
const SAMPLES_PER_S: &str = "997";
/// Bytes of the stack that are kept of each look.
const STACK: &str = "dwarf,16384";
/// How long a job is repeated.
const TIME: Duration = Duration::from_secs(4);
/// Lines of the list of functions.
const FUNCTIONS: usize = 40;
/// What time goes to, by parts of names of functions. The first that fits any function of a stack counts: a wake-up within a send
/// is a part of the send.
const COSTS: [(&str, &[&str]); 5] = [
    ("checksums", &["crc_fast"]),
    ("send", &["tcp_sendmsg", "writev", "sendto"]),
    ("store", &["pwrite", "pread"]),
    ("receive", &["recvfrom", "__libc_recv", "tcp_recvmsg"]),
    ("sched, epoll, futex", &["epoll", "futex", "schedule", "sched_yield"]),
];
const OTHER_COSTS: &str = "own code, copies, allocation";

/// Repeats a case's job for a while under `perf`, and keeps `NAME.svg` and `NAME.txt` in `directory`.
pub fn record(case: &Case, contender: &mut dyn Contender, material: &Material, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let working = tempfile::tempdir().context("make a directory for samples")?;
    let data = working.path().join("perf.data");
    prepare(case, contender, material)?;
    contender.run(case.job, material)?;
    let mut perf = start(contender, &data)?;
    let started = Instant::now();
    while started.elapsed() < TIME {
        contender.run(case.job, material)?;
    }
    stop(&mut perf)?;

    let script = working.path().join("script");
    let mut unwind = Command::new("perf");
    unwind.args(["script", "--no-inline", "-i"]).arg(&data).stdout(File::create(&script)?).stderr(Stdio::null());
    let status = unwind.status().context("start perf script")?;
    ensure!(status.success(), "perf script: {status}");
    let named = |extension: &str| -> PathBuf { directory.join(format!("{}.{extension}", case.name)) };
    let folded = working.path().join("folded");
    Folder::from(FoldOptions::default()).collapse_file(Some(&script), File::create(&folded)?)?;
    let mut options = GraphOptions::default();
    options.title = format!("{} of {}, client and servers", case.name, contender.name());
    options.count_name = "samples".to_owned();
    // Part of the width in percent; what is narrower nobody can see.
    options.min_width = 0.1;
    flamegraph::from_files(&mut options, std::slice::from_ref(&folded), File::create(named("svg"))?)?;
    let text = functions(&std::fs::read_to_string(&folded)?);
    std::fs::write(named("txt"), text).context("write the list of functions")
}

fn start(contender: &dyn Contender, data: &Path) -> Result<Child> {
    let own = i32::try_from(std::process::id())?;
    let processes: Vec<String> = contender.servers().iter().chain([&own]).map(i32::to_string).collect();
    let mut command = Command::new("perf");
    command.args(["record", "--quiet", "-e", "cpu-clock", "-F", SAMPLES_PER_S, "--call-graph", STACK, "-o"]).arg(data);
    command.args(["-p", &processes.join(",")]).stdin(Stdio::null());
    command.spawn().context("start perf; is it installed?")
}

/// An interrupt has perf write what it has.
fn stop(perf: &mut Child) -> Result<()> {
    let id = rustix::process::Pid::from_raw(i32::try_from(perf.id())?).context("perf has no process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::INT).context("end perf")?;
    perf.wait().context("wait for perf").map(drop)
}

/// The functions in which most samples were taken, themselves and with what they call, as parts of all samples.
fn functions(folded: &str) -> String {
    let (mut own, mut with_callees) = (HashMap::<&str, u64>::new(), HashMap::<&str, u64>::new());
    let mut costs = HashMap::<&str, u64>::new();
    let mut all = 0;
    for (stack, count) in folded.lines().filter_map(|line| line.rsplit_once(' ')) {
        let count: u64 = count.parse().unwrap_or(0);
        let frames: Vec<&str> = stack.split(';').collect();
        all += count;
        *own.entry(frames[frames.len() - 1]).or_default() += count;
        *costs.entry(cost(&frames)).or_default() += count;
        for (index, frame) in frames.iter().enumerate() {
            if !frames[..index].contains(frame) {
                *with_callees.entry(frame).or_default() += count;
            }
        }
    }
    let mut text = format!("{all} samples\n");
    for (title, counts) in [("costs", costs), ("itself", own), ("with what it calls", with_callees)] {
        let mut sorted: Vec<(&str, u64)> = counts.into_iter().collect();
        sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        writeln!(text, "\n{title}").expect("a string");
        for (name, count) in sorted.into_iter().take(FUNCTIONS) {
            writeln!(text, "{:5.1}%  {name}", count as f64 * 100.0 / all as f64).expect("a string");
        }
    }
    text
}

/// What the time of a stack went to.
fn cost(frames: &[&str]) -> &'static str {
    let fits = |parts: &[&str]| frames.iter().any(|frame| parts.iter().any(|part| frame.contains(part)));
    COSTS.iter().find(|(_, parts)| fits(parts)).map_or(OTHER_COSTS, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_one_cost() {
        for (stack, expected) in [
            ("main;__GI___writev;tcp_sendmsg;schedule", "send"),
            ("main;crc_fast::crc32", "checksums"),
            ("main;epoll_wait;do_epoll_wait", "sched, epoll, futex"),
            ("main;__libc_pwrite;vfs_write", "store"),
            ("main;memcpy", OTHER_COSTS),
        ] {
            assert_eq!(cost(&stack.split(';').collect::<Vec<_>>()), expected, "{stack}");
        }
    }

    #[test]
    fn a_function_that_calls_itself_counts_once() {
        let text = functions("a;b;b 3\na;c 1\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..5], ["4 samples", "", "costs", "100.0%  own code, copies, allocation", ""]);
        assert_eq!(lines[5..8], ["itself", " 75.0%  b", " 25.0%  c"]);
        assert_eq!(lines[10..], ["100.0%  a", " 75.0%  b", " 25.0%  c"]);
    }
}
