//! Tokens for several members of a group at once, each its own holder: what an atomic collective takes (rule 12).
//!
//! One member asks for all, itself among them. Every member's part comes on its own stream and is kept for the operation
//! from then on; the member that asked tells the others, by whatever they talk with, which set it is, and each claims its
//! part. A set of an earlier start of the metadata server is void: all have to ask again.

use super::{Inner, SharedFile};
use crate::error::{Error, ErrorKind};
use crate::group::SetGrant;
use crate::token::Token;
use parking_lot::MutexGuard;
use pfs_core::ids::{ClientId, Holder, RequestId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::{AcquireSet, Mode, SetPart};
use pfs_proto::status::ErrorDetail;
use pfs_proto::token::{ClientMessage, GrantMessage};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, oneshot};

/// What this client has asked for.
#[derive(Debug, Default)]
pub(super) struct Sets {
    asked: BTreeMap<RequestId, (AcquireSet, oneshot::Sender<Result<SetGrant, Error>>)>,
    /// Told whenever a part could be claimed that could not before.
    news: Arc<Notify>,
}

impl Sets {
    /// Something has happened to the holder.
    pub(super) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Nobody will be answered any more.
    pub(super) fn end(&mut self, error: &Error) {
        for (_, (_, waiter)) in std::mem::take(&mut self.asked) {
            let _ = waiter.send(Err(error.clone()));
        }
        self.tell();
    }

    /// Returns whether the request was one for a set.
    pub(super) fn refuse(&mut self, request: RequestId, error: &ErrorDetail) -> bool {
        let asked = self.asked.remove(&request);
        // A receiver that is gone belongs to a call that was dropped.
        asked.map(|(_, waiter)| waiter.send(Err(error.clone().into()))).is_some()
    }
}

impl SharedFile {
    /// Asks for tokens for several clients, this one among them.
    pub(crate) async fn acquire_set(
        &self,
        mode: Mode,
        parts: Vec<(ClientId, Vec<RangePattern>)>,
    ) -> Result<SetGrant, Error> {
        if self.holder != Holder::Client(self.links.client) || !parts.iter().any(|(to, _)| *to == self.links.client) {
            let message = format!("a set of tokens for {} must have a part for the client that asks", self.name);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let part = |(client, required)| SetPart { holder: Holder::Client(client), required };
        let parts = parts.into_iter().map(part).collect();
        let (send, answer) = oneshot::channel();
        {
            let mut inner = self.lock()?;
            let request = self.links.next_request();
            let set = AcquireSet { request, file: self.id, mode, parts };
            self.links.send(inner.tokens.boot(), ClientMessage::AcquireSet(set.clone()));
            inner.sets.asked.insert(request, (set, send));
        }
        match answer.await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(error)) => {
                Err(error.context(format_args!("{mode} tokens of an atomic collective for {}", self.name)))
            }
            Err(_) => Err(self.ended_error()),
        }
    }

    /// Waits for this client's part of a set, which is then pinned.
    pub(crate) async fn claim_set(self: &Arc<Self>, grant: &SetGrant) -> Result<Token, Error> {
        let news = self.inner.lock().sets.news.clone();
        loop {
            let told = news.notified();
            {
                let mut inner = self.lock()?;
                inner.tokens.learn_size(grant.size);
                if let Some(operation) = inner.tokens.claim_set(grant.set) {
                    return Ok(Token::new(self.clone(), Some(operation), grant.mode));
                }
                // While it is the later one, this client has yet to be told of the restart.
                if inner.tokens.boot() > grant.boot {
                    let message = format!(
                        "the tokens of an atomic collective for {} were granted before a restart of the metadata server",
                        self.name
                    );
                    return Err(Error::new(ErrorKind::Stale, message));
                }
            }
            told.await;
        }
    }

    /// This client's part of a set will not be claimed.
    pub(crate) fn abandon_set(self: &Arc<Self>, grant: &SetGrant) {
        let mut inner = self.inner.lock();
        inner.tokens.abandon_set(grant.set, || self.links.next_request());
        self.pump(&mut inner);
        inner.sets.tell();
    }

    /// A client that may have asked for sets is gone.
    pub(crate) fn abandon_sets_of(self: &Arc<Self>, client: ClientId) {
        let mut inner = self.inner.lock();
        inner.tokens.abandon_sets_of(client, || self.links.next_request());
        self.pump(&mut inner);
        inner.sets.tell();
    }

    /// This client's part of a set has arrived. Its own request is answered by that, as all parts are granted at once.
    pub(super) fn handle_set_grant(self: &Arc<Self>, inner: &mut MutexGuard<'_, Inner>, message: &GrantMessage) {
        let grant = &message.grant;
        inner.tokens.handle_set_grant(grant);
        self.pump(inner);
        if let Some(set) = grant.set
            && set.client == self.links.client
            && let Some((asked, waiter)) = inner.sets.asked.remove(&grant.request)
        {
            let granted = SetGrant { set, boot: grant.boot, mode: asked.mode, size: inner.tokens.known_size() };
            if waiter.send(Ok(granted)).is_err() {
                inner.tokens.abandon_set(set, || self.links.next_request());
                self.pump(inner);
            }
        }
        inner.sets.tell();
    }

    /// The restarted metadata server knows nothing of what was asked for. Called when it has taken over what is held.
    pub(super) fn ask_for_sets_again(&self, inner: &mut MutexGuard<'_, Inner>) {
        for (_, (mut set, waiter)) in std::mem::take(&mut inner.sets.asked) {
            set.request = self.links.next_request();
            self.links.send(inner.tokens.boot(), ClientMessage::AcquireSet(set.clone()));
            inner.sets.asked.insert(set.request, (set, waiter));
        }
        inner.sets.tell();
    }
}
