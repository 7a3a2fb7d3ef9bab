//! What the cluster's clients do, as `pfs stat --client` and `pfs bench` show it.

use crate::harness::Cluster;
use pfs_client::blocking::Client;
use pfs_client::{Access, ClientConfig, OpenOptions};
use pfs_core::path::PfsPath;
use std::thread;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn the_caches_of_clients_are_counted() {
    let cluster = Cluster::start(2);
    let client = Client::connect(ClientConfig::new(vec![cluster.metadata.clone()], &cluster.secret_file)).unwrap();
    let options = OpenOptions { access: Access::ReadWrite, create: true, ..OpenOptions::default() };
    let file = client.open(&PfsPath::parse("/x").unwrap(), &options).unwrap();
    file.write_at(b"abc", 10).unwrap();
    file.write_at(b"def", 13).unwrap();
    let mut read = [0; 6];
    assert_eq!(file.read_at(&mut read, 10).unwrap(), 6);
    assert_eq!(&read, b"abcdef");

    // The counts come with the next heartbeat.
    let id = client.id().get().to_string();
    let start = Instant::now();
    let cache = loop {
        let shown = cluster.json(["stat", "--json", "--client", &id]);
        let cache = shown["clients"][0]["cache"].clone();
        if cache["read_hits"] == 1 {
            break cache;
        }
        assert!(start.elapsed() < DEADLINE, "no counts: {shown}");
        thread::sleep(Duration::from_millis(50));
    };
    assert_eq!([&cache["write_misses"], &cache["write_hits"]], [1, 1]);
    assert_eq!(cache["dirty_bytes"], 6);
    let all = cluster.ok(["stat", "--client", "all"]);
    assert!(all.lines().any(|line| line.trim_start().starts_with(&id)), "{all}");
    assert!(cluster.fails(["stat", "--client", "987654"]).contains("no such client"));
    file.close().unwrap();
}

#[test]
fn tokens_are_measured() {
    let cluster = Cluster::start(1);
    let figures = cluster.json(["bench", "tokens", "--json", "--seconds", "1", "--clients", "2", "--in-flight", "4"]);
    assert_eq!([&figures["clients"], &figures["in_flight"]], [2, 4]);
    for figure in ["acquires_per_s", "acquires_per_s_one_at_a_time", "cached_ns", "ping_us", "hand_over_dirty_pings"] {
        assert!(figures[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {figures}");
    }
    assert_eq!(cluster.ok(["ls"]), "", "the file is removed");
}
