//! A metadata server over real sockets, file servers that only remember what they were told, and clients that speak
//! the generated protocol.

#![allow(dead_code)] // each test file uses its part

mod client;
mod file_server;

#[allow(unused_imports)] // each test file uses its part
pub use client::{TestClient, ack_message};
pub use file_server::FakeFileServer;

use pfs_metadata_server::Config;
use pfs_proto::secret::{AuthInterceptor, Secret};
use pfs_proto::transport::{AuthChannel, connect};
use pfs_proto::v1::metadata_client::MetadataClient;
use pfs_server_runtime::RunningServer;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Short enough for tests, long enough for a machine under load.
pub const LEASE_MS: u64 = 1500;
/// Longer than anything a test waits for takes.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A metadata server on a directory of its own.
pub struct Cluster {
    directory: tempfile::TempDir,
    pub secret: Secret,
    server: Option<RunningServer>,
    address: SocketAddr,
    change: fn(&mut Config),
}

impl Cluster {
    /// A new cluster with short leases.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A new cluster whose configuration is changed at every start.
    pub async fn with(change: fn(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = Secret::new([7; 32]);
        let mut config = config(directory.path(), &secret, 0);
        change(&mut config);
        let server = pfs_metadata_server::start(config).await.unwrap();
        let address = server.address;
        Cluster { directory, secret, server: Some(server), address, change }
    }

    /// Ends the server and starts it again on the same directory and port.
    pub async fn restart(&mut self) {
        self.stop().await;
        let mut config = config(self.directory.path(), &self.secret, self.address.port());
        (self.change)(&mut config);
        self.server = Some(pfs_metadata_server::start(config).await.unwrap());
    }

    /// Ends the server.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await.unwrap();
        }
    }

    /// "host:port" of the metadata server.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A channel with the proof of the secret.
    pub fn metadata(&self) -> MetadataClient<AuthChannel> {
        MetadataClient::new(connect(&self.address(), &AuthInterceptor::new(&self.secret)).unwrap())
    }

    /// A client with a session.
    pub async fn client(&self, name: &str) -> TestClient {
        TestClient::connect(self, name).await
    }

    /// File servers `file-0`, `file-1`, …, registered.
    pub async fn file_servers(&self, count: usize) -> Vec<FakeFileServer> {
        let mut servers = Vec::new();
        for index in 0..count {
            servers.push(FakeFileServer::start(self, &format!("file-{index}")).await);
        }
        servers
    }
}

fn config(directory: &Path, secret: &Secret, port: u16) -> Config {
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    Config {
        lease_ms: LEASE_MS,
        heartbeat_ms: LEASE_MS / 5,
        default_stripe_unit: 4096,
        create_cluster: true,
        truncate_patience: Duration::from_millis(500),
        ..Config::new(directory.to_owned(), listen, secret.clone())
    }
}

/// Waits until something is so, which must be within [`LIMIT`].
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let watch = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, watch).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}
