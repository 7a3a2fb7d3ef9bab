//! What a scrub has found, for people and for programs.

use super::catalogue::{Catalogue, FileRange};
use super::servers::Scrubbed;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Column};
use crate::sizes;
use pfs_core::ids::{ObjectId, ServerId};
use pfs_proto::convert::ConvertError;
use pfs_proto::data::ObjectExtent;
use pfs_proto::v1;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

/// Ranges of a file that one row of the table has at most.
const RANGES_PER_ROW: usize = 3;

/// Damage of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    object: ObjectId,
    /// Nothing if the whole object is gone.
    bytes: Option<Range<u64>>,
    server: ServerId,
    problem: String,
}

impl Finding {
    /// As a file server tells it.
    pub fn from_wire(damage: v1::Damage, server: ServerId) -> Result<Self, ConvertError> {
        let object = ObjectId::try_from(damage.object.unwrap_or_default())?;
        let extent = ObjectExtent::try_from(damage.extent.unwrap_or_default())?;
        let bytes = Some(extent.offset().0..extent.end().0);
        Ok(Finding { object, bytes, server, problem: damage.problem })
    }

    /// An object that should be there and is not.
    pub fn missing(object: ObjectId, server: ServerId) -> Self {
        Finding { object, bytes: None, server, problem: "the object was made durable and is gone".to_owned() }
    }
}

/// The answer of the command.
#[derive(Serialize)]
pub struct Report {
    sound: bool,
    servers: Vec<ServerJson>,
    damage: Vec<DamageJson>,
}

#[derive(Serialize)]
struct ServerJson {
    server_id: u32,
    name: String,
    address: String,
    objects: u64,
    bytes: u64,
    problem: Option<String>,
}

#[derive(Serialize)]
struct DamageJson {
    path: Option<String>,
    file_id: u64,
    slot: u32,
    object_start: Option<u64>,
    object_end: Option<u64>,
    file_ranges: Vec<FileRange>,
    server_id: u32,
    server: String,
    problem: String,
}

impl Report {
    /// The findings with the names of files.
    pub fn new(servers: &[Scrubbed], mut findings: Vec<Finding>, catalogue: &Catalogue) -> Self {
        findings.sort_by_key(|finding| (finding.object, finding.bytes.as_ref().map(|bytes| bytes.start)));
        let name_of = |id| servers.iter().find(|server| server.id == id).map_or_else(String::new, |s| s.name.clone());
        let damage: Vec<DamageJson> =
            findings.into_iter().map(|finding| told(name_of(finding.server), finding, catalogue)).collect();
        let servers: Vec<ServerJson> = servers
            .iter()
            .map(|server| ServerJson {
                server_id: server.id.get(),
                name: server.name.clone(),
                address: server.address.clone(),
                objects: server.objects,
                bytes: server.bytes,
                problem: server.problem.clone(),
            })
            .collect();
        let sound = damage.is_empty() && servers.iter().all(|server| server.problem.is_none());
        Report { sound, servers, damage }
    }

    /// Tables.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.damage.is_empty() {
            let columns = [
                Column("FILE", Align::Left),
                Column("BYTES", Align::Left),
                Column("SERVER", Align::Left),
                Column("PROBLEM", Align::Left),
            ];
            let rows = self.damage.iter().map(|damage| {
                let file = damage.path.clone().unwrap_or_else(|| format!("no file, id {}", damage.file_id));
                vec![file, ranges(damage), damage.server.clone(), damage.problem.clone()]
            });
            text += &(output::table(&columns, rows) + "\n");
        }
        let columns = [
            Column("SERVER", Align::Left),
            Column("OBJECTS", Align::Right),
            Column("BYTES", Align::Right),
            Column("SIZE", Align::Right),
            Column("RESULT", Align::Left),
        ];
        let rows = self.servers.iter().map(|server| {
            let damage = self.damage.iter().filter(|damage| damage.server_id == server.server_id).count();
            let result = match (&server.problem, damage) {
                (Some(problem), _) => format!("not complete: {problem}"),
                (None, 0) => "sound".to_owned(),
                (None, 1) => "1 damaged range".to_owned(),
                (None, damage) => format!("{damage} damaged ranges"),
            };
            let (objects, bytes) = (server.objects.to_string(), server.bytes.to_string());
            vec![server.name.clone(), objects, bytes, sizes::human(server.bytes), result]
        });
        text + &output::table(&columns, rows)
    }

    /// Success only if all was looked at and is sound.
    pub fn outcome(&self) -> Outcome {
        if self.sound {
            return Ok(());
        }
        let files: BTreeSet<u64> = self.damage.iter().map(|damage| damage.file_id).collect();
        let incomplete = self.servers.iter().filter(|server| server.problem.is_some()).count();
        let mut problem = String::new();
        let mut say = |args: std::fmt::Arguments<'_>| {
            let separator = if problem.is_empty() { "" } else { ", and " };
            write!(problem, "{separator}{args}").expect("a string takes all text");
        };
        if !files.is_empty() {
            let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
            say(format_args!("{} in {}", count(self.damage.len(), "damaged range"), count(files.len(), "file")));
        }
        if incomplete > 0 {
            say(format_args!("{incomplete} file servers were not looked at completely"));
        }
        let failure = Failure::because("call what is stored sound", problem);
        Err(if files.is_empty() { failure } else { failure.next("write the damaged bytes again, or remove the files") })
    }
}

fn told(server: String, finding: Finding, catalogue: &Catalogue) -> DamageJson {
    let Finding { object, bytes, server: id, problem } = finding;
    let place = catalogue.place(object, bytes.clone().unwrap_or(0..0));
    let (path, file_ranges) = place.map_or((None, Vec::new()), |(path, ranges)| (Some(path), ranges));
    DamageJson {
        path,
        file_id: object.file.get(),
        slot: object.slot,
        object_start: bytes.as_ref().map(|bytes| bytes.start),
        object_end: bytes.map(|bytes| bytes.end),
        file_ranges,
        server_id: id.get(),
        server,
        problem,
    }
}

fn ranges(damage: &DamageJson) -> String {
    let mut shown: Vec<String> = damage
        .file_ranges
        .iter()
        .take(RANGES_PER_ROW)
        .map(|range| format!("[{}, {})", range.start, range.end))
        .collect();
    if damage.file_ranges.len() > RANGES_PER_ROW {
        shown.push(format!("… {} ranges in all", damage.file_ranges.len()));
    }
    match (damage.object_start, damage.object_end) {
        (Some(start), Some(end)) if shown.is_empty() => format!("[{start}, {end}) of slot {}", damage.slot),
        (None, _) => format!("all of slot {}", damage.slot),
        _ => shown.join(" "),
    }
}
