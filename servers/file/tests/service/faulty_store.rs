//! A store that fails or is slow: whoever asked is told what has failed, of which file and where, by whatever way the
//! request has come; what was there before stays, and nobody else waits.

use crate::harness::{Harness, assert_code, extent, read_request, write_request};
use crate::streams::{Small, stream};
use pfs_file_server::store::disk::Gate;
use pfs_file_server::store::faulty::{Call, Fault, Rule};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use pfs_proto::v1::small_request::Operation;
use rustix::io::Errno;
use std::time::Duration;

/// The object of a file, as errors name it.
fn is_of(file: u64) -> impl Fn(&pfs_core::ids::ObjectId) -> bool {
    move |object| object.file.get() == file
}

/// Two files with the same bytes, made durable.
async fn two_files(harness: &Harness) {
    for file in [1, 2] {
        harness.write(file, 0, &[1; 10_000]).await.unwrap();
    }
    harness.commit(&[1, 2]).await.unwrap();
}

#[track_caller]
fn assert_tells<T: std::fmt::Debug>(harness: &Harness, result: Result<T, ErrorDetail>, code: ErrorCode, words: &str) {
    let text = assert_code(result, code);
    let store = harness.directory.path().join("objects").display().to_string();
    assert!(text.contains("file-1 slot 2") && text.contains(&store) && text.contains(words), "{text}");
}

#[tokio::test]
async fn errors_of_the_disk_are_told_by_every_way() {
    let (harness, store) = Harness::over_faults().await;
    two_files(&harness).await;
    let mut small = Small::open(&harness).await;
    for (errno, code) in [(Errno::IO, ErrorCode::Internal), (Errno::NOSPC, ErrorCode::NoSpace)] {
        for call in [Call::Write, Call::Read, Call::Commit, Call::Allocate] {
            store.add(Rule::new(call, Fault::Error(errno)).of(is_of(1)));
        }
        let writing = "writing 500 bytes at 600";
        assert_tells(&harness, harness.write(1, 600, &[2; 500]).await, code, writing);
        let request = Operation::Write(write_request(1, 600, &[2; 500]));
        assert_tells(&harness, small.ask(1, request).await, code, writing);
        let reading = "reading 500 bytes at 600";
        assert_tells(&harness, harness.read(1, 600, 500).await, code, reading);
        let request = || read_request(1, &[extent(600, 500)]);
        assert_tells(&harness, stream(&harness, request()).await, code, reading);
        assert_tells(&harness, small.ask(2, Operation::Read(request())).await, code, reading);
        assert_tells(&harness, harness.commit(&[2, 1]).await, code, "making durable");

        assert_eq!(harness.read(2, 0, 10_000).await.unwrap(), [1; 10_000], "the other file is whole");
        store.heal();
        assert_eq!(harness.read(1, 0, 10_000).await.unwrap(), [1; 10_000], "nothing was written");
        harness.commit(&[1, 2]).await.unwrap();
    }
}

/// A bulk write that stops in the middle: a part of its bytes is there, and no others have changed.
#[tokio::test]
async fn a_write_that_stops_is_an_error_and_can_be_sent_again() {
    let (harness, store) = Harness::over_faults().await;
    two_files(&harness).await;
    store.add(Rule::new(Call::Write, Fault::ErrorAfter(3000, Errno::NOSPC)).of(is_of(1)).once());
    assert_tells(&harness, harness.write(1, 1000, &[2; 5000]).await, ErrorCode::NoSpace, "writing 2000 bytes at 4000");
    let bytes = harness.read(1, 0, 10_000).await.unwrap();
    assert_eq!(bytes, [&[1; 1000][..], &[2; 3000], &[1; 6000]].concat());
    harness.write(1, 1000, &[2; 5000]).await.unwrap();
    harness.commit(&[1]).await.unwrap();
    assert_eq!(harness.read(1, 1000, 5000).await.unwrap(), [2; 5000]);
}

#[tokio::test]
async fn bytes_that_a_commit_lost_are_told_until_they_are_written_again() {
    let (harness, store) = Harness::over_faults().await;
    two_files(&harness).await;
    harness.write(1, 5000, &[2; 100]).await.unwrap();
    harness.write(2, 5000, &[2; 100]).await.unwrap();
    store.add(Rule::new(Call::Commit, Fault::LoseAndFail(Errno::IO)).of(is_of(1)).once());
    for _ in 0..2 {
        let lost = "lost 100 bytes, from 5000 on";
        assert_tells(&harness, harness.commit(&[1]).await, ErrorCode::DataLoss, lost);
    }
    harness.commit(&[2]).await.unwrap();
    assert_tells(&harness, harness.read(1, 4900, 200).await, ErrorCode::DataLoss, "200 bytes at 4900");
    harness.write(1, 5000, &[3; 100]).await.unwrap();
    harness.commit(&[1]).await.unwrap();
    assert_eq!(harness.read(1, 5000, 100).await.unwrap(), [3; 100]);
}

/// Requests that wait for the disk are passed by the others of their stream, and are answered when they can be.
#[tokio::test]
async fn a_slow_disk_holds_up_no_other_small_request() {
    let (harness, store) = Harness::over_faults().await;
    two_files(&harness).await;
    let gate = Gate::default();
    for call in [Call::Write, Call::Read] {
        store.add(Rule::new(call, Fault::Wait(gate.clone())).of(is_of(1)));
    }
    let mut small = Small::open(&harness).await;
    small.send(1, Operation::Write(write_request(1, 0, b"slow"))).await;
    small.send(2, Operation::Read(read_request(1, &[extent(9000, 4)]))).await;
    let both_wait = gate.clone();
    // A server in this very runtime has to go on meanwhile.
    tokio::task::spawn_blocking(move || both_wait.wait_for(2)).await.unwrap();
    for id in 3..100 {
        let request = write_request(2, id * 10, b"quick");
        assert!(matches!(small.ask(id, Operation::Write(request)).await, Ok(Outcome::Write(_))));
        let request = read_request(2, &[extent(id * 10, 5)]);
        let read = small.ask(100 + id, Operation::Read(request)).await;
        assert!(matches!(read, Ok(Outcome::Read(v1::ReadReply { payload, .. })) if payload == "quick"));
    }
    assert_eq!(harness.read(2, 0, 4).await.unwrap(), [1; 4], "nor those that come by other ways");
    gate.open();
    let answers = small.answers(2).await;
    assert!(matches!(answers[&1], Outcome::Write(_)), "{answers:?}");
    assert!(matches!(&answers[&2], Outcome::Read(reply) if reply.payload[..] == [1; 4]), "{answers:?}");
    assert_eq!(harness.read(1, 0, 4).await.unwrap(), b"slow");
}

#[tokio::test]
async fn requests_of_a_slow_disk_are_answered_in_the_end() {
    let (harness, store) = Harness::over_faults().await;
    two_files(&harness).await;
    for call in [Call::Write, Call::Read, Call::Commit] {
        store.add(Rule::new(call, Fault::Delay(Duration::from_millis(20))));
    }
    let mut small = Small::open(&harness).await;
    for id in 0..20 {
        small.send(id, Operation::Write(write_request(1 + id % 2, id * 100, &[2; 100]))).await;
    }
    assert!(small.answers(20).await.values().all(|outcome| matches!(outcome, Outcome::Write(_))));
    harness.commit(&[1, 2]).await.unwrap();
    assert_eq!(harness.read(1, 1800, 200).await.unwrap(), [[2; 100], [1; 100]].concat());
    assert!(store.struck() >= 23, "{}", store.struck());
}
