//! Damage is told, and what a killed server leaves is no damage.
//!
//! A bit that flips in an object's file or in its checksum file must never pass as data: not at the reader of a whole block, who
//! gets the stored checksum, not in the store, which compares a block before it takes or changes a part of it, and not in
//! `verify`. A server that is killed leaves checksums behind its bytes; that must be put right, and must not hide damage.

use super::super::checksums_of;
use super::*;
use pfs_core::extent::ObjectOffset;
use pfs_proto::status::ErrorCode;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

const REGION: u64 = super::regions::REGION_BYTES;

fn object(file: u64) -> ObjectId {
    ObjectId { file: FileId::new(file).unwrap(), slot: 3 }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn open(directory: &Path) -> PosixStore {
    PosixStore::open(directory, PosixOptions::default()).unwrap()
}

fn write(store: &PosixStore, object: ObjectId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let extents = [extent(offset, bytes.len() as u64)];
    let checksums: Vec<_> = checksums_of(&extents, bytes).collect();
    store.write(object, &extents, &[bytes], &checksums)
}

/// Bytes, and whether they agree with the checksums that came with them.
fn read(store: &PosixStore, object: ObjectId, offset: u64, length: usize) -> Result<(Vec<u8>, bool), StoreError> {
    let (extents, mut bytes, mut checksums) = ([extent(offset, length as u64)], vec![0xaa; length], Vec::new());
    store.read(object, &extents, &mut bytes, &mut checksums)?;
    let agree = checksums_of(&extents, &bytes).eq(checksums.iter().copied());
    Ok((bytes, agree))
}

fn damaged(store: &PosixStore, object: ObjectId) -> Vec<ObjectExtent> {
    store.verify(object, 0..u64::MAX).unwrap().into_iter().map(|damage| damage.extent).collect()
}

/// The files of an object in their directory: bytes, or checksums.
fn file_of(directory: &Path, object: ObjectId, suffix: &str) -> PathBuf {
    let bucket = format!("{:03x}", super::bucket::index(object.file));
    directory.join(bucket).join(format!("{:016x}.{:04x}{suffix}", object.file.get(), object.slot))
}

fn flip(path: &Path, byte: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut there = [0];
    file.read_exact_at(&mut there, byte).unwrap();
    file.write_all_at(&[there[0] ^ 0x10], byte).unwrap();
}

/// A store whose process is killed: nothing more is written, and its files stay as they are.
fn kill(store: PosixStore) {
    std::mem::forget(store);
}

/// A committed object of three blocks and a half, in a store that was shut down.
fn shut_down_store(directory: &Path) -> Vec<u8> {
    let bytes: Vec<u8> = (0..14_000u32).map(|i| (i % 241) as u8 + 1).collect();
    let store = open(directory);
    store.create(object(1)).unwrap();
    write(&store, object(1), 0, &bytes).unwrap();
    store.commit(object(1)).unwrap();
    bytes
}

#[test]
fn a_flipped_bit_is_told_wherever_it_is() {
    for (suffix, byte, block) in [("", 5000, 4096), ("", 13_999, 12_288), (".sums", 0, 0), (".sums", 15, 12_288)] {
        let directory = tempfile::tempdir().unwrap();
        let bytes = shut_down_store(directory.path());
        flip(&file_of(directory.path(), object(1), suffix), byte);
        let store = open(directory.path());
        assert_eq!(store.recovered(), Recovered::default());
        let length = 4096.min(14_000 - block);
        assert_eq!(damaged(&store, object(1)), [extent(block, length)], "byte {byte} of {suffix:?}");
        assert!(!read(&store, object(1), block, 4096).unwrap().1, "the reader of the block is not misled");
        let error = read(&store, object(1), block + 10, 20).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DataLoss);
        let text = error.to_string();
        for part in ["file-1 slot 3", &directory.path().display().to_string(), &format!("{length} bytes at {block}")] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        let error = write(&store, object(1), block + 10, b"new").unwrap_err();
        assert_eq!(error.code(), ErrorCode::DataLoss, "damage is not summed as if it were right");
        let other = if block == 0 { 4096 } else { 0 };
        assert_eq!(read(&store, object(1), other, 4096).unwrap(), (bytes[other as usize..][..4096].to_vec(), true));
        write(&store, object(1), block, &[7; 4096]).unwrap();
        assert_eq!(damaged(&store, object(1)), [], "a block that is written anew is whole again");
    }
}

#[test]
fn damage_outlives_a_truncation_into_it() {
    let directory = tempfile::tempdir().unwrap();
    shut_down_store(directory.path());
    flip(&file_of(directory.path(), object(1), ""), 5000);
    let store = open(directory.path());
    store.truncate(object(1), 6000, 1).unwrap();
    assert_eq!(damaged(&store, object(1)), [extent(4096, 6000 - 4096)]);
    store.truncate(object(1), 4096, 2).unwrap();
    assert_eq!(damaged(&store, object(1)), []);
}

#[test]
fn a_missing_or_short_checksum_file_is_damage() {
    for length in [None, Some(4)] {
        let directory = tempfile::tempdir().unwrap();
        shut_down_store(directory.path());
        let sums = file_of(directory.path(), object(1), ".sums");
        match length {
            None => fs::remove_file(&sums).unwrap(),
            Some(length) => OpenOptions::new().write(true).open(&sums).unwrap().set_len(length).unwrap(),
        }
        let store = open(directory.path());
        let kept = length.unwrap_or(0) / 4 * 4096;
        assert_eq!(damaged(&store, object(1)), [extent(kept, 14_000 - kept)]);
        match read(&store, object(1), 4096, 4096) {
            Ok((_, agree)) => assert!(!agree),
            Err(error) => assert_eq!(error.code(), ErrorCode::DataLoss, "{error}"),
        }
        assert_eq!(store.stat(object(1)).unwrap().unwrap().length, 14_000);
        assert_eq!(store.remove_file(object(1).file).unwrap(), 1);
    }
}

/// A clean unit is in memory, and its file is damaged behind it.
#[test]
fn damage_of_checksums_in_use_is_told_by_verify() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = shut_down_store(directory.path());
    let store = open(directory.path());
    assert_eq!(read(&store, object(1), 0, 4096).unwrap(), (bytes[..4096].to_vec(), true));
    flip(&file_of(directory.path(), object(1), ".sums"), 5);
    assert_eq!(damaged(&store, object(1)), [extent(4096, 4096)]);
    assert!(store.verify(object(1), 0..1).unwrap().is_empty());
}

#[test]
fn a_killed_store_is_put_right() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = shut_down_store(directory.path());
    let store = open(directory.path());
    write(&store, object(1), 4000, b"overwritten and not committed").unwrap();
    bytes[4000..4029].copy_from_slice(b"overwritten and not committed");
    store.create(object(2)).unwrap();
    write(&store, object(2), 10, b"never committed").unwrap();
    store.create(object(3)).unwrap();
    write(&store, object(3), 0, &[1; 9000]).unwrap();
    store.commit(object(3)).unwrap();
    kill(store);
    let store = open(directory.path());
    let expected = Recovered { uncommitted_objects: 1, open_regions: 1, torn_blocks: 1, stray_files: 0 };
    assert_eq!(store.recovered(), expected);
    assert_eq!(read(&store, object(1), 0, 14_000).unwrap(), (bytes, true));
    assert_eq!(read(&store, object(2), 8, 19).unwrap(), (b"\0\0never committed\0\0".to_vec(), true));
    (1..=3).for_each(|file| assert_eq!(damaged(&store, object(file)), []));
    drop(store);
    assert_eq!(open(directory.path()).recovered(), Recovered::default(), "it was shut down in order");
}

/// What is summed again is bounded by what was open: damage elsewhere is told after a crash too.
#[test]
fn recovery_hides_no_damage_beyond_open_regions() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for (file, offset) in [(1, 0), (1, REGION), (1, 3 * REGION), (2, 0)] {
        store.create(object(file)).unwrap();
        write(&store, object(file), offset, &[1; 8192]).unwrap();
        store.commit(object(file)).unwrap();
    }
    write(&store, object(1), REGION + 5, b"open").unwrap();
    kill(store);
    for (file, byte) in [(1, 4096), (1, REGION + 4096), (1, 3 * REGION), (2, 1)] {
        flip(&file_of(directory.path(), object(file), ""), byte);
    }
    let store = open(directory.path());
    assert_eq!((store.recovered().open_regions, store.recovered().torn_blocks), (1, 2));
    assert_eq!(damaged(&store, object(1)), [extent(4096, 4096), extent(3 * REGION, 4096)]);
    assert_eq!(damaged(&store, object(2)), [extent(0, 4096)]);
}

#[test]
fn a_commit_closes_what_it_covers() {
    let directory = tempfile::tempdir().unwrap();
    shut_down_store(directory.path());
    let store = open(directory.path());
    assert!(store.shared.marks.is_empty());
    write(&store, object(1), 0, b"x").unwrap();
    assert!(!store.shared.marks.is_empty(), "a committed object is marked before it is written");
    store.commit(object(1)).unwrap();
    assert!(store.shared.marks.is_empty());
    store.create(object(2)).unwrap();
    write(&store, object(2), 0, b"x").unwrap();
    assert!(store.shared.marks.is_empty(), "one that never was is known by its checksum file");
    store.commit(object(2)).unwrap();
    write(&store, object(2), 0, b"y").unwrap();
    assert!(!store.shared.marks.is_empty());
    store.remove_file(object(2).file).unwrap();
    assert!(store.shared.marks.is_empty(), "what is removed needs no mark");
    write(&store, object(1), 0, b"z").unwrap();
    store.truncate(object(1), 5, 1).unwrap();
    assert!(store.shared.marks.is_empty(), "a truncation makes everything durable");
}

#[test]
fn stray_checksums_of_a_crash_go() {
    let directory = tempfile::tempdir().unwrap();
    shut_down_store(directory.path());
    kill(open(directory.path()));
    fs::remove_file(file_of(directory.path(), object(1), "")).unwrap();
    fs::write(file_of(directory.path(), object(1), ".sums-new"), "early").unwrap();
    let store = open(directory.path());
    assert_eq!(store.recovered(), Recovered { stray_files: 2, ..Recovered::default() });
    assert!(!file_of(directory.path(), object(1), ".sums").exists());
    assert_eq!(store.list().unwrap(), []);
}

/// The table in memory gives way, and what it had is read again.
#[test]
fn closed_objects_have_their_checksums_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = PosixStore::open(directory.path(), PosixOptions { open_objects_max: 1 }).unwrap();
    for file in 1..=6 {
        store.create(object(file)).unwrap();
        write(&store, object(file), 1000 * file, &[3; 20_000]).unwrap();
    }
    for file in 1..=6 {
        assert_eq!(read(&store, object(file), 1000 * file, 20_000).unwrap(), (vec![3; 20_000], true));
        assert_eq!(damaged(&store, object(file)), []);
    }
    assert!(store.shared.units.get() <= 2, "units go with their object");
}

/// A sparse object of a tebibyte: neither recovery nor `verify` reads its holes.
#[test]
fn holes_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.create(object(1)).unwrap();
    write(&store, object(1), 1 << 40, b"end").unwrap();
    kill(store);
    let store = open(directory.path());
    assert_eq!(store.recovered().uncommitted_objects, 1);
    assert_eq!(damaged(&store, object(1)), []);
    flip(&file_of(directory.path(), object(1), ""), 1 << 40);
    assert_eq!(damaged(&store, object(1)), [extent(1 << 40, 3)]);
    store.truncate(object(1), 10, 1).unwrap();
    assert_eq!(damaged(&store, object(1)), []);
}
