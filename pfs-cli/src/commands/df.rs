//! `pfs df`: the space of the file servers.

use crate::connection::{Connection, cannot};
use crate::failure::Outcome;
use crate::output::{self, Align, Column};
use crate::sizes;
use clap::Args;
use pfs_proto::v1::{ClusterStatusReply, FileServerStatus};
use serde::Serialize;

/// Show the space of the file servers
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: {servers: [{server_id, name, address, live, total_bytes, used_bytes, free_bytes}],
total_bytes, used_bytes, free_bytes}. The totals count servers that are up.
Servers whose stores share one disk each report the whole disk.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct SpaceJson<'a> {
    servers: Vec<ServerSpaceJson<'a>>,
    total_bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
}

#[derive(Serialize)]
struct ServerSpaceJson<'a> {
    server_id: u32,
    name: &'a str,
    address: &'a str,
    live: bool,
    total_bytes: u64,
    used_bytes: u64,
    free_bytes: u64,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let cluster = connection.open(None)?;
    let status = cluster
        .client
        .cluster_status(false)
        .map_err(|error| cannot(format_args!("ask {} for its space", cluster.address), &error))?;
    let space = space(&status);
    if flags.json { output::print_json(&space) } else { output::print(&show(&space)) }
}

fn space(status: &ClusterStatusReply) -> SpaceJson<'_> {
    let servers: Vec<_> = status.file_servers.iter().map(server_space).collect();
    let sum = |of: fn(&ServerSpaceJson<'_>) -> u64| servers.iter().filter(|server| server.live).map(of).sum();
    SpaceJson {
        total_bytes: sum(|server| server.total_bytes),
        used_bytes: sum(|server| server.used_bytes),
        free_bytes: sum(|server| server.free_bytes),
        servers,
    }
}

fn server_space(server: &FileServerStatus) -> ServerSpaceJson<'_> {
    let report = server.space.unwrap_or_default();
    ServerSpaceJson {
        server_id: server.server_id,
        name: &server.name,
        address: &server.address,
        live: server.live,
        total_bytes: report.total_bytes,
        used_bytes: report.total_bytes.saturating_sub(report.free_bytes),
        free_bytes: report.free_bytes,
    }
}

fn show(space: &SpaceJson<'_>) -> String {
    let columns = [
        Column("SERVER", Align::Left),
        Column("SIZE", Align::Right),
        Column("USED", Align::Right),
        Column("FREE", Align::Right),
        Column("USE%", Align::Right),
        Column("STATE", Align::Left),
    ];
    let row = |name: &str, total: u64, used: u64, free: u64, state: &str| {
        let percent = used.saturating_mul(100).div_ceil(total.max(1));
        let [total, used, free] = [total, used, free].map(sizes::human);
        vec![name.to_owned(), total, used, free, format!("{percent}%"), state.to_owned()]
    };
    let servers = space.servers.iter().map(|server| {
        let state = if server.live { "up" } else { "down" };
        row(server.name, server.total_bytes, server.used_bytes, server.free_bytes, state)
    });
    let total = row("total", space.total_bytes, space.used_bytes, space.free_bytes, "");
    output::table(&columns, servers.chain([total]))
}
