//! A cluster of real servers in a temporary directory, through the same `pfs start` and `pfs stop` that users have.
//!
//! Invariant: when a [`Cluster`] is gone, so are its server processes and its directory, however it went.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::processes::{self, Process};
use crate::step::Step;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Running servers, and how to reach them.
pub struct Cluster {
    pfs: PathBuf,
    directory: TempDir,
    environment: Vec<(String, String)>,
    running: bool,
}

impl Cluster {
    /// Starts one metadata server and `file_servers` file servers with the `pfs` program at `pfs`.
    pub fn start(pfs: &Path, file_servers: u32) -> Result<Self> {
        Self::start_in(&std::env::temp_dir(), pfs, file_servers)
    }

    /// The same with the servers' directory in `parent`.
    pub fn start_in(parent: &Path, pfs: &Path, file_servers: u32) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pfs-cluster-").tempdir_in(parent);
        let directory = directory.context("making a directory for servers")?;
        let mut command = Command::new(pfs);
        command.args(["start", "--file-servers", &file_servers.to_string(), "--dir"]).arg(directory.path());
        // From here on the directory may have servers in it, so it is owned by a cluster that is dropped on error.
        let mut cluster = Self { pfs: pfs.to_path_buf(), directory, environment: Vec::new(), running: true };
        let started = Step::new("pfs start", command, START_LIMIT).run()?;
        cluster.environment = exports(&started.stdout);
        if !cluster.environment.iter().any(|(name, _)| name == "PFS_METADATA") {
            bail!("pfs start printed no PFS_METADATA:{}", started.indented_output());
        }
        Ok(cluster)
    }

    /// The server processes.
    pub fn servers(&self) -> Vec<Process> {
        processes::naming(self.directory.path())
    }

    /// Gives `command` the environment in which programs find these servers.
    pub fn reachable_from(&self, command: &mut Command) {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// What programs find in this variable of their environment.
    pub fn variable(&self, name: &str) -> Result<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("pfs start printed no {name}"))
    }

    /// A `pfs` command on these servers.
    pub fn pfs(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.pfs);
        command.args(arguments);
        self.reachable_from(&mut command);
        command
    }

    /// Stops the servers and removes their directory; an error if a server had to be killed.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.running) {
            return Ok(());
        }
        let mut command = Command::new(&self.pfs);
        command.args(["stop", "--dir"]).arg(self.directory.path());
        let stopped = Step::new("pfs stop", command, STOP_LIMIT).cleaning_up().run();
        let left = processes::naming(self.directory.path());
        let names: Vec<String> = left.iter().map(|process| processes::describe(*process)).collect();
        for process in left {
            process.signal(Signal::KILL);
        }
        stopped?;
        if !names.is_empty() {
            bail!("pfs stop left servers running, now killed: {}", names.join("; "));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("stopping the servers in {}: {error:#}", self.directory.path().display());
        }
    }
}

/// The `export NAME=VALUE` lines of a text, quotes taken off.
fn exports(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_end_matches(';').trim_matches(['\'', '"']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read_with_and_without_quotes() {
        let text = "# a cluster\nexport PFS_METADATA=127.0.0.1:1\nexport PFS_SECRET_FILE='/tmp/a b/secret'\n";
        let expected = [("PFS_METADATA", "127.0.0.1:1"), ("PFS_SECRET_FILE", "/tmp/a b/secret")];
        assert_eq!(exports(text), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
