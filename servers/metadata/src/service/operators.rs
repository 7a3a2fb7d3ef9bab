//! For operators: what is there, and who holds which tokens.

use super::files::find;
use crate::activity::FileHeat;
use crate::clock::boottime_ms;
use crate::file_servers::Server;
use crate::server::Shared;
use crate::sessions::{SessionView, Sessions};
use pfs_core::path::PfsPath;
use pfs_core::token::manager::Counters;
use pfs_proto::metadata::ListTokens;
use pfs_proto::v1;
use std::cmp::Reverse;
use tonic::Status;

pub(super) async fn cluster_status(shared: &Shared, with_sessions: bool) -> Result<v1::ClusterStatusReply, Status> {
    let now_ms = boottime_ms();
    let (tokens, open_handles, sessions) = shared.tokens.with(move |state| {
        let (tokens, open_handles) = state.counts();
        let sessions: Vec<v1::SessionStatus> = match with_sessions {
            true => state.sessions.view(now_ms).map(session_status).collect(),
            false => Vec::new(),
        };
        (tokens, open_handles, sessions)
    })?;
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

/// Most files in one answer about what happens now.
const FILES_MAX: u32 = 1000;
/// Most sessions in one.
const SESSIONS_MAX: u32 = 10_000;

/// What happens now, and what happened in the last minutes.
pub(crate) async fn activity(shared: &Shared, request: v1::ActivityRequest) -> Result<v1::ActivityReply, Status> {
    let v1::ActivityRequest { files_max, sessions_max, with_history } = request;
    let now_ms = boottime_ms();
    let overview =
        shared.activity.overview(|id| shared.servers.get(id).is_some_and(|s| shared.servers.is_live(&s)), now_ms);
    let mut hottest_files = Vec::new();
    for heat in shared.activity.hottest(files_max.min(FILES_MAX) as usize) {
        hottest_files.push(file_activity(shared, heat).await);
    }
    let sessions_max = sessions_max.min(SESSIONS_MAX) as usize;
    let sessions = shared.tokens.with(move |state| busiest_sessions(&state.sessions, sessions_max, now_ms))?;
    let (files, directories) = shared.namespace.counts();
    Ok(v1::ActivityReply {
        cluster_id: shared.cluster_id.clone(),
        boot: shared.boot.get(),
        uptime_ms: now_ms.saturating_sub(shared.started_ms),
        files,
        directories,
        open_handles: overview.open_handles,
        sessions_open: overview.sessions.0,
        sessions_connected: overview.sessions.1,
        traffic: Some(overview.traffic),
        tokens: Some(overview.tokens),
        servers: shared.servers.all().into_iter().map(|server| server_activity(shared, server, now_ms)).collect(),
        hottest_files,
        sessions,
        history: if with_history { overview.history } else { Vec::new() },
    })
}

fn busiest_sessions(sessions: &Sessions, count: usize, now_ms: u64) -> Vec<v1::SessionActivity> {
    let mut all: Vec<SessionView<'_>> = sessions.view(now_ms).collect();
    all.sort_by_key(|session| (Reverse(session.requests), session.client));
    let activity = |session: SessionView<'_>| v1::SessionActivity {
        client_id: session.client.get(),
        client_name: session.name.to_owned(),
        connected: session.connected,
        age_ms: session.age_ms,
        token_requests: session.requests.0,
        token_requests_waiting: session.requests.1,
        cache: session.cache,
    };
    all.into_iter().take(count).map(activity).collect()
}

fn server_activity(shared: &Shared, server: Server, now_ms: u64) -> v1::ServerActivity {
    let (rates, counters) = shared.activity.of_server(server.id);
    let live = shared.servers.is_live(&server);
    v1::ServerActivity {
        server_id: server.id.get(),
        live,
        heartbeat_age_ms: server.silent_ms(now_ms).unwrap_or(now_ms.saturating_sub(shared.started_ms)),
        total_bytes: server.space.total_bytes,
        free_bytes: server.space.free_bytes,
        objects: server.space.objects,
        traffic: Some(rates).filter(|_| live),
        counters: Some(counters),
        name: server.name,
        address: server.address,
    }
}

/// A file's rates, with the name that it was opened by if that is still its own.
async fn file_activity(shared: &Shared, heat: FileHeat) -> v1::FileActivity {
    let named = heat.name.as_deref().and_then(|name| PfsPath::parse(name).ok());
    let is_its_own = match &named {
        Some(path) => shared.namespace.find(path).await.is_ok_and(|found| found == heat.file),
        None => false,
    };
    v1::FileActivity {
        file_id: heat.file.get(),
        path: named.filter(|_| is_its_own).map(|path| path.to_string()).unwrap_or_default(),
        read_bytes_per_s: heat.read_bytes_per_s,
        written_bytes_per_s: heat.written_bytes_per_s,
        requests_per_s: heat.requests_per_s,
        token_requests_per_s: heat.token_requests_per_s,
        revokes_per_s: heat.revokes_per_s,
        waiting: heat.waiting,
        live_ranges: heat.live_ranges,
    }
}

pub(super) async fn list_tokens(shared: &Shared, request: ListTokens) -> Result<v1::ListTokensReply, Status> {
    let file = find(shared, &request.target).await?;
    let (tokens, counted) = shared.tokens.with(move |state| state.tokens_of(file))?;
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
