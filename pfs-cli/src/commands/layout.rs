//! `pfs layout`: which server stores which bytes of a file.

use crate::connection::{Cluster, Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::names::RemoteName;
use crate::output::{self, Align, Column};
use crate::sizes;
use clap::Args;
use pfs_client::FileStatus;
use pfs_core::layout::Recipe;
use pfs_proto::v1::FileServerStatus;
use serde::Serialize;

/// Show which server stores which bytes of a file
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: {path, id, size_bytes, stripe_unit_bytes, stripe_count,
slots: [{slot, server_id, server_name, address, live, object_exists, object_bytes, allocated_bytes, units}]}.
`object_bytes` and `allocated_bytes` are what the server has now, null when it does not answer; `units` counts the
slot's stripe units in a file of this size.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// The file
    path: String,
}

#[derive(Serialize)]
struct LayoutJson {
    path: String,
    id: u64,
    size_bytes: u64,
    stripe_unit_bytes: u64,
    stripe_count: u32,
    slots: Vec<SlotJson>,
}

#[derive(Serialize)]
struct SlotJson {
    slot: u32,
    server_id: u32,
    server_name: Option<String>,
    address: Option<String>,
    live: bool,
    object_exists: Option<bool>,
    object_bytes: Option<u64>,
    allocated_bytes: Option<u64>,
    units: u64,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let name = RemoteName::parse(&flags.path)?;
    let cluster = connection.open(Some(&name))?;
    let failed = |error| cannot(format_args!("show the layout of {name}"), &error);
    let status = cluster.client.stat(&name.path).map_err(failed)?;
    let Some(recipe) = &status.recipe else {
        return Err(Failure::because(format_args!("show the layout of {name}"), "it is a directory")
            .next("name a file; `pfs ls` shows what is in a directory"));
    };
    let servers = cluster.client.cluster_status(false).map_err(failed)?.file_servers;
    let layout = LayoutJson {
        path: name.to_string(),
        id: status.id.get(),
        size_bytes: status.size_bytes,
        stripe_unit_bytes: recipe.stripe_unit(),
        stripe_count: recipe.stripe_count(),
        slots: (0..recipe.stripe_count()).map(|slot| describe(&cluster, &status, recipe, slot, &servers)).collect(),
    };
    if flags.json { output::print_json(&layout) } else { output::print(&show(&layout)) }
}

fn describe(
    cluster: &Cluster,
    status: &FileStatus,
    recipe: &Recipe,
    slot: u32,
    servers: &[FileServerStatus],
) -> SlotJson {
    let server_id = recipe.primary(slot).get();
    let server = servers.iter().find(|server| server.server_id == server_id);
    let object = match cluster.client.object_stat(status, slot) {
        Ok(object) => Some(object),
        Err(error) => {
            eprintln!("note: slot {slot}: {error}");
            None
        }
    };
    SlotJson {
        slot,
        server_id,
        server_name: server.map(|server| server.name.clone()),
        address: server.map(|server| server.address.clone()),
        live: server.is_some_and(|server| server.live),
        object_exists: object.as_ref().map(|object| object.exists),
        object_bytes: object.as_ref().map(|object| object.length),
        allocated_bytes: object.as_ref().map(|object| object.allocated_bytes),
        units: recipe.object_length(slot, status.size_bytes).div_ceil(recipe.stripe_unit()),
    }
}

fn show(layout: &LayoutJson) -> String {
    let LayoutJson { path, id, size_bytes, stripe_unit_bytes: unit, stripe_count: count, .. } = layout;
    let columns = [
        Column("SLOT", Align::Right),
        Column("SERVER", Align::Right),
        Column("NAME", Align::Left),
        Column("ADDRESS", Align::Left),
        Column("STATE", Align::Left),
        Column("OBJECT BYTES", Align::Right),
        Column("ON DISK", Align::Right),
        Column("UNITS", Align::Right),
    ];
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".to_owned());
    let rows = layout.slots.iter().map(|slot| {
        vec![
            slot.slot.to_string(),
            slot.server_id.to_string(),
            text(&slot.server_name),
            text(&slot.address),
            if slot.live { "up" } else { "down" }.to_owned(),
            object_bytes(slot),
            slot.allocated_bytes.map_or("?".to_owned(), sizes::human),
            slot.units.to_string(),
        ]
    });
    format!(
        "{path} (id {id}): {size_bytes} bytes in units of {unit} bytes over {count} slots\n{}\
         byte b lies in slot (b / {unit}) mod {count}, at object offset (b / {unit} / {count}) × {unit} + b mod {unit}\n",
        output::table(&columns, rows)
    )
}

fn object_bytes(slot: &SlotJson) -> String {
    match (slot.object_exists, slot.object_bytes) {
        (Some(false), _) => "none yet".to_owned(),
        (_, Some(bytes)) => bytes.to_string(),
        (_, None) => "?".to_owned(),
    }
}
