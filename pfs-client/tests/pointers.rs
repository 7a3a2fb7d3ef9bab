//! Shared file pointers over broken connections, restarts and deaths: members of a group draw parts of a file as fast as
//! they can, and nobody gets what another one got.

mod support;

use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, ErrorKind};
use pfs_core::pointer::PointerChange;
use pfs_testkit::{Cluster, Proxy};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use support::{config, open_together, until};

/// Draws until it is stopped; returns what it got as (start, end).
fn draw(file: &File, step: u64, stop: &AtomicBool, drawn: &AtomicU64) -> Vec<(u64, u64)> {
    let mut given = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let length = step + given.len() as u64 % 7;
        let start = file.move_pointer(PointerChange::Advance(length)).unwrap().position;
        given.push((start, start + length));
        drawn.store(given.len() as u64, Ordering::SeqCst);
    }
    given
}

/// Has all members draw while `disturb` does its work, which is given the counts of what they drew. Returns all parts, in
/// order; no two overlap.
fn drawn_during(files: &[File], disturb: impl FnOnce(&[AtomicU64])) -> Vec<(u64, u64)> {
    let stop = AtomicBool::new(false);
    let drawn: Vec<AtomicU64> = files.iter().map(|_| AtomicU64::new(0)).collect();
    let mut given: Vec<(u64, u64)> = thread::scope(|scope| {
        let draw_all = files.iter().zip(&drawn).zip(1..);
        let stop = &stop;
        let drawing: Vec<_> =
            draw_all.map(|((file, drawn), step)| scope.spawn(move || draw(file, step, stop, drawn))).collect();
        let disturbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| disturb(&drawn)));
        stop.store(true, Ordering::SeqCst);
        let given = drawing.into_iter().flat_map(|drawing| drawing.join().unwrap()).collect();
        disturbed.unwrap();
        given
    });
    given.sort_unstable();
    assert!(given.windows(2).all(|pair| pair[0].1 <= pair[1].0), "a part was given twice");
    given
}

fn all_get_on(drawn: &[AtomicU64]) {
    for drawn in drawn {
        let before = drawn.load(Ordering::SeqCst);
        until("a member draws", || drawn.load(Ordering::SeqCst) > before + 2);
    }
}

#[test]
fn nobody_gets_a_part_twice_over_restarts_of_the_metadata_server() {
    let mut cluster = Cluster::builder(1).lease_ms(3000).start().unwrap();
    let clients: Vec<Client> = (0..3).map(|_| support::uncached(&cluster)).collect();
    let files = open_together(&clients, "/log");
    drawn_during(&files, |drawn| {
        for _ in 0..4 {
            all_get_on(drawn);
            cluster.kill_metadata();
            cluster.start_metadata().unwrap();
        }
        all_get_on(drawn);
    });
    assert!(files.iter().all(|file| file.group_error().is_none()));
}

/// Over broken connections nothing is left out either: every call is applied once.
#[test]
fn a_broken_connection_repeats_no_call() {
    let cluster = Cluster::builder(1).lease_ms(3000).start().unwrap();
    let proxy = Proxy::start(cluster.metadata_address().parse().unwrap()).unwrap();
    let by_proxy = ClientConfig { metadata: vec![proxy.address().to_string()], ..config(&cluster) };
    let clients = [Client::connect(by_proxy.clone()).unwrap(), Client::connect(by_proxy).unwrap()];
    let files = open_together(&clients, "/log");
    let given = drawn_during(&files, |drawn| {
        for _ in 0..10 {
            all_get_on(drawn);
            proxy.break_connections();
        }
        all_get_on(drawn);
    });
    assert_eq!(given[0].0, 0);
    assert!(given.windows(2).all(|pair| pair[0].1 == pair[1].0), "a call was applied twice");
    let end = given.last().unwrap().1;
    let before = files[0].move_pointer(PointerChange::Set(3)).unwrap();
    assert_eq!(before.position, end);
    let after = files[1].move_pointer(PointerChange::Advance(0)).unwrap();
    assert_eq!((after.generation, after.position), (before.generation + 1, 3));
}

/// What a member that was given up knew is lost, so nobody is given anything any more.
#[test]
fn a_pointer_ends_with_a_member() {
    let cluster = Cluster::builder(1).lease_ms(500).start().unwrap();
    let proxy = Proxy::start(cluster.metadata_address().parse().unwrap()).unwrap();
    let metadata = vec![proxy.address().to_string()];
    let mortal = Client::connect(ClientConfig { metadata, ..config(&cluster) }).unwrap();
    let clients = [support::uncached(&cluster), mortal];
    let files = open_together(&clients, "/log");
    files[1].move_pointer(PointerChange::Advance(10)).unwrap();
    assert_eq!(files[0].move_pointer(PointerChange::Advance(10)).unwrap().position, 10);
    proxy.stall();
    until("the member is given up", || files[0].group_error().is_some());
    let error = files[0].move_pointer(PointerChange::Advance(10)).unwrap_err();
    assert_eq!(Some(error.kind()), files[0].group_error().map(|error| error.kind()));
    assert_ne!(error.kind(), ErrorKind::InvalidArgument);
    proxy.heal();
}
