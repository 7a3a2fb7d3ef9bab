//! `pfs stat`: everything that is known of one file or directory, with its exact size, or of clients.

use super::client_stat::{self, Clients};
use super::entry::{EntryJson, kind_name};
use crate::connection::{Connection, cannot};
use crate::failure::Outcome;
use crate::names::RemoteName;
use crate::output;
use crate::sizes;
use clap::Args;
use pfs_client::{EntryKind, FileStatus};
use std::fmt::Write;

/// Show what is known of a file or directory, or what clients' caches have done
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: {path, kind, id, size_bytes, stripe_unit_bytes, stripe_count, created_ns, modified_ns, changed_ns}.
With --client and --json: {clients: [{client_id, name, connected, age_ms, cache: {read_hits, read_misses, write_hits,
write_misses, evictions, write_backs, invalidations, close_write_backs, close_evictions, cached_bytes, dirty_bytes}}]}.
The counts come with a client's heartbeats; cache is null before the first.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// The caches of one client, or of all but this command's own
    #[arg(long, value_name = "ID|all")]
    client: Option<Clients>,

    /// The file or directory
    #[arg(required_unless_present = "client", conflicts_with = "client")]
    path: Option<String>,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let Some(path) = flags.path else {
        return client_stat::run(flags.client.unwrap_or(Clients::All), flags.json, connection);
    };
    let name = RemoteName::parse(&path)?;
    let cluster = connection.open(Some(&name))?;
    let status = cluster.client.stat(&name.path).map_err(|error| cannot(format_args!("show {name}"), &error))?;
    if flags.json {
        return output::print_json(&EntryJson::new(name.to_string(), &status));
    }
    output::print(&describe(&name, &status))
}

fn describe(name: &RemoteName, status: &FileStatus) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "{key:<10}{value}");
    };
    line("path", name.to_string());
    line("kind", kind_name(status.kind).to_owned());
    line("id", status.id.get().to_string());
    if status.kind == EntryKind::File {
        line("size", format!("{} bytes ({})", status.size_bytes, sizes::human(status.size_bytes)));
    }
    if let Some(recipe) = &status.recipe {
        let servers: Vec<_> = (0..recipe.stripe_count()).map(|slot| recipe.primary(slot).get().to_string()).collect();
        let unit = sizes::human(recipe.stripe_unit());
        line("stripes", format!("units of {unit} over {} servers: {}", recipe.stripe_count(), servers.join(" ")));
    }
    line("created", output::time(status.created_ns));
    line("modified", output::time(status.modified_ns));
    line("changed", output::time(status.changed_ns));
    text
}
