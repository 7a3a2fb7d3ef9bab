//! The end of clients whose lease has run out.
//!
//! The order is the safety: the death is durable, then every file server refuses the client, then its tokens go on.

use super::backoff::Backoff;
use crate::data_clients::DataClients;
use crate::file_servers::FileServers;
use crate::namespace::{EndSession, ForgetDead, Namespace};
use crate::tokens::{Stopped, Tokens};
use pfs_core::ids::{Boot, ClientId, ServerId};
use std::sync::Arc;

/// What a death needs.
#[derive(Clone)]
pub(crate) struct Burial {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) servers: Arc<FileServers>,
    pub(crate) data: Arc<DataClients>,
    pub(crate) tokens: Tokens,
    pub(crate) boot: Boot,
}

/// Takes clients out of the cluster. Returns when they are gone, or the server ends.
pub(crate) async fn bury(burial: Burial, clients: Vec<ClientId>) -> Result<(), Stopped> {
    let ends = clients.iter().map(|client| record_death(&burial.namespace, *client));
    futures::future::join_all(ends).await;
    let dead = clients.clone();
    burial.tokens.with(move |state| dead.into_iter().for_each(|client| state.sessions.died(client))).await?;

    // Servers that register from here on are told by the answer to their registration.
    let fences = burial.servers.all().into_iter().map(|server| fence(&burial, server.id, &clients));
    futures::future::join_all(fences).await;

    let gone = clients.clone();
    burial.tokens.with(move |state| gone.into_iter().for_each(|client| state.remove_client(client))).await?;
    tracing::info!(?clients, "dead clients are fenced and their tokens free");
    for client in clients {
        if let Err(error) = burial.namespace.run(None, &ForgetDead { client }).await {
            tracing::warn!(%client, %error, "a dead client's record stays until the next start");
        }
    }
    Ok(())
}

async fn record_death(namespace: &Namespace, client: ClientId) {
    let mut backoff = Backoff::new();
    while let Err(error) = namespace.run(None, &EndSession { client, dead: true }).await {
        tracing::error!(%client, %error, "a client's death could not be recorded; its tokens stay until it is");
        backoff.pause().await;
    }
}

/// Returns when a server refuses the clients, or refuses everybody because its own lease has run out.
async fn fence(burial: &Burial, server: ServerId, clients: &[ClientId]) {
    let mut backoff = Backoff::new();
    while !burial.servers.has_lapsed(server) {
        let Some(known) = burial.servers.get(server) else { return };
        if known.silent_ms(crate::clock::boottime_ms()).is_some() {
            match burial.data.fence(&known.address, burial.boot, clients).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%server, %error, "a file server did not take a fence; trying again"),
            }
        }
        backoff.pause().await;
    }
    tracing::warn!(%server, "the file server's own lease has run out: it refuses all data until it is back");
}
