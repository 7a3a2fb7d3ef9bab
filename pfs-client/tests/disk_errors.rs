//! What a user sees when the disk of one file server fails or is slow: an error that names the file, the range and the
//! server; everything else is as it was and goes on.

mod support;

use pfs_client::ErrorKind;
use pfs_client::blocking::File;
use pfs_file_server::store::disk::Gate;
use pfs_file_server::store::faulty::{Call, Fault, Rule};
use pfs_testkit::Cluster;
use rustix::io::Errno;
use support::{check, path, pattern, read_write, uncached};

/// Stripes of 4096 bytes, in turn on both servers.
const LENGTH: usize = 40_000;

/// A file of two servers, synced.
fn written(cluster: &Cluster, name: &str) -> (File, Vec<u8>) {
    let file = uncached(cluster).open(&path(name), &read_write()).unwrap();
    let bytes = pattern(1, LENGTH);
    file.write_at(&bytes, 0).unwrap();
    file.sync().unwrap();
    (file, bytes)
}

#[track_caller]
fn assert_tells(cluster: &Cluster, error: &pfs_client::Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    let address = cluster.file_server_address(1).to_string();
    for part in words.iter().chain(&["/a", "server-2", &address]) {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}

#[test]
fn errors_of_one_disk_name_file_server_and_range() {
    let cluster = Cluster::builder(2).faulty_stores().start().unwrap();
    let (file, bytes) = written(&cluster, "/a");
    let store = cluster.faulty_store(1);
    // The first stripe units of both servers.
    let (faulty, sound) = if file.recipe().primary(0).get() == 2 { (0, 4096) } else { (4096, 0) };
    let range = format!("[{}, {})", faulty + 904, faulty + 1004);
    for (errno, kind) in [(Errno::IO, ErrorKind::Internal), (Errno::NOSPC, ErrorKind::NoSpace)] {
        for call in [Call::Write, Call::Read, Call::Commit] {
            store.add(Rule::new(call, Fault::Error(errno)));
        }
        let error = file.write_at(&[7; 100], faulty + 904).unwrap_err();
        assert_tells(&cluster, &error, kind, &[&range, "writing 100 bytes at 904"]);
        let error = file.read_at(&mut [0; 100], faulty + 904).unwrap_err();
        assert_tells(&cluster, &error, kind, &[&range, "reading 100 bytes at 904"]);
        file.write_at(&bytes[sound as usize..][..4096], sound).unwrap();
        check(&file, sound, &bytes[sound as usize..][..4096]);
        store.heal();
        file.sync().unwrap();
        check(&file, 0, &bytes);
    }
    store.add(Rule::new(Call::Commit, Fault::Error(Errno::IO)));
    file.write_at(&bytes, 0).unwrap();
    assert_tells(&cluster, &file.sync().unwrap_err(), ErrorKind::Internal, &["making durable"]);
    store.heal();
    file.sync().unwrap();
}

/// A large write that stops in the middle at one server: sent again, it is whole.
#[test]
fn a_full_disk_in_the_middle_of_a_write_loses_nothing_else() {
    let cluster = Cluster::builder(2).faulty_stores().start().unwrap();
    let (file, old) = written(&cluster, "/a");
    let store = cluster.faulty_store(1);
    store.add(Rule::new(Call::Write, Fault::ErrorAfter(6000, Errno::NOSPC)).once());
    let new = pattern(2, 30_000);
    let error = file.write_at(&new, 5000).unwrap_err();
    assert_tells(&cluster, &error, ErrorKind::NoSpace, &["no space is left"]);
    let mut seen = vec![0; LENGTH];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), LENGTH);
    assert!(seen[..5000] == old[..5000] && seen[35_000..] == old[35_000..], "bytes beside it have changed");
    let either = |at: usize| seen[at] == old[at] || seen[at] == new[at - 5000];
    assert!((5000..35_000).all(either), "a byte is neither the old nor the new one");
    file.write_at(&new, 5000).unwrap();
    file.sync().unwrap();
    check(&file, 5000, &new);
}

/// Small requests to one server share a stream: those that wait for the disk are passed by the others.
#[test]
fn a_slow_request_holds_up_no_other() {
    let cluster = Cluster::builder(1).faulty_stores().start().unwrap();
    let client = uncached(&cluster);
    let open = |name: &str| {
        let file = client.open(&path(name), &read_write()).unwrap();
        file.write_at(&pattern(1, 1000), 0).unwrap();
        file
    };
    let (slow, quick) = (open("/slow"), open("/quick"));
    let gate = Gate::default();
    cluster.faulty_store(0).add(Rule::new(Call::Write, Fault::Wait(gate.clone())).once());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| slow.write_at(b"slow", 500));
        gate.wait_for(1);
        for round in 0..100 {
            quick.write_at(&pattern(round, 100), round * 100).unwrap();
            check(&quick, round * 100, &pattern(round, 100));
        }
        check(&slow, 0, &pattern(1, 1000)[..100]);
        assert!(!waiting.is_finished());
        gate.open();
        waiting.join().unwrap().unwrap();
    });
    check(&slow, 500, b"slow");
}
