//! The block cache between real clients: what is seen, what travels, what stays in memory, and what is told.

mod support;

use pfs_client::blocking::{Client, File};
use pfs_client::{Access, ClientConfig, CommitSummary, ErrorKind, OpenedFile};
use pfs_core::cache::CacheCounters;
use pfs_testkit::Cluster;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{config, path, pattern, read_write};

const BLOCK: usize = 4096;

/// Small blocks and no read-ahead, so that every counter can be foretold.
fn small(cluster: &Cluster) -> ClientConfig {
    ClientConfig { cache_block_bytes: BLOCK, read_ahead_bytes: 0, ..config(cluster) }
}

fn connect(config: ClientConfig) -> Client {
    Client::connect(config).expect("the cluster is up")
}

fn read(file: &File, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xEE; length];
    let read = file.read_at(&mut bytes, offset).unwrap();
    bytes.truncate(read);
    bytes
}

/// What the file servers have of a file, as somebody without a cache sees it after everybody has given way.
fn at_the_servers(cluster: &Cluster, name: &str) -> u64 {
    let client = connect(ClientConfig { cache_bytes: 0, ..config(cluster) });
    let status = client.stat(&path(name)).unwrap();
    let slots = status.recipe.as_ref().unwrap().stripe_count();
    (0..slots).map(|slot| client.object_stat(&status, slot).unwrap().length).sum()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Without a cache rule for every byte, a client would write back bytes of a block that it never wrote, over those of
/// another client.
#[test]
fn two_clients_write_alternate_bytes_of_one_block() {
    let cluster = Cluster::start(2).unwrap();
    let files: Vec<File> =
        (0..2).map(|_| connect(small(&cluster)).open(&path("/shared"), &read_write()).unwrap()).collect();
    let bytes = pattern(5, 300);
    std::thread::scope(|scope| {
        for (first, file) in files.iter().enumerate() {
            let bytes = &bytes;
            scope.spawn(move || {
                for at in (first..bytes.len()).step_by(2) {
                    file.write_at(&bytes[at..=at], at as u64).unwrap();
                    assert_eq!(read(file, at as u64, 1), &bytes[at..=at]);
                }
            });
        }
    });
    for file in files {
        assert!(read(&file, 0, 1000) == bytes);
        file.close().unwrap();
    }
    let third = connect(small(&cluster)).open(&path("/shared"), &read_write()).unwrap();
    assert!(read(&third, 0, 1000) == bytes);
}

/// Small writes stay in memory and are seen by everybody all the same, the size included; a revoke writes them back.
#[test]
fn a_revoke_writes_back() {
    let cluster = Cluster::start(2).unwrap();
    let (writer, reader) = (connect(small(&cluster)), connect(small(&cluster)));
    let file = writer.open(&path("/a"), &read_write()).unwrap();
    let bytes = pattern(1, 1000);
    file.write_at(&bytes, 500).unwrap();
    assert_eq!(writer.cache_counters().dirty_bytes, 1000);
    assert_eq!(at_the_servers(&cluster, "/a"), 0, "nothing was written yet");
    assert_eq!(reader.stat(&path("/a")).unwrap().size_bytes, 1500, "growth that only a cache has");
    assert_eq!(writer.cache_counters().dirty_bytes, 1000, "a question for the size takes nothing");
    let theirs = reader.open(&path("/a"), &read_write()).unwrap();
    assert_eq!(theirs.size().unwrap(), 1500);
    assert!(read(&theirs, 0, 5000) == [vec![0; 500], bytes.clone()].concat());
    let counters = writer.cache_counters();
    assert_eq!((counters.dirty_bytes, counters.write_backs, counters.cached_bytes), (0, 1, 1000), "kept to read");
    theirs.write_at(b"new", 500).unwrap();
    assert_eq!(writer.cache_counters().cached_bytes, 0, "given up");
    assert_eq!(read(&file, 499, 5), [&[0][..], b"new", &bytes[3..4]].concat());
}

#[test]
fn counters_of_a_small_script_are_exact() {
    let cluster = Cluster::start(1).unwrap();
    let client = connect(small(&cluster));
    let file = client.open(&path("/counted"), &read_write()).unwrap();
    let mut expected = CacheCounters::default();
    let mut expect = |what: &str, change: &dyn Fn(&mut CacheCounters)| {
        change(&mut expected);
        assert_eq!(client.cache_counters(), expected, "after {what}");
    };
    file.write_at(&[1; 3 * BLOCK], 0).unwrap();
    eventually("whole stripe units go out by themselves", || client.cache_counters().dirty_bytes == 0);
    let requests = client.cache_counters().write_backs;
    assert!((1..=3).contains(&requests), "{requests} requests for three stripe units");
    expect("a write of three stripe units", &|c| {
        (c.write_misses, c.write_backs, c.cached_bytes) = (1, requests, 3 * BLOCK as u64);
    });
    file.write_at(b"again", 10).unwrap();
    expect("a write into a block", &|c| (c.write_hits, c.dirty_bytes) = (1, 5));
    assert_eq!(read(&file, 8, 3), [1, 1, b'a']);
    expect("a read of it", &|c| c.read_hits = 1);
    file.sync().unwrap();
    expect("a sync", &|c| (c.write_backs, c.dirty_bytes) = (requests + 1, 0));
    file.drop_clean();
    expect("a drop", &|c| (c.invalidations, c.cached_bytes) = (3, 0));
    assert_eq!(read(&file, BLOCK as u64 + 7, 1), [1]);
    expect("a read of one byte", &|c| (c.read_misses, c.cached_bytes) = (1, BLOCK as u64));
    file.write_at(&[2; 300_000], 0).unwrap();
    expect("a large write past the cache", &|c| (c.invalidations, c.cached_bytes) = (4, 0));
    assert_eq!(read(&file, 0, 1), [2]);
    file.write_at(b"z", 1).unwrap();
    file.close().unwrap();
    expect("a close", &|c| {
        (c.read_misses, c.write_hits, c.write_backs) = (2, 2, requests + 2);
        (c.close_write_backs, c.close_evictions, c.cached_bytes) = (1, 1, 0);
    });
}

/// A program that writes more than the cache holds goes on at the speed of the servers, in bounded memory.
#[test]
fn a_small_cache_is_never_overfilled() {
    let cluster = Cluster::start(2).unwrap();
    let client = connect(ClientConfig { cache_bytes: 8 * BLOCK, ..small(&cluster) });
    let file = client.open(&path("/much"), &read_write()).unwrap();
    let bytes = pattern(7, 400_000);
    // In pieces that fit no block, from the back, so that no stripe unit is whole for long.
    let pieces: Vec<usize> = (0..bytes.len()).step_by(1000).collect();
    for at in pieces.iter().rev() {
        file.write_at(&bytes[*at..*at + 1000], *at as u64).unwrap();
        assert!(client.cache_counters().cached_bytes <= 8 * BLOCK as u64);
    }
    for at in pieces {
        assert!(read(&file, at as u64, 1000) == bytes[at..at + 1000], "at {at}");
        assert!(client.cache_counters().cached_bytes <= 8 * BLOCK as u64);
    }
    let counters = client.cache_counters();
    assert!(counters.write_backs > 0 && counters.evictions > 0, "{counters:?}");
    file.close().unwrap();
    assert_eq!(at_the_servers(&cluster, "/much"), 400_000);
}

/// Large accesses pass the cache by, and see what it has and has not written.
#[test]
fn large_and_small_accesses_see_each_other() {
    let cluster = Cluster::start(2).unwrap();
    let client = connect(small(&cluster));
    let file = client.open(&path("/mixed"), &read_write()).unwrap();
    let mut model = pattern(1, 600_000);
    file.write_at(&model, 0).unwrap();
    let mut state = 3u64;
    for round in 0..60u8 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (state >> 33) as usize % 300_000;
        let length = if round % 5 == 0 { 270_000 } else { 1 + (state >> 20) as usize % 9000 };
        if round % 3 == 0 {
            assert!(read(&file, at as u64, length) == model[at..at + length], "round {round}");
        } else {
            model[at..at + length].fill(round);
            file.write_at(&model[at..at + length], at as u64).unwrap();
        }
    }
    assert!(read(&file, 0, 600_000) == model);
    file.close().unwrap();
}

/// Whoever reads from front to back finds most of it in memory.
#[test]
fn a_sequential_reader_is_read_ahead_of() {
    let cluster = Cluster::start(2).unwrap();
    let bytes = pattern(9, 2_000_000);
    let writer = connect(config(&cluster));
    let file = writer.open(&path("/long"), &read_write()).unwrap();
    file.write_at(&bytes, 0).unwrap();
    file.close().unwrap();
    writer.shutdown().unwrap();
    let client = connect(config(&cluster));
    let file = client.open(&path("/long"), &read_write()).unwrap();
    for at in (0..bytes.len()).step_by(8000) {
        assert!(read(&file, at as u64, 8000) == bytes[at..at + 8000], "at {at}");
    }
    let counters = client.cache_counters();
    assert!(counters.read_hits > counters.read_misses, "{counters:?}");
}

/// Cutting a file takes what lies beyond out of every cache, and what was not written back does not come again.
#[test]
fn a_cut_file_has_no_old_bytes() {
    let cluster = Cluster::start(2).unwrap();
    let (one, two) = (connect(small(&cluster)), connect(small(&cluster)));
    let file = one.open(&path("/cut"), &read_write()).unwrap();
    file.write_at(&pattern(1, 10_000), 0).unwrap();
    two.truncate(&path("/cut"), 100).unwrap();
    assert_eq!(one.stat(&path("/cut")).unwrap().size_bytes, 100);
    assert_eq!(file.size().unwrap(), 100);
    file.write_at(b"end", 500).unwrap();
    assert!(read(&file, 0, 10_000) == [&pattern(1, 100)[..], &[0; 400], b"end"].concat());
    file.set_size(50).unwrap();
    assert!(read(&file, 0, 10_000) == pattern(1, 50));
    file.close().unwrap();
    assert_eq!(two.stat(&path("/cut")).unwrap().size_bytes, 50);
}

/// A write-back that a server does not take is told by the sync, and the bytes stay until they can be written.
#[test]
fn a_sync_that_can_not_write_back_says_so_and_loses_nothing() {
    let mut cluster = Cluster::start(1).unwrap();
    let client = connect(small(&cluster));
    let file = client.open(&path("/kept"), &read_write()).unwrap();
    file.write_at(b"before", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"behind", 6).unwrap();
    cluster.kill_file_server(0);
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(client.cache_counters().dirty_bytes, 6);
    cluster.start_file_server(0).unwrap();
    eventually("the server is back", || file.sync().is_ok());
    assert_eq!(client.cache_counters().dirty_bytes, 0);
    file.close().unwrap();
    let other = connect(small(&cluster)).open(&path("/kept"), &read_write()).unwrap();
    assert_eq!(read(&other, 0, 100), b"beforebehind");
}

/// A revoke does not wait for a server that is gone: the others go on, and the one whose bytes are lost is told.
#[test]
fn bytes_that_a_revoke_could_not_write_back_are_told_by_the_next_sync() {
    let mut cluster = Cluster::start(1).unwrap();
    let (loser, other) = (connect(small(&cluster)), connect(small(&cluster)));
    let file = loser.open(&path("/lost"), &read_write()).unwrap();
    file.write_at(b"first", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"later", 0).unwrap();
    let theirs = other.open(&path("/lost"), &read_write()).unwrap();
    cluster.kill_file_server(0);
    let taking = std::thread::spawn(move || {
        let taken = theirs.write_at(b"other", 0);
        (theirs, taken)
    });
    eventually("the write-back was given up", || loser.cache_counters().dirty_bytes == 0);
    cluster.start_file_server(0).unwrap();
    let (theirs, taken) = taking.join().unwrap();
    taken.unwrap();
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Unavailable);
    file.sync().unwrap();
    assert_eq!(read(&theirs, 0, 9), b"other");
}

/// A full disk is told by the sync of whoever collected the bytes, and what was synced before stays.
#[test]
fn a_full_disk_is_told_by_the_sync() {
    let directory = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let done = std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(directory.path()).status();
        done.is_ok_and(|status| status.success())
    };
    assert!(
        mount(&["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs"]),
        "this test mounts a small disk, which takes root"
    );
    let outcome = std::panic::catch_unwind(|| {
        let cluster = Cluster::builder(1).file_server_directory(0, directory.path().join("store")).start().unwrap();
        let client = connect(small(&cluster));
        let file = client.open(&path("/full"), &read_write()).unwrap();
        file.write_at(b"synced", 0).unwrap();
        file.sync().unwrap();
        // One byte in every other stripe unit: it takes a page of the disk.
        (1..2000u64).for_each(|unit| file.write_at(b"x", unit * 8192).unwrap());
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::NoSpace);
        assert_eq!(read(&file, 0, 6), b"synced");
        assert_eq!(file.close().unwrap_err().kind(), ErrorKind::NoSpace);
    });
    assert!(mount(&["umount", "--lazy"]));
    outcome.unwrap();
}

/// What a client has collected goes out when it ends in order, and when a file is dropped without a close.
#[test]
fn an_end_in_order_writes_back() {
    let cluster = Cluster::start(1).unwrap();
    let client = connect(small(&cluster));
    let (kept, dropped) =
        (client.open(&path("/kept"), &read_write()).unwrap(), client.open(&path("/dropped"), &read_write()).unwrap());
    kept.write_at(b"kept", 0).unwrap();
    dropped.write_at(b"dropped", 0).unwrap();
    drop(dropped);
    client.shutdown().unwrap();
    let other = connect(small(&cluster));
    for (name, bytes) in [("/kept", &b"kept"[..]), ("/dropped", b"dropped")] {
        let file = other.open(&path(name), &read_write()).unwrap();
        assert_eq!(read(&file, 0, 100), bytes, "{name}");
    }
    drop(kept);
}

/// Members of a group share a token, so nothing is revoked between them: a sync writes back and forgets, and that is what
/// makes sync, barrier, sync work.
#[test]
fn members_of_a_group_see_each_other_after_syncs() {
    let cluster = Cluster::start(2).unwrap();
    let members = [connect(small(&cluster)), connect(small(&cluster))];
    let ids: Vec<_> = members.iter().map(Client::id).collect();
    let opened = members[0].open_for_group(&path("/g"), &read_write(), &ids).unwrap();
    let files: Vec<File> = members
        .iter()
        .map(|member| {
            let opened = OpenedFile::from_bytes(&opened.to_bytes()).unwrap();
            member.attach(opened, Access::ReadWrite).unwrap()
        })
        .collect();
    let sync = || {
        let summary =
            files.iter().map(|file| file.commit().unwrap()).fold(CommitSummary::default(), CommitSummary::merge);
        files[0].report_sync(summary).unwrap();
    };
    files[0].write_at(&[1; 100], 0).unwrap();
    sync();
    assert_eq!(read(&files[1], 0, 100), [1; 100]);
    // Both write into the same block.
    files[0].write_at(&[2; 50], 0).unwrap();
    files[1].write_at(&[3; 50], 50).unwrap();
    assert_eq!(read(&files[1], 50, 50), [3; 50], "its own");
    sync();
    for file in &files {
        assert_eq!(read(file, 0, 100), [[2; 50], [3; 50]].concat());
    }
    files[0].write_at(&[4; 10], 0).unwrap();
    files[0].flush_cache().unwrap();
    files[1].drop_clean();
    assert_eq!(read(&files[1], 0, 10), [4; 10]);
    sync();
    let mut files = files.into_iter();
    let root = files.next().unwrap();
    files.for_each(|file| file.detach().unwrap());
    root.close().unwrap();
}

/// A file that is opened again while its last close is on its way has no blocks of before.
#[test]
fn close_and_open_again_in_a_row() {
    let cluster = Cluster::start(1).unwrap();
    let (client, other) = (connect(small(&cluster)), connect(small(&cluster)));
    for round in 0..20u8 {
        let file = client.open(&path("/row"), &read_write()).unwrap();
        assert!(read(&file, 0, 10).iter().all(|byte| *byte == round));
        drop(file);
        let theirs = other.open(&path("/row"), &read_write()).unwrap();
        theirs.write_at(&[round + 1; 10], 0).unwrap();
        if round % 2 == 0 {
            theirs.close().unwrap();
        }
    }
}

/// A client that hears nothing of the metadata server until its lease is over lends nobody an old byte: hits wait, and so
/// do writes. What it has collected is still there afterwards.
#[test]
fn a_suspended_session_makes_hits_wait_and_keeps_what_was_collected() {
    let mut cluster = Cluster::builder(1).lease_ms(1000).heartbeat_ms(200).start().unwrap();
    let client = connect(small(&cluster));
    let file = Arc::new(client.open(&path("/s"), &read_write()).unwrap());
    file.write_at(b"collected", 0).unwrap();
    assert_eq!(read(&file, 0, 9), b"collected");
    cluster.kill_metadata();
    let killed = Instant::now();
    let (reader, hits, goes_on) = (file.clone(), Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
    let (began, more) = (hits.clone(), goes_on.clone());
    let reading = std::thread::spawn(move || {
        while more.load(Ordering::SeqCst) {
            let now = Instant::now();
            assert_eq!(read(&reader, 0, 9), b"collected");
            began.lock().unwrap().push(now);
        }
    });
    let lease = Duration::from_millis(1000);
    eventually("the lease is over", || killed.elapsed() > lease + lease / 2);
    assert!(hits.lock().unwrap().iter().all(|began| *began < killed + lease), "a hit after the lease");
    assert_eq!(client.cache_counters().dirty_bytes, 9);
    cluster.start_metadata().unwrap();
    eventually("hits go on", || hits.lock().unwrap().iter().any(|began| *began > killed + lease));
    goes_on.store(false, Ordering::SeqCst);
    reading.join().unwrap();
    file.write_at(b"!", 9).unwrap();
    file.sync().unwrap();
    let other = connect(small(&cluster)).open(&path("/s"), &read_write()).unwrap();
    assert_eq!(read(&other, 0, 100), b"collected!");
}
