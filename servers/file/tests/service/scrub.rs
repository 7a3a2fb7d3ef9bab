//! The scrub: nothing on a sound store, exactly what is damaged on another, and no harm to anybody else.

use crate::harness::{Harness, extent, object};
use pfs_proto::v1;
use std::fs;
use std::path::{Path, PathBuf};
use tonic::Status;

const BLOCK: usize = 4096;

/// All replies of a scrub, put together.
async fn scrub(harness: &Harness, request: v1::ScrubRequest) -> Result<v1::ScrubReply, Status> {
    let mut replies = harness.client.clone().scrub(request).await?.into_inner();
    let mut sum = v1::ScrubReply::default();
    while let Some(reply) = replies.message().await? {
        let v1::ScrubReply { objects_done, objects_total, bytes_done, damage } = reply;
        assert!(objects_done >= sum.objects_done && bytes_done >= sum.bytes_done && objects_done <= objects_total);
        (sum.objects_done, sum.objects_total, sum.bytes_done) = (objects_done, objects_total, bytes_done);
        sum.damage.extend(damage);
    }
    Ok(sum)
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| u8::try_from((i * i / 7 + i) % 251).unwrap()).collect()
}

/// The file of an object, in whatever folder it is.
fn object_file(directory: &Path, file: u64) -> PathBuf {
    let name = format!("{file:016x}.{:04x}", object(file).slot);
    let folders = fs::read_dir(directory.join("objects")).unwrap();
    let mut paths = folders.map(|folder| folder.unwrap().path().join(&name));
    paths.find(|path| path.exists()).expect("the object is there")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_sound_store_is_sound() {
    let harness = Harness::new().await;
    assert_eq!(scrub(&harness, v1::ScrubRequest::default()).await.unwrap(), v1::ScrubReply::default());
    for file in 1..=5 {
        harness.write(file, 0, &noise(3_000_000)).await.unwrap();
        // Past a hole, and in the middle of a block.
        harness.write(file, 10_000_000, b"far").await.unwrap();
    }
    harness.commit(&[1, 2]).await.unwrap();
    let all = scrub(&harness, v1::ScrubRequest::default()).await.unwrap();
    assert_eq!((all.objects_done, all.objects_total, all.bytes_done), (5, 5, 5 * 10_000_003));
    assert_eq!(all.damage, []);
    let some = v1::ScrubRequest { objects: vec![object(4), object(77), object(4)], bytes_per_second: 1 << 40 };
    let some = scrub(&harness, some).await.unwrap();
    assert_eq!((some.objects_done, some.objects_total, some.bytes_done), (2, 2, 10_000_003), "77 is not there");
    let harness = harness.restart(|_| ()).await;
    assert_eq!(scrub(&harness, v1::ScrubRequest::default()).await.unwrap(), all);
}

/// Blocks are compared before or after a write, never in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_no_damage() {
    let harness = Harness::new().await;
    harness.write(1, 0, &noise(2_000_000)).await.unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(());
    let writer = {
        let client = harness.client.clone();
        tokio::spawn(async move {
            let mut writes = 0usize;
            while !stopped.has_changed().unwrap() {
                let bytes = vec![u8::try_from(writes % 251).unwrap(); 100_000];
                let offset = u64::try_from(writes * 77_777 % 1_900_000).unwrap();
                client.clone().write(crate::harness::write_request(1, offset, &bytes)).await.unwrap();
                writes += 1;
            }
            stopped.mark_unchanged();
            writes
        })
    };
    for _ in 0..20 {
        let all = scrub(&harness, v1::ScrubRequest::default()).await.unwrap();
        assert_eq!(all.damage, []);
    }
    stop.send(()).unwrap();
    assert!(writer.await.unwrap() > 0);
}

#[tokio::test]
async fn damage_is_told_in_blocks() {
    let harness = Harness::new().await;
    for file in 1..=3 {
        harness.write(file, 0, &noise(5 * BLOCK + 100)).await.unwrap();
    }
    harness.commit(&[1, 2, 3]).await.unwrap();
    let harness = harness
        .restart(|directory| {
            flip(&object_file(directory, 2), 2 * BLOCK + 17);
            flip(&object_file(directory, 3), 5 * BLOCK + 99);
        })
        .await;
    let all = scrub(&harness, v1::ScrubRequest::default()).await.unwrap();
    let found: Vec<_> = all.damage.iter().map(|damage| (damage.object.unwrap(), damage.extent.unwrap())).collect();
    assert_eq!(found, [(object(2), extent(8192, 4096)), (object(3), extent(5 * 4096, 100))]);
    assert!(all.damage.iter().all(|damage| damage.problem.contains("checksum")), "{all:?}");
    let sound = v1::ScrubRequest { objects: vec![object(1)], ..Default::default() };
    assert_eq!(scrub(&harness, sound).await.unwrap().damage, []);
    // Written again, it is whole again.
    harness.write(2, 2 * BLOCK as u64, &noise(BLOCK)).await.unwrap();
    let again = v1::ScrubRequest { objects: vec![object(2)], ..Default::default() };
    assert_eq!(scrub(&harness, again).await.unwrap().damage, []);
}

/// A scrub that nobody waits for ends, and does not keep the server from ending; neither does one that somebody waits for.
#[tokio::test]
async fn a_scrub_ends_with_its_client_or_its_server() {
    let harness = Harness::new().await;
    harness.write(1, 0, &noise(100 * BLOCK)).await.unwrap();
    let slow = || v1::ScrubRequest { objects: Vec::new(), bytes_per_second: 1 };
    let abandoned = harness.client.clone().scrub(slow()).await.unwrap();
    drop(abandoned);
    let mut waiting = harness.client.clone().scrub(slow()).await.unwrap().into_inner();
    let (told, harness) = tokio::join!(
        async {
            loop {
                match waiting.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it cannot have come to its end"),
                    Err(status) => break status,
                }
            }
        },
        harness.restart(|_| ())
    );
    assert_eq!(told.code(), tonic::Code::Unavailable, "{told}");
    assert_eq!(scrub(&harness, v1::ScrubRequest::default()).await.unwrap().damage, []);
}

#[tokio::test]
async fn requests_that_name_too_much_are_refused() {
    let harness = Harness::new().await;
    let objects = vec![object(1); 65_537];
    let status = scrub(&harness, v1::ScrubRequest { objects, bytes_per_second: 0 }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange, "{status}");
    let no_file = v1::ScrubRequest { objects: vec![v1::ObjectId { file_id: 0, slot: 0 }], bytes_per_second: 0 };
    assert_eq!(scrub(&harness, no_file).await.unwrap_err().code(), tonic::Code::InvalidArgument);
}
