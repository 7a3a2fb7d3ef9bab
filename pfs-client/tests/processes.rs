//! Real server processes: killed while they write, and watched for their memory.

mod support;

use pfs_client::blocking::Client;
use pfs_client::{ClientConfig, LayoutRequest, OpenOptions};
use pfs_testkit::ProcessCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::{path, pattern, read_write};

fn config(cluster: &ProcessCluster) -> ClientConfig {
    let mut config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    config.retry_for = Duration::from_millis(500);
    config
}

fn client(cluster: &ProcessCluster) -> Client {
    Client::connect(config(cluster)).unwrap()
}

/// The servers are killed while synced blocks are being overwritten. Afterwards every byte that nobody was writing is
/// what was synced, and every byte that somebody was writing is the old or the new one.
#[test]
fn killed_servers_keep_what_was_synced_and_the_neighbours_of_what_was_being_written() {
    const BLOCK: usize = 30_000;
    const BLOCKS: usize = 40;
    // The restarted metadata server waits for the client of before for a little longer than the lease.
    let mut cluster = ProcessCluster::builder(4).lease_ms(2000).start_processes().unwrap();
    let old = pattern(1, BLOCK * BLOCKS);
    let new = pattern(2, BLOCK * BLOCKS);
    {
        // Without a cache: a write that has returned is at the servers, or has failed.
        let client = Client::connect(ClientConfig { cache_bytes: 0, ..config(&cluster) }).unwrap();
        let file = Arc::new(client.open(&path("/kept"), &read_write()).unwrap());
        file.write_at(&old, 0).unwrap();
        file.sync().unwrap();
        let overwritten = Arc::new(AtomicU64::new(0));
        let writer = {
            let (file, new, overwritten) = (file.clone(), new.clone(), overwritten.clone());
            std::thread::spawn(move || {
                // Every second block, over and over, until the servers are gone.
                for block in (0..BLOCKS).step_by(2).cycle() {
                    let start = block * BLOCK;
                    if file.write_at(&new[start..start + BLOCK], start as u64).is_err() {
                        return;
                    }
                    overwritten.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        while overwritten.load(Ordering::SeqCst) < 30 {
            std::thread::yield_now();
        }
        cluster.kill_9_all();
        writer.join().unwrap();
    }
    cluster.restart().unwrap();
    let client = client(&cluster);
    let file = client.open(&path("/kept"), &OpenOptions::default()).unwrap();
    let mut seen = vec![0; BLOCK * BLOCKS + 1];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), BLOCK * BLOCKS);
    for block in 0..BLOCKS {
        let range = block * BLOCK..(block + 1) * BLOCK;
        if block % 2 == 1 {
            assert!(seen[range.clone()] == old[range], "block {block} was synced and not touched since");
        } else {
            let mixed = range.clone().all(|i| seen[i] == old[i] || seen[i] == new[i]);
            assert!(mixed, "block {block} has bytes that nobody wrote");
        }
    }
}

/// The bytes of `RssAnon` of a process: memory of its own, without files that it maps.
fn rss_anon_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says so since 4.5");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Writes and reads several GiB in large transfers and watches client and servers meanwhile. `PFS_TEST_MEMORY_GIB` sets
/// how many, 4 if it is absent.
#[test]
fn memory_does_not_grow_with_the_file() {
    const TRANSFER: usize = 16 << 20;
    const LIMIT: u64 = 256 << 20;
    let gib: usize = std::env::var("PFS_TEST_MEMORY_GIB").map_or(4, |text| text.parse().unwrap());
    let cluster = ProcessCluster::start(4).unwrap();
    let mut watched = vec![("client".to_owned(), std::process::id())];
    watched.push(("metadata server".to_owned(), cluster.metadata_pid().unwrap()));
    watched.extend((0..4).map(|index| (format!("file server {index}"), cluster.file_server_pid(index).unwrap())));
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (done, watched) = (done.clone(), watched.clone());
        std::thread::spawn(move || {
            let mut peaks = vec![0; watched.len()];
            while !done.load(Ordering::SeqCst) {
                for (peak, (_, pid)) in peaks.iter_mut().zip(&watched) {
                    *peak = rss_anon_bytes(*pid).max(*peak);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            peaks
        })
    };
    let client = client(&cluster);
    let layout = LayoutRequest { stripe_count: Some(4), ..LayoutRequest::default() };
    let file = client.open(&path("/large"), &OpenOptions { layout, ..OpenOptions::create() }).unwrap();
    let (mut bytes, transfers) = (pattern(1, TRANSFER), (gib << 30) / TRANSFER);
    for transfer in 0..transfers as u64 {
        bytes[..8].copy_from_slice(&transfer.to_le_bytes());
        file.write_at(&bytes, transfer * TRANSFER as u64).unwrap();
    }
    let mut seen = vec![0; TRANSFER];
    for transfer in 0..transfers as u64 {
        bytes[..8].copy_from_slice(&transfer.to_le_bytes());
        assert_eq!(file.read_at(&mut seen, transfer * TRANSFER as u64).unwrap(), TRANSFER);
        assert!(seen == bytes, "transfer {transfer}");
    }
    done.store(true, Ordering::SeqCst);
    let peaks = watcher.join().unwrap();
    for ((name, _), peak) in watched.iter().zip(peaks) {
        println!("{name}: peak RssAnon {} MiB", peak >> 20);
        assert!(peak < LIMIT, "{name} used {} MiB for a file of {gib} GiB", peak >> 20);
    }
}
