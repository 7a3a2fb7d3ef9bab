//! What runs on this machine, read from `/proc`: descendants of a process, and processes that name a directory.
//!
//! Invariants: a process is named by id *and* start time, so a reused id is never taken for the process that had it
//! before; only descendants of our own children, and servers inside our own temporary directories, are ever signalled.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// One process, distinct from any other that has or will have its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id.
    pub id: i32,
    start_ticks: u64,
}

impl Process {
    /// Sends `signal` if this very process still runs; a process that is gone is no error.
    pub fn signal(self, signal: Signal) {
        if self.runs()
            && let Some(pid) = Pid::from_raw(self.id)
        {
            // It may have ended since the look above, which is what was wanted.
            let _gone = rustix::process::kill_process(pid, signal);
        }
    }

    /// Whether this very process still runs (a zombie does not).
    pub fn runs(self) -> bool {
        Stat::read(self.id).is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.zombie)
    }
}

/// The fields of `/proc/PID/stat` that are used here.
struct Stat {
    parent: i32,
    start_ticks: u64,
    zombie: bool,
}

impl Stat {
    fn read(id: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The command name is in parentheses and may hold anything, so fields are counted from the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        Some(Self {
            zombie: matches!(*fields.first()?, "Z" | "X"),
            parent: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

fn all() -> Vec<(Process, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|id| {
            let stat = Stat::read(id)?;
            Some((Process { id, start_ticks: stat.start_ticks }, stat.parent))
        })
        .collect()
}

/// The process `root` and everything it has started that is still its descendant.
pub fn tree(root: u32) -> Vec<Process> {
    let Ok(root) = i32::try_from(root) else { return Vec::new() };
    let all = all();
    let mut members = HashSet::from([root]);
    // Children may have lower ids than their parents, so look until nothing new is found.
    loop {
        let before = members.len();
        members
            .extend(all.iter().filter(|(_, parent)| members.contains(parent)).map(|(p, _)| p.id).collect::<Vec<_>>());
        if members.len() == before {
            break;
        }
    }
    all.into_iter().map(|(process, _)| process).filter(|process| members.contains(&process.id)).collect()
}

/// Every other running process whose command line or environment names `directory`.
pub fn naming(directory: &Path) -> Vec<Process> {
    let needle = directory.as_os_str().as_bytes();
    let own = std::process::id();
    all()
        .into_iter()
        .map(|(process, _)| process)
        .filter(|process| u32::try_from(process.id).is_ok_and(|id| id != own) && process.runs())
        .filter(|process| ["cmdline", "environ"].iter().any(|file| names(process.id, file, needle)))
        .collect()
}

fn names(id: i32, file: &str, needle: &[u8]) -> bool {
    fs::read(format!("/proc/{id}/{file}")).is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}

/// The command line of a process for messages, with its id.
pub fn describe(process: Process) -> String {
    let command = fs::read(format!("/proc/{}/cmdline", process.id)).unwrap_or_default();
    format!("{} {}", process.id, String::from_utf8_lossy(&command).replace('\0', " ").trim_end())
}
