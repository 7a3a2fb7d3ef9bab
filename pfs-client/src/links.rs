//! What files and calls use of the session: numbers, the boot, the way to the token driver.

use crate::access::Access;
use crate::error::Error;
use parking_lot::Mutex;
use pfs_core::ids::{Boot, ClientId, RequestId};
use pfs_proto::token::ClientMessage;
use pfs_proto::v1::{metadata_call, metadata_reply};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a call that nobody waits for may wait for a message that it can go out with.
pub(crate) const LATER: Duration = Duration::from_millis(5);

/// What a call of the metadata service asks for.
pub(crate) type Method = metadata_call::Method;
/// What it is answered.
pub(crate) type Answer = metadata_reply::Result;

/// Who is told the answer to a call.
pub(crate) enum Reply {
    /// Somebody who waits for it, or has gone away.
    Waiting(oneshot::Sender<Result<Answer, Error>>),
    /// Nobody waits: it is handed to this function, if the session does not end before.
    Then(Box<dyn FnOnce(Result<Answer, Error>) + Send>),
}

impl Reply {
    /// Whether the call is still to be made.
    pub(crate) fn is_wanted(&self) -> bool {
        match self {
            Reply::Waiting(waiting) => !waiting.is_closed(),
            Reply::Then(_) => true,
        }
    }

    /// Tells the answer.
    pub(crate) fn tell(self, answer: Result<Answer, Error>) {
        match self {
            // A receiver that is gone belongs to a call that was dropped.
            Reply::Waiting(waiting) => drop(waiting.send(answer)),
            Reply::Then(function) => function(answer),
        }
    }
}

/// What is handed to the token driver.
pub(crate) enum Up {
    /// A message about tokens, of a file whose stamps are of this boot. One of another boot than the session's says
    /// nothing any more, and whatever it was for is asked for again.
    Token {
        /// The file's boot.
        boot: Boot,
        /// The message.
        message: ClientMessage,
    },
    /// A call. It goes out again after a restart of the metadata server, until it is answered.
    Call {
        /// What is asked.
        method: Method,
        /// Takes the answer.
        reply: Reply,
    },
    /// The driver is to look for calls of [`Links::call_later`] from now on, at least every [`LATER`].
    Look,
}

/// Calls that nobody waits for, and that have not been handed to the driver.
#[derive(Default)]
struct Later {
    calls: Vec<(Method, Reply)>,
    /// The driver looks for them by itself.
    is_watched: bool,
    /// The session is over.
    is_over: bool,
}

/// See the module.
pub(crate) struct Links {
    pub(crate) client: ClientId,
    pub(crate) access: Access,
    boot: AtomicU64,
    last_request: AtomicU64,
    progress: AtomicU64,
    up: mpsc::UnboundedSender<Up>,
    later: Mutex<Later>,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("client", &self.client).field("access", &self.access).finish_non_exhaustive()
    }
}

impl Links {
    pub(crate) fn new(client: ClientId, boot: Boot, up: mpsc::UnboundedSender<Up>) -> Self {
        Links {
            client,
            access: Access::new(),
            boot: AtomicU64::new(boot.get()),
            last_request: AtomicU64::new(0),
            progress: AtomicU64::new(0),
            up,
            later: Mutex::default(),
        }
    }

    /// The start of the metadata server that has taken over everything.
    pub(crate) fn boot(&self) -> Boot {
        Boot::new(self.boot.load(Ordering::Acquire)).expect("only boots are stored")
    }

    pub(crate) fn set_boot(&self, boot: Boot) {
        self.boot.store(boot.get(), Ordering::Release);
    }

    pub(crate) fn next_request(&self) -> RequestId {
        let number = self.last_request.fetch_add(1, Ordering::Relaxed) + 1;
        RequestId::new(number).expect("counts from 1")
    }

    /// Puts a message on the token stream, for a file whose stamps are of this boot. One after the end of the session is
    /// nobody's: waiters have been told.
    pub(crate) fn send(&self, boot: Boot, message: ClientMessage) {
        let _ = self.up.send(Up::Token { boot, message });
    }

    /// Makes a call of the metadata service, once. It is answered, or the session ends.
    pub(crate) async fn call(&self, method: Method) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        if self.up.send(Up::Call { method, reply: Reply::Waiting(reply) }).is_err() {
            return Err(self.access.ended_error());
        }
        answer.await.unwrap_or_else(|_| Err(self.access.ended_error()))
    }

    /// Makes a call that nobody waits for. It goes out before the next message of this client and together with it, or a few
    /// milliseconds later: so it costs neither side a message and a wake-up of its own. `then` is handed the answer, unless
    /// the session ends before.
    pub(crate) fn call_later(&self, method: Method, then: impl FnOnce(Result<Answer, Error>) + Send + 'static) {
        let mut later = self.later.lock();
        if later.is_over {
            return;
        }
        later.calls.push((method, Reply::Then(Box::new(then))));
        let is_watched = std::mem::replace(&mut later.is_watched, true);
        drop(later);
        if !is_watched {
            // After the end of the session the call is nobody's.
            let _ = self.up.send(Up::Look);
        }
    }

    /// For the driver: the calls that are to go out before whatever else does.
    pub(crate) fn take_later(&self) -> Vec<(Method, Reply)> {
        std::mem::take(&mut self.later.lock().calls)
    }

    /// The driver stops looking for calls, unless there are some. True if it may.
    pub(crate) fn stop_looking(&self) -> bool {
        let mut later = self.later.lock();
        later.is_watched = !later.calls.is_empty();
        !later.is_watched
    }

    /// The driver has ended: no call goes out any more.
    pub(crate) fn end_later(&self) {
        let calls = {
            let mut later = self.later.lock();
            later.is_over = true;
            std::mem::take(&mut later.calls)
        };
        drop(calls);
    }

    /// A file server has answered: the client gets on (rule 8).
    pub(crate) fn note_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with every answer of a file server.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_proto::v1;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    fn later(links: &Links, told: &Arc<AtomicU32>) {
        let told = told.clone();
        links.call_later(Method::CloseFile(v1::CloseFileRequest::default()), move |_| {
            told.fetch_add(1, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_call_that_nobody_waits_for_wakes_the_driver_only_if_it_does_not_look() {
        let (up, mut outgoing) = mpsc::unbounded_channel();
        let links = Links::new(ClientId::new(1).unwrap(), Boot::new(1).unwrap(), up);
        let told = Arc::new(AtomicU32::new(0));
        let mut is_told_to_look = || matches!(outgoing.try_recv(), Ok(Up::Look));
        later(&links, &told);
        assert!(is_told_to_look());
        later(&links, &told);
        assert!(!is_told_to_look(), "it looks already");
        assert!(!links.stop_looking(), "there is something");
        let calls = links.take_later();
        assert_eq!(calls.len(), 2);
        calls.into_iter().for_each(|(_, reply)| {
            assert!(reply.is_wanted());
            reply.tell(Ok(Answer::Closed(v1::CloseFileReply {})));
        });
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert!(links.stop_looking());
        later(&links, &told);
        assert!(is_told_to_look(), "it does not look any more");
        links.end_later();
        later(&links, &told);
        assert!(links.take_later().is_empty(), "nothing goes out after the end");
    }
}
