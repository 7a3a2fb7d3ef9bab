//! `pfs status`: servers, sessions and token traffic of a cluster.

use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Column};
use crate::sizes;
use clap::Args;
use pfs_proto::v1::{ClusterStatusReply, FileServerStatus, SessionStatus, TokenCounters};
use serde::Serialize;
use std::fmt::Write;

/// Show servers, space, sessions and token traffic
#[derive(Debug, Args)]
#[command(after_help = "\
The page shows servers, throughput, hot files and tokens in a browser. Whoever has its address may look, names of files
included, and can do nothing else; it stays the same as long as the cluster's secret does.

With --json: {metadata_address, page, cluster_id, boot, uptime_ms, files, directories, open_handles,
file_servers: [{server_id, name, address, live, instance, heartbeat_age_ms, total_bytes, free_bytes, objects}],
sessions: [{client_id, name, connected, age_ms}],
tokens: {requests, grants, revokes, acks, refusals, live_ranges, waiting}}.
This command is a session itself. The counts start with the metadata server.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct StatusJson<'a> {
    metadata_address: &'a str,
    page: String,
    cluster_id: &'a str,
    boot: u64,
    uptime_ms: u64,
    files: u64,
    directories: u64,
    open_handles: u64,
    file_servers: Vec<ServerJson<'a>>,
    sessions: Vec<SessionJson<'a>>,
    tokens: CountersJson,
}

#[derive(Serialize)]
struct ServerJson<'a> {
    server_id: u32,
    name: &'a str,
    address: &'a str,
    live: bool,
    instance: u64,
    heartbeat_age_ms: u64,
    total_bytes: u64,
    free_bytes: u64,
    objects: u64,
}

#[derive(Serialize)]
struct SessionJson<'a> {
    client_id: u64,
    name: &'a str,
    connected: bool,
    age_ms: u64,
}

/// Token traffic, as JSON.
#[derive(Serialize)]
pub struct CountersJson {
    requests: u64,
    grants: u64,
    revokes: u64,
    acks: u64,
    refusals: u64,
    live_ranges: u64,
    waiting: u64,
}

impl From<TokenCounters> for CountersJson {
    fn from(counters: TokenCounters) -> Self {
        let TokenCounters { requests, grants, revokes, acks, refusals, live_ranges, waiting } = counters;
        CountersJson { requests, grants, revokes, acks, refusals, live_ranges, waiting }
    }
}

impl std::fmt::Display for CountersJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CountersJson { requests, grants, revokes, acks, refusals, live_ranges, waiting } = self;
        write!(
            f,
            "requests {requests}, grants {grants}, revokes {revokes}, acks {acks}, refusals {refusals}, \
             ranges held {live_ranges}, waiting {waiting}"
        )
    }
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let cluster = connection.open(None)?;
    let reply = cluster
        .client
        .cluster_status(true)
        .map_err(|error| cannot(format_args!("ask {} for its status", cluster.address), &error))?;
    let status = status(&cluster.address, page(&cluster.address, connection)?, &reply);
    if flags.json { output::print_json(&status) } else { output::print(&show(&status)) }
}

/// Where the cluster can be looked at, with the key that this takes.
fn page(address: &str, connection: &Connection) -> Result<String, Failure> {
    let first = address.split(',').next().unwrap_or(address);
    Ok(format!("http://{first}/?key={}", connection.secret()?.view_key().as_str()))
}

fn status<'a>(metadata_address: &'a str, page: String, reply: &'a ClusterStatusReply) -> StatusJson<'a> {
    StatusJson {
        metadata_address,
        page,
        cluster_id: &reply.cluster_id,
        boot: reply.boot,
        uptime_ms: reply.uptime_ms,
        files: reply.files,
        directories: reply.directories,
        open_handles: reply.open_handles,
        file_servers: reply.file_servers.iter().map(server).collect(),
        sessions: reply.sessions.iter().map(session).collect(),
        tokens: reply.tokens.unwrap_or_default().into(),
    }
}

fn server(server: &FileServerStatus) -> ServerJson<'_> {
    let space = server.space.unwrap_or_default();
    ServerJson {
        server_id: server.server_id,
        name: &server.name,
        address: &server.address,
        live: server.live,
        instance: server.instance,
        heartbeat_age_ms: server.heartbeat_age_ms,
        total_bytes: space.total_bytes,
        free_bytes: space.free_bytes,
        objects: space.objects,
    }
}

fn session(session: &SessionStatus) -> SessionJson<'_> {
    SessionJson {
        client_id: session.client_id,
        name: &session.client_name,
        connected: session.connected,
        age_ms: session.age_ms,
    }
}

fn show(status: &StatusJson<'_>) -> String {
    let mut text = String::new();
    let StatusJson { metadata_address, cluster_id, boot, files, directories, open_handles, .. } = status;
    let uptime = output::duration_ms(status.uptime_ms);
    let _ = writeln!(text, "cluster {cluster_id}");
    let _ = writeln!(text, "metadata server {metadata_address}, start {boot}, up {uptime}");
    let _ = writeln!(text, "page {}", status.page);
    let _ = writeln!(text, "{files} files, {directories} directories, {open_handles} open handles");
    let _ = writeln!(text, "tokens: {}", status.tokens);
    let _ = write!(text, "\n{}", server_table(&status.file_servers));
    let _ = write!(text, "\n{}", session_table(&status.sessions));
    text
}

fn server_table(servers: &[ServerJson<'_>]) -> String {
    let columns = [
        Column("ID", Align::Right),
        Column("FILE SERVER", Align::Left),
        Column("ADDRESS", Align::Left),
        Column("STATE", Align::Left),
        Column("HEARTBEAT", Align::Right),
        Column("OBJECTS", Align::Right),
        Column("FREE", Align::Right),
        Column("SIZE", Align::Right),
    ];
    let rows = servers.iter().map(|server| {
        vec![
            server.server_id.to_string(),
            server.name.to_owned(),
            server.address.to_owned(),
            if server.live { "up" } else { "down" }.to_owned(),
            format!("{} ago", output::duration_ms(server.heartbeat_age_ms)),
            server.objects.to_string(),
            sizes::human(server.free_bytes),
            sizes::human(server.total_bytes),
        ]
    });
    output::table(&columns, rows)
}

fn session_table(sessions: &[SessionJson<'_>]) -> String {
    let columns = [
        Column("CLIENT", Align::Right),
        Column("NAME", Align::Left),
        Column("STREAM", Align::Left),
        Column("AGE", Align::Right),
    ];
    let rows = sessions.iter().map(|session| {
        let stream = if session.connected { "connected" } else { "broken" };
        let age = output::duration_ms(session.age_ms);
        vec![session.client_id.to_string(), session.name.to_owned(), stream.to_owned(), age]
    });
    output::table(&columns, rows)
}
