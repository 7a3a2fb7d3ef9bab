//! `pfs stat --client`: what the caches of the cluster's clients have done.

use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Column};
use crate::sizes;
use pfs_proto::v1::{CacheCounters, SessionStatus};
use serde::Serialize;
use std::str::FromStr;

/// Which clients to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// All that have a session now.
    All,
    /// The one with this id.
    One(u64),
}

impl FromStr for Clients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Clients::All),
            id => {
                id.parse().map(Clients::One).map_err(|_| "a client's id, as `pfs status` shows it, or `all`".to_owned())
            }
        }
    }
}

#[derive(Serialize)]
struct ClientsJson<'a> {
    clients: Vec<ClientJson<'a>>,
}

#[derive(Serialize)]
struct ClientJson<'a> {
    client_id: u64,
    name: &'a str,
    connected: bool,
    age_ms: u64,
    /// Absent before the client's first heartbeat.
    cache: Option<CacheCounters>,
}

impl<'a> From<&'a SessionStatus> for ClientJson<'a> {
    fn from(session: &'a SessionStatus) -> Self {
        ClientJson {
            client_id: session.client_id,
            name: &session.client_name,
            connected: session.connected,
            age_ms: session.age_ms,
            cache: session.cache,
        }
    }
}

/// Shows the caches of clients.
pub fn run(wanted: Clients, json: bool, connection: &Connection) -> Outcome {
    let cluster = connection.open(None)?;
    let doing = || format!("ask {} for its clients", cluster.address);
    let reply = cluster.client.cluster_status(true).map_err(|error| cannot(doing(), &error))?;
    let shown = |session: &&SessionStatus| match wanted {
        Clients::All => session.client_id != cluster.client.id().get(),
        Clients::One(id) => session.client_id == id,
    };
    let clients: Vec<ClientJson<'_>> = reply.sessions.iter().filter(shown).map(Into::into).collect();
    if let (Clients::One(id), []) = (wanted, clients.as_slice()) {
        let missing = Failure::because(format_args!("show client {id}"), "no such client has a session");
        return Err(missing.next("see `pfs status` for who has"));
    }
    if json { output::print_json(&ClientsJson { clients }) } else { output::print(&table(&clients)) }
}

fn table(clients: &[ClientJson<'_>]) -> String {
    let headings = ["READ HITS", "MISSES", "WRITE HITS", "MISSES", "WRITE-BACKS", "EVICTED", "INVALIDATED"];
    let mut columns = vec![Column("CLIENT", Align::Right), Column("NAME", Align::Left)];
    columns.extend(headings.map(|heading| Column(heading, Align::Right)));
    columns.extend(["AT CLOSE: BACK", "DROPPED", "CACHED", "DIRTY"].map(|heading| Column(heading, Align::Right)));
    let rows = clients.iter().map(|client| {
        let mut row = vec![client.client_id.to_string(), client.name.to_owned()];
        match &client.cache {
            Some(c) => {
                let counts = [c.read_hits, c.read_misses, c.write_hits, c.write_misses, c.write_backs, c.evictions];
                row.extend(counts.map(|count| count.to_string()));
                row.extend([c.invalidations, c.close_write_backs, c.close_evictions].map(|count| count.to_string()));
                row.extend([c.cached_bytes, c.dirty_bytes].map(sizes::human));
            }
            None => row.extend(std::iter::repeat_n("-".to_owned(), 11)),
        }
        row
    });
    output::table(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_named_by_id_or_all() {
        assert_eq!("all".parse(), Ok(Clients::All));
        assert_eq!("17".parse(), Ok(Clients::One(17)));
        assert!("seventeen".parse::<Clients>().is_err());
    }

    #[test]
    fn a_client_without_a_heartbeat_has_dashes() {
        let cache = Some(CacheCounters { read_hits: 41, dirty_bytes: 4096, ..CacheCounters::default() });
        let client = |client_id, cache| ClientJson { client_id, name: "n1:77", connected: true, age_ms: 5, cache };
        let text = table(&[client(3, cache), client(4, None)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..3], ["3", "n1:77", "41"]);
        assert_eq!(lines[2][2..], ["-"; 11]);
    }
}
