//! Sessions: begin and orderly end.

use crate::namespace::{AddSession, EndSession};
use crate::server::{CLIENT_NUMBERS, Shared};
use crate::store::keys::Counter;
use pfs_core::ids::ClientId;
use pfs_proto::metadata::{Initialize, Session};
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::v1;
use std::sync::Arc;
use tonic::Status;

/// Opens a session. Its record is durable before its number is told.
pub(super) async fn initialize(shared: Arc<Shared>, request: Initialize) -> Result<Session, Status> {
    if let Some(expected) = &request.cluster_id
        && *expected != shared.cluster_id
    {
        let text = format!("cluster {expected} was asked for, and this is cluster {}", shared.cluster_id);
        return Err(status(ErrorCode::WrongCluster, text));
    }
    let name = request.client_name;
    let client = admit(&shared, &name).await?;
    if let Err(error) = shared.namespace.run(None, &AddSession { client, name }).await {
        shared.tokens.with(move |state| state.remove_client(client))?;
        return Err(error.into());
    }
    shared.tokens.with(move |state| state.activate(client))?;
    tracing::debug!(%client, "session begins");
    Ok(Session {
        client,
        boot: shared.boot,
        cluster_id: shared.cluster_id.clone(),
        lease_ms: shared.config.lease_ms,
        heartbeat_ms: shared.config.heartbeat_ms,
        servers: shared.servers.addresses(|_| true),
    })
}

async fn admit(shared: &Shared, name: &str) -> Result<ClientId, Status> {
    loop {
        let admitted = shared.tokens.with(|state| state.admit(name.to_owned()))?;
        if let Some(client) = admitted {
            return Ok(client);
        }
        let numbers = shared.counters.reserve(Counter::Client, CLIENT_NUMBERS).await;
        let numbers = numbers.map_err(crate::namespace::NamespaceError::from)?;
        shared.tokens.with(move |state| state.sessions.add_numbers(numbers))?;
    }
}

/// The caller of a shutdown.
pub(super) fn client_of(request: &v1::ClientShutdownRequest) -> Result<ClientId, Status> {
    ClientId::new(request.client_id)
        .ok_or_else(|| status(ErrorCode::InvalidArgument, "the request was refused: client_id is missing"))
}

/// Refuses calls of clients that may not do anything: without a session, or with one that they have yet to bring over
/// from an earlier start.
pub(super) fn check(shared: &Shared, client: ClientId) -> Result<(), Status> {
    Ok(shared.tokens.with(|state| state.check(client))??)
}

/// Ends a session in good order: its operations have ended, so its tokens are free at once. One that is unknown or
/// was given up needs nothing: the answer to a repeated shutdown is the same.
pub(super) async fn shut_down(shared: Arc<Shared>, client: ClientId) -> Result<v1::ClientShutdownReply, Status> {
    if shared.tokens.with(move |state| state.has_session(client))? {
        shared.namespace.run(None, &EndSession { client, dead: false }).await?;
        shared.tokens.with(move |state| state.remove_client(client))?;
        tracing::debug!(%client, "session ends");
    }
    Ok(v1::ClientShutdownReply {})
}
