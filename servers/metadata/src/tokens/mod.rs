//! The one task that owns tokens, sessions and open handles.
//!
//! Waiting is asynchronous, applying is synchronous: whoever wants something sends a function of the whole [`State`];
//! the task applies one after the other, so invariants hold between any two. Before the next one it does what the
//! coordinator and its token manager want done, in their order. Nothing in the task waits for a client, a server or the
//! disk: what takes time is handed out, and its end is one more command.

mod actions;
mod errands;
mod handles;
mod opens;
mod pointers;
mod restart;
mod sample;
mod servers;
mod sizes;
mod state;
mod streams;

pub(crate) use errands::{Burial, Errand};
pub(crate) use opens::{OpenRefused, OpenRequest, Opened};
pub(crate) use servers::Told;
pub(crate) use state::{Effects, State};
pub(crate) use streams::ConnectionId;

use crate::clock;
use pfs_proto::status::{ErrorCode, status};
use pfs_server_runtime::CancellationToken;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands that wait for the task; past it callers wait.
const COMMANDS_MAX: usize = 4096;
/// Commands applied before the task looks at the clock again.
const COMMANDS_AT_ONCE: usize = 256;
/// How long after a command the task looks at the latest whether the command brought a time limit that is near.
const LOOK_AFTER_COMMANDS: Duration = Duration::from_millis(10);
/// How often it looks at the clock at least: its timer stands still while the machine sleeps, and leases do not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type Command = Box<dyn FnOnce(&mut State) + Send>;

/// The server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata server is shutting down; try again when it is back")]
pub(crate) struct Stopped;

impl From<Stopped> for tonic::Status {
    fn from(stopped: Stopped) -> Self {
        status(ErrorCode::Unavailable, stopped.to_string())
    }
}

/// The way to the task.
#[derive(Clone)]
pub(crate) struct Tokens {
    commands: mpsc::Sender<Command>,
}

impl Tokens {
    /// Makes the way and the task.
    pub(crate) fn new(state: State, shutdown: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        (Tokens { commands }, run(state, received, shutdown))
    }

    /// Applies a function to the state and returns its result.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        apply: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(move |state| {
            // Whoever asked may be gone.
            let _ = answer.send(apply(state));
        })
        .await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Applies a function to the state, in the order of the calls of one caller; does not wait for it.
    pub(crate) async fn send(&self, apply: impl FnOnce(&mut State) + Send + 'static) -> Result<(), Stopped> {
        self.commands.send(Box::new(apply)).await.map_err(|_| Stopped)
    }
}

async fn run(mut state: State, mut commands: mpsc::Receiver<Command>, shutdown: CancellationToken) {
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    let mut received = Vec::with_capacity(COMMANDS_AT_ONCE);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = &mut sleep => {
                let now_ms = clock::boottime_ms();
                state.tick(now_ms);
                state.settle();
                let left_ms = state.next_timeout_ms().map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms));
                sleep.as_mut().reset(Instant::now() + Duration::from_millis(left_ms.max(1)).min(LOOK_AGAIN));
            }
            count = commands.recv_many(&mut received, COMMANDS_AT_ONCE) => {
                if count == 0 {
                    break;
                }
                for command in received.drain(..) {
                    command(&mut state);
                    state.settle();
                }
                let soon = Instant::now() + LOOK_AFTER_COMMANDS;
                if sleep.deadline() > soon {
                    sleep.as_mut().reset(soon);
                }
            }
        }
    }
    state.end();
}
