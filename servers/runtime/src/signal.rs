//! Ending on a signal.

use crate::ready::write_ready_file;
use crate::running::RunningServer;
use anyhow::Context;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for SIGTERM or SIGINT and returns the name of the one that came.
pub async fn shutdown_signal() -> anyhow::Result<&'static str> {
    Ok(Signals::catch()?.next().await)
}

/// Caught from now on, whether or not anybody waits already.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> anyhow::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate()).context("cannot catch SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot catch SIGINT")?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The life of a server process: writes the ready file, serves until a signal or a failure, stops, and takes the ready
/// file away.
pub async fn run_until_signal(mut server: RunningServer, ready_file: Option<&Path>) -> anyhow::Result<()> {
    // Before the ready file tells anybody which process to send one.
    let mut signals = Signals::catch()?;
    if let Some(path) = ready_file {
        write_ready_file(path, server.address)?;
    }
    let failed = tokio::select! {
        ended = server.wait() => ended,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            Ok(())
        }
    };
    let stopped = server.stop().await;
    if let Some(path) = ready_file {
        // Who reads it must not find a server that is gone; if it is gone itself, all the better.
        let _ = std::fs::remove_file(path);
    }
    failed.and(stopped)
}
