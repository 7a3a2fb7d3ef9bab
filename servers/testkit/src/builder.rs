//! What a test may choose about its cluster.

use crate::files::ClusterFiles;
use crate::in_process::Cluster;
use crate::processes::ProcessCluster;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Chooses sizes, times and places of a cluster; what is not chosen is as a server chooses it, except that everything
/// happens on loopback and in a temporary directory.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterBuilder {
    pub(crate) file_servers: usize,
    pub(crate) choices: Choices,
    directory: Option<PathBuf>,
    elsewhere: BTreeMap<usize, PathBuf>,
}

/// Settings of the metadata server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    pub(crate) lease_ms: Option<u64>,
    pub(crate) heartbeat_ms: Option<u64>,
    pub(crate) grace_ms: Option<u64>,
    pub(crate) revoke_timeout_ms: Option<u64>,
    pub(crate) stripe_unit: Option<u64>,
    pub(crate) stripe_count: Option<u32>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) proxied: bool,
    pub(crate) faulty_stores: bool,
}

/// A network namespace that plays a host of its own for one server process.
#[derive(Clone, Debug)]
pub struct Host {
    /// The namespace's name, as `ip netns` knows it.
    pub namespace: String,
    /// Its address, at which the server listens.
    pub address: IpAddr,
}

impl Choices {
    /// What was chosen, or what goes with the chosen lease.
    pub(crate) fn heartbeat_ms(&self) -> Option<u64> {
        self.heartbeat_ms.or(self.lease_ms.map(|lease_ms| (lease_ms / HEARTBEATS_PER_LEASE).max(1)))
    }
}

const HEARTBEATS_PER_LEASE: u64 = 5;

impl ClusterBuilder {
    /// A cluster with this many file servers.
    pub fn new(file_servers: usize) -> Self {
        ClusterBuilder { file_servers, choices: Choices::default(), directory: None, elsewhere: BTreeMap::new() }
    }

    /// Milliseconds after which a client without a sign of life is given up. There are five heartbeats in this time
    /// unless [`Self::heartbeat_ms`] says otherwise.
    pub fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.choices.lease_ms = Some(lease_ms);
        self
    }

    /// Milliseconds between two heartbeats.
    pub fn heartbeat_ms(mut self, heartbeat_ms: u64) -> Self {
        self.choices.heartbeat_ms = Some(heartbeat_ms);
        self
    }

    /// Milliseconds for which a restarted metadata server waits for the clients that it had.
    pub fn grace_ms(mut self, grace_ms: u64) -> Self {
        self.choices.grace_ms = Some(grace_ms);
        self
    }

    /// Milliseconds after which a holder is shut out that is alive but does not give way.
    pub fn revoke_timeout_ms(mut self, revoke_timeout_ms: u64) -> Self {
        self.choices.revoke_timeout_ms = Some(revoke_timeout_ms);
        self
    }

    /// Stripe unit in bytes of files that ask for none.
    pub fn stripe_unit(mut self, bytes: u64) -> Self {
        self.choices.stripe_unit = Some(bytes);
        self
    }

    /// Number of file servers of files that ask for none.
    pub fn stripe_count(mut self, servers: u32) -> Self {
        self.choices.stripe_count = Some(servers);
        self
    }

    /// Runs each server process in a network namespace of its own, the metadata server in the first one. For processes
    /// only, and only as root.
    pub fn hosts(mut self, hosts: Vec<Host>) -> Self {
        self.choices.hosts = hosts;
        self
    }

    /// Puts a [`Proxy`](crate::Proxy) before each file server, which clients and the metadata server go through. Only in this
    /// process.
    pub fn proxied(mut self) -> Self {
        self.choices.proxied = true;
        self
    }

    /// Puts a [`FaultyStore`](pfs_file_server::store::faulty::FaultyStore) before the objects of each file server. Only in
    /// this process.
    pub fn faulty_stores(mut self) -> Self {
        self.choices.faulty_stores = true;
        self
    }

    /// Keeps everything in this directory, and leaves it there. A cluster that was there before is started again.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Puts the store of one file server elsewhere, for example on a small file system.
    pub fn file_server_directory(mut self, index: usize, directory: impl Into<PathBuf>) -> Self {
        self.elsewhere.insert(index, directory.into());
        self
    }

    /// Starts the servers in this process and returns when all of them serve.
    pub fn start(self) -> anyhow::Result<Cluster> {
        Cluster::start_with(self.prepare()?, self.file_servers, self.choices)
    }

    /// Starts the servers as child processes and returns when all of them serve.
    pub fn start_processes(self) -> anyhow::Result<ProcessCluster> {
        ProcessCluster::start_with(self.prepare()?, self.file_servers, self.choices)
    }

    fn prepare(&self) -> anyhow::Result<ClusterFiles> {
        ClusterFiles::prepare(self.directory.clone(), self.elsewhere.clone(), self.file_servers)
    }
}
