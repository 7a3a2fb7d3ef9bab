//! `pfs scrub`: has the file servers compare what they store with its checksums, and tells which bytes of which files are
//! damaged.
//!
//! A run is sound only if everything that was asked for was looked at: a server that is down, or goes away meanwhile, is a
//! failure like damage is.

mod catalogue;
mod report;
mod servers;

use crate::connection::{Cluster, Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::names::RemoteName;
use crate::output;
use crate::sizes::parse_size;
use catalogue::Catalogue;
use clap::Args;
use pfs_client::ErrorKind;
use pfs_core::ids::{ObjectId, ServerId};
use pfs_proto::data::Scrub;
use pfs_proto::v1::FileServerStatus;
use report::{Finding, Report};
use servers::{Errand, Scrubbed};
use std::collections::BTreeMap;

/// Compare stored bytes with their checksums
#[derive(Debug, Args)]
#[command(after_help = "\
Without PATH, every object of every file server is read; with it, those of the files, and of everything below the
directories. All file servers work at the same time, and clients may go on meanwhile.

A damaged range is told with the file's bytes, in whole blocks of 4096. Nothing is repaired: write the bytes again, or
remove the file. Reading damaged bytes is an error until then.

With --json: {sound, servers: [{server_id, name, address, objects, bytes, problem}],
damage: [{path, file_id, slot, object_start, object_end, file_ranges: [{start, end}], server_id, server, problem}]}.
`path` is null for an object of no file, like one of a file that is open and was removed.

The exit status is 1 if something is damaged, or could not be looked at.")]
pub struct Flags {
    /// Most bytes that each file server reads in a second
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    rate: Option<u64>,

    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// Files and directories
    paths: Vec<String>,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let names = flags.paths.iter().map(|path| RemoteName::parse(path)).collect::<Result<Vec<_>, _>>()?;
    if names.windows(2).any(|pair| pair[0].metadata != pair[1].metadata) {
        return Err(Failure::usage("`pfs scrub` takes files of one cluster at a time"));
    }
    let cluster = connection.open(names.first())?;
    let mut catalogue = match names.as_slice() {
        [] => Catalogue::default(),
        names => Catalogue::of(&cluster, names)?,
    };
    let errands = errands(&cluster, (!names.is_empty()).then_some(&catalogue), flags.rate.unwrap_or(0))?;
    let mut scrubbed = servers::scrub(errands, &connection.secret()?, flags.json)?;
    if names.is_empty() {
        // Later than the scrub, so that files that were made meanwhile are known.
        catalogue = Catalogue::of(&cluster, &[RemoteName::parse("pfs:/")?])?;
    }
    let mut findings: Vec<Finding> =
        scrubbed.iter_mut().flat_map(|server| std::mem::take(&mut server.damage)).collect();
    findings.extend(missing(&cluster, &catalogue, &mut scrubbed)?);
    let report = Report::new(&scrubbed, findings, &catalogue);
    if flags.json {
        output::print_json(&report)?
    } else {
        output::print(&report.text())?
    }
    report.outcome()
}

/// What each file server is asked for: all that it has, or the objects of some files. Of those, only the servers that
/// have some take part.
fn errands(cluster: &Cluster, only: Option<&Catalogue>, bytes_per_second: u64) -> Result<Vec<Errand>, Failure> {
    let status = cluster.client.cluster_status(false);
    let status = status.map_err(|error| cannot(format_args!("ask {} for its servers", cluster.address), &error))?;
    let mut wanted: Option<BTreeMap<ServerId, Vec<ObjectId>>> = only.map(Catalogue::objects);
    let mut errands = Vec::new();
    for server in status.file_servers {
        let objects = match &mut wanted {
            None => Vec::new(),
            Some(wanted) => match ServerId::new(server.server_id).and_then(|id| wanted.remove(&id)) {
                None => continue,
                Some(objects) => objects,
            },
        };
        errands.push(Errand { server, scrub: Scrub { objects, bytes_per_second } });
    }
    for (id, objects) in wanted.into_iter().flatten() {
        let server = FileServerStatus { server_id: id.get(), name: format!("server {id}"), ..Default::default() };
        errands.push(Errand { server, scrub: Scrub { objects, bytes_per_second } });
    }
    Ok(errands)
}

/// Objects that were made durable and are gone. A scrub of a store sees only what is there.
fn missing(cluster: &Cluster, catalogue: &Catalogue, servers: &mut [Scrubbed]) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for (name, file, slot, server) in catalogue.durable_objects() {
        let Some(server) = servers.iter_mut().find(|one| one.id == server && one.problem.is_none()) else { continue };
        match cluster.client.object_stat(file, slot) {
            Ok(object) if object.exists => {}
            Ok(_) => {
                // Unless the file was removed or cut meanwhile.
                let now = cluster.client.stat(&name.path).ok().filter(|now| now.id == file.id);
                if now.is_some_and(|now| now.is_durable(slot)) {
                    findings.push(Finding::missing(ObjectId { file: file.id, slot }, server.id));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted) => {}
            Err(error) => server.problem = Some(error.to_string()),
        }
    }
    Ok(findings)
}
