//! Tokens, sessions and open handles: one [`State`] behind one lock.
//!
//! Waiting is asynchronous, applying is synchronous: whoever wants something gives a function of the whole state, which is
//! applied on his own thread; so invariants hold between any two functions, and what one caller wants is done in the order of
//! his calls. Under the same lock what the coordinator and its token manager want done is done, in their order. Nothing
//! under the lock waits for a client, a server or the disk: what takes time is handed out, and its end is one more function.
//! So the lock is held for microseconds; a task that owns the state would cost each call several changes of tasks and
//! threads, which take longer than all that is done here.
//!
//! A function that panics may have left the state in the middle of a change: the state is dropped, and the server ends. What
//! was durable is resumed at the next start, as after any other end.

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
use parking_lot::Mutex;
use pfs_proto::status::{ErrorCode, status};
use pfs_server_runtime::CancellationToken;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long after a function the clock is looked at the latest, whether the function brought a time limit that is near.
const LOOK_AFTER_FUNCTIONS: Duration = Duration::from_millis(10);
/// How often the clock is looked at at least: the timer stands still while the machine sleeps, and leases do not.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata server is shutting down; try again when it is back")]
pub(crate) struct Stopped;

impl From<Stopped> for tonic::Status {
    fn from(stopped: Stopped) -> Self {
        status(ErrorCode::Unavailable, stopped.to_string())
    }
}

/// The way to the state.
#[derive(Clone)]
pub(crate) struct Tokens {
    desk: Arc<Desk>,
}

struct Desk {
    /// Nothing when the server ends.
    state: Mutex<Option<Box<State>>>,
    /// Whether a function was applied since the clock was looked at.
    touched: AtomicBool,
    /// Who looks at the clock is to do so soon.
    soon: Notify,
    shutdown: CancellationToken,
}

impl Tokens {
    /// Makes the way, and the task that looks at the clock until the server ends.
    pub(crate) fn new(state: State, shutdown: CancellationToken) -> (Self, impl Future<Output = ()> + Send) {
        let (state, touched) = (Mutex::new(Some(Box::new(state))), AtomicBool::new(false));
        let desk = Arc::new(Desk { state, touched, soon: Notify::new(), shutdown });
        (Tokens { desk: desk.clone() }, watch(desk))
    }

    /// Applies a function to the state and returns its result.
    pub(crate) fn with<T>(&self, apply: impl FnOnce(&mut State) -> T) -> Result<T, Stopped> {
        let result = self.desk.apply(|state| {
            let result = apply(state);
            state.settle();
            result
        })?;
        if !self.desk.touched.swap(true, Ordering::Relaxed) {
            self.desk.soon.notify_one();
        }
        Ok(result)
    }
}

impl Desk {
    fn apply<T>(&self, apply: impl FnOnce(&mut State) -> T) -> Result<T, Stopped> {
        let mut place = self.state.lock();
        let mut state = place.take().ok_or(Stopped)?;
        let broken = Broken(&self.shutdown);
        let result = apply(&mut state);
        std::mem::forget(broken);
        *place = Some(state);
        Ok(result)
    }

    /// Looks for what has run out; returns when to look again.
    fn tick(&self) -> Result<Duration, Stopped> {
        self.touched.store(false, Ordering::Relaxed);
        let left_ms = self.apply(|state| {
            let now_ms = clock::boottime_ms();
            state.tick(now_ms);
            state.settle();
            state.next_timeout_ms().map_or(u64::MAX, |due_ms| due_ms.saturating_sub(now_ms))
        })?;
        Ok(Duration::from_millis(left_ms.max(1)).min(LOOK_AGAIN))
    }
}

/// Ends the server when it is dropped, by a panic in the middle of a change.
struct Broken<'a>(&'a CancellationToken);

impl Drop for Broken<'_> {
    fn drop(&mut self) {
        tracing::error!("a change of tokens or sessions broke off: the metadata server ends; start it again");
        self.0.cancel();
    }
}

async fn watch(desk: Arc<Desk>) {
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    loop {
        tokio::select! {
            biased;
            () = desk.shutdown.cancelled() => break,
            () = &mut sleep => match desk.tick() {
                Ok(next) => sleep.as_mut().reset(Instant::now() + next),
                Err(Stopped) => break,
            },
            () = desk.soon.notified() => {
                let soon = Instant::now() + LOOK_AFTER_FUNCTIONS;
                if sleep.deadline() > soon {
                    sleep.as_mut().reset(soon);
                }
            }
        }
    }
    let state = desk.state.lock().take();
    if let Some(mut state) = state {
        state.end();
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod desk_tests;
