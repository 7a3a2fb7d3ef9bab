//! Bytes go in and come out: extents, holes, commits, restarts, truncations, removals.

use crate::harness::{
    CLIENT, Harness, assert_code, assert_status, extent, object, read_request, stamp_of, write_request,
};
use pfs_proto::status::ErrorCode;
use pfs_proto::v1;

#[tokio::test]
async fn many_extents_in_one_request() {
    let harness = Harness::new().await;
    let mut request = write_request(1, 0, b"abcdefghij");
    request.extents = vec![extent(100, 4), extent(1 << 33, 3), extent(0, 3)];
    harness.send(request).await.unwrap();
    let extents = [extent(98, 8), extent((1 << 33) + 1, 4), extent(0, 3)];
    let bytes = harness.fetch(read_request(1, &extents)).await.unwrap();
    assert_eq!(bytes, b"\0\0abcd\0\0fg\0\0hij");
    assert_eq!(harness.stat(1).await.length, (1 << 33) + 3);
}

/// Larger than a chunk and not aligned to one: every byte is at its place.
#[tokio::test]
async fn the_largest_request() {
    let harness = Harness::new().await;
    let bytes: Vec<u8> = (0..4u32 << 20).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let cuts = [0, 1000, 1_500_000, 1_500_001, 4 << 20];
    let mut request = write_request(1, 0, &bytes);
    request.extents = cuts.windows(2).map(|cut| extent(cut[0] + 7, cut[1] - cut[0])).collect();
    harness.send(request).await.unwrap();
    assert_eq!(harness.read(1, 7, 4 << 20).await.unwrap(), bytes);
}

#[tokio::test]
async fn an_object_is_made_once_and_reading_makes_none() {
    let harness = Harness::new().await;
    assert_eq!(harness.read(1, 5, 3).await.unwrap(), [0; 3]);
    assert!(!harness.stat(1).await.exists);
    for offset in 0..5 {
        harness.write(1, offset, b"x").await.unwrap();
    }
    assert!(harness.stat(1).await.exists);
    assert_eq!(harness.metadata.state().vouches, 1, "an object that is there needs no word of the metadata server");
}

#[tokio::test]
async fn commits_tell_lengths_and_survive_a_restart() {
    let harness = Harness::new().await;
    let first = harness.write(1, 0, b"hello").await.unwrap();
    for file in 2..40 {
        harness.write(file, file, b"x").await.unwrap();
    }
    let all: Vec<u64> = (1..41).collect();
    let reply = harness.commit(&all).await.unwrap();
    let mut lengths: Vec<u64> = vec![5];
    lengths.extend((2..40).map(|file| file + 1));
    lengths.push(0);
    assert_eq!(reply.object_lengths, lengths, "in the request's order, and 0 for the one that is not there");
    assert_eq!(reply.instance, first);

    let harness = harness.restart(|_| {}).await;
    assert_eq!(harness.read(1, 0, 6).await.unwrap(), b"hello\0");
    let again = harness.write(1, 5, b"!").await.unwrap();
    assert_eq!(again, first + 1, "another start is another instance");
    let ping = harness.client.clone().ping(v1::DataPingRequest {}).await.unwrap().into_inner();
    assert_eq!((ping.server_id, ping.instance, ping.cluster_id.as_str()), (1, again, "cluster-a"));
    assert_eq!(harness.metadata.state().objects_reported, 39);
}

/// The object was durable and its file is gone from the store: an error, never zeros.
#[tokio::test]
async fn a_lost_object_is_an_error() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"hello").await.unwrap();
    harness.commit(&[1]).await.unwrap();
    let harness = harness
        .restart(|directory| {
            let objects = std::fs::read_dir(directory.join("objects")).unwrap().map(|entry| entry.unwrap().path());
            let files = objects.filter(|path| path.is_dir()).flat_map(|bucket| std::fs::read_dir(bucket).unwrap());
            files.for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
        })
        .await;
    let mut request = read_request(1, &[extent(0, 5)]);
    request.must_exist = true;
    let text = assert_code(harness.fetch(request).await, ErrorCode::DataLoss);
    assert!(text.contains("file-1 slot 2") && text.contains("file-0"), "{text}");
    assert_eq!(harness.read(1, 0, 5).await.unwrap(), [0; 5], "who never made it durable sees a hole");
}

#[tokio::test]
async fn truncation() {
    let harness = Harness::new().await;
    harness.write(1, 0, b"hello world").await.unwrap();
    let truncate = async |size_generation, object_length| {
        let request = v1::TruncateRequest { size_generation, object: Some(object(1)), object_length };
        harness.client.clone().truncate(request).await.unwrap();
    };
    truncate(2, 5).await;
    truncate(3, 8).await;
    assert_eq!(harness.read(1, 0, 11).await.unwrap(), b"hello\0\0\0\0\0\0");
    assert_eq!(harness.stat(1).await.length, 8);
    truncate(2, 0).await;
    truncate(3, 0).await;
    assert_eq!(harness.stat(1).await.length, 8, "late repetitions are ignored");
}

#[tokio::test]
async fn a_removed_file_is_refused_and_others_stay() {
    let harness = Harness::new().await;
    for slot in 0..3 {
        let mut request = write_request(1, 0, b"x");
        request.object = Some(v1::ObjectId { file_id: 1, slot });
        harness.send(request).await.unwrap();
    }
    harness.write(2, 0, b"y").await.unwrap();
    harness.write(3, 0, b"z").await.unwrap();
    harness.metadata.state().files_end = 1;
    let remove = || harness.client.clone();
    let removed = remove().remove(v1::RemoveRequest { file_ids: vec![1] }).await.unwrap().into_inner().removed_objects;
    assert_eq!(removed, 3);
    let removed = remove().remove(v1::RemoveRequest { file_ids: vec![1] }).await.unwrap().into_inner().removed_objects;
    assert_eq!(removed, 0, "removing again does no harm");
    let both = v1::RemoveRequest { file_ids: vec![1, 3] };
    assert_eq!(remove().remove(both).await.unwrap().into_inner().removed_objects, 1);
    assert_code(harness.read(3, 0, 1).await, ErrorCode::Deleted);
    assert_code(harness.write(1, 0, b"x").await, ErrorCode::Deleted);
    assert_code(harness.read(1, 0, 1).await, ErrorCode::Deleted);
    assert_eq!(harness.read(2, 0, 1).await.unwrap(), b"y");
    let harness = harness.restart(|_| {}).await;
    assert_code(harness.write(1, 0, b"x").await, ErrorCode::Deleted);
    assert!(!harness.stat(1).await.exists);
}

#[tokio::test]
async fn no_object_without_the_word_of_the_metadata_server() {
    let harness = Harness::new().await;
    let text = assert_code(harness.write(5000, 0, b"x").await, ErrorCode::Deleted);
    assert!(text.contains("file-5000 slot 2"), "{text}");
    harness.metadata.state().silent = true;
    assert_code(harness.write(1, 0, b"x").await, ErrorCode::Unavailable);
    harness.metadata.state().silent = false;
    harness.write(1, 0, b"x").await.unwrap();
    harness.metadata.state().silent = true;
    harness.write(1, 1, b"y").await.unwrap();
    assert_eq!(harness.read(1, 0, 3).await.unwrap(), b"xy\0");
    let stamp = Some(stamp_of(1, CLIENT));
    let request = v1::StatRequest { stamp, object: Some(object(5000)) };
    assert!(!harness.client.clone().stat(request).await.unwrap().into_inner().exists);
}

fn allocate_request(
    file: u64,
    sequence: u64,
    extent: v1::ObjectExtent,
    allocation: v1::Allocation,
) -> v1::AllocateRequest {
    v1::AllocateRequest {
        stamp: Some(stamp_of(1, CLIENT)),
        sequence,
        object: Some(object(file)),
        extent: Some(extent),
        allocation: allocation.into(),
    }
}

/// Reserved space changes no byte and no length; a hole is zeros, and a length stays as it was.
#[tokio::test]
async fn space_is_reserved_and_given_back() {
    let harness = Harness::new().await;
    let mut client = harness.client.clone();
    let reserve = allocate_request(1, 1, extent(0, 1 << 20), v1::Allocation::Reserve);
    client.allocate(reserve).await.unwrap();
    let stat = harness.stat(1).await;
    assert!(stat.exists && stat.length == 0, "{stat:?}");
    harness.write(1, 0, &[7; 20_000]).await.unwrap();
    client.allocate(allocate_request(1, 2, extent(5000, 1 << 62), v1::Allocation::Punch)).await.unwrap();
    let mut expected = vec![7; 5000];
    expected.resize(20_000, 0);
    assert!(harness.read(1, 0, 20_000).await.unwrap() == expected);
    assert_eq!(harness.stat(1).await.length, 20_000);
    harness.commit(&[1]).await.unwrap();

    client.allocate(allocate_request(2, 3, extent(0, 10), v1::Allocation::Punch)).await.unwrap();
    assert!(!harness.stat(2).await.exists, "what is not there is a hole");
    let unknown = client.allocate(allocate_request(5000, 4, extent(0, 10), v1::Allocation::Reserve)).await;
    assert_status(unknown, ErrorCode::Deleted);
    let undecided = client.allocate(allocate_request(1, 5, extent(0, 10), v1::Allocation::Unspecified)).await;
    assert_status(undecided, ErrorCode::InvalidArgument);
    client.drain(v1::DrainRequest { stamp: Some(stamp_of(1, CLIENT)), sequence: 9 }).await.unwrap();
    let drained = client.allocate(allocate_request(1, 9, extent(0, 10), v1::Allocation::Punch)).await;
    assert_status(drained, ErrorCode::OutOfStep);
    harness.fence(1, &[CLIENT], &[]).await;
    let fenced = client.allocate(allocate_request(1, 10, extent(0, 10), v1::Allocation::Punch)).await;
    assert_status(fenced, ErrorCode::Stale);
}
