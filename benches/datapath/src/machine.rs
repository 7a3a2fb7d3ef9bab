//! The machine that figures were made on.

use serde::Serialize;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a reader of the figures wants to know.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// The processor's own name.
    pub processor: String,
    /// How many cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel.
    pub kernel: String,
    /// Processes that wanted a core in the last minute, on average, at the begin.
    pub load_at_begin: f64,
    /// The same at the end.
    pub load_at_end: f64,
    /// The commit of the source tree, as whoever started the program named it.
    pub commit: String,
}

impl Machine {
    /// This one, now.
    pub fn describe(commit: &str) -> Self {
        let load = load();
        Machine {
            unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: field("/proc/meminfo", "MemTotal").split(' ').next().and_then(kib).unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_at_begin: load,
            load_at_end: load,
            commit: commit.to_owned(),
        }
    }

    /// The same, with what the load is by now.
    pub fn at_end(self) -> Self {
        Machine { load_at_end: load(), ..self }
    }
}

fn kib(number: &str) -> Option<u64> {
    number.parse().ok()
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What is behind `name :` in a file of the kernel; empty if it is not there.
fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_memory() {
        let machine = Machine::describe("abc").at_end();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && !machine.kernel.is_empty(), "{machine:?}");
    }
}
