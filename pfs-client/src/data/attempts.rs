//! Requests to file servers that are sent until they are answered.
//!
//! Each attempt goes out only while the session allows it, under the stamp and the sequence of its moment: the one
//! before may have been refused since a server was restarted meanwhile. What is sent is the same bytes for the same
//! place, so that an attempt that was applied in part does no harm.

use crate::data::servers::{PAUSE_MAX, PAUSE_MIN};
use crate::error::{Error, ErrorKind};
use crate::state::ClientState;
use std::time::Instant;

/// Tries until there is an answer, a lasting error, or the time is over. Runs on the io thread.
pub(crate) async fn persist<T, F>(state: &ClientState, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let start = Instant::now();
    let mut unreachable_since = None;
    let mut pause = PAUSE_MIN;
    loop {
        if !state.links.access.is_open() {
            state.links.access.opened().await?;
            unreachable_since = None;
        }
        let error = match attempt().await {
            Ok(answer) => {
                state.links.note_progress();
                return Ok(answer);
            }
            Err(error) => error,
        };
        let over = match error.kind() {
            // It is there, and will be in step when it and this client have heard of the same start.
            ErrorKind::OutOfStep => {
                unreachable_since = None;
                start.elapsed() + pause > state.config.session_patience
            }
            kind if kind.is_passing() => {
                unreachable_since.get_or_insert_with(Instant::now).elapsed() + pause > state.config.retry_for
            }
            _ => true,
        };
        if over {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
