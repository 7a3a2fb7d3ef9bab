//! The stream of replies, and the stream of small requests.

use crate::harness::{CLIENT, Harness, assert_code, assert_status, extent, read_request, stamp_of, write_request};
use pfs_core::checksum::Checksum;
use pfs_core::extent::ObjectOffset;
use pfs_proto::data::{self, ObjectExtent};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use pfs_proto::v1::small_request::Operation;
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 253).unwrap()).collect()
}

pub fn checksums(extents: &[v1::ObjectExtent], mut bytes: &[u8]) -> Vec<u32> {
    let extents: Vec<_> =
        extents.iter().map(|extent| ObjectExtent::new(ObjectOffset(extent.offset), extent.length).unwrap()).collect();
    let sums = data::pieces(&extents).map(|piece| {
        let (here, rest) = bytes.split_at(piece.length);
        bytes = rest;
        Checksum::of(here).0
    });
    sums.collect()
}

/// All of a streamed read: bytes and checksums.
pub async fn stream(harness: &Harness, request: v1::ReadRequest) -> Result<(Vec<u8>, Vec<u32>), ErrorDetail> {
    let mut client = harness.client.clone();
    let told = |status| error_detail(&status);
    let mut replies = client.read_stream(request).await.map_err(told)?.into_inner();
    let (mut bytes, mut sums) = (Vec::new(), Vec::new());
    while let Some(reply) = replies.message().await.map_err(told)? {
        assert_eq!(reply.instance, 1);
        bytes.extend(reply.payload);
        sums.extend(reply.checksums);
    }
    Ok((bytes, sums))
}

/// Many extents, parts of blocks, holes and bytes past the end: the same bytes as were written, and a checksum for each
/// piece.
#[tokio::test]
async fn a_streamed_read_has_all_bytes_and_checksums() {
    let harness = Harness::new().await;
    let bytes = pattern(3_000_000);
    harness.write(1, 1000, &bytes).await.unwrap();
    let extents = [extent(0, 2_000_001), extent(2_999_000, 5000), extent(1 << 40, 1), extent(4096, 4096)];
    let mut expected = vec![0; 1000];
    expected.extend(&bytes[..1_999_001]);
    expected.extend(&bytes[2_998_000..]);
    expected.resize(2_000_001 + 5000 + 1, 0);
    expected.extend(&bytes[3096..7192]);
    let (found, sums) = stream(&harness, read_request(1, &extents)).await.unwrap();
    assert!(found == expected);
    assert_eq!(sums, checksums(&extents, &expected));
    let reply = harness.client.clone().read(read_request(1, &extents)).await.unwrap().into_inner();
    assert!(reply.payload == expected && reply.checksums == sums, "the same in one reply");
}

#[tokio::test]
async fn a_streamed_read_of_what_is_not_there() {
    let harness = Harness::new().await;
    let (bytes, sums) = stream(&harness, read_request(1, &[extent(5, 10_000)])).await.unwrap();
    assert!(bytes == [0; 10_000] && sums == checksums(&[extent(5, 10_000)], &bytes));
    let lost = v1::ReadRequest { must_exist: true, ..read_request(1, &[extent(0, 1)]) };
    assert_code(stream(&harness, lost).await, ErrorCode::DataLoss);
    harness.fence(1, &[CLIENT], &[]).await;
    assert_code(stream(&harness, read_request(1, &[extent(0, 1)])).await, ErrorCode::Stale);
    let unstamped = v1::ReadRequest { stamp: None, ..read_request(1, &[extent(0, 1)]) };
    assert_code(stream(&harness, unstamped).await, ErrorCode::Stale);
    assert_code(stream(&harness, read_request(1, &[])).await, ErrorCode::InvalidArgument);
}

/// A stream of small requests.
pub struct Small {
    requests: mpsc::Sender<v1::SmallRequest>,
    replies: Streaming<v1::SmallReply>,
}

impl Small {
    pub async fn open(harness: &Harness) -> Self {
        let (requests, incoming) = mpsc::channel(1000);
        let replies = harness.client.clone().small(ReceiverStream::new(incoming)).await.unwrap().into_inner();
        Small { requests, replies }
    }

    pub async fn send(&self, id: u64, operation: impl Into<Option<Operation>>) {
        self.requests.send(v1::SmallRequest { id, operation: operation.into() }).await.unwrap();
    }

    /// The answers to so many requests, by their ids.
    pub async fn answers(&mut self, count: usize) -> BTreeMap<u64, Outcome> {
        let mut answers = BTreeMap::new();
        while answers.len() < count {
            let v1::SmallReply { id, outcome } = self.replies.message().await.unwrap().expect("an answer");
            assert!(answers.insert(id, outcome.unwrap()).is_none(), "one answer each");
        }
        answers
    }

    pub async fn ask(&mut self, id: u64, operation: impl Into<Option<Operation>>) -> Result<Outcome, ErrorDetail> {
        self.send(id, operation).await;
        match self.answers(1).await.remove(&id).unwrap() {
            Outcome::Error(error) => Err(error.into()),
            outcome => Ok(outcome),
        }
    }
}

#[tokio::test]
async fn small_requests_are_answered_by_their_ids() {
    let harness = Harness::new().await;
    let mut small = Small::open(&harness).await;
    // The first ones have to wait for the metadata server's word.
    for id in 0..100 {
        let bytes = [u8::try_from(id).unwrap(); 100];
        small.send(id, Operation::Write(write_request(1 + id % 3, id * 100, &bytes))).await;
    }
    for (id, outcome) in small.answers(100).await {
        assert!(matches!(outcome, Outcome::Write(v1::WriteReply { instance: 1 })), "{id}: {outcome:?}");
    }
    for id in 100..200 {
        small.send(id, Operation::Read(read_request(1 + id % 3, &[extent(id % 100 * 100, 100)]))).await;
    }
    for (id, outcome) in small.answers(100).await {
        let Outcome::Read(reply) = outcome else { panic!("{id}: {outcome:?}") };
        let (written, file) = (id % 100, id % 3);
        let fill = if written % 3 == file { u8::try_from(written).unwrap() } else { 0 };
        assert_eq!(reply.payload, vec![fill; 100]);
        assert_eq!(reply.checksums, checksums(&[extent(written * 100, 100)], &reply.payload));
    }
    drop(small.requests);
    assert!(small.replies.message().await.unwrap().is_none(), "a stream ends when its client ends it");
}

/// A refused request has an error of its own, and the stream goes on.
#[tokio::test]
async fn a_refused_small_request_ends_nothing() {
    let harness = Harness::new().await;
    let mut small = Small::open(&harness).await;
    let write = || write_request(1, 0, b"bytes");
    small.ask(1, Operation::Write(write())).await.unwrap();
    assert_code(small.ask(2, None).await, ErrorCode::InvalidArgument);
    let unstamped = v1::WriteRequest { stamp: None, ..write() };
    assert_code(small.ask(3, Operation::Write(unstamped)).await, ErrorCode::Stale);
    let short = v1::WriteRequest { extents: vec![extent(0, 6)], ..write() };
    assert_code(small.ask(4, Operation::Write(short)).await, ErrorCode::InvalidArgument);
    let wrong = v1::WriteRequest { checksums: vec![7], payload: b"BYTES".to_vec().into(), ..write() };
    let text = assert_code(small.ask(5, Operation::Write(wrong)).await, ErrorCode::Unavailable);
    assert!(text.contains("file-1 slot 2") && text.contains("file-0") && text.contains("5 bytes at 0"), "{text}");
    assert_code(
        small.ask(6, Operation::Read(read_request(1, &[extent(0, 1 << 21)]))).await,
        ErrorCode::InvalidArgument,
    );
    assert_code(small.ask(7, Operation::Write(write_request(5000, 0, b"x"))).await, ErrorCode::Deleted);
    let missing = v1::ReadRequest { must_exist: true, ..read_request(2, &[extent(0, 1)]) };
    assert_code(small.ask(8, Operation::Read(missing)).await, ErrorCode::DataLoss);
    let Outcome::Read(reply) = small.ask(9, Operation::Read(read_request(1, &[extent(0, 5)]))).await.unwrap() else {
        panic!("a read is answered with bytes");
    };
    assert_eq!(reply.payload, &b"bytes"[..], "nothing of what was refused is there");
}

/// A request that waits for the metadata server does not hold the others up.
#[tokio::test]
async fn a_slow_request_is_passed_by_the_others() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"there").await.unwrap();
    let vouching = harness.metadata.vouching.lock().await;
    let mut small = Small::open(&harness).await;
    small.send(1, Operation::Write(write_request(2, 0, b"slow"))).await;
    for id in 2..100 {
        let Outcome::Read(reply) = small.ask(id, Operation::Read(read_request(1, &[extent(0, 5)]))).await.unwrap()
        else {
            panic!("a read is answered with bytes");
        };
        assert_eq!(reply.payload, &b"there"[..]);
        small.ask(100 + id, Operation::Write(write_request(1, 10, b"more"))).await.unwrap();
    }
    drop(vouching);
    assert!(small.answers(1).await.contains_key(&1), "and it is answered when it can be");
}

#[tokio::test]
async fn fences_and_drains_hold_on_the_stream() {
    let harness = Harness::new().await;
    let mut small = Small::open(&harness).await;
    let write = |sequence, client| {
        let stamp = Some(stamp_of(1, client));
        Operation::Write(v1::WriteRequest { stamp, sequence, ..write_request(1, 0, b"bytes") })
    };
    small.ask(1, write(1, CLIENT)).await.unwrap();
    let drain = v1::DrainRequest { stamp: Some(stamp_of(1, CLIENT)), sequence: 5 };
    harness.client.clone().drain(drain).await.unwrap();
    assert_code(small.ask(2, write(5, CLIENT)).await, ErrorCode::OutOfStep);
    small.ask(3, write(6, CLIENT)).await.unwrap();
    harness.fence(1, &[CLIENT], &[]).await;
    assert_code(small.ask(4, write(7, CLIENT)).await, ErrorCode::Stale);
    assert_code(small.ask(5, Operation::Read(read_request(1, &[extent(0, 5)]))).await, ErrorCode::Stale);
    small.ask(6, write(1, 8)).await.unwrap();
}

/// A stop does not wait for clients that keep their streams open.
#[tokio::test]
async fn a_stream_ends_when_the_server_stops() {
    let harness = Harness::new().await;
    let mut small = Small::open(&harness).await;
    small.ask(1, Operation::Write(write_request(1, 0, b"bytes"))).await.unwrap();
    let stopped = tokio::spawn(harness.server.stop());
    assert_status(small.replies.message().await, ErrorCode::Unavailable);
    stopped.await.unwrap().unwrap();
}
