//! One server as a child process.
//!
//! Invariants: a child that was started has served (its ready file was there with its own pid) or has ended; a child
//! never outlives this value; its log is kept over restarts.

use crate::ports::free_address;
use anyhow::{Context, anyhow, bail};
use pfs_server_runtime::read_ready_file;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take to serve, or to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a child is looked at meanwhile.
const POLL: Duration = Duration::from_millis(5);
/// How many lines of a log go into an error.
const LOG_LINES: usize = 20;

/// A server process with its place in the cluster: its name, its files and, from its first start on, its address.
pub(crate) struct ServerProcess {
    name: String,
    ready_file: PathBuf,
    log_file: PathBuf,
    host: Option<IpAddr>,
    address: Option<SocketAddr>,
    child: Option<Child>,
}

/// Where a server listens that has a host for itself.
const OWN_HOST_PORT: u16 = 7_400;

impl ServerProcess {
    /// A server that was never started, on a host of its own if one is given, or else on this one.
    pub(crate) fn new(name: String, ready_file: PathBuf, log_file: PathBuf, host: Option<IpAddr>) -> Self {
        ServerProcess { name, ready_file, log_file, host, address: None, child: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where it listens, also while it is not running.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a cluster is handed out when every server has started once")
    }

    /// Starts `command`, to which where to listen and the ready file are added, and waits until it serves.
    pub(crate) fn start(&mut self, command: Command) -> anyhow::Result<()> {
        self.spawn(command)?;
        self.wait()
    }

    /// The first half of [`Self::start`]: until [`Self::wait`] has returned, the child may not serve yet.
    pub(crate) fn spawn(&mut self, mut command: Command) -> anyhow::Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let listen = match (self.address, self.host) {
            (Some(address), _) => address,
            (None, Some(host)) => SocketAddr::new(host, OWN_HOST_PORT),
            (None, None) => free_address()?,
        };
        // A killed server leaves its ready file behind.
        match fs::remove_file(&self.ready_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", self.ready_file.display()));
            }
            _ => {}
        }
        command.arg("--listen").arg(listen.to_string()).arg("--ready-file").arg(&self.ready_file);
        let log = self.open_log()?;
        let errors = log.try_clone().context("cannot duplicate the handle of a log")?;
        // The cluster of whoever runs the test is not this one.
        command.env_remove("PFS_METADATA").env_remove("PFS_SECRET_FILE");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        self.child = Some(command.spawn().with_context(|| format!("cannot run {command:?}"))?);
        Ok(())
    }

    /// Waits until the child serves; one that does not is killed.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let served = self.wait_until_ready();
        if served.is_err() {
            self.kill();
        }
        self.address = Some(served?);
        Ok(())
    }

    fn open_log(&self) -> anyhow::Result<File> {
        let opened = OpenOptions::new().create(true).append(true).open(&self.log_file);
        opened.with_context(|| format!("cannot open the log {}", self.log_file.display()))
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(ready) = read_ready_file(&self.ready_file)?
                && Some(ready.pid) == self.pid()
            {
                return Ok(ready.address);
            }
            if let Some(status) = self.try_wait()? {
                return Err(anyhow!("{} ended before it served, with {status}; {}", self.name, self.log_tail()));
            }
            thread::sleep(POLL);
        }
        Err(anyhow!("{} did not serve within {PATIENCE:?}; {}", self.name, self.log_tail()))
    }

    fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// Ends it by SIGTERM; an error when it does not end in time or not with success. Nothing when it is not running.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} ended with {status} on SIGTERM; {}", self.name, self.log_tail()),
                None => thread::sleep(POLL),
            }
        }
        self.kill();
        bail!("{} did not end within {PATIENCE:?} after SIGTERM; {}", self.name, self.log_tail())
    }

    /// Sends a signal that does not end it.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not running", self.name))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has no process id", self.name))?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.name))
    }

    /// Sends SIGKILL without waiting for the end. Nothing happens when it is not running.
    pub(crate) fn send_kill(&mut self) {
        if let Some(child) = &mut self.child {
            // It can only fail for a child that has ended, which is what is wanted.
            let _ = child.kill();
        }
    }

    /// Ends it by SIGKILL; when this returns it is gone. Nothing happens when it is not running.
    pub(crate) fn kill(&mut self) {
        self.send_kill();
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }

    /// The end of its log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(&self.log_file).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("the log of {} ends with:\n{}", self.name, tail.join("\n"))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
