//! One suite for every store: each promise of [`ObjectStore`] that needs no failing disk.

use super::disk::{FaultyDisk, RealDisk, SimDisk};
use super::faulty::{Call, Fault, FaultyStore, Rule};
use super::*;
use pfs_core::extent::{MAX_FILE_BYTES, ObjectOffset};
use pfs_proto::status::ErrorCode;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

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

/// Bytes that differ from those of another seed and offset.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| seed.wrapping_mul(31).wrapping_add((i % 251) as u8) | 1).collect()
}

fn assert_undamaged(store: &dyn ObjectStore, object: ObjectId) {
    assert_eq!(store.verify(object, 0..u64::MAX).unwrap(), []);
}

/// Writes that begin and end inside blocks, in and around blocks that were written whole.
fn partial_blocks_keep_their_neighbours(store: &dyn ObjectStore) {
    let id = object(8, 0);
    store.create(id).unwrap();
    let mut model = pattern(1, 5 * 4096 + 77);
    write(store, id, &[extent(0, model.len() as u64)], &model).unwrap();
    store.commit(id).unwrap();
    for (seed, start, length) in [(2, 4000, 200), (3, 4096, 4096), (4, 8191, 4098), (5, 20_500, 3), (6, 20_557, 5000)] {
        let bytes = pattern(seed, length);
        model.resize(model.len().max(start + length), 0);
        model[start..start + length].copy_from_slice(&bytes);
        write(store, id, &[extent(start as u64, length as u64)], &bytes).unwrap();
        assert_eq!(store.stat(id).unwrap().unwrap().length, model.len() as u64);
        assert_eq!(read(store, id, &[extent(0, model.len() as u64)]), model, "after {length} bytes at {start}");
        assert_eq!(read(store, id, &[extent(start as u64 + 1, 2)]), model[start + 1..start + 3]);
        assert_undamaged(store, id);
    }
}

/// Its checksum is that of the block filled up with zeros, so the object may grow over it.
fn the_last_block_grows(store: &dyn ObjectStore) {
    let id = object(9, 0);
    store.create(id).unwrap();
    write(store, id, &[extent(0, 100)], &pattern(1, 100)).unwrap();
    write(store, id, &[extent(9000, 1)], b"x").unwrap();
    assert_eq!(read(store, id, &[extent(0, 8192)])[..101], [&pattern(1, 100)[..], &[0]].concat());
    store.truncate(id, 50, 1).unwrap();
    store.truncate(id, 4000, 2).unwrap();
    assert_eq!(read(store, id, &[extent(0, 4096)])[..52], [&pattern(1, 50)[..], &[0, 0]].concat());
    write(store, id, &[extent(3999, 5000)], &pattern(2, 5000)).unwrap();
    assert_eq!(read(store, id, &[extent(3998, 5002)])[..], [&[0][..], &pattern(2, 5000), &[0]].concat());
    assert_undamaged(store, id);
    store.truncate(id, 8192, 3).unwrap();
    store.truncate(id, 1 << 30, 4).unwrap();
    assert_eq!(read(store, id, &[extent(8190, 5000)])[2..], [0; 4998]);
    assert_undamaged(store, id);
}

fn space_is_taken_and_given_back(store: &dyn ObjectStore) {
    let id = object(10, 0);
    assert!(matches!(store.allocate(id, extent(0, 1)), Err(StoreError::Missing { .. })));
    assert!(matches!(store.punch(id, extent(0, 1)), Err(StoreError::Missing { .. })));
    assert!(matches!(store.verify(id, 0..1), Err(StoreError::Missing { .. })));
    store.create(id).unwrap();
    let mut model = pattern(1, 3 << 20);
    write(store, id, &[extent(0, model.len() as u64)], &model).unwrap();
    store.allocate(id, extent(1 << 20, 4 << 20)).unwrap();
    assert_eq!(store.stat(id).unwrap().unwrap().length, 3 << 20, "taking space makes nothing longer");
    for (start, end) in [(10, 20), (5000, 20_000), (1 << 20, 2 << 20), ((3 << 20) - 5000, 9 << 20)] {
        store.punch(id, extent(start as u64, end as u64 - start as u64)).unwrap();
        let length = model.len();
        model[start..end.min(length)].fill(0);
        assert_eq!(store.stat(id).unwrap().unwrap().length, 3 << 20, "a hole changes no length");
        assert_eq!(read(store, id, &[extent(0, length as u64)]), model, "after a hole from {start} to {end}");
        assert_undamaged(store, id);
    }
    store.commit(id).unwrap();
    write(store, id, &[extent(6000, 4)], b"data").unwrap();
    assert_eq!(read(store, id, &[extent(5998, 8)]), b"\0\0data\0\0");
}

/// What need not wait is the same; what has to wait does nothing that a later call does not make good.
fn some_calls_do_not_wait(store: &dyn ObjectStore) {
    let id = object(11, 0);
    let (whole, part) = ([extent(0, 8192)], [extent(100, 5000)]);
    assert!(!store.read_now(id, &whole, &mut [0; 8192], &mut Vec::new()).unwrap_or(false));
    store.create(id).unwrap();
    for (seed, extents) in [(1, whole), (2, part), (3, part)] {
        let bytes = pattern(seed, usize::try_from(extents[0].length()).unwrap());
        let checksums: Vec<_> = checksums_of(&extents, &bytes).collect();
        if !store.write_now(id, &extents, &[&bytes], &checksums).unwrap() {
            store.write(id, &extents, &[&bytes], &checksums).unwrap();
        }
        let (mut into, mut found) = (vec![0; bytes.len()], vec![Checksum(7)]);
        match store.read_now(id, &extents, &mut into, &mut found).unwrap() {
            true => assert_eq!((into, &found[1..]), (bytes, &checksums[..])),
            false => assert_eq!(found, [Checksum(7)], "what had to wait told nothing"),
        }
        store.commit(id).unwrap();
    }
    assert_undamaged(store, id);
}

/// Blocks are compared before or after a write, and never in between.
fn what_is_being_written_is_not_damaged(store: &dyn ObjectStore) {
    const ROUNDS: u8 = 60;
    let id = object(12, 0);
    store.create(id).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                let start = u64::from(round) * 1777 % 9000;
                write(store, id, &[extent(start, 70_000), extent(start, 9)], &pattern(round, 70_009)).unwrap();
                if round % 8 == 0 {
                    store.commit(id).unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            assert_undamaged(store, id);
            // The reader compares blocks with what was stored for them.
            read(store, id, &[extent(0, 80_000), extent(5000, 3)]);
        }
    });
    assert_undamaged(store, id);
}

fn all(store: &dyn ObjectStore) {
    nothing_is_made_unasked(store);
    one_write_fills_many_extents(store);
    past_the_end_is_zero(store);
    truncation_cuts_and_extends(store);
    late_truncations_are_ignored(store);
    a_removal_takes_all_slots_of_one_file(store);
    threads_share_objects(store);
    partial_blocks_keep_their_neighbours(store);
    the_last_block_grows(store);
    space_is_taken_and_given_back(store);
    some_calls_do_not_wait(store);
    what_is_being_written_is_not_damaged(store);
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
fn the_posix_store_keeps_its_promises_on_other_disks() {
    let directory = Path::new("/store");
    all(&PosixStore::open_on(SimDisk::default(), directory, PosixOptions::default()).unwrap());
    let disk = FaultyDisk::new(SimDisk::default());
    disk.add_harmless();
    all(&PosixStore::open_on(disk.clone(), directory, PosixOptions::default()).unwrap());
    assert!(disk.struck() > 100, "{}", disk.struck());
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(RealDisk);
    disk.add_harmless();
    all(&PosixStore::open_on(disk.clone(), directory.path(), PosixOptions { open_objects_max: 1 }).unwrap());
    assert!(disk.struck() > 100, "{}", disk.struck());
}

#[test]
fn the_posix_store_keeps_its_promises_with_one_open_file() {
    let directory = tempfile::tempdir().unwrap();
    all(&PosixStore::open(directory.path(), PosixOptions { open_objects_max: 1 }).unwrap());
}

#[test]
fn stores_with_faults_keep_their_promises() {
    const CALLS: [Call; 10] = [
        Call::Create,
        Call::Write,
        Call::Read,
        Call::Allocate,
        Call::Punch,
        Call::Verify,
        Call::Commit,
        Call::Truncate,
        Call::Remove,
        Call::Stat,
    ];
    fn with_and_without_slow_calls<S: ObjectStore>(store: impl Fn() -> S) {
        all(&FaultyStore::new(store(), "/store"));
        let faulty = FaultyStore::new(store(), "/store");
        CALLS.into_iter().for_each(|call| faulty.add(Rule::new(call, Fault::Delay(Duration::ZERO)).every(3)));
        all(&faulty);
        assert!(faulty.struck() > 100, "{}", faulty.struck());
    }
    with_and_without_slow_calls(MemoryStore::default);
    let open = || PosixStore::open_on(SimDisk::default(), Path::new("/store"), PosixOptions::default());
    with_and_without_slow_calls(|| open().unwrap());
    let directory = tempfile::tempdir().unwrap();
    all(&FaultyStore::new(PosixStore::open(directory.path(), PosixOptions::default()).unwrap(), directory.path()));
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<(u64, u64)>, u8),
    Read(u64, u64, u64),
    Truncate(u64, u64),
    Commit(u64),
    Remove(u64),
    Punch(u64, u64, u64),
    Verify(u64),
}

/// A range of bytes: any, or one of whole blocks.
fn range() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (0u64..20_000, 1u64..9000),
        (0u64..5, 1u64..4).prop_map(|(start, length)| (start * 4096, length * 4096))
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let file = 1u64..3;
    let extents = prop::collection::vec(range(), 1..4);
    prop_oneof![
        4 => (file.clone(), extents, any::<u8>()).prop_map(|(file, extents, seed)| Step::Write(file, extents, seed)),
        4 => (file.clone(), range()).prop_map(|(file, (offset, length))| Step::Read(file, offset, length)),
        1 => (file.clone(), 0u64..34_000).prop_map(|(file, length)| Step::Truncate(file, length)),
        1 => file.clone().prop_map(Step::Commit),
        1 => (file.clone(), range()).prop_map(|(file, (offset, length))| Step::Punch(file, offset, length)),
        1 => file.clone().prop_map(Step::Verify),
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
            Step::Punch(file, offset, length) => {
                let Some(bytes) = model.get_mut(&file) else { continue };
                store.punch(object(file, 0), extent(offset, length)).unwrap();
                let at = |byte: u64| (byte as usize).min(bytes.len());
                let (start, end) = (at(offset), at(offset + length));
                bytes[start..end].fill(0);
            }
            Step::Verify(file) => {
                if model.contains_key(&file) {
                    assert_undamaged(store, object(file, 0));
                }
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

    #[test]
    fn a_store_with_faults_is_an_array_of_bytes(steps in prop::collection::vec(step(), 0..40)) {
        follow_the_model(&FaultyStore::new(MemoryStore::default(), "/store"), steps);
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

#[test]
fn the_memory_store_tells_damage() {
    let (store, id) = (MemoryStore::default(), object(1, 0));
    store.create(id).unwrap();
    write(&store, id, &[extent(0, 10_000)], &pattern(1, 10_000)).unwrap();
    store.damage(id, 9000);
    assert_eq!(store.verify(id, 0..2).unwrap(), []);
    let damages = store.verify(id, 2..3).unwrap();
    assert_eq!(damages.iter().map(|damage| damage.extent).collect::<Vec<_>>(), [extent(8192, 10_000 - 8192)]);
    let (mut into, mut checksums) = ([0; 4096], Vec::new());
    store.read(id, &[extent(8192, 4096)], &mut into, &mut checksums).unwrap();
    assert_ne!(checksums, [Checksum::of(&into)], "the reader of a whole block finds out");
    assert_eq!(store.read(id, &[extent(9500, 1)], &mut [0], &mut Vec::new()).unwrap_err().code(), ErrorCode::DataLoss);
    assert_eq!(write(&store, id, &[extent(9500, 1)], b"x").unwrap_err().code(), ErrorCode::DataLoss);
    write(&store, id, &[extent(8192, 4096)], &pattern(2, 4096)).unwrap();
    assert_undamaged(&store, id);
}
