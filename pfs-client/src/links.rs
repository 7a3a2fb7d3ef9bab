//! What files and calls use of the session: numbers, the boot, the way to the token driver.

use crate::access::Access;
use crate::error::Error;
use pfs_core::ids::{Boot, ClientId, RequestId};
use pfs_proto::token::ClientMessage;
use pfs_proto::v1::{metadata_call, metadata_reply};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// What a call of the metadata service asks for.
pub(crate) type Method = metadata_call::Method;
/// What it is answered.
pub(crate) type Answer = metadata_reply::Result;

/// What is handed to the token driver.
#[derive(Debug)]
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
        reply: oneshot::Sender<Result<Answer, Error>>,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) client: ClientId,
    pub(crate) access: Access,
    boot: AtomicU64,
    last_request: AtomicU64,
    progress: AtomicU64,
    up: mpsc::UnboundedSender<Up>,
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
        if self.up.send(Up::Call { method, reply }).is_err() {
            return Err(self.access.ended_error());
        }
        answer.await.unwrap_or_else(|_| Err(self.access.ended_error()))
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
