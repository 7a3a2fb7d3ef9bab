//! `cluster.json`: what a start must know about the starts before it.

use super::file_options::FileOptions;
use super::nodes::Nodes;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The version that this program writes and understands.
pub const FORMAT_VERSION: u32 = 1;

/// Name of the metadata server's process, store and log.
pub const METADATA_NAME: &str = "metadata";

/// Settings of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of this file's format.
    pub format_version: u32,
    /// A start succeeded once: from then on an empty metadata store is a loss, not a new cluster.
    pub formed: bool,
    /// Address at which all servers listen.
    pub listen: IpAddr,
    /// Host name or address at which clients reach the servers, when it is not the one they listen at.
    pub advertise: Option<String>,
    /// Options that are handed to the metadata server.
    pub options: MetadataOptions,
    /// Options that are handed to every file server.
    #[serde(default)]
    pub file_options: FileOptions,
    /// The metadata server.
    pub metadata: ServerSettings,
    /// The file servers of this machine; a start may add some, none ever goes.
    pub file_servers: Vec<ServerSettings>,
    /// The file servers are on these nodes, and none is on this machine by itself.
    #[serde(default)]
    pub nodes: Option<Nodes>,
}

/// Settings of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSettings {
    /// Name of its process, log, and of a file server's registration.
    pub name: String,
    /// Its store: absolute, or relative to the cluster's directory.
    pub store: PathBuf,
    /// Port of its last start, wished for at the next one; 0 before the first.
    pub port: u16,
}

/// Options of the metadata server; what is absent is the server's own choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// Milliseconds after which a silent client is given up.
    pub lease_ms: Option<u64>,
    /// Milliseconds between two signs of life.
    pub heartbeat_ms: Option<u64>,
    /// Milliseconds for which a restart waits for clients.
    #[serde(default)]
    pub grace_ms: Option<u64>,
    /// Milliseconds after which a holder that does not give way is shut out.
    #[serde(default)]
    pub revoke_timeout_ms: Option<u64>,
    /// Stripe unit of new files in bytes.
    pub stripe_unit: Option<u64>,
    /// Stripe count of new files.
    pub stripe_count: Option<u32>,
}

impl MetadataOptions {
    /// These options, and those of `earlier` where these leave the choice.
    pub fn or(self, earlier: Self) -> Self {
        MetadataOptions {
            lease_ms: self.lease_ms.or(earlier.lease_ms),
            heartbeat_ms: self.heartbeat_ms.or(earlier.heartbeat_ms),
            grace_ms: self.grace_ms.or(earlier.grace_ms),
            revoke_timeout_ms: self.revoke_timeout_ms.or(earlier.revoke_timeout_ms),
            stripe_unit: self.stripe_unit.or(earlier.stripe_unit),
            stripe_count: self.stripe_count.or(earlier.stripe_count),
        }
    }
}

impl Settings {
    /// Settings of a new cluster without file servers.
    pub fn new(listen: IpAddr) -> Self {
        Settings {
            format_version: FORMAT_VERSION,
            formed: false,
            listen,
            advertise: None,
            options: MetadataOptions::default(),
            file_options: FileOptions::default(),
            metadata: ServerSettings { name: METADATA_NAME.to_owned(), store: METADATA_NAME.into(), port: 0 },
            file_servers: Vec::new(),
            nodes: None,
        }
    }

    /// Names of all background processes of this machine, the metadata server's first.
    pub fn processes(&self) -> Vec<String> {
        let nodes = self.nodes.iter().flat_map(Nodes::processes);
        self.servers().map(|server| server.name.clone()).chain(nodes).collect()
    }

    /// Adds file servers until there are `count`; their stores go to `store_parents` in turn, or beside the
    /// metadata server's when there are none.
    pub fn add_file_servers(&mut self, count: usize, store_parents: &[PathBuf]) {
        for index in self.file_servers.len()..count {
            let name = format!("file-{index}");
            let store = match store_parents {
                [] => PathBuf::from(&name),
                parents => parents[index % parents.len()].join(&name),
            };
            self.file_servers.push(ServerSettings { name, store, port: 0 });
        }
    }

    /// All servers, the metadata server first.
    pub fn servers(&self) -> impl DoubleEndedIterator<Item = &ServerSettings> {
        std::iter::once(&self.metadata).chain(&self.file_servers)
    }

    /// "host:port" at which clients reach a server of this cluster.
    pub fn reachable_at(&self, port: u16) -> String {
        match &self.advertise {
            Some(host) => format!("{host}:{port}"),
            None => std::net::SocketAddr::new(self.listen, port).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn file_servers_are_added_and_keep_their_stores() {
        let mut settings = Settings::new(Ipv4Addr::LOCALHOST.into());
        settings.add_file_servers(1, &[]);
        settings.add_file_servers(4, &["/disk1".into(), "/disk2".into()]);
        settings.add_file_servers(2, &[]);
        let stores: Vec<_> = settings.file_servers.iter().map(|server| server.store.to_str().unwrap()).collect();
        assert_eq!(stores, ["file-0", "/disk2/file-1", "/disk1/file-2", "/disk2/file-3"]);
    }

    #[test]
    fn addresses_are_what_clients_can_reach() {
        let mut settings = Settings::new("::1".parse().unwrap());
        assert_eq!(settings.reachable_at(40), "[::1]:40");
        settings.advertise = Some("node7".to_owned());
        assert_eq!(settings.reachable_at(40), "node7:40");
    }
}
