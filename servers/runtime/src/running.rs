//! A server that runs: its address, and the ways to end it.
//!
//! Invariants: when [`RunningServer::stop`] has returned, the listener is closed, every connection has ended, and every
//! attached task has ended. Dropping a running server ends it like [`RunningServer::abort`].

use crate::connections::Connections;
use anyhow::{Context, anyhow};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long a graceful stop waits for calls under way, and again for attached tasks.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// A server that runs.
pub struct RunningServer {
    /// Where it listens; the port is the real one when port 0 was asked for.
    pub address: SocketAddr,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    connections: Connections,
    shutdown: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    ended: bool,
}

impl RunningServer {
    pub(crate) fn new(
        address: SocketAddr,
        serving: JoinHandle<Result<(), tonic::transport::Error>>,
        connections: Connections,
        shutdown: CancellationToken,
    ) -> Self {
        RunningServer { address, serving, connections, shutdown, tasks: JoinSet::new(), ended: false }
    }

    /// The connections, to begin anew with them.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Cancelled when the server is to end.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Runs a background task as long as the server. It must end soon after the shutdown token was cancelled; if it
    /// ends before, the server has failed. What it owns, like the lock of a store, is free when the server has stopped.
    pub fn attach(&mut self, name: &'static str, task: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            match task.await {
                Ok(()) if shutdown.is_cancelled() => Ok(()),
                Ok(()) => Err(anyhow!("the {name} task ended before the server")),
                Err(error) => Err(error.context(format!("the {name} task failed"))),
            }
        });
    }

    /// Waits until the server ends by itself: an error of the listener or of an attached task, or a cancelled token.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            served = &mut self.serving, if !self.ended => {
                self.ended = true;
                served.context("the serving task failed")?.with_context(|| format!("serving on {} failed", self.address))
            }
            Some(ended) = self.tasks.join_next() => ended.context("a task of the server failed")?,
            else => Ok(()),
        }
    }

    /// Ends gracefully: no new calls, those under way get [`STOP_GRACE`] to end, then attached tasks get the same time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.end_serving().await;
        match tokio::time::timeout(STOP_GRACE, self.end_tasks()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("tasks of the server on {} did not end within {STOP_GRACE:?}", self.address)),
        }
    }

    /// The serving task ends when every connection has ended, and with it the services and what they own.
    async fn end_serving(&mut self) {
        if self.ended || tokio::time::timeout(STOP_GRACE, &mut self.serving).await.is_ok() {
            self.ended = true;
            return;
        }
        tracing::info!(address = %self.address, "cutting connections that did not end in time");
        self.connections.cut();
        if tokio::time::timeout(STOP_GRACE, &mut self.serving).await.is_err() {
            tracing::warn!(address = %self.address, "calls that do not end are abandoned");
            self.serving.abort();
        }
        self.ended = true;
    }

    /// The first error of the attached tasks, when all of them have ended.
    async fn end_tasks(&mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            outcome = outcome.and(ended.context("a task of the server failed").and_then(|ended| ended));
        }
        outcome
    }

    /// Ends at once, as a crash would: connections are cut, calls and tasks are dropped where they wait.
    pub fn abort(self) {
        drop(self);
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.serving.abort();
        self.tasks.abort_all();
        self.connections.cut();
        self.shutdown.cancel();
    }
}
