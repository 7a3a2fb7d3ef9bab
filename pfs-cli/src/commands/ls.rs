//! `pfs ls`: what is in a directory.

use super::entry::EntryJson;
use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::names::RemoteName;
use crate::output::{self, Align, Column};
use crate::sizes;
use clap::Args;
use pfs_client::{EntryKind, FileStatus};

/// List a directory, or one file
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: a list of {path, kind, id, size_bytes, stripe_unit_bytes, stripe_count, created_ns, modified_ns, changed_ns}.
The sizes of files that somebody is writing may lag behind; `pfs stat` asks for the exact one.")]
pub struct Flags {
    /// Show kind, size, layout and time of each entry
    #[arg(short)]
    long: bool,

    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// The directory or file
    #[arg(default_value = "pfs:/")]
    path: String,
}

struct Listed {
    /// As shown: the name in its directory, or the path of a single file.
    name: String,
    full_name: RemoteName,
    status: FileStatus,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let name = RemoteName::parse(&flags.path)?;
    let cluster = connection.open(Some(&name))?;
    let failed = |error| cannot(format_args!("list {name}"), &error);
    let status = cluster.client.stat(&name.path).map_err(failed)?;
    let entries = match status.kind {
        EntryKind::File => vec![Listed { name: name.path.to_string(), full_name: name.clone(), status }],
        EntryKind::Directory => cluster
            .client
            .list(&name.path)
            .map_err(failed)?
            .into_iter()
            .map(|entry| Ok(Listed { full_name: name.join(&entry.name)?, name: entry.name, status: entry.status }))
            .collect::<Result<_, Failure>>()?,
    };
    if flags.json {
        let entries: Vec<_> =
            entries.iter().map(|entry| EntryJson::new(entry.full_name.to_string(), &entry.status)).collect();
        return output::print_json(&entries);
    }
    output::print(&if flags.long { long_listing(&entries) } else { names(&entries) })
}

fn shown_name(entry: &Listed) -> String {
    match entry.status.kind {
        EntryKind::File => entry.name.clone(),
        EntryKind::Directory => format!("{}/", entry.name),
    }
}

fn names(entries: &[Listed]) -> String {
    entries.iter().map(|entry| shown_name(entry) + "\n").collect()
}

fn long_listing(entries: &[Listed]) -> String {
    let columns = [
        Column("BYTES", Align::Right),
        Column("SIZE", Align::Right),
        Column("STRIPES", Align::Left),
        Column("MODIFIED", Align::Left),
        Column("NAME", Align::Left),
    ];
    let rows = entries.iter().map(|entry| {
        let status = &entry.status;
        let (bytes, size) = match status.kind {
            EntryKind::File => (status.size_bytes.to_string(), sizes::human(status.size_bytes)),
            EntryKind::Directory => ("-".to_owned(), "-".to_owned()),
        };
        let stripes = status.recipe.as_ref().map_or("-".to_owned(), |recipe| {
            format!("{} × {}", recipe.stripe_count(), sizes::human(recipe.stripe_unit()))
        });
        vec![bytes, size, stripes, output::time(status.modified_ns), shown_name(entry)]
    });
    output::table(&columns, rows)
}
