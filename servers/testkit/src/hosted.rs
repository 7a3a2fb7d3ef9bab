//! One server in this process, on a runtime of its own.
//!
//! Invariant: when a server was stopped or killed, its port and its store are free. What a server spawns lives on its
//! runtime and ends with it; a thread that a server made for itself ends a little later, and lets go of the store then.

use crate::ports::free_address;
use anyhow::{Context, anyhow};
use pfs_server_runtime::{DirectoryLock, LOCK_FILE, RunningServer};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long a server may take to start, and its blocking work to end after a kill.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a store is looked at after a kill.
const POLL: Duration = Duration::from_millis(1);

/// A server with its place in the cluster: its name and, from its first start on, its address.
pub(crate) struct HostedServer {
    name: String,
    store: PathBuf,
    address: Option<SocketAddr>,
    running: Option<(Runtime, RunningServer)>,
}

impl HostedServer {
    pub(crate) fn new(name: String, store: PathBuf) -> Self {
        HostedServer { name, store, address: None, running: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Where it listens, also while it is not running.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a cluster is handed out when every server has started once")
    }

    /// Starts it where it was before, or at a free address the first time.
    pub(crate) fn start<F>(&mut self, start: impl Fn(SocketAddr) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<RunningServer>>,
    {
        if self.is_running() {
            return Err(anyhow!("{} runs already", self.name));
        }
        let listen = self.address.map_or_else(free_address, Ok)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_start(listen, start(listen)) {
                // A child that another thread is just starting has a copy of the old listener until its exec.
                Err(error) if address_in_use(&error) && Instant::now() < deadline => thread::sleep(POLL),
                outcome => return outcome.with_context(|| format!("cannot start {} on {listen}", self.name)),
            }
        }
    }

    fn try_start(
        &mut self,
        listen: SocketAddr,
        starting: impl Future<Output = anyhow::Result<RunningServer>>,
    ) -> anyhow::Result<()> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).thread_name(&self.name).enable_all().build();
        let runtime = runtime.context("cannot make a runtime")?;
        let started = runtime.block_on(async { tokio::time::timeout(PATIENCE, starting).await });
        let failure = match started {
            Ok(Ok(server)) => {
                self.address = Some(listen);
                self.running = Some((runtime, server));
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => anyhow!("it did not serve within {PATIENCE:?}"),
        };
        runtime.shutdown_timeout(PATIENCE);
        Err(failure)
    }

    /// Ends it gracefully. Nothing happens when it is not running.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let Some((runtime, server)) = self.running.take() else { return Ok(()) };
        let stopped = runtime.block_on(server.stop());
        runtime.shutdown_timeout(PATIENCE);
        stopped.with_context(|| format!("{} did not stop well", self.name))
    }

    /// Ends it at once. Nothing happens when it is not running.
    pub(crate) fn kill(&mut self) {
        if let Some((runtime, server)) = self.running.take() {
            server.abort();
            runtime.shutdown_timeout(PATIENCE);
            wait_until_free(&self.store);
        }
    }
}

fn address_in_use(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::AddrInUse))
}

/// Waits for the end of the last one who uses a store. If that does not come, the next start says who it is.
fn wait_until_free(store: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while store.join(LOCK_FILE).exists() && DirectoryLock::acquire(store).is_err() && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}

impl Drop for HostedServer {
    fn drop(&mut self) {
        self.kill();
    }
}
