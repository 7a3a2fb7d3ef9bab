//! The demo's figures: read from the programs that measured them, shown and kept.

use std::fmt;
use std::fs;
use std::ops::Sub;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::input::Input;
use super::limits::Limits;
use crate::step::Step;

const MIB: f64 = 1_048_576.0;

/// What the rank program says about one direction.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RankReport {
    /// Bytes of all ranks together.
    pub bytes: u64,
    /// The longest time that a rank spent in calls of the file, opening and closing included.
    pub seconds: f64,
    /// CRC-64/NVME of all bytes in the file's order, in hexadecimal.
    pub crc64: String,
    /// How many ranks took part.
    pub ranks: u32,
}

impl RankReport {
    /// The checksum as a number.
    pub fn checksum(&self) -> Result<u64> {
        u64::from_str_radix(self.crc64.trim_start_matches("0x"), 16)
            .with_context(|| format!("the rank program printed the checksum {:?}", self.crc64))
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people, of counts far below 2^53")]
    fn mib_per_second(&self) -> f64 {
        self.bytes as f64 / MIB / self.seconds.max(1e-9)
    }
}

/// Token traffic as the metadata server counts it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Requests received; a collective's is one.
    pub requests: u64,
    /// Requests granted.
    pub grants: u64,
    /// Revokes decided.
    pub revokes: u64,
}

impl TokenCounts {
    /// Reads the counters out of `pfs status --json`.
    pub fn of_status(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Status {
            tokens: TokenCounts,
        }
        let status: Status = serde_json::from_str(text).context("reading the token counters of pfs status --json")?;
        Ok(status.tokens)
    }
}

impl Sub for TokenCounts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            grants: self.grants.saturating_sub(earlier.grants),
            revokes: self.revokes.saturating_sub(earlier.revokes),
        }
    }
}

impl fmt::Display for TokenCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} grants, {} revokes", self.requests, self.grants, self.revokes)
    }
}

/// One direction with its rate, as kept.
#[derive(Debug, Serialize)]
struct Direction {
    #[serde(flatten)]
    ranks: RankReport,
    mib_per_second: f64,
    tokens: TokenCounts,
}

impl Direction {
    fn new(ranks: RankReport, tokens: TokenCounts) -> Self {
        Self { mib_per_second: ranks.mib_per_second(), ranks, tokens }
    }
}

/// The machine and the source that the figures belong to.
#[derive(Debug, Serialize)]
struct Setting {
    command: String,
    processor: String,
    cores: usize,
    memory_kib: u64,
    kernel: String,
    commit: String,
}

impl Setting {
    fn look() -> Self {
        let processor = field("/proc/cpuinfo", "model name").unwrap_or_default();
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        Self {
            command: std::env::args().skip(1).fold("cargo xtask".to_owned(), |line, word| line + " " + &word),
            processor,
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_kib: memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            commit: commit().unwrap_or_default(),
        }
    }
}

/// The value of `NAME : VALUE` in a file of `/proc`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The source's commit, marked when the work tree differs from it. A tree without git has none.
fn commit() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--abbrev=12"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let finished = Step::new("git describe", command, Duration::from_secs(30)).run().ok()?;
    Some(finished.stdout.trim().to_owned())
}

/// Everything the demo found.
#[derive(Debug, Serialize)]
pub struct Report {
    setting: Setting,
    limits: Limits,
    bytes: u64,
    input_files: u64,
    write: Direction,
    read: Direction,
}

impl Report {
    /// Puts the measurements together.
    pub fn new(
        input: &Input,
        limits: Limits,
        write: RankReport,
        read: RankReport,
        write_tokens: TokenCounts,
        read_tokens: TokenCounts,
    ) -> Self {
        Self {
            setting: Setting::look(),
            limits,
            bytes: input.bytes,
            input_files: input.files,
            write: Direction::new(write, write_tokens),
            read: Direction::new(read, read_tokens),
        }
    }

    /// The line that the demo ends with.
    pub fn last_line(&self) -> String {
        format!(
            "verified: {} bytes, write {:.0} MiB/s, read {:.0} MiB/s, token requests {}, revokes {}",
            self.bytes,
            self.write.mib_per_second,
            self.read.mib_per_second,
            self.write.tokens.requests + self.read.tokens.requests,
            self.write.tokens.revokes + self.read.tokens.revokes,
        )
    }

    /// The figures for programs.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("writing the figures as JSON")
    }

    /// Writes the figures to `file`, making its folder.
    pub fn keep(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(file, self.json()? + "\n").with_context(|| format!("writing {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, direction) in [("write", &self.write), ("read", &self.read)] {
            writeln!(
                f,
                "{name:5}: {} ranks, {:.2} s, {:.0} MiB/s, {:.0} % of loopback TCP; tokens: {}",
                direction.ranks.ranks,
                direction.ranks.seconds,
                direction.mib_per_second,
                100.0 * direction.mib_per_second / self.limits.loopback_tcp_mib_per_second,
                direction.tokens,
            )?;
        }
        write!(f, "checksum of the input, of what was written and of what was read: {}", self.read.ranks.crc64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_has_its_form() {
        let ranks = |seconds, ranks| RankReport { bytes: 4 << 20, seconds, crc64: "00ff".to_owned(), ranks };
        let count = |requests, revokes| TokenCounts { requests, grants: requests, revokes };
        let input = Input { path: "input".into(), bytes: 4 << 20, files: 2, checksum: 0xff };
        let limits = Limits { memory_copy_mib_per_second: 9.0, loopback_tcp_mib_per_second: 5.0 };
        let report = Report::new(&input, limits, ranks(2.0, 4), ranks(1.0, 3), count(1, 0), count(1, 1));
        assert_eq!(
            report.last_line(),
            "verified: 4194304 bytes, write 2 MiB/s, read 4 MiB/s, token requests 2, revokes 1"
        );
        assert_eq!(ranks(1.0, 1).checksum().unwrap(), 0xff);
    }

    #[test]
    fn counters_are_found_among_everything_else() {
        let text = r#"{"cluster_id":"c","tokens":{"requests":3,"grants":2,"revokes":1,"acks":1},"boot":1}"#;
        let later = TokenCounts::of_status(text).unwrap();
        let difference = later - TokenCounts { requests: 1, grants: 1, revokes: 1 };
        assert_eq!((difference.requests, difference.grants, difference.revokes), (2, 1, 0));
    }
}
