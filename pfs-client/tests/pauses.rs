//! What a program notices of a broken connection or a restarted metadata server: a pause, and no error.

mod support;

use pfs_client::blocking::{Client, File};
use pfs_client::{Access, ClientConfig, ErrorKind, OpenOptions};
use pfs_testkit::{Cluster, Proxy};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::{config, path, pattern, read_write, until};

/// Where both clients write: many stripes of the small files of these tests, on every server.
const RANGE_BYTES: usize = 20_000;

fn way_to(cluster: &Cluster) -> Proxy {
    Proxy::start(cluster.metadata_address().parse().unwrap()).unwrap()
}

fn config_by(cluster: &Cluster, proxy: &Proxy) -> ClientConfig {
    ClientConfig { metadata: vec![proxy.address().to_string()], ..config(cluster) }
}

fn client_by(cluster: &Cluster, proxy: &Proxy) -> Client {
    Client::connect(config_by(cluster, proxy)).unwrap()
}

/// Two clients that overwrite and read the same bytes as fast as they can.
struct Rivals {
    stop: AtomicBool,
    /// What each has done.
    done: [AtomicU64; 2],
}

impl Rivals {
    fn new() -> Self {
        Rivals { stop: AtomicBool::new(false), done: [AtomicU64::new(0), AtomicU64::new(0)] }
    }

    /// Writes one pattern over the range and reads it: what is read is one write, whole.
    fn run(&self, index: usize, file: &File) {
        let mut turn = 0u64;
        while !self.stop.load(Ordering::SeqCst) {
            turn += 1;
            let seed = 2 * turn + index as u64;
            let mut bytes = pattern(seed, RANGE_BYTES);
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            file.write_at(&bytes, 0).unwrap();
            let mut seen = vec![0; RANGE_BYTES];
            assert_eq!(file.read_at(&mut seen, 0).unwrap(), RANGE_BYTES);
            let seed = u64::from_le_bytes(seen[..8].try_into().unwrap());
            let expected = pattern(seed, RANGE_BYTES);
            assert!(seen[8..] == expected[8..], "a torn write");
            self.done[index].store(turn, Ordering::SeqCst);
        }
    }

    /// Waits until both have got on after now.
    fn both_get_on(&self) {
        for done in &self.done {
            let before = done.load(Ordering::SeqCst);
            until("an access ends", || done.load(Ordering::SeqCst) > before + 1);
        }
    }

    /// Has both run while `disturb` does its work.
    fn while_running(clients: &[Client; 2], name: &str, disturb: impl FnOnce(&Rivals)) {
        let rivals = Rivals::new();
        let files = clients.each_ref().map(|client| client.open(&path(name), &read_write()).unwrap());
        thread::scope(|scope| {
            for (index, file) in files.iter().enumerate() {
                let rivals = &rivals;
                scope.spawn(move || rivals.run(index, file));
            }
            // Also when the disturbance fails, so that the failure is told.
            struct Stop<'a>(&'a Rivals);
            impl Drop for Stop<'_> {
                fn drop(&mut self) {
                    self.0.stop.store(true, Ordering::SeqCst);
                }
            }
            let _stop = Stop(&rivals);
            disturb(&rivals);
        });
        for file in files {
            file.close().unwrap();
        }
    }
}

#[test]
fn broken_connections_are_only_pauses() {
    let cluster = Cluster::start(2).unwrap();
    let proxy = way_to(&cluster);
    let clients = [client_by(&cluster, &proxy), client_by(&cluster, &proxy)];
    Rivals::while_running(&clients, "/a", |rivals| {
        for round in 0..20 {
            rivals.both_get_on();
            let before = proxy.accepted();
            match round % 3 {
                0 => proxy.cut(),
                1 => proxy.stall(),
                _ => {}
            }
            proxy.break_connections();
            until("the clients come back", || proxy.accepted() > before);
            proxy.heal();
        }
        rivals.both_get_on();
    });
}

#[test]
fn a_restarted_metadata_server_is_only_a_pause() {
    let mut cluster = Cluster::builder(2).lease_ms(3000).start().unwrap();
    let clients = [support::client(&cluster), support::client(&cluster)];
    Rivals::while_running(&clients, "/a", |rivals| {
        for _ in 0..4 {
            rivals.both_get_on();
            cluster.kill_metadata();
            cluster.start_metadata().unwrap();
        }
        rivals.both_get_on();
    });
    let file = support::client(&cluster).open(&path("/a"), &read_write()).unwrap();
    assert_eq!(file.size().unwrap(), RANGE_BYTES as u64);
}

/// Names are made and changed once, however often a connection breaks on the way.
#[test]
fn calls_happen_once_over_broken_connections() {
    let cluster = Cluster::start(1).unwrap();
    let proxy = way_to(&cluster);
    let client = client_by(&cluster, &proxy);
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let before = calls.load(Ordering::SeqCst);
                proxy.break_connections();
                let moved = || calls.load(Ordering::SeqCst) > before || stop.load(Ordering::SeqCst);
                until("a call is answered", moved);
            }
        });
        let done = || calls.fetch_add(1, Ordering::SeqCst);
        for turn in 0..40 {
            let (one, other) = (path(&format!("/one-{turn}")), path(&format!("/other-{turn}")));
            client.make_directory(&one, false).unwrap();
            done();
            client.rename(&one, &other).unwrap();
            done();
            let name = path(&format!("/other-{turn}/file"));
            let options = OpenOptions { exclusive: true, ..read_write() };
            let file = client.open(&name, &options).unwrap();
            done();
            file.close().unwrap();
            client.remove(&name, None).unwrap();
            done();
            client.remove(&other, None).unwrap();
            done();
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(client.list(&path("/")).unwrap().is_empty());
}

/// The client's heartbeats arrive and their answers do not: it stops by itself, and goes on when they do.
#[test]
fn a_client_that_is_not_answered_waits_and_goes_on() {
    let cluster = Cluster::builder(2).lease_ms(600).start().unwrap();
    let proxy = way_to(&cluster);
    let client = client_by(&cluster, &proxy);
    let file = client.open(&path("/a"), &read_write()).unwrap();
    let (first, second) = (pattern(1, RANGE_BYTES), pattern(2, RANGE_BYTES));
    file.write_at(&first, 0).unwrap();
    proxy.stall_answers();
    until("the client suspends itself", || !client.may_access());
    thread::scope(|scope| {
        let writing = scope.spawn(|| file.write_at(&second, 0));
        let reading = scope.spawn(|| {
            let mut seen = vec![0; RANGE_BYTES];
            file.read_at(&mut seen, 0).map(|bytes| (bytes, seen))
        });
        assert!(!writing.is_finished() && !reading.is_finished());
        proxy.heal();
        writing.join().unwrap().unwrap();
        let (bytes, seen) = reading.join().unwrap().unwrap();
        assert_eq!(bytes, RANGE_BYTES);
        assert!(seen == first || seen == second);
    });
}

/// A client that nobody hears is given up: what it was doing ends in an error, and nothing of it is written afterwards.
#[test]
fn a_client_that_was_given_up_writes_nothing_more() {
    let cluster = Cluster::builder(2).lease_ms(500).start().unwrap();
    let proxy = way_to(&cluster);
    let zombie = client_by(&cluster, &proxy);
    let file = zombie.open(&path("/a"), &read_write()).unwrap();
    file.write_at(&pattern(1, RANGE_BYTES), 0).unwrap();
    proxy.stall();
    let other = support::client(&cluster);
    let successor = other.open(&path("/a"), &read_write()).unwrap();
    let bytes = pattern(2, RANGE_BYTES);
    thread::scope(|scope| {
        let refused = scope.spawn(|| {
            let mut turn = 3;
            loop {
                turn += 1;
                if let Err(error) = file.write_at(&pattern(turn, RANGE_BYTES), 0) {
                    return error;
                }
            }
        });
        successor.write_at(&bytes, 0).unwrap();
        proxy.heal();
        let error = refused.join().unwrap();
        assert!(matches!(error.kind(), ErrorKind::NoSession | ErrorKind::Stale), "{error}");
    });
    let error = zombie.stat(&path("/a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSession, "{error}");
    let mut seen = vec![0; RANGE_BYTES];
    assert_eq!(successor.read_at(&mut seen, 0).unwrap(), RANGE_BYTES);
    assert!(seen == bytes, "a byte was changed after the fence");
}

#[test]
fn closing_a_file_that_was_only_read_waits_for_nobody() {
    let cluster = Cluster::start(1).unwrap();
    support::client(&cluster).open(&path("/a"), &read_write()).unwrap().close().unwrap();
    let proxy = way_to(&cluster);
    let client = client_by(&cluster, &proxy);
    let options = OpenOptions { access: Access::Read, ..OpenOptions::default() };
    let file = client.open(&path("/a"), &options).unwrap();
    proxy.stall();
    file.close().unwrap();
    proxy.heal();
    // In the order of the calls, so it was closed before.
    client.stat(&path("/a")).unwrap();
}
