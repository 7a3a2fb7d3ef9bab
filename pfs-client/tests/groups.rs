//! Groups of clients over restarts and deaths, and what a dead file server does not keep from others.

mod support;

use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, ErrorKind, GroupGrant};
use pfs_core::extent::Extent;
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::Mode;
use pfs_testkit::{Cluster, Proxy};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{config, open_together, path, pattern, read_write, until};

const PART_BYTES: u64 = 10_000;

fn part(index: u64) -> Extent {
    Extent::new(index * PART_BYTES, (index + 1) * PART_BYTES).unwrap()
}

/// One collective write: the first member asks, every member writes its part.
fn write_together(files: &[File], seed: u64) {
    let needs: Vec<_> = (0..files.len() as u64).map(|index| RangePattern::from(part(index))).collect();
    let grant = files[0].acquire_for_group(Mode::Exclusive, &needs, None).unwrap().to_bytes();
    for (index, file) in (0..).zip(files) {
        let grant = GroupGrant::from_bytes(&grant).unwrap();
        let token = Arc::new(file.install(grant, Mode::Exclusive, &[part(index)]).unwrap());
        let bytes = pattern(seed + index, usize::try_from(PART_BYTES).unwrap());
        file.write_under(&token, &bytes, part(index).start()).unwrap();
    }
}

fn assert_written(file: &File, members: u64, seed: u64) {
    for index in 0..members {
        let length = usize::try_from(PART_BYTES).unwrap();
        let mut seen = vec![0; length];
        assert_eq!(file.read_at(&mut seen, part(index).start()).unwrap(), length);
        assert!(seen == pattern(seed + index, length), "part {index}");
    }
}

#[test]
fn a_group_goes_on_over_a_restart_of_the_metadata_server() {
    let mut cluster = Cluster::builder(2).lease_ms(3000).start().unwrap();
    let clients = [support::uncached(&cluster), support::uncached(&cluster)];
    let files = open_together(&clients, "/a");
    for seed in [10, 20, 30] {
        write_together(&files, seed);
        cluster.kill_metadata();
        cluster.start_metadata().unwrap();
        assert_written(&files[1], 2, seed);
    }
    write_together(&files, 40);
    let other = support::uncached(&cluster).open(&path("/a"), &read_write()).unwrap();
    assert_written(&other, 2, 40);
    assert!(files.iter().all(|file| file.group_error().is_none()));
}

#[test]
fn the_others_hear_of_a_member_that_was_given_up_and_their_own_accesses_go_on() {
    let cluster = Cluster::builder(2).lease_ms(500).start().unwrap();
    let proxy = Proxy::start(cluster.metadata_address().parse().unwrap()).unwrap();
    let metadata = vec![proxy.address().to_string()];
    let by_proxy = ClientConfig { metadata, cache_bytes: 0, ..config(&cluster) };
    let clients = [support::uncached(&cluster), Client::connect(by_proxy).unwrap()];
    let files = open_together(&clients, "/a");
    write_together(&files, 10);
    proxy.stall();
    until("the member is given up", || files[0].group_error().is_some());
    assert_eq!(files[0].group_error().unwrap().kind(), ErrorKind::MemberLost);
    let needs = [RangePattern::from(part(0))];
    let error = files[0].acquire_for_group(Mode::Exclusive, &needs, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MemberLost, "{error}");
    let bytes = pattern(1, usize::try_from(PART_BYTES).unwrap());
    files[0].write_at(&bytes, 0).unwrap();
    proxy.heal();
    until("the member knows", || files[1].group_error().is_some());
    let error = files[1].write_at(&bytes, 0).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NoSession | ErrorKind::Stale), "{error}");
}

/// A holder that keeps its token while it runs an operation is given up; of a group that is all of it, and only it.
#[test]
fn a_group_that_does_not_give_way_is_lost_as_a_whole() {
    let cluster = Cluster::builder(2).revoke_timeout_ms(500).start().unwrap();
    let clients = [support::uncached(&cluster), support::uncached(&cluster)];
    let files = open_together(&clients, "/a");
    write_together(&files, 10);
    let kept = files[0].try_pin(Mode::Exclusive, &[part(0)]).expect("it was just granted");
    let own = clients[0].open(&path("/b"), &read_write()).unwrap();
    own.write_at(b"before", 0).unwrap();
    let bytes = pattern(1, usize::try_from(PART_BYTES).unwrap());
    let other = support::uncached(&cluster).open(&path("/a"), &read_write()).unwrap();
    other.write_at(&bytes, 0).unwrap();
    for file in &files {
        until("the group is lost", || file.group_error().is_some());
        assert_eq!(file.group_error().unwrap().kind(), ErrorKind::GroupLost);
        assert_eq!(file.write_at(&bytes, 0).unwrap_err().kind(), ErrorKind::GroupLost);
    }
    drop(kept);
    own.write_at(b"after", 0).unwrap();
    let mut seen = vec![0; bytes.len()];
    assert_eq!(other.read_at(&mut seen, 0).unwrap(), bytes.len());
    assert!(seen == bytes);
}

/// A write of unknown outcome keeps its range from others only until its server has surely stopped to serve.
#[test]
fn a_dead_file_server_does_not_keep_a_range_for_ever() {
    let mut cluster = Cluster::builder(2).lease_ms(1000).start().unwrap();
    let config = ClientConfig {
        cache_bytes: 0,
        retry_for: Duration::from_millis(100),
        drain_patience: Duration::from_millis(100),
        ..config(&cluster)
    };
    let client = Client::connect(config).unwrap();
    let file = client.open(&path("/a"), &read_write()).unwrap();
    file.write_at(&pattern(1, 8192), 0).unwrap();
    cluster.kill_file_server(1);
    let error = file.write_at(&pattern(2, 8192), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let other = support::uncached(&cluster).open(&path("/a"), &read_write()).unwrap();
    let bytes = pattern(3, 4096);
    other.write_at(&bytes, 0).unwrap();
    let mut seen = vec![0; 4096];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), 4096);
    assert!(seen == bytes);
    cluster.start_file_server(1).unwrap();
    file.write_at(&pattern(4, 8192), 0).unwrap();
    file.sync().unwrap_err();
    file.write_at(&pattern(4, 8192), 0).unwrap();
    file.sync().unwrap();
}

/// A close frees all tokens of a file at once. It did so, too, while a write of unknown outcome was on its way to a server
/// that could not be asked: that write could be applied after the next holder's.
#[test]
fn a_close_frees_nothing_that_may_still_be_written() {
    let mut cluster = Cluster::builder(2).start().unwrap();
    let config = ClientConfig {
        cache_bytes: 0,
        retry_for: Duration::from_millis(100),
        drain_patience: Duration::from_millis(100),
        ..config(&cluster)
    };
    let client = Client::connect(config).unwrap();
    let file = client.open(&path("/a"), &read_write()).unwrap();
    file.write_at(&pattern(1, 8192), 0).unwrap();
    cluster.kill_file_server(1);
    let error = file.write_at(&pattern(2, 8192), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    file.close().unwrap_err();
    let other = support::uncached(&cluster);
    let file = other.open(&path("/a"), &read_write()).unwrap();
    let bytes = pattern(3, 4096);
    thread::scope(|scope| {
        let writing = scope.spawn(|| file.write_at(&bytes, 0));
        let waiting = || client.cluster_status(false).unwrap().tokens.unwrap().waiting;
        until("it waits for the end of the write in doubt", || waiting() == 1);
        cluster.start_file_server(1).unwrap();
        writing.join().unwrap().unwrap();
    });
    let mut seen = vec![0; 4096];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), 4096);
    assert!(seen == bytes);
}
