//! A cluster in this process.

use crate::builder::{Choices, ClusterBuilder};
use crate::files::{ClusterFiles, METADATA_NAME, file_server_name};
use crate::hosted::HostedServer;
use crate::proxy::Proxy;
use anyhow::ensure;
use pfs_file_server::store::faulty::FaultyStore;
use pfs_file_server::store::{ObjectStore, PosixStore};
use pfs_proto::secret::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The store of a running file server.
type Faulty = Arc<FaultyStore<PosixStore>>;

/// A cluster whose servers run in this process, each on threads of its own.
///
/// Dropping it kills what still runs.
pub struct Cluster {
    // Before the files: a store is not removed under its server.
    file_servers: Vec<HostedServer>,
    metadata: HostedServer,
    /// One for each file server, or none.
    proxies: Vec<Proxy>,
    /// One for each file server, or none.
    faulty_stores: Vec<Arc<Mutex<Option<Faulty>>>>,
    choices: Choices,
    secret: Secret,
    files: ClusterFiles,
}

impl Cluster {
    /// A cluster with this many file servers, in a temporary directory.
    pub fn start(file_servers: usize) -> anyhow::Result<Self> {
        ClusterBuilder::new(file_servers).start()
    }

    /// A cluster of which more is chosen.
    pub fn builder(file_servers: usize) -> ClusterBuilder {
        ClusterBuilder::new(file_servers)
    }

    pub(crate) fn start_with(files: ClusterFiles, file_servers: usize, choices: Choices) -> anyhow::Result<Self> {
        let file_server = |index| HostedServer::new(file_server_name(index), files.file_server_store(index));
        let mut cluster = Cluster {
            file_servers: (0..file_servers).map(file_server).collect(),
            metadata: HostedServer::new(METADATA_NAME.to_owned(), files.metadata_store()),
            proxies: (0..file_servers)
                .filter(|_| choices.proxied)
                .map(|_| Proxy::start_without_target())
                .collect::<Result<_, _>>()?,
            faulty_stores: (0..file_servers).filter(|_| choices.faulty_stores).map(|_| Arc::default()).collect(),
            choices,
            secret: files.secret()?,
            files,
        };
        cluster.start_metadata()?;
        // One after the other, so that server ids are in the order of the names.
        for index in 0..file_servers {
            cluster.start_file_server(index)?;
        }
        Ok(cluster)
    }

    /// The metadata server's "host:port", as clients take it.
    pub fn metadata_address(&self) -> String {
        self.metadata.address().to_string()
    }

    /// The file with the cluster secret.
    pub fn secret_file(&self) -> PathBuf {
        self.files.secret_file()
    }

    /// The cluster secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The cluster's directories.
    pub fn files(&self) -> &ClusterFiles {
        &self.files
    }

    /// Number of file servers, running or not.
    pub fn file_server_count(&self) -> usize {
        self.file_servers.len()
    }

    /// Where file server `index` listens.
    pub fn file_server_address(&self, index: usize) -> SocketAddr {
        self.file_servers[index].address()
    }

    /// The way to file server `index` of a cluster that was built with proxies.
    pub fn proxy(&self, index: usize) -> &Proxy {
        &self.proxies[index]
    }

    /// The store of file server `index` of a cluster that was built with faulty ones. A server that is started again has
    /// another one.
    pub fn faulty_store(&self, index: usize) -> Arc<FaultyStore<PosixStore>> {
        let store = self.faulty_stores[index].lock().unwrap_or_else(PoisonError::into_inner);
        store.clone().expect("a cluster is handed out when every server has started once")
    }

    /// Starts the metadata server after a stop or a kill.
    pub fn start_metadata(&mut self) -> anyhow::Result<()> {
        let (directory, secret, choices) = (self.files.metadata_store(), self.secret.clone(), self.choices.clone());
        self.metadata.start(|listen| {
            let mut config = pfs_metadata_server::Config::new(directory.clone(), listen, secret.clone());
            config.create_cluster = true;
            config.lease_ms = choices.lease_ms.unwrap_or(config.lease_ms);
            config.heartbeat_ms = choices.heartbeat_ms().unwrap_or(config.heartbeat_ms);
            config.grace_ms = choices.grace_ms;
            config.revoke_timeout_ms = choices.revoke_timeout_ms.unwrap_or(config.revoke_timeout_ms);
            config.default_stripe_unit = choices.stripe_unit.unwrap_or(config.default_stripe_unit);
            config.default_stripe_count = choices.stripe_count.unwrap_or(config.default_stripe_count);
            pfs_metadata_server::start(config)
        })
    }

    /// Ends the metadata server gracefully.
    pub fn stop_metadata(&mut self) -> anyhow::Result<()> {
        self.metadata.stop()
    }

    /// Ends the metadata server at once: connections break, nothing is said.
    pub fn kill_metadata(&mut self) {
        self.metadata.kill();
    }

    /// Stops the metadata server and starts it again at the same address.
    pub fn restart_metadata(&mut self) -> anyhow::Result<()> {
        self.stop_metadata()?;
        self.start_metadata()
    }

    /// Starts file server `index` after a stop or a kill. The metadata server must be running.
    pub fn start_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        let name = self.file_servers[index].name().to_owned();
        ensure!(self.metadata.is_running(), "{name} cannot register: the metadata server is not running");
        let (directory, secret) = (self.files.file_server_store(index), self.secret.clone());
        let metadata = vec![self.metadata_address()];
        self.file_servers[index].start(|listen| {
            let (directory, metadata) = (directory.clone(), metadata.clone());
            let (faulty, objects) = (self.faulty_stores.get(index).cloned(), directory.join("objects"));
            let mut config = pfs_file_server::Config::new(directory, listen, metadata, secret.clone(), name.clone());
            if let Some(proxy) = self.proxies.get(index) {
                proxy.lead_to(listen);
                config.advertise = Some(proxy.address().to_string());
            }
            pfs_file_server::start_over(config, move |store| faulty_or_not(store, objects, faulty))
        })
    }

    /// Ends file server `index` gracefully.
    pub fn stop_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        self.file_servers[index].stop()
    }

    /// Ends file server `index` at once: connections break, nothing is said.
    pub fn kill_file_server(&mut self, index: usize) {
        self.file_servers[index].kill();
    }

    /// Stops file server `index` and starts it again at the same address.
    pub fn restart_file_server(&mut self, index: usize) -> anyhow::Result<()> {
        self.stop_file_server(index)?;
        self.start_file_server(index)
    }

    /// Ends all servers at once.
    pub fn kill_all(&mut self) {
        self.metadata.kill();
        self.file_servers.iter_mut().for_each(HostedServer::kill);
    }

    /// Starts every server that is not running, each at the address it had.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        if !self.metadata.is_running() {
            self.start_metadata()?;
        }
        for index in 0..self.file_servers.len() {
            if !self.file_servers[index].is_running() {
                self.start_file_server(index)?;
            }
        }
        Ok(())
    }

    /// Ends all servers gracefully, the file servers first. The first error is returned when all have ended.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let file_servers = self.file_servers.iter_mut().map(HostedServer::stop).fold(Ok(()), anyhow::Result::and);
        file_servers.and(self.metadata.stop())
    }
}

/// The store as it is, or with faults before it, which are then told of.
fn faulty_or_not(store: PosixStore, path: PathBuf, told: Option<Arc<Mutex<Option<Faulty>>>>) -> Arc<dyn ObjectStore> {
    let Some(told) = told else { return Arc::new(store) };
    let store = Arc::new(FaultyStore::new(store, path));
    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.clone());
    store
}
