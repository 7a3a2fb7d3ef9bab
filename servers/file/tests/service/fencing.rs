//! Fences and drains over the wire.

use crate::fake_metadata::FakeMetadata;
use crate::harness::{
    CLIENT, Harness, assert_code, extent, group_stamp, object, read_request, stamp_of, until, write_request,
};
use crate::raw::{Answer, exchange, payload_first};
use crate::streams::Small;
use pfs_core::ids::{ClientId, FileId};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::v1;
use pfs_proto::v1::small_request::Operation;
use tonic::Code;

fn stamped(stamp: v1::Stamp, bytes: &[u8]) -> v1::WriteRequest {
    v1::WriteRequest { stamp: Some(stamp), ..write_request(1, 0, bytes) }
}

#[tokio::test]
async fn a_fenced_client_is_refused_for_ever_and_others_go_on() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"old").await.unwrap();
    harness.fence(1, &[CLIENT], &[]).await;
    let text = assert_code(harness.write(1, 0, b"new").await, ErrorCode::Stale);
    assert!(text.contains("client-7"), "{text}");
    assert_code(harness.read(1, 0, 3).await, ErrorCode::Stale);
    assert_code(harness.commit(&[1]).await, ErrorCode::Stale);
    assert_code(harness.send(stamped(group_stamp(3, CLIENT), b"new")).await, ErrorCode::Stale);
    harness.send(stamped(stamp_of(1, 8), b"neu")).await.unwrap();

    let harness = harness.restart(|_| {}).await;
    assert_code(harness.write(1, 0, b"new").await, ErrorCode::Stale);
    let read = v1::ReadRequest { stamp: Some(stamp_of(1, 8)), ..read_request(1, &[extent(0, 3)]) };
    assert_eq!(harness.fetch(read).await.unwrap(), b"neu");
}

#[tokio::test]
async fn a_group_is_fenced_as_a_whole() {
    let harness = Harness::new().await;
    harness.send(stamped(group_stamp(3, 7), b"a")).await.unwrap();
    harness.fence(1, &[], &[3]).await;
    for member in [7, 8] {
        assert_code(harness.send(stamped(group_stamp(3, member), b"b")).await, ErrorCode::GroupFenced);
        harness.send(stamped(stamp_of(1, member), b"c")).await.unwrap();
    }
}

#[tokio::test]
async fn earlier_boots_are_refused_once_a_new_one_is_heard_of() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"a").await.unwrap();
    harness.metadata.state().boot = 2;
    until("a heartbeat brings the new boot", async || harness.write(1, 0, b"b").await.is_err()).await;
    assert_code(harness.write(1, 0, b"b").await, ErrorCode::OutOfStep);
    harness.send(stamped(stamp_of(2, CLIENT), b"c")).await.unwrap();
    harness.fence(5, &[], &[]).await;
    assert_code(harness.send(stamped(stamp_of(4, CLIENT), b"d")).await, ErrorCode::OutOfStep);
    harness.send(stamped(stamp_of(5, CLIENT), b"e")).await.unwrap();
}

/// A client may have gone over to a restarted metadata server before this file server has. Its request would be mixed with
/// those of the earlier boot, so it is to come again; and this server asks what is new, without waiting for its next
/// heartbeat.
#[tokio::test]
async fn a_later_boot_is_refused_until_it_is_heard_of_and_asked_for_at_once() {
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().heartbeat_ms = 1_000_000;
    let harness = Harness::with(metadata).await;
    until("the heartbeat after the registration", async || harness.metadata.state().heartbeats == 1).await;
    harness.metadata.state().boot = 2;
    assert_code(harness.send(stamped(stamp_of(2, CLIENT), b"a")).await, ErrorCode::OutOfStep);
    let later = || harness.send(stamped(stamp_of(2, CLIENT), b"a"));
    until("the new boot is heard of", async || later().await.is_ok()).await;
    assert_code(harness.write(1, 0, b"b").await, ErrorCode::OutOfStep);
}

/// The metadata server takes a file server for told only by a heartbeat, so there is one at once after a registration, and
/// after news.
#[tokio::test]
async fn heartbeats_tell_which_fences_are_in_force() {
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().heartbeat_ms = 1_000_000;
    metadata.state().fence_version = 7;
    let harness = Harness::with(metadata).await;
    until("the heartbeat after the registration", async || harness.metadata.state().told == Some((1, 7))).await;
    {
        let mut state = harness.metadata.state();
        (state.boot, state.fence_version, state.heartbeat_ms, state.forgetful) = (2, 3, 20, true);
    }
    // Makes it ask.
    assert_code(harness.send(stamped(stamp_of(2, CLIENT), b"a")).await, ErrorCode::OutOfStep);
    until("a later boot counts anew", async || harness.metadata.state().told == Some((2, 3))).await;
    harness.metadata.state().fence_version = 9;
    until("it grows", async || harness.metadata.state().told == Some((2, 9))).await;
    let seen = {
        let mut state = harness.metadata.state();
        // As if this answer had been on its way for long.
        state.fence_version = 4;
        state.heartbeats
    };
    until("more heartbeats", async || harness.metadata.state().heartbeats > seen + 2).await;
    assert_eq!(harness.metadata.state().told, Some((2, 9)), "what is in force stays in force");
}

#[tokio::test]
async fn a_fence_tells_what_the_fenced_have_left() {
    let harness = Harness::new().await;
    harness.write(1, 100, b"abc").await.unwrap();
    harness.write(2, 0, b"abc").await.unwrap();
    let request = v1::FenceRequest {
        boot_floor: 1,
        incarnations: vec![CLIENT],
        groups: vec![],
        objects: vec![object(2), object(9), object(1)],
    };
    let reply = harness.client.clone().fence(request).await.unwrap().into_inner();
    assert_eq!(reply.object_lengths, [3, 0, 103]);
}

/// An answered fence survives a crash; one that can not be made durable is in force but not answered, so its sender keeps
/// asking and the next registration brings it.
#[tokio::test]
async fn a_fence_is_answered_when_it_is_durable() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"a").await.unwrap();
    harness.fence(1, &[30], &[40]).await;
    let obstacle = harness.directory.path().join(".fences.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let fence = || v1::FenceRequest { boot_floor: 1, incarnations: vec![31], groups: vec![41], objects: vec![] };
    assert!(harness.client.clone().fence(fence()).await.is_err(), "it can not be stored");
    assert_code(harness.send(stamped(stamp_of(1, 31), b"b")).await, ErrorCode::Stale);

    std::fs::remove_dir(&obstacle).unwrap();
    let harness = harness.crash().await;
    assert_code(harness.send(stamped(stamp_of(1, 30), b"b")).await, ErrorCode::Stale);
    assert_code(harness.send(stamped(group_stamp(40, 8), b"b")).await, ErrorCode::GroupFenced);
    harness.send(stamped(stamp_of(1, 31), b"c")).await.unwrap();

    harness.metadata.state().fences.incarnations = vec![ClientId::new(31).unwrap()];
    let harness = harness.crash().await;
    assert_code(harness.send(stamped(stamp_of(1, 31), b"d")).await, ErrorCode::Stale);
}

/// The ways that a write may come.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Written as it arrives.
    Bulk,
    /// Decoded whole, since its fields are in another order.
    Whole,
    /// On the stream of small requests.
    Small,
}

/// Writes over and over, until a write is refused; tells why.
async fn write_until_refused(
    harness: &Harness,
    way: Way,
    requests: impl Iterator<Item = v1::WriteRequest>,
) -> ErrorCode {
    let mut small = Small::open(harness).await;
    for (id, request) in (0..).zip(requests) {
        let written = match way {
            Way::Bulk => harness.send(request).await.map(drop),
            Way::Small => small.ask(id, Operation::Write(request)).await.map(drop),
            Way::Whole => match exchange(harness, "Write", &payload_first(request), 100_000, false).await {
                Answer { code: Code::Ok, .. } => Ok(()),
                Answer { code: Code::Aborted, .. } => return ErrorCode::Stale,
                other => panic!("{other:?}"),
            },
        };
        if let Err(error) = written {
            return error.code;
        }
    }
    unreachable!("the requests do not end")
}

/// A client writes as fast as it can while it is fenced. After the fence was answered not one byte changes.
async fn a_fence_is_a_barrier(way: Way) {
    const BYTES: u64 = 1 << 20;
    let harness = Harness::new().await;
    harness.send(stamped(stamp_of(1, 8), b"x")).await.unwrap();
    for victim in 100..103 {
        let changed = || async {
            let read = v1::ReadRequest { stamp: Some(stamp_of(1, 8)), ..read_request(1, &[extent(0, BYTES)]) };
            harness.fetch(read).await.unwrap()
        };
        let requests = |writer: u64| {
            (0u64..).map(move |round| v1::WriteRequest {
                stamp: Some(stamp_of(1, victim)),
                sequence: round * 4 + writer,
                ..write_request(1, 0, &vec![u8::try_from((round * 4 + writer) % 255).unwrap(); BYTES as usize])
            })
        };
        let writer = |number| write_until_refused(&harness, way, requests(number));
        let fence = async {
            let before = changed().await;
            until("the client has written", async || changed().await != before).await;
            harness.fence(1, &[victim], &[]).await;
            changed().await
        };
        let (first, second, third, after_fence) = tokio::join!(writer(0), writer(1), writer(2), fence);
        assert_eq!([first, second, third], [ErrorCode::Stale; 3]);
        assert!(changed().await == after_fence, "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_is_a_barrier_for_bulk_writes() {
    a_fence_is_a_barrier(Way::Bulk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_is_a_barrier_for_whole_writes() {
    a_fence_is_a_barrier(Way::Whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_is_a_barrier_for_small_writes() {
    a_fence_is_a_barrier(Way::Small).await;
}

/// A streamed read that was fenced before its last byte was made does not end in success, and its client's silence does
/// not hold the fence up.
#[tokio::test]
async fn a_streamed_read_is_fenced_before_its_last_byte() {
    const BYTES: u64 = 4 << 20;
    let harness = Harness::new().await;
    harness.send(stamped(stamp_of(1, 8), b"x")).await.unwrap();
    let read = read_request(1, &[extent(0, BYTES)]);
    let mut replies = harness.client.clone().read_stream(read).await.unwrap().into_inner();
    replies.message().await.unwrap().expect("a reply");
    harness.fence(1, &[CLIENT], &[]).await;
    let end = loop {
        match replies.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a fenced read has succeeded"),
            Err(status) => break error_detail(&status),
        }
    };
    assert_eq!(end.code, ErrorCode::Stale);
}

#[tokio::test]
async fn a_drain_refuses_what_comes_late() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"a").await.unwrap();
    let drain = v1::DrainRequest { stamp: Some(stamp_of(1, CLIENT)), sequence: 5 };
    harness.client.clone().drain(drain).await.unwrap();
    let numbered = |sequence| v1::WriteRequest { sequence, ..write_request(1, 0, b"b") };
    assert_code(harness.send(numbered(5)).await, ErrorCode::OutOfStep);
    assert_eq!(harness.fetch(v1::ReadRequest { sequence: 6, ..read_request(1, &[extent(0, 1)]) }).await.unwrap(), b"a");
    harness.send(numbered(6)).await.unwrap();
    let other = v1::WriteRequest { stamp: Some(stamp_of(1, 8)), ..numbered(1) };
    harness.send(other).await.unwrap();
}

#[tokio::test]
async fn fences_come_with_the_registration_and_with_heartbeats() {
    let metadata = FakeMetadata::new("cluster-a");
    metadata.state().fences.incarnations = vec![ClientId::new(CLIENT).unwrap()];
    metadata.state().fences.deleted_files = vec![FileId::new(9).unwrap()];
    let harness = Harness::with(metadata).await;
    assert_code(harness.write(1, 0, b"a").await, ErrorCode::Stale);
    assert_code(
        harness.send(v1::WriteRequest { stamp: Some(stamp_of(1, 50)), ..write_request(9, 0, b"a") }).await,
        ErrorCode::Deleted,
    );
    harness.send(stamped(stamp_of(1, 20), b"a")).await.unwrap();
    {
        let mut state = harness.metadata.state();
        state.fences.incarnation_floor = 30;
        state.fences.live_below_floor = vec![ClientId::new(21).unwrap()];
    }
    until("a heartbeat brings the floor", async || harness.send(stamped(stamp_of(1, 20), b"b")).await.is_err()).await;
    assert_code(harness.send(stamped(stamp_of(1, 20), b"b")).await, ErrorCode::Stale);
    harness.send(stamped(stamp_of(1, 21), b"c")).await.unwrap();
    harness.send(stamped(stamp_of(1, 30), b"d")).await.unwrap();
}
