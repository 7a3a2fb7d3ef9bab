//! Tasks that outlive the call that started them, and end with the server.

use futures::FutureExt;
use pfs_proto::status::{ErrorCode, status};
use pfs_server_runtime::CancellationToken;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use tokio_util::task::TaskTracker;
use tonic::Status;

/// Starts background tasks, and ends them when the server ends: each is dropped where it waits. What such a task
/// has begun is durable and resumed at the next start.
#[derive(Clone)]
pub(crate) struct Background {
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Background { shutdown, tasks: TaskTracker::new() }
    }

    /// Runs a task to its end or the server's.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(task).await });
    }

    /// Runs the work of a call to its end although the caller may go away: a change is never left half announced.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        let shutdown = self.shutdown.clone();
        let task = self.tasks.spawn(async move { shutdown.run_until_cancelled_owned(work).await });
        match task.await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(crate::tokens::Stopped.into()),
            Err(error) => Err(defect(error)),
        }
    }

    /// Runs the work of a call in the task that asks; a panic is an error of this call alone.
    pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let caught = AssertUnwindSafe(work).catch_unwind().await;
        caught.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            Err(defect(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()))
        })
    }

    /// Returns when the server has ended and all tasks with it.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        self.shutdown.cancelled().await;
        self.tasks.close();
        self.tasks.wait().await;
        Ok(())
    }
}

fn defect(what: impl Display) -> Status {
    status(ErrorCode::Internal, format!("the call ended in a defect of the metadata server: {what}"))
}
