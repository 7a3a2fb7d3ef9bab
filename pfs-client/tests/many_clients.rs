//! Many clients at full load, against real server processes: everybody is served, every byte is right, and the servers'
//! memory stays within what their settings and their connections add up to.

mod support;

use pfs_client::blocking::Client;
use pfs_client::{ClientConfig, LayoutRequest, OpenOptions};
use pfs_testkit::ProcessCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{path, pattern};

const CLIENTS: u64 = 64;
const SERVERS: usize = 4;
const MIB: u64 = 1 << 20;
/// What a file server takes for data by default: writes, replies, idle buffers.
const SETTINGS: u64 = (32 + 24 + 8) * MIB;
/// What the transport takes in advance: the window of a connection, of which a client may have two.
const WINDOWS: u64 = CLIENTS * 2 * 2 * MIB;
/// The program itself, its threads, and what an allocator keeps.
const PROGRAM: u64 = 64 * MIB;

/// The bytes of `RssAnon` of a process: memory of its own, without files that it maps.
fn rss_anon_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says so since 4.5");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Writes a file of its own in large transfers and reads it back.
fn load(cluster: &ProcessCluster, number: u64) {
    const TRANSFER: usize = 4 << 20;
    const TRANSFERS: u64 = 2;
    let mut config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    config.retry_for = Duration::from_secs(60);
    config.cache_bytes = 0;
    let client = Client::connect(config).unwrap();
    let layout = LayoutRequest { stripe_count: Some(4), ..LayoutRequest::default() };
    let file =
        client.open(&path(&format!("/load-{number}")), &OpenOptions { layout, ..OpenOptions::create() }).unwrap();
    let bytes = pattern(number, TRANSFER);
    for transfer in 0..TRANSFERS {
        file.write_at(&bytes, transfer * TRANSFER as u64).unwrap();
    }
    let mut seen = vec![0; TRANSFER];
    for transfer in 0..TRANSFERS {
        assert_eq!(file.read_at(&mut seen, transfer * TRANSFER as u64).unwrap(), TRANSFER);
        assert!(seen == bytes, "client {number}, transfer {transfer}");
    }
}

#[test]
fn many_clients_at_full_load_stay_within_the_servers_memory() {
    let cluster = ProcessCluster::start(SERVERS).unwrap();
    let pids: Vec<u32> = (0..SERVERS).map(|index| cluster.file_server_pid(index).unwrap()).collect();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (done, pids) = (done.clone(), pids.clone());
        std::thread::spawn(move || {
            let mut peaks = vec![0; pids.len()];
            while !done.load(Ordering::SeqCst) {
                for (peak, pid) in peaks.iter_mut().zip(&pids) {
                    *peak = rss_anon_bytes(*pid).max(*peak);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            peaks
        })
    };
    let cluster = &cluster;
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || load(cluster, number));
        }
    });
    done.store(true, Ordering::SeqCst);
    for (server, peak) in watcher.join().unwrap().into_iter().enumerate() {
        println!("file server {server}: peak RssAnon {} MiB", peak / MIB);
        assert!(peak < SETTINGS + WINDOWS + PROGRAM, "file server {server} used {} MiB", peak / MIB);
    }
}
