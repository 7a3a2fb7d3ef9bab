//! The objects of deleted files: an orphan that nobody has open becomes one durable removal for each of its servers,
//! and each removal is repeated until its server has answered.

use super::backoff::Backoff;
use crate::data_clients::DataClients;
use crate::file_servers::{FileServers, Server};
use crate::namespace::{Namespace, NamespaceError, Reap};
use futures::StreamExt;
use pfs_core::ids::FileId;
use pfs_proto::status::ErrorCode;
use pfs_proto::transport::FILES_PER_REMOVE_MAX;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Orphans that are turned into removals with one commit.
const ORPHANS_AT_ONCE: usize = 1024;
/// How long orphans wait for others. One by one, each would cost five commits and a call to each server, several times as much as
/// its deletion; together they cost next to nothing.
const GATHER: Duration = Duration::from_millis(50);
/// Removals of one server that are read at once.
const PAGE_FILES: usize = 256;
/// How often the queues are looked at when nothing is known to be in them.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Calls under way to one server.
const CALLS_PER_SERVER: usize = 4;

/// Turns orphans into removals, for ever.
pub(crate) async fn reap(
    namespace: Arc<Namespace>,
    mut orphans: mpsc::UnboundedReceiver<FileId>,
    removals: Arc<Removals>,
) {
    let mut batch = Vec::with_capacity(ORPHANS_AT_ONCE);
    while orphans.recv_many(&mut batch, ORPHANS_AT_ONCE).await > 0 {
        tokio::time::sleep(GATHER).await;
        while batch.len() < ORPHANS_AT_ONCE
            && let Ok(orphan) = orphans.try_recv()
        {
            batch.push(orphan);
        }
        let reaped = batch.drain(..).map(|file| reap_one(&namespace, file));
        futures::future::join_all(reaped).await;
        removals.wake();
    }
}

async fn reap_one(namespace: &Namespace, file: FileId) {
    let mut backoff = Backoff::new();
    loop {
        match namespace.run(None, &Reap { file }).await {
            Ok(_) => return,
            Err(NamespaceError::NoFile(_)) => return,
            Err(error) => tracing::error!(%file, %error, "a deleted file could not be queued for removal"),
        }
        backoff.pause().await;
    }
}

/// Carries removals out.
pub(crate) struct Removals {
    namespace: Arc<Namespace>,
    servers: Arc<FileServers>,
    data: Arc<DataClients>,
    more: Notify,
}

impl Removals {
    pub(crate) fn new(namespace: Arc<Namespace>, servers: Arc<FileServers>, data: Arc<DataClients>) -> Self {
        Removals { namespace, servers, data, more: Notify::new() }
    }

    /// There are new removals, or a server is back.
    pub(crate) fn wake(&self) {
        self.more.notify_one();
    }

    /// Carries removals out, for ever. A server that is down gets its own when it is back.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::new();
        loop {
            let drained = self.servers.live().into_iter().map(|server| self.drain(server));
            if futures::future::join_all(drained).await.into_iter().all(|well| well) {
                // A server that was silent for a while and goes on sending heartbeats wakes nobody.
                let _ = tokio::time::timeout(LOOK_AGAIN, self.more.notified()).await;
                backoff = Backoff::new();
            } else {
                backoff.pause().await;
            }
        }
    }

    /// Removes what is queued for a server. False: something is left, try again.
    async fn drain(&self, server: Server) -> bool {
        loop {
            let files = match self.namespace.removals(server.id, PAGE_FILES).await {
                Ok(files) if files.is_empty() => return true,
                Ok(files) => files,
                Err(error) => {
                    tracing::error!(server = %server.id, %error, "the queue of removals could not be read");
                    return false;
                }
            };
            let count = files.len();
            let chunks: Vec<Vec<FileId>> = files.chunks(FILES_PER_REMOVE_MAX).map(<[FileId]>::to_vec).collect();
            let calls = futures::stream::iter(chunks).map(|files| self.remove(&server, files));
            let calls = calls.buffer_unordered(CALLS_PER_SERVER);
            let removed: Vec<FileId> = calls.collect::<Vec<_>>().await.concat();
            if let Err(error) = self.namespace.removed(server.id, &removed).await {
                tracing::error!(server = %server.id, %error, "removals that were done could not be recorded");
                return false;
            }
            if removed.len() < count {
                return false;
            }
        }
    }

    /// Removes several files' objects together and, if that fails, each file's by themselves. Returns those that are gone.
    async fn remove(&self, server: &Server, files: Vec<FileId>) -> Vec<FileId> {
        if files.len() > 1 {
            match self.data.remove(&server.address, files.clone()).await {
                Ok(()) => return files,
                Err(error) => tracing::debug!(server = %server.id, %error, "files are removed one by one"),
            }
        }
        let mut removed = Vec::new();
        for file in files {
            match self.data.remove(&server.address, vec![file]).await {
                Ok(()) => removed.push(file),
                Err(error) => {
                    tracing::warn!(server = %server.id, %file, %error, "objects could not be removed; trying again");
                    if error.code == ErrorCode::Unavailable {
                        // The others would wait as long for nothing.
                        break;
                    }
                }
            }
        }
        removed
    }
}
