//! A cluster of child processes.

use crate::builder::{Choices, ClusterBuilder};
use crate::child::ServerProcess;
use crate::files::{ClusterFiles, METADATA_NAME, file_server_name};
use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// The environment variable that names the `pfs` binary.
pub const PFS_BIN: &str = "PFS_BIN";

/// The `pfs` binary: what `PFS_BIN` names, or the one that was built beside the current executable.
pub fn pfs_binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os(PFS_BIN).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "{PFS_BIN} is {}, which is not a file", named.display());
        return Ok(named);
    }
    let own = env::current_exe().context("cannot tell where this executable is")?;
    // Tests are in target/<profile>/deps, examples in target/<profile>/examples, binaries in target/<profile>.
    let beside = own.ancestors().skip(1).take(2).map(|directory| directory.join("pfs"));
    let candidates: Vec<PathBuf> = beside.collect();
    match candidates.iter().find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "there is no pfs binary at {}; build it with `cargo build -p pfs-cli` in the same profile, or set {PFS_BIN}",
            candidates.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or "),
        ),
    }
}

/// A cluster whose servers are `pfs server …` processes.
///
/// Dropping it kills what still runs; when the test is failing, the ends of the servers' logs are printed first.
pub struct ProcessCluster {
    // Before the files: a store is not removed under its server.
    file_servers: Vec<ServerProcess>,
    metadata: ServerProcess,
    choices: Choices,
    pfs: PathBuf,
    files: ClusterFiles,
}

impl ProcessCluster {
    /// A cluster with this many file servers, in a temporary directory.
    pub fn start(file_servers: usize) -> anyhow::Result<Self> {
        ClusterBuilder::new(file_servers).start_processes()
    }

    /// A cluster of which more is chosen; ends with [`ClusterBuilder::start_processes`].
    pub fn builder(file_servers: usize) -> ClusterBuilder {
        ClusterBuilder::new(file_servers)
    }

    pub(crate) fn start_with(files: ClusterFiles, file_servers: usize, choices: Choices) -> anyhow::Result<Self> {
        // Makes the file; the processes read it themselves.
        files.secret()?;
        ensure!(!choices.proxied, "processes have no proxies");
        ensure!(
            choices.hosts.is_empty() || choices.hosts.len() == file_servers + 1,
            "{} hosts were given for {file_servers} file servers and a metadata server",
            choices.hosts.len()
        );
        let process = |name: String, host: usize| {
            let (ready, log) = (files.ready_file(&name), files.log_file(&name));
            ServerProcess::new(name, ready, log, choices.hosts.get(host).map(|host| host.address))
        };
        let mut cluster = ProcessCluster {
            file_servers: (0..file_servers).map(|index| process(file_server_name(index), index + 1)).collect(),
            metadata: process(METADATA_NAME.to_owned(), 0),
            choices,
            pfs: pfs_binary()?,
            files,
        };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// The metadata server's "host:port", as clients take it.
    pub fn metadata_address(&self) -> String {
        self.metadata.address().to_string()
    }

    /// The file with the cluster secret.
    pub fn secret_file(&self) -> PathBuf {
        self.files.secret_file()
    }

    /// The cluster's directories and logs.
    pub fn files(&self) -> &ClusterFiles {
        &self.files
    }

    /// The `pfs` binary that the servers run, for commands of the test.
    pub fn pfs(&self) -> &Path {
        &self.pfs
    }

    /// Number of file servers, running or not.
    pub fn file_server_count(&self) -> usize {
        self.file_servers.len()
    }

    /// Where file server `index` listens.
    pub fn file_server_address(&self, index: usize) -> SocketAddr {
        self.file_servers[index].address()
    }

    /// The metadata server's process id, while it runs.
    pub fn metadata_pid(&self) -> Option<u32> {
        self.metadata.pid()
    }

    /// The process id of file server `index`, while it runs.
    pub fn file_server_pid(&self, index: usize) -> Option<u32> {
        self.file_servers[index].pid()
    }

    /// Starts the metadata server after a stop or a kill.
    pub fn start_metadata(&mut self) -> anyhow::Result<()> {
        let command = self.metadata_command();
        self.metadata.start(command)
    }

    fn metadata_command(&self) -> Command {
        let mut command = self.server("metadata", &self.files.metadata_store(), 0);
        command.arg("--create");
        let numbers = [
            ("--lease-ms", self.choices.lease_ms),
            ("--heartbeat-ms", self.choices.heartbeat_ms()),
            ("--grace-ms", self.choices.grace_ms),
            ("--revoke-timeout-ms", self.choices.revoke_timeout_ms),
            ("--stripe-unit", self.choices.stripe_unit),
            ("--stripe-count", self.choices.stripe_count.map(u64::from)),
        ];
        for (flag, number) in numbers {
            if let Some(number) = number {
                command.arg(flag).arg(number.to_string());
            }
        }
        command
    }

    /// Starts file server `index` after a stop or a kill. The metadata server must be running.
    pub fn start_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        let name = self.file_servers[index].name();
        ensure!(self.metadata.is_running(), "{name} cannot register: the metadata server is not running");
        let command = self.file_server_command(index);
        self.file_servers[index].start(command)
    }

    fn file_server_command(&self, index: usize) -> Command {
        let mut command = self.server("file", &self.files.file_server_store(index), index + 1);
        let name = self.file_servers[index].name();
        command.arg("--metadata").arg(self.metadata_address()).arg("--name").arg(name);
        command
    }

    /// Starts file server `index` without waiting until it serves; it waits for the metadata server itself.
    pub fn spawn_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        let command = self.file_server_command(index);
        self.file_servers[index].spawn(command)
    }

    /// Waits until a file server that was spawned serves.
    pub fn wait_for_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        self.file_servers[index].wait()
    }

    /// The command of a server on one of the hosts, if there are any.
    fn server(&self, kind: &str, store: &Path, host: usize) -> Command {
        let mut command = match self.choices.hosts.get(host) {
            Some(host) => {
                // Changes the namespace and becomes the server: the process id is the server's.
                let mut inside = Command::new("ip");
                inside.args(["netns", "exec", &host.namespace]).arg(&self.pfs);
                inside
            }
            None => Command::new(&self.pfs),
        };
        command.args(["server", kind]).arg("--dir").arg(store);
        command.arg("--secret-file").arg(self.files.secret_file());
        command
    }

    /// Stops the metadata server where it stands (SIGSTOP), until [`Self::continue_metadata`].
    pub fn pause_metadata(&self) -> anyhow::Result<()> {
        self.metadata.signal(Signal::STOP)
    }

    /// Lets a paused metadata server go on.
    pub fn continue_metadata(&self) -> anyhow::Result<()> {
        self.metadata.signal(Signal::CONT)
    }

    /// Stops file server `index` where it stands (SIGSTOP), until [`Self::continue_file_server`].
    pub fn pause_file_server(&self, index: usize) -> anyhow::Result<()> {
        self.file_servers[index].signal(Signal::STOP)
    }

    /// Lets a paused file server go on.
    pub fn continue_file_server(&self, index: usize) -> anyhow::Result<()> {
        self.file_servers[index].signal(Signal::CONT)
    }

    /// The ends of all servers' logs.
    pub fn log_tails(&self) -> String {
        let tails = self.file_servers.iter().chain([&self.metadata]).map(ServerProcess::log_tail);
        tails.collect::<Vec<_>>().join("\n")
    }

    /// Ends the metadata server by SIGTERM.
    pub fn stop_metadata(&mut self) -> anyhow::Result<()> {
        self.metadata.stop()
    }

    /// Ends the metadata server by SIGKILL.
    pub fn kill_metadata(&mut self) {
        self.metadata.kill();
    }

    /// Stops the metadata server and starts it again at the same address.
    pub fn restart_metadata(&mut self) -> anyhow::Result<()> {
        self.stop_metadata()?;
        self.start_metadata()
    }

    /// Ends file server `index` by SIGTERM.
    pub fn stop_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        self.file_servers[index].stop()
    }

    /// Ends file server `index` by SIGKILL.
    pub fn kill_file_server(&mut self, index: usize) {
        self.file_servers[index].kill();
    }

    /// Stops file server `index` and starts it again at the same address.
    pub fn restart_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        self.stop_file_server(index)?;
        self.start_file_server(index)
    }

    /// Ends all servers by SIGKILL, as nearly at once as can be; when this returns they are gone.
    pub fn kill_9_all(&mut self) {
        self.servers().for_each(ServerProcess::send_kill);
        self.servers().for_each(ServerProcess::kill);
    }

    /// Kills what runs and starts all servers again, each at the address it had, on the directory it had.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill_9_all();
        self.start_all()
    }

    /// Starts every server that is not running, each at the address it had.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        if !self.metadata.is_running() {
            self.start_metadata()?;
        }
        // One after the other, so that server ids are in the order of the names.
        for index in 0..self.file_servers.len() {
            if !self.file_servers[index].is_running() {
                self.start_file_server(index)?;
            }
        }
        Ok(())
    }

    /// Ends all servers by SIGTERM, the file servers first. The first error is returned when all have ended.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.servers().map(ServerProcess::stop).fold(Ok(()), anyhow::Result::and)
    }

    /// The file servers, then the metadata server.
    fn servers(&mut self) -> impl Iterator<Item = &mut ServerProcess> {
        self.file_servers.iter_mut().chain([&mut self.metadata])
    }
}

impl Drop for ProcessCluster {
    fn drop(&mut self) {
        self.kill_9_all();
        if thread::panicking() {
            self.servers().for_each(|server| eprintln!("{}", server.log_tail()));
        }
    }
}
