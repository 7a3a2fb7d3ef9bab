//! Runs the binary with a deadline, and clusters that end with their test.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// More than any command here needs, even on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What a command did.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that must have succeeded.
    pub fn success(self) -> String {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        String::from_utf8(self.stdout).expect("text")
    }

    /// The one line on standard error of a command that must have failed with this exit status.
    pub fn failure(self, exit_status: i32) -> String {
        assert_eq!(self.status.code(), Some(exit_status), "{}", self.stderr);
        assert!(self.stdout.is_empty(), "a failed command answered {}", String::from_utf8_lossy(&self.stdout));
        let line = self.stderr.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("pfs: "), "not one clear line: {}", self.stderr);
        line
    }
}

/// Runs a command to its end; it is killed and the test fails when that takes too long.
pub fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
    // A command that fails early closes its input early.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait(&mut child, &format!("{command:?}"));
    writer.join().expect("writes");
    let stderr = String::from_utf8_lossy(&stderr.join().expect("reads")).into_owned();
    Outcome { status, stdout: stdout.join().expect("reads"), stderr }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("a pipe can be read");
        bytes
    })
}

fn wait(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().expect("the child can be killed");
            panic!("{what} did not end within {DEADLINE:?}");
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The binary, without the environment of a cluster.
pub fn pfs<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pfs"));
    command.args(arguments).env_remove("PFS_METADATA").env_remove("PFS_SECRET_FILE").env_remove("RUST_LOG");
    command
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// A cluster with a directory of its own, and a place for local files.
pub struct Cluster {
    home: TempDir,
    pub metadata: String,
    pub secret_file: String,
}

impl Cluster {
    /// A place for a cluster.
    pub fn unstarted() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        Cluster { home, metadata: String::new(), secret_file: String::new() }
    }

    /// Starts a new cluster.
    pub fn start(file_servers: u32) -> Self {
        let mut cluster = Self::unstarted();
        cluster.start_with(&["--file-servers", &file_servers.to_string()]);
        cluster
    }

    /// Starts the cluster again, with more flags, and learns its address.
    pub fn start_with(&mut self, flags: &[&str]) {
        let answer = self.try_start(flags).success();
        let value = |name: &str| {
            let prefix = format!("export {name}='");
            let line = answer.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('\''));
            line.unwrap_or_else(|| panic!("no {name} in {answer:?}")).replace(r"'\''", "'")
        };
        (self.metadata, self.secret_file) = (value("PFS_METADATA"), value("PFS_SECRET_FILE"));
        assert_eq!(answer.lines().count(), 2, "{answer}");
        assert_eq!(fs::read_to_string(self.dir().join("env")).expect("a connection file"), answer);
    }

    pub fn try_start(&self, flags: &[&str]) -> Outcome {
        run(pfs(["start", "--dir", text(&self.dir())]).args(flags), b"")
    }

    pub fn stop(&self) -> Outcome {
        run(&mut pfs(["stop", "--dir", text(&self.dir())]), b"")
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("it's a cluster")
    }

    /// A local path beside the cluster.
    pub fn local(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The binary with the environment that `pfs start` printed.
    pub fn command<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = pfs(arguments);
        command.env("PFS_METADATA", &self.metadata).env("PFS_SECRET_FILE", &self.secret_file);
        command
    }

    pub fn run<const N: usize>(&self, arguments: [&str; N]) -> Outcome {
        run(&mut self.command(arguments), b"")
    }

    pub fn ok<const N: usize>(&self, arguments: [&str; N]) -> String {
        self.run(arguments).success()
    }

    pub fn fails<const N: usize>(&self, arguments: [&str; N]) -> String {
        self.run(arguments).failure(1)
    }

    pub fn json<const N: usize>(&self, arguments: [&str; N]) -> Value {
        let answer = self.ok(arguments);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer}"))
    }

    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.dir().join("run").join(format!("{name}.pid"))
    }

    pub fn pid(&self, name: &str) -> Pid {
        let record = fs::read(self.pid_file(name)).expect("a pid file");
        let record: Value = serde_json::from_slice(&record).expect("a record");
        let pid = i32::try_from(record["pid"].as_i64().expect("a pid")).expect("a pid");
        Pid::from_raw(pid).expect("a pid")
    }

    /// `kill -9` of all servers at once; returns when they are gone.
    pub fn kill_all(&self, file_servers: u32) {
        let names = ["metadata".to_owned()].into_iter().chain((0..file_servers).map(|index| format!("file-{index}")));
        let pids: Vec<Pid> = names.map(|name| self.pid(&name)).collect();
        for pid in &pids {
            kill_process(*pid, Signal::KILL).expect("a server that can be killed");
        }
        pids.into_iter().for_each(wait_until_gone);
    }
}

/// Waits until a process has ended; one that nobody has waited for yet counts as ended.
pub fn wait_until_gone(pid: Pid) {
    let deadline = Instant::now() + DEADLINE;
    while is_running(pid) {
        assert!(Instant::now() < deadline, "process {pid:?} does not end");
        thread::sleep(POLL_INTERVAL);
    }
}

pub fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let ended = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
    test_kill_process(pid).is_ok() && !ended
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = run(&mut pfs(["stop", "--remove", "--grace-s", "30", "--dir", text(&self.dir())]), b"");
        if !thread::panicking() {
            stopped.success();
        }
    }
}

/// Bytes without a period that a wrong stripe could hide behind.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
