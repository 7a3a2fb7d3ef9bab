//! `pfs tokens`: who holds which bytes of a file, now.

use super::status::CountersJson;
use crate::connection::{Connection, cannot};
use crate::failure::Outcome;
use crate::names::RemoteName;
use crate::output::{self, Align, Column};
use clap::Args;
use pfs_proto::v1::holder::Kind;
use pfs_proto::v1::{Holder, ListTokensReply, TokenInfo, TokenMode};
use serde::Serialize;

/// The wire's end of a range that goes to infinity.
const INFINITY: u64 = u64::MAX;

/// Show who holds which tokens of a file, now
#[derive(Debug, Args)]
#[command(after_help = "\
With --json: {path, id, waiting, tokens: [{start, end, mode, revoking, holders: [{kind, id}], holder_names}],
counters: {requests, grants, revokes, acks, refusals, live_ranges, waiting}}.
Ranges are half open, in bytes; an `end` of null is infinity. `mode` is shared or exclusive, `kind` is client or group.")]
pub struct Flags {
    /// Answer as JSON
    #[arg(long)]
    json: bool,

    /// The file
    path: String,
}

#[derive(Serialize)]
struct TokensJson<'a> {
    path: String,
    id: u64,
    waiting: u64,
    tokens: Vec<TokenJson<'a>>,
    counters: CountersJson,
}

#[derive(Serialize)]
struct TokenJson<'a> {
    start: u64,
    end: Option<u64>,
    mode: &'static str,
    revoking: bool,
    holders: Vec<HolderJson>,
    holder_names: &'a [String],
}

#[derive(Serialize)]
struct HolderJson {
    kind: &'static str,
    id: u64,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let name = RemoteName::parse(&flags.path)?;
    let cluster = connection.open(Some(&name))?;
    let reply =
        cluster.client.tokens(&name.path).map_err(|error| cannot(format_args!("list the tokens of {name}"), &error))?;
    let tokens = tokens(&name, &reply);
    if flags.json { output::print_json(&tokens) } else { output::print(&show(&tokens)) }
}

fn tokens<'a>(name: &RemoteName, reply: &'a ListTokensReply) -> TokensJson<'a> {
    TokensJson {
        path: name.to_string(),
        id: reply.file_id,
        waiting: reply.waiting,
        tokens: reply.tokens.iter().map(token).collect(),
        counters: reply.counters.unwrap_or_default().into(),
    }
}

fn token(token: &TokenInfo) -> TokenJson<'_> {
    let range = token.range.unwrap_or_default();
    TokenJson {
        start: range.start,
        end: Some(range.end).filter(|end| *end != INFINITY),
        mode: match token.mode() {
            TokenMode::Unspecified => "unknown",
            TokenMode::Shared => "shared",
            TokenMode::Exclusive => "exclusive",
        },
        revoking: token.revoking,
        holders: token.holders.iter().filter_map(holder).collect(),
        holder_names: &token.holder_names,
    }
}

fn holder(holder: &Holder) -> Option<HolderJson> {
    match holder.kind {
        Some(Kind::Client(id)) => Some(HolderJson { kind: "client", id }),
        Some(Kind::Group(id)) => Some(HolderJson { kind: "group", id }),
        None => None,
    }
}

fn show(tokens: &TokensJson<'_>) -> String {
    let columns = [
        Column("START", Align::Right),
        Column("END", Align::Right),
        Column("MODE", Align::Left),
        Column("HOLDERS", Align::Left),
        Column("NAMES", Align::Left),
        Column("STATE", Align::Left),
    ];
    let rows = tokens.tokens.iter().map(|token| {
        let holders: Vec<_> = token.holders.iter().map(|holder| format!("{}-{}", holder.kind, holder.id)).collect();
        vec![
            token.start.to_string(),
            token.end.map_or("∞".to_owned(), |end| end.to_string()),
            token.mode.to_owned(),
            holders.join(" "),
            token.holder_names.join(", "),
            if token.revoking { "revoking" } else { "held" }.to_owned(),
        ]
    });
    let table = match tokens.tokens.as_slice() {
        [] => "nobody holds a token of this file\n".to_owned(),
        _ => output::table(&columns, rows),
    };
    format!(
        "{} (id {}), {} requests waiting\n{table}traffic of this file: {}\n",
        tokens.path, tokens.id, tokens.waiting, tokens.counters
    )
}
