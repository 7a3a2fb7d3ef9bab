//! Servers of one thread each, which `pfs start` has no flag for: `pfs server` processes of this program.
//!
//! Invariant: when a [`SingleThreaded`] is gone, so are its servers and their directory, however it went.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::processes::{self, Process};
use crate::{interrupt, step};

const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const SECRET_BYTES: usize = 32;

/// What a server says when it serves.
#[derive(Deserialize)]
struct Ready {
    address: String,
}

/// A metadata server and file servers.
pub struct SingleThreaded {
    // Before the directory: a store is not removed under its server.
    servers: Vec<Child>,
    metadata: String,
    directory: TempDir,
}

impl SingleThreaded {
    /// Starts them with the program `pfs`, their stores in `parent`.
    pub fn start(parent: &Path, pfs: &Path, file_servers: u32) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pfs-single-").tempdir_in(parent)?;
        let mut all = SingleThreaded { servers: Vec::new(), metadata: String::new(), directory };
        all.make_secret()?;
        let mut metadata = in_own_session(pfs);
        metadata.args(["server", "metadata", "--create"]);
        all.metadata = all.launch("metadata", metadata)?;
        for number in 0..file_servers {
            let name = format!("file-{number}");
            let mut file = in_own_session(pfs);
            file.args(["server", "file", "--name", &name, "--metadata", &all.metadata]);
            all.launch(&name, file)?;
        }
        Ok(all)
    }

    /// The server processes.
    pub fn processes(&self) -> Vec<Process> {
        processes::naming(self.directory.path())
    }

    /// Gives `command` the environment in which programs find these servers.
    pub fn reachable_from(&self, command: &mut Command) {
        command.env("PFS_METADATA", &self.metadata).env("PFS_SECRET_FILE", self.secret_file());
    }

    /// Ends them.
    pub fn stop(self) {}

    fn secret_file(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    fn make_secret(&self) -> Result<()> {
        let mut bytes = [0; SECRET_BYTES];
        fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).context("random bytes")?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.secret_file());
        writeln!(file.context("making a secret")?, "{text}").context("writing a secret")
    }

    /// Starts one and waits until it serves; returns where.
    fn launch(&mut self, name: &str, mut command: Command) -> Result<String> {
        let (store, ready) = (self.directory.path().join(name), self.directory.path().join(format!("{name}.ready")));
        fs::create_dir(&store)?;
        command.args(["--threads", "1", "--dir"]).arg(store).arg("--ready-file").arg(&ready);
        command.arg("--secret-file").arg(self.secret_file()).env("RUST_LOG", "warn").stdin(Stdio::null());
        self.servers.push(command.spawn().with_context(|| format!("starting the server {name}"))?);
        let started = Instant::now();
        loop {
            interrupt::check()?;
            if let Ok(text) = fs::read_to_string(&ready) {
                let Ready { address } = serde_json::from_str(&text).with_context(|| format!("{text:?} of {name}"))?;
                return Ok(address);
            }
            if let Some(status) = self.servers.last_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the server {name} ended with {status}");
            }
            ensure!(started.elapsed() < START_LIMIT, "the server {name} is not ready after {START_LIMIT:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// A program in a session of its own, as `pfs start` gives servers one: the scheduler shares the processor out among sessions.
fn in_own_session(program: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.arg(program);
    command
}

impl Drop for SingleThreaded {
    fn drop(&mut self) {
        // File servers first, which tell the metadata server that they go.
        self.servers.iter_mut().rev().for_each(step::end);
    }
}
