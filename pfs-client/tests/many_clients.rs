//! Many clients at full load, each a process, against real server processes: everybody is served, every byte is right, and
//! the memory of servers and of clients stays within what their settings and their connections add up to.

mod support;

use pfs_client::blocking::Client;
use pfs_client::{ClientConfig, LayoutRequest, OpenOptions};
use pfs_proto::transport::CONNECTION_WINDOW_BYTES;
use pfs_testkit::ProcessCluster;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{path, pattern};

const CLIENTS: u64 = 64;
const SERVERS: usize = 4;
const MIB: u64 = 1 << 20;

/// What a file server takes for data by default: writes, replies, idle buffers.
const SERVER_SETTINGS: u64 = (32 + 24 + 8) * MIB;
/// What the transport takes in advance for each connection.
const WINDOW: u64 = CONNECTION_WINDOW_BYTES as u64;
/// Connections between a client and a file server: one for bulk data, one for everything else.
const CONNECTIONS: u64 = 2;
/// A server's program itself, its threads, and what an allocator keeps.
const SERVER_PROGRAM: u64 = 64 * MIB;
/// The same for a client, which has one thread for the network.
const CLIENT_PROGRAM: u64 = 16 * MIB;

/// One access past the cache, in pieces of all servers.
const TRANSFER: usize = 4 << 20;
const TRANSFERS: u64 = 2;
/// One access through the cache.
const SMALL: usize = 16 << 10;

/// Tells a process which client it is to be.
const NUMBER: &str = "PFS_TEST_CLIENT";

/// The bytes of `RssAnon` of a process, memory of its own without files that it maps; 0 when it has ended.
fn rss_anon_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Less than a client has by default, so that it shows when it takes more than it may.
fn limited(mut config: ClientConfig) -> ClientConfig {
    config.retry_for = Duration::from_secs(60);
    config.in_flight_bytes_max = 4 << 20;
    config.in_flight_bytes_per_server_max = 2 << 20;
    config.cache_bytes = 6 << 20;
    config
}

/// What a client may take with these settings, next to the buffers of the program that uses it.
fn client_bound(config: &ClientConfig) -> u64 {
    let windows = (SERVERS as u64 * CONNECTIONS + 1) * WINDOW;
    (config.in_flight_bytes_max + config.cache_bytes) as u64 + windows + CLIENT_PROGRAM
}

/// Writes files of its own and reads them back: in large transfers, and through the cache far more than fits it.
fn load(client: &Client, cache_bytes: u64, number: u64) {
    let layout = LayoutRequest { stripe_count: Some(4), ..LayoutRequest::default() };
    let options = OpenOptions { layout, ..OpenOptions::create() };
    let file = client.open(&path(&format!("/large-{number}")), &options).unwrap();
    let bytes = pattern(number, TRANSFER);
    for transfer in 0..TRANSFERS {
        file.write_at(&bytes, transfer * TRANSFER as u64).unwrap();
    }
    let mut seen = vec![0; TRANSFER];
    for transfer in 0..TRANSFERS {
        assert_eq!(file.read_at(&mut seen, transfer * TRANSFER as u64).unwrap(), TRANSFER);
        assert!(seen == bytes, "client {number}, transfer {transfer}");
    }
    let file = client.open(&path(&format!("/small-{number}")), &options).unwrap();
    let accesses = 2 * cache_bytes / SMALL as u64;
    let place = |access: u64| access as usize % (TRANSFER / SMALL) * SMALL;
    for access in 0..accesses {
        file.write_at(&bytes[place(access)..][..SMALL], access * SMALL as u64).unwrap();
    }
    for access in 0..accesses {
        assert_eq!(file.read_at(&mut seen[..SMALL], access * SMALL as u64).unwrap(), SMALL);
        assert!(seen[..SMALL] == bytes[place(access)..][..SMALL], "client {number}, access {access}");
    }
    file.sync().unwrap();
}

/// What the test below runs as processes of their own; without its word there is nothing to do.
#[test]
fn one_client_of_many() {
    let Ok(number) = std::env::var(NUMBER) else { return };
    let config = limited(ClientConfig::from_env().unwrap());
    let cache_bytes = config.cache_bytes as u64;
    load(&Client::connect(config).unwrap(), cache_bytes, number.parse().unwrap());
}

fn start_client(cluster: &ProcessCluster, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_client_of_many", "--nocapture"])
        .env(NUMBER, number.to_string())
        .env(pfs_client::METADATA_VARIABLE, cluster.metadata_address())
        .env(pfs_client::SECRET_FILE_VARIABLE, cluster.secret_file())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn many_clients_at_full_load_stay_within_the_memory_of_their_settings() {
    let cluster = ProcessCluster::start(SERVERS).unwrap();
    let servers: Vec<u32> = (0..SERVERS).map(|index| cluster.file_server_pid(index).unwrap()).collect();
    let clients: Vec<Child> = (0..CLIENTS).map(|number| start_client(&cluster, number)).collect();
    let pids: Vec<u32> = servers.iter().copied().chain(clients.iter().map(Child::id)).collect();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let done = done.clone();
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
    for (number, mut client) in clients.into_iter().enumerate() {
        assert!(client.wait().unwrap().success(), "client {number} failed; its words are above");
    }
    done.store(true, Ordering::SeqCst);
    let mut peaks = watcher.join().unwrap();
    let of_clients = peaks.split_off(SERVERS);
    for (server, peak) in peaks.into_iter().enumerate() {
        println!("file server {server}: peak RssAnon {} MiB", peak / MIB);
        let bound = SERVER_SETTINGS + CLIENTS * CONNECTIONS * WINDOW + SERVER_PROGRAM;
        assert!(peak < bound, "file server {server} used {} MiB", peak / MIB);
    }
    let config = limited(ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file()));
    // The program has one buffer to write from and one to read into.
    let bound = client_bound(&config) + 2 * TRANSFER as u64;
    let (least, most) = (of_clients.iter().min().unwrap(), of_clients.iter().max().unwrap());
    println!("clients: peak RssAnon {} to {} MiB of {} MiB", least / MIB, most / MIB, bound / MIB);
    assert!(*least > config.cache_bytes as u64, "a client with a full cache was seen");
    for (number, peak) in of_clients.iter().enumerate() {
        assert!(*peak < bound, "client {number} used {} MiB, more than {} MiB", peak / MIB, bound / MIB);
    }
}
