//! What the client's tests share: clients of a cluster in this process.

#![allow(dead_code)] // every test program uses its own part

use pfs_client::blocking::{Client, File};
use pfs_client::{Access, ClientConfig, LayoutRequest, OpenOptions, OpenedFile};
use pfs_core::path::PfsPath;
use pfs_testkit::Cluster;
use std::thread;
use std::time::{Duration, Instant};

/// A new client; every call is a new session.
pub fn client(cluster: &Cluster) -> Client {
    Client::connect(config(cluster)).expect("the cluster is up")
}

/// A new client that writes to the servers at once.
pub fn uncached(cluster: &Cluster) -> Client {
    Client::connect(ClientConfig { cache_bytes: 0, ..config(cluster) }).expect("the cluster is up")
}

/// Settings for a cluster; servers that are down are given up after a second.
pub fn config(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    config.retry_for = Duration::from_secs(1);
    config
}

/// A path that is known to be good.
pub fn path(text: &str) -> PfsPath {
    PfsPath::parse(text).unwrap()
}

/// Make or open for both, in small stripes over all servers.
pub fn read_write() -> OpenOptions {
    let layout = LayoutRequest { stripe_unit: Some(4096), ..LayoutRequest::default() };
    OpenOptions { access: Access::ReadWrite, create: true, layout, ..OpenOptions::default() }
}

/// `length` bytes that depend on a seed, no two neighbours alike.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// The file has these bytes at `offset`.
pub fn check(file: &File, offset: u64, expected: &[u8]) {
    let mut seen = vec![0xee; expected.len()];
    assert_eq!(file.read_at(&mut seen, offset).unwrap(), expected.len());
    assert!(seen == expected, "{} bytes at {offset}", expected.len());
}

/// Waits until something is so, for a minute at most.
pub fn until(what: &str, reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A file that the first client opens for all.
pub fn open_together(clients: &[Client], name: &str) -> Vec<File> {
    let members: Vec<_> = clients.iter().map(Client::id).collect();
    let opened = clients[0].open_for_group(&path(name), &read_write(), &members).unwrap().to_bytes();
    let attach = |client: &Client| client.attach(OpenedFile::from_bytes(&opened).unwrap(), Access::ReadWrite).unwrap();
    clients.iter().map(attach).collect()
}
