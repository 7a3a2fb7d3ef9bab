//! For operators: what is there, and who holds which tokens.

use super::files::find;
use crate::clock::boottime_ms;
use crate::file_servers::Server;
use crate::server::Shared;
use pfs_core::token::manager::Counters;
use pfs_proto::metadata::ListTokens;
use pfs_proto::v1;
use tonic::Status;

pub(super) async fn cluster_status(shared: &Shared, with_sessions: bool) -> Result<v1::ClusterStatusReply, Status> {
    let now_ms = boottime_ms();
    let (tokens, open_handles, sessions) = shared
        .tokens
        .with(move |state| {
            let (tokens, open_handles) = state.counts();
            let sessions: Vec<v1::SessionStatus> = match with_sessions {
                true => state.sessions.view(now_ms).map(session_status).collect(),
                false => Vec::new(),
            };
            (tokens, open_handles, sessions)
        })
        .await?;
    let (files, directories) = shared.namespace.counts();
    Ok(v1::ClusterStatusReply {
        cluster_id: shared.cluster_id.clone(),
        boot: shared.boot.get(),
        uptime_ms: now_ms.saturating_sub(shared.started_ms),
        file_servers: shared.servers.all().into_iter().map(|server| server_status(shared, server, now_ms)).collect(),
        sessions,
        tokens: Some(counters(tokens)),
        files,
        directories,
        open_handles: open_handles as u64,
    })
}

fn session_status(session: crate::sessions::SessionView<'_>) -> v1::SessionStatus {
    v1::SessionStatus {
        client_id: session.client.get(),
        client_name: session.name.to_owned(),
        connected: session.connected,
        cache: session.cache,
        age_ms: session.age_ms,
    }
}

fn server_status(shared: &Shared, server: Server, now_ms: u64) -> v1::FileServerStatus {
    v1::FileServerStatus {
        server_id: server.id.get(),
        live: shared.servers.is_live(&server),
        // One that has not been heard in this start is silent for as long as that.
        heartbeat_age_ms: server.silent_ms(now_ms).unwrap_or(now_ms.saturating_sub(shared.started_ms)),
        space: Some(server.space.into()),
        name: server.name,
        address: server.address,
        instance: server.instance,
    }
}

fn counters(counters: Counters) -> v1::TokenCounters {
    let Counters { requests, grants, revokes, acks, refusals, live_ranges, waiting } = counters;
    v1::TokenCounters { requests, grants, revokes, acks, refusals, live_ranges, waiting }
}

pub(super) async fn list_tokens(shared: &Shared, request: ListTokens) -> Result<v1::ListTokensReply, Status> {
    let file = find(shared, &request.target).await?;
    let (tokens, counted) = shared.tokens.with(move |state| state.tokens_of(file)).await?;
    let info = |(token, holder_names): (pfs_core::token::manager::TokenRange, Vec<String>)| v1::TokenInfo {
        range: Some(token.range.into()),
        mode: v1::TokenMode::from(token.mode).into(),
        holders: token.holders.into_iter().map(Into::into).collect(),
        revoking: token.revoking,
        holder_names,
    };
    Ok(v1::ListTokensReply {
        file_id: file.get(),
        tokens: tokens.into_iter().map(info).collect(),
        waiting: counted.waiting,
        counters: Some(counters(counted)),
    })
}
