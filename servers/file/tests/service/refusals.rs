//! What is refused changes nothing.

use crate::harness::{
    Harness, assert_code, assert_status, client_of, extent, object, read_request, stamp_of, write_request,
};
use pfs_proto::secret::Secret;
use pfs_proto::status::ErrorCode;
use pfs_proto::v1;

#[tokio::test]
async fn inconsistent_and_oversized_requests_write_nothing() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"untouched").await.unwrap();
    let request = || write_request(1, 0, b"garbage!!");
    let extents = |extents: &[v1::ObjectExtent]| v1::WriteRequest { extents: extents.to_vec(), ..request() };
    let large = vec![7; (4 << 20) + 1];
    let huge = vec![7; 9 << 20];
    let invalid = ErrorCode::InvalidArgument;
    for (name, request, code) in [
        ("no stamp", v1::WriteRequest { stamp: None, ..request() }, ErrorCode::Stale),
        ("no boot", v1::WriteRequest { stamp: Some(stamp_of(0, 7)), ..request() }, invalid),
        ("no object", v1::WriteRequest { object: None, ..request() }, invalid),
        ("file 0", v1::WriteRequest { object: Some(object(0)), ..request() }, invalid),
        ("slot", v1::WriteRequest { object: Some(v1::ObjectId { file_id: 1, slot: 9999 }), ..request() }, invalid),
        ("no extents", extents(&[]), invalid),
        ("short extents", extents(&[extent(0, 8)]), invalid),
        ("long extents", extents(&[extent(0, 8), extent(20, 2)]), invalid),
        ("empty extent", extents(&[extent(0, 9), extent(20, 0)]), invalid),
        ("past the end", extents(&[extent(u64::MAX - 4, 9)]), invalid),
        ("past the largest file", extents(&[extent(i64::MAX as u64 - 8, 9)]), invalid),
        ("many extents", extents(&vec![extent(0, 1); 4097]), ErrorCode::TooLarge),
        ("large", write_request(1, 0, &large), ErrorCode::TooLarge),
        ("huge", write_request(1, 0, &huge), ErrorCode::TooLarge),
    ] {
        let text = assert_code(harness.send(request).await, code);
        assert!(!text.is_empty(), "{name}");
    }
    for (request, code) in [
        (v1::ReadRequest { stamp: None, ..read_request(1, &[extent(0, 1)]) }, ErrorCode::Stale),
        (read_request(1, &[]), invalid),
        (read_request(1, &[extent(0, (4 << 20) + 1)]), ErrorCode::TooLarge),
    ] {
        assert_code(harness.fetch(request).await, code);
    }
    assert_eq!(harness.read(1, 0, 12).await.unwrap(), b"untouched\0\0\0");
    assert_eq!(harness.stat(1).await.length, 9);
}

#[tokio::test]
async fn other_calls_check_their_arguments() {
    let harness = Harness::new().await;
    let client = || harness.client.clone();
    let commit = v1::CommitRequest { stamp: None, objects: vec![object(1)] };
    assert_status(client().commit(commit).await, ErrorCode::Stale);
    let stat = v1::StatRequest { stamp: None, object: Some(object(1)) };
    assert_status(client().stat(stat).await, ErrorCode::Stale);
    let truncate = v1::TruncateRequest { size_generation: 0, object: Some(object(1)), object_length: 1 };
    assert_status(client().truncate(truncate).await, ErrorCode::InvalidArgument);
    assert_status(client().remove(v1::RemoveRequest { file_ids: vec![0] }).await, ErrorCode::InvalidArgument);
    let fence = v1::FenceRequest { boot_floor: 0, incarnations: vec![1], groups: vec![], objects: vec![] };
    assert_status(client().fence(fence).await, ErrorCode::InvalidArgument);
    let drain = v1::DrainRequest { stamp: None, sequence: 1 };
    assert_status(client().drain(drain).await, ErrorCode::Stale);
}

#[tokio::test]
async fn strangers_get_no_answer() {
    let harness = Harness::new().await;
    let mut stranger = client_of(&harness.server, &Secret::new([1; 32]));
    assert_status(stranger.write(write_request(1, 0, b"x")).await, ErrorCode::Unauthenticated);
    assert_status(stranger.remove(v1::RemoveRequest { file_ids: vec![1] }).await, ErrorCode::Unauthenticated);
    assert_status(stranger.ping(v1::DataPingRequest {}).await, ErrorCode::Unauthenticated);
    assert!(!harness.stat(1).await.exists);
    assert_eq!(harness.metadata.state().vouches, 0);
}

/// The object's file would be larger than the file system takes.
#[tokio::test]
async fn an_offset_that_the_disk_does_not_take_is_refused() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"x").await.unwrap();
    let result = harness.write(1, i64::MAX as u64 - 1, b"x").await;
    // Some file systems take it.
    if result.is_err() {
        let text = assert_code(result, ErrorCode::InvalidArgument);
        assert!(text.contains("file-1 slot 2"), "{text}");
    }
    assert_eq!(harness.read(1, 0, 1).await.unwrap(), b"x");
}
