//! Tokens between real clients: what travels, who waits, who gets on.

mod support;

use pfs_client::ErrorKind;
use pfs_core::extent::Extent;
use pfs_core::token::message::Mode;
use pfs_testkit::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::{client, path, pattern, read_write};

fn requests(client: &pfs_client::blocking::Client) -> u64 {
    client.cluster_status(false).unwrap().tokens.unwrap().requests
}

#[test]
fn a_held_token_asks_nobody() {
    let cluster = Cluster::start(2).unwrap();
    let client = client(&cluster);
    let file = client.open(&path("/a"), &read_write()).unwrap();
    file.write_at(b"first", 0).unwrap();
    let before = requests(&client);
    for i in 0..50 {
        file.write_at(b"later", i * 1000).unwrap();
        file.read_at(&mut [0; 5], i * 1000).unwrap();
    }
    assert_eq!(requests(&client), before, "the sole user of a file has all of it");
    assert_eq!(client.tokens(&path("/a")).unwrap().tokens.len(), 1);
}

/// The answer to an open brings all of the file to the only one who has it open, and with it the size; and it goes when another
/// one wants it, whether it was used or not.
#[test]
fn the_first_open_brings_the_file_and_the_next_does_not() {
    let cluster = Cluster::start(2).unwrap();
    let (one, other) = (client(&cluster), client(&cluster));
    let file = one.open(&path("/whole"), &read_write()).unwrap();
    let granted = requests(&one);
    file.write_at(b"one", 0).unwrap();
    assert_eq!(file.size().unwrap(), 3);
    file.close().unwrap();
    let file = one.open(&path("/whole"), &read_write()).unwrap();
    assert_eq!(file.size().unwrap(), 3);
    assert_eq!(requests(&one), granted + 1, "the second open, and nothing between");
    assert_eq!(one.tokens(&path("/whole")).unwrap().tokens.len(), 1);

    let second = other.open(&path("/whole"), &read_write()).unwrap();
    assert_eq!(requests(&one), granted + 1, "it has to ask when it needs something");
    assert_eq!(second.size().unwrap(), 3);
    second.write_at(b"two", 3).unwrap();
    assert_eq!((file.size().unwrap(), second.size().unwrap()), (6, 6), "the first does not know the size any more");
    let mut seen = [0; 6];
    assert_eq!(file.read_at(&mut seen, 0).unwrap(), 6);
    assert_eq!(&seen, b"onetwo");

    // Neither is one whose length is changed by others, through its name.
    let alone = one.open(&path("/cut"), &read_write()).unwrap();
    alone.write_at(&[1; 100], 0).unwrap();
    other.truncate(&path("/cut"), 10).unwrap();
    assert_eq!(alone.size().unwrap(), 10);
    assert_eq!(alone.read_at(&mut [0; 100], 0).unwrap(), 10);
}

/// Threads take numbers for their requests in one order and may send them in another one.
#[test]
fn threads_of_one_client_ask_for_tokens_of_many_files() {
    const THREADS: usize = 8;
    let cluster = Cluster::start(2).unwrap();
    let (client, holder) = (client(&cluster), client(&cluster));
    // Somebody has them open, so that each access of another one has to ask.
    let names: Vec<_> = (0..THREADS).map(|thread| path(&format!("/file-{thread}"))).collect();
    let held: Vec<_> = names.iter().map(|name| holder.open(name, &read_write()).unwrap()).collect();
    std::thread::scope(|scope| {
        for (name, held) in names.iter().zip(&held) {
            let client = &client;
            scope.spawn(move || {
                let file = client.open(name, &read_write()).unwrap();
                for at in 0..100 {
                    file.write_at(&[1; 10], at * 1000).unwrap();
                    held.write_at(&[2; 10], at * 1000 + 500).unwrap();
                }
            });
        }
    });
}

/// Two clients that keep handing the same range to each other both make progress, and every write is whole. They go on until
/// it was handed over often, however fast one of them is.
#[test]
fn a_range_goes_back_and_forth() {
    const ROUNDS: u32 = 100;
    const HAND_OVERS: u64 = 10;
    let cluster = Cluster::start(2).unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [0xaa, 0xbb]
        .map(|byte| {
            let (client, enough) = (client(&cluster), enough.clone());
            std::thread::spawn(move || {
                let file = client.open(&path("/ball"), &read_write()).unwrap();
                let mut seen = vec![0; 10_000];
                let mut rounds = 0;
                while rounds < ROUNDS || !enough.load(Ordering::Relaxed) {
                    file.write_at(&vec![byte; 10_000], 100).unwrap();
                    assert_eq!(file.read_at(&mut seen, 100).unwrap(), 10_000);
                    assert!(seen.iter().all(|b| *b == seen[0]), "a mix of two writes");
                    rounds += 1;
                }
                file.close().unwrap();
            })
        })
        .into();
    let (watcher, deadline) = (client(&cluster), Instant::now() + Duration::from_secs(60));
    let revokes = || watcher.cluster_status(false).unwrap().tokens.unwrap().revokes;
    while revokes() < HAND_OVERS && Instant::now() < deadline && !writers.iter().any(|writer| writer.is_finished()) {
        std::thread::yield_now();
    }
    enough.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let revokes = revokes();
    assert!(revokes >= HAND_OVERS, "the range was handed over only {revokes} times between two writers");
}

/// Threads of one client that overlap run one after the other.
#[test]
fn threads_of_one_client_exclude_each_other() {
    let cluster = Cluster::start(3).unwrap();
    let client = client(&cluster);
    let file = Arc::new(client.open(&path("/threads"), &read_write()).unwrap());
    file.write_at(&vec![0; 50_000], 0).unwrap();
    let threads: Vec<_> = (1..5u8)
        .map(|byte| {
            let file = file.clone();
            std::thread::spawn(move || {
                let mut seen = vec![0; 50_000];
                for _ in 0..20 {
                    file.write_at(&vec![byte; 50_000], 0).unwrap();
                    file.read_at(&mut seen, 0).unwrap();
                    assert!(seen.iter().all(|b| *b == seen[0]), "a mix of two threads' writes");
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A pin keeps the others away until it is dropped, and only where it is.
#[test]
fn a_revoke_waits_for_the_operation_in_its_range() {
    let cluster = Cluster::start(1).unwrap();
    let (holder, other) = (client(&cluster), client(&cluster));
    let file = holder.open(&path("/pin"), &read_write()).unwrap();
    file.write_at(&pattern(1, 1000), 0).unwrap();
    let pin = file.try_pin(Mode::Exclusive, &[Extent::new(0, 1000).unwrap()]).expect("held");
    let theirs = other.open(&path("/pin"), &read_write()).unwrap();
    theirs.write_at(b"elsewhere", 5000).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let seen = done.clone();
    let waiting = std::thread::spawn(move || {
        theirs.write_at(b"here", 10).unwrap();
        seen.store(1, Ordering::SeqCst);
        theirs
    });
    let mut revoking = false;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !revoking {
        assert!(Instant::now() < deadline, "no revoke came");
        revoking = holder.tokens(&path("/pin")).unwrap().tokens.iter().any(|token| token.revoking);
    }
    assert_eq!(done.load(Ordering::SeqCst), 0, "granted beside a pin");
    drop(pin);
    waiting.join().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

/// A group: one member asks for all, every member installs, a later access of the group asks nobody.
#[test]
fn a_group_asks_once_for_all_its_members() {
    let cluster = Cluster::start(2).unwrap();
    let members = [client(&cluster), client(&cluster), client(&cluster)];
    let ids: Vec<_> = members.iter().map(|member| member.id()).collect();
    let opened = members[0].open_for_group(&path("/g"), &read_write(), &ids).unwrap();
    let files: Vec<_> = members
        .iter()
        .map(|member| {
            let opened = pfs_client::OpenedFile::from_bytes(&opened.to_bytes()).unwrap();
            member.attach(opened, pfs_client::Access::ReadWrite).unwrap()
        })
        .collect();
    let before = requests(&members[0]);
    let range = |rank: u64| Extent::new(rank * 10_000, (rank + 1) * 10_000).unwrap();
    let all = [range(0).hull(range(2)).into()];
    let grant = files[0].acquire_for_group(Mode::Exclusive, &all, Some(Extent::ALL)).unwrap();
    for (rank, file) in (0u64..).zip(&files) {
        let grant = pfs_client::GroupGrant::from_bytes(&grant.to_bytes()).unwrap();
        let token = Arc::new(file.install(grant, Mode::Exclusive, &[range(rank)]).unwrap());
        file.write_under(&token, &pattern(rank, 10_000), rank * 10_000).unwrap();
    }
    for (rank, file) in (0u64..).zip(&files) {
        let token = file.try_pin(Mode::Exclusive, &[range(rank)]).expect("the group holds it");
        drop(token);
    }
    assert_eq!(requests(&members[0]), before + 1);
    // Somebody else takes the middle; every member gives it up.
    let other = client(&cluster);
    let reader = other.open(&path("/g"), &read_write()).unwrap();
    let mut seen = vec![0; 30_000];
    assert_eq!(reader.read_at(&mut seen, 0).unwrap(), 30_000);
    for rank in 0..3 {
        assert!(seen[rank * 10_000..][..10_000] == pattern(rank as u64, 10_000));
        assert!(files[rank].try_pin(Mode::Exclusive, &[range(rank as u64)]).is_none());
        assert!(files[rank].try_pin(Mode::Shared, &[range(rank as u64)]).is_some(), "a writer may go on reading");
    }
    let mut summary = pfs_client::CommitSummary::default();
    for file in &files {
        summary = summary.merge(file.commit().unwrap());
    }
    files[0].report_sync(summary).unwrap();
    let mut files = files.into_iter();
    let root = files.next().unwrap();
    files.for_each(|file| file.detach().unwrap());
    root.close().unwrap();
    assert_eq!(other.stat(&path("/g")).unwrap().size_bytes, 30_000);
}

/// A client that ends without a word loses its tokens when its lease is over; one that says so, at once.
#[test]
fn tokens_of_a_client_that_left_are_free() {
    let cluster = Cluster::builder(1).lease_ms(60_000).start().unwrap();
    let (first, second) = (client(&cluster), client(&cluster));
    let file = first.open(&path("/left"), &read_write()).unwrap();
    file.write_at(b"mine", 0).unwrap();
    first.shutdown().unwrap();
    assert_eq!(file.write_at(b"late", 0).unwrap_err().kind(), ErrorKind::NoSession);
    let theirs = second.open(&path("/left"), &read_write()).unwrap();
    let start = Instant::now();
    theirs.write_at(b"ours", 0).unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "waited for a lease of a client that had said good-bye");
}
