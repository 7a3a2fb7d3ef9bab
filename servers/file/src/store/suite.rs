//! One suite for every store: each promise of [`ObjectStore`] that needs no failing disk.

use super::*;
use pfs_core::extent::{MAX_FILE_BYTES, ObjectOffset};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn object(file: u64, slot: u32) -> ObjectId {
    ObjectId { file: FileId::new(file).unwrap(), slot }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn read(store: &dyn ObjectStore, object: ObjectId, extents: &[ObjectExtent]) -> Vec<u8> {
    let length = extents.iter().map(|extent| extent.length()).sum::<u64>();
    let mut bytes = vec![0xaa; usize::try_from(length).unwrap()];
    let mut checksums = Vec::new();
    store.read(object, extents, &mut bytes, &mut checksums).unwrap();
    assert_eq!(checksums, checksums_of(extents, &bytes).collect::<Vec<_>>());
    bytes
}

fn write(
    store: &dyn ObjectStore,
    object: ObjectId,
    extents: &[ObjectExtent],
    payload: &[u8],
) -> Result<(), StoreError> {
    let checksums: Vec<_> = checksums_of(extents, payload).collect();
    store.write(object, extents, &[payload], &checksums)
}

fn nothing_is_made_unasked(store: &dyn ObjectStore) {
    let missing = object(1, 0);
    let mut untouched = [0xaa; 4];
    assert!(matches!(
        store.read(missing, &[extent(0, 4)], &mut untouched, &mut Vec::new()),
        Err(StoreError::Missing { .. })
    ));
    assert_eq!(untouched, [0xaa; 4]);
    assert!(matches!(write(store, missing, &[extent(0, 4)], b"data"), Err(StoreError::Missing { .. })));
    assert_eq!(store.commit(missing).unwrap(), None);
    assert_eq!(store.stat(missing).unwrap(), None);
    assert!(!store.is_at_hand(missing));
    store.truncate(missing, 100, 1).unwrap();
    assert_eq!(store.remove_file(missing.file).unwrap(), 0);
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(store.space().unwrap().objects, 0);
}

fn one_write_fills_many_extents(store: &dyn ObjectStore) {
    let id = object(2, 7);
    store.create(id).unwrap();
    assert_eq!(store.stat(id).unwrap().unwrap().length, 0);
    assert!(store.is_at_hand(id), "it was used just now");
    let extents = [extent(10, 3), extent(100_000, 2), extent(13, 1), extent(0, 1)];
    write(store, id, &extents, b"abcdefg").unwrap();
    assert_eq!(read(store, id, &[extent(0, 16)]), b"g\0\0\0\0\0\0\0\0\0abcf\0\0");
    assert_eq!(read(store, id, &[extent(99_999, 4), extent(12, 2)]), b"\0de\0cf");
    assert_eq!(store.stat(id).unwrap().unwrap().length, 100_002);
    assert_eq!(store.commit(id).unwrap(), Some(100_002));
    store.create(id).unwrap();
    assert_eq!(read(store, id, &[extent(10, 3)]), b"abc", "making it again changes nothing");
}

fn past_the_end_is_zero(store: &dyn ObjectStore) {
    let id = object(3, 0);
    store.create(id).unwrap();
    assert_eq!(read(store, id, &[extent(MAX_FILE_BYTES - 8, 8)]), [0; 8]);
    write(store, id, &[extent(0, 5)], b"hello").unwrap();
    assert_eq!(read(store, id, &[extent(3, 4), extent(5000, 2)]), b"lo\0\0\0\0");
    assert_eq!(store.stat(id).unwrap().unwrap().length, 5, "reading makes nothing longer");
}

fn truncation_cuts_and_extends(store: &dyn ObjectStore) {
    let id = object(4, 1);
    store.create(id).unwrap();
    write(store, id, &[extent(0, 10_000)], &[7; 10_000]).unwrap();
    store.truncate(id, 5000, 1).unwrap();
    assert_eq!(store.commit(id).unwrap(), Some(5000));
    store.truncate(id, 9000, 2).unwrap();
    assert_eq!(store.commit(id).unwrap(), Some(9000));
    assert_eq!(read(store, id, &[extent(4998, 4)]), [7, 7, 0, 0], "what was cut does not come back");
    store.truncate(id, 0, 3).unwrap();
    assert_eq!(read(store, id, &[extent(0, 3)]), [0; 3]);
    assert_eq!(store.commit(id).unwrap(), Some(0));
}

fn late_truncations_are_ignored(store: &dyn ObjectStore) {
    let id = object(5, 0);
    store.truncate(id, 0, 4).unwrap();
    store.create(id).unwrap();
    write(store, id, &[extent(0, 4)], b"data").unwrap();
    for generation in 1..=4 {
        store.truncate(id, 0, generation).unwrap();
        assert_eq!(read(store, id, &[extent(0, 4)]), b"data", "generation {generation} was applied before the write");
    }
    store.truncate(id, 2, 5).unwrap();
    assert_eq!(read(store, id, &[extent(0, 4)]), b"da\0\0");
    store.truncate(object(5, 1), 0, 1).unwrap();
}

fn a_removal_takes_all_slots_of_one_file(store: &dyn ObjectStore) {
    let before = store.space().unwrap().objects;
    for id in [object(6, 0), object(6, 1), object(6, 4095), object(7, 0)] {
        store.create(id).unwrap();
        write(store, id, &[extent(0, 1)], b"x").unwrap();
    }
    assert_eq!(store.space().unwrap().objects, before + 4);
    assert_eq!(store.remove_file(object(6, 0).file).unwrap(), 3);
    assert_eq!(store.remove_file(object(6, 0).file).unwrap(), 0);
    assert_eq!(store.stat(object(6, 1)).unwrap(), None);
    assert!(!store.is_at_hand(object(6, 0)));
    assert!(store.stat(object(7, 0)).unwrap().is_some());
    assert_eq!(store.space().unwrap().objects, before + 1);
    assert!(store.list().unwrap().contains(&object(7, 0)));
    store.create(object(6, 0)).unwrap();
    assert_eq!(store.stat(object(6, 0)).unwrap().unwrap().length, 0, "nothing of the old object is left");
}

/// Threads that write their own bytes, commit, and read: nobody's bytes are lost.
fn threads_share_objects(store: &dyn ObjectStore) {
    const THREADS: u64 = 8;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for round in 0..20 {
                    let id = object(20 + round % 3, 0);
                    let mine = [extent((round * THREADS + thread) * 16, 8)];
                    let bytes = [u8::try_from(thread + 1).unwrap(); 8];
                    store.create(id).unwrap();
                    write(store, id, &mine, &bytes).unwrap();
                    assert!(store.commit(id).unwrap().unwrap() >= mine[0].end().0);
                    assert_eq!(read(store, id, &mine), bytes);
                }
            });
        }
    });
    for (round, thread) in (0..20).flat_map(|round| (0..THREADS).map(move |thread| (round, thread))) {
        let mine = extent((round * THREADS + thread) * 16, 8);
        assert_eq!(read(store, object(20 + round % 3, 0), &[mine]), [u8::try_from(thread + 1).unwrap(); 8]);
    }
}

fn all(store: &dyn ObjectStore) {
    nothing_is_made_unasked(store);
    one_write_fills_many_extents(store);
    past_the_end_is_zero(store);
    truncation_cuts_and_extends(store);
    late_truncations_are_ignored(store);
    a_removal_takes_all_slots_of_one_file(store);
    threads_share_objects(store);
}

#[test]
fn the_memory_store_keeps_its_promises() {
    all(&MemoryStore::default());
}

#[test]
fn the_posix_store_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    all(&PosixStore::open(directory.path(), PosixOptions::default()).unwrap());
}

#[test]
fn the_posix_store_keeps_its_promises_with_one_open_file() {
    let directory = tempfile::tempdir().unwrap();
    all(&PosixStore::open(directory.path(), PosixOptions { open_objects_max: 1 }).unwrap());
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<(u64, u64)>, u8),
    Read(u64, u64, u64),
    Truncate(u64, u64),
    Commit(u64),
    Remove(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let file = 1u64..3;
    let extents = prop::collection::vec((0u64..9000, 1u64..3000), 1..4);
    prop_oneof![
        4 => (file.clone(), extents, any::<u8>()).prop_map(|(file, extents, seed)| Step::Write(file, extents, seed)),
        4 => (file.clone(), 0u64..14_000, 1u64..5000).prop_map(|(file, offset, length)| Step::Read(file, offset, length)),
        1 => (file.clone(), 0u64..14_000).prop_map(|(file, length)| Step::Truncate(file, length)),
        1 => file.clone().prop_map(Step::Commit),
        1 => file.prop_map(Step::Remove),
    ]
}

/// Runs the steps against plain vectors of bytes.
fn follow_the_model(store: &dyn ObjectStore, steps: Vec<Step>) {
    let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for (generation, step) in (1..).zip(steps) {
        match step {
            Step::Write(file, extents, seed) => {
                let total: u64 = extents.iter().map(|(_, length)| length).sum();
                let payload: Vec<u8> = (0..total).map(|i| seed.wrapping_add((i % 251) as u8)).collect();
                let strict: Vec<_> = extents.iter().map(|&(offset, length)| extent(offset, length)).collect();
                store.create(object(file, 0)).unwrap();
                write(store, object(file, 0), &strict, &payload).unwrap();
                let bytes = model.entry(file).or_default();
                let mut rest = &payload[..];
                for (offset, length) in extents {
                    let (start, end) = (offset as usize, (offset + length) as usize);
                    bytes.resize(bytes.len().max(end), 0);
                    let (part, after) = rest.split_at(end - start);
                    bytes[start..end].copy_from_slice(part);
                    rest = after;
                }
            }
            Step::Read(file, offset, length) => {
                let Some(bytes) = model.get(&file) else { continue };
                let at = |i: u64| bytes.get(i as usize).copied().unwrap_or(0);
                let expected: Vec<u8> = (offset..offset + length).map(at).collect();
                assert_eq!(read(store, object(file, 0), &[extent(offset, length)]), expected);
            }
            Step::Truncate(file, length) => {
                store.truncate(object(file, 0), length, generation).unwrap();
                model.entry(file).and_modify(|bytes| bytes.resize(length as usize, 0));
            }
            Step::Commit(file) => {
                let length = model.get(&file).map(|bytes| bytes.len() as u64);
                assert_eq!(store.commit(object(file, 0)).unwrap(), length);
            }
            Step::Remove(file) => {
                let there = u64::from(model.remove(&file).is_some());
                assert_eq!(store.remove_file(object(file, 0).file).unwrap(), there);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_memory_store_is_an_array_of_bytes(steps in prop::collection::vec(step(), 0..40)) {
        follow_the_model(&MemoryStore::default(), steps);
    }
}

/// Fewer cases: each makes a store, and its commits reach the disk.
#[test]
fn the_posix_store_is_an_array_of_bytes() {
    let config = ProptestConfig::with_cases(12);
    proptest::test_runner::TestRunner::new(config)
        .run(&prop::collection::vec(step(), 20..60), |steps| {
            let directory = tempfile::tempdir().unwrap();
            follow_the_model(&PosixStore::open(directory.path(), PosixOptions { open_objects_max: 1 }).unwrap(), steps);
            Ok(())
        })
        .unwrap();
}
