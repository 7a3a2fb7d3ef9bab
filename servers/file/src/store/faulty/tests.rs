//! A store with planned faults keeps the promises of every store, whichever one lies below.

use super::*;
use crate::store::disk::{SimDisk, Survivors};
use crate::store::{MemoryStore, PosixOptions, PosixStore, checksums_of};
use pfs_proto::status::ErrorCode;
use std::path::Path;

const LENGTH: usize = 20_000;

/// Each of these once over either store.
macro_rules! over_both {
    ($($test:ident)*) => {
        mod over_memory {
            $(
                #[test]
                fn $test() {
                    super::$test(|| super::FaultyStore::new(super::MemoryStore::default(), "/faulty"));
                }
            )*
        }

        mod over_posix {
            $(
                #[test]
                fn $test() {
                    super::$test(|| super::FaultyStore::new(super::posix(), "/faulty"));
                }
            )*
        }
    };
}

over_both! {
    a_write_that_stops_has_written_a_part_of_its_own_extents
    an_error_is_told_and_changes_nothing
    a_commit_that_failed_with_nothing_lost_can_be_called_again
    a_commit_that_lost_bytes_stays_failed
    lost_bytes_end_with_a_truncation_and_with_the_object
    a_slow_object_holds_up_no_other
    a_crash_takes_nothing_that_is_durable
    a_crash_leaves_any_sectors_of_what_was_not
    a_crash_may_take_files_that_were_never_committed
}

fn posix() -> PosixStore<SimDisk> {
    PosixStore::open_on(SimDisk::default(), Path::new("/store"), PosixOptions::default()).unwrap()
}

fn object(file: u64) -> ObjectId {
    ObjectId { file: FileId::new(file).unwrap(), slot: 0 }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn write(store: &impl ObjectStore, id: ObjectId, extents: &[ObjectExtent], bytes: &[u8]) -> Result<(), StoreError> {
    let checksums: Vec<_> = checksums_of(extents, bytes).collect();
    store.write(id, extents, &[bytes], &checksums)
}

fn read(store: &impl ObjectStore, id: ObjectId, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
    let extents = [extent(offset, length as u64)];
    let (mut bytes, mut checksums) = (vec![0xaa; length], Vec::new());
    store.read(id, &extents, &mut bytes, &mut checksums)?;
    assert_eq!(checksums, checksums_of(&extents, &bytes).collect::<Vec<_>>());
    Ok(bytes)
}

fn assert_undamaged(store: &impl ObjectStore) {
    for id in store.list().unwrap() {
        assert_eq!(store.verify(id, 0..u64::MAX).unwrap(), []);
    }
}

/// Two objects of ones, committed.
fn two_objects<S: ObjectStore>(store: FaultyStore<S>) -> FaultyStore<S> {
    for id in [object(1), object(2)] {
        store.create(id).unwrap();
        write(&store, id, &[extent(0, LENGTH as u64)], &[1; LENGTH]).unwrap();
        store.commit(id).unwrap();
    }
    store
}

fn of_first(id: &ObjectId) -> bool {
    *id == object(1)
}

fn a_write_that_stops_has_written_a_part_of_its_own_extents<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let extents = [extent(5000, 3000), extent(100, 50), extent(15_000, 9000)];
    let payload: Vec<u8> = (0..12_050u32).map(|i| 2 + (i % 250) as u8).collect();
    for errno in [Errno::IO, Errno::NOSPC] {
        for bytes in [0, 1, 3000, 3010, 3050, 3100, 12_049, 12_050, 1 << 40] {
            let store = two_objects(store());
            store.add(Rule::new(Call::Write, Fault::ErrorAfter(bytes, errno)).of(of_first).once());
            let error = write(&store, object(1), &extents, &payload).unwrap_err();
            let code = if errno == Errno::IO { ErrorCode::Internal } else { ErrorCode::NoSpace };
            assert_eq!(error.code(), code, "{error}");
            let text = error.to_string();
            assert!(text.contains("file-1 slot 0") && text.contains("/faulty") && text.contains("bytes at"), "{text}");

            let written = payload.len().min(bytes as usize);
            let mut expected = [&[1; LENGTH][..], &[0; 4000]].concat();
            let places = extents.iter().flat_map(|extent| extent.offset().0..extent.end().0);
            places.zip(&payload[..written]).for_each(|(at, byte)| expected[at as usize] = *byte);
            assert_eq!(read(&store, object(1), 0, 24_000).unwrap(), expected, "after {bytes} bytes");
            assert_eq!(read(&store, object(2), 0, LENGTH).unwrap(), [1; LENGTH]);
            assert_undamaged(&store);
            write(&store, object(1), &extents, &payload).unwrap();
            store.commit(object(1)).unwrap();
            assert_undamaged(&store);
        }
    }
}

fn an_error_is_told_and_changes_nothing<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let store = two_objects(store());
    let id = object(1);
    type Run<'a> = &'a dyn Fn() -> Result<(), StoreError>;
    let calls: [(Call, Run<'_>); 9] = [
        (Call::Create, &|| store.create(id)),
        (Call::Write, &|| write(&store, id, &[extent(0, 10)], &[2; 10])),
        (Call::Read, &|| read(&store, id, 0, 10).map(drop)),
        (Call::Allocate, &|| store.allocate(id, extent(0, 100))),
        (Call::Punch, &|| store.punch(id, extent(0, 100))),
        (Call::Verify, &|| store.verify(id, 0..1).map(drop)),
        (Call::Commit, &|| store.commit(id).map(drop)),
        (Call::Truncate, &|| store.truncate(id, 5, 1)),
        (Call::Remove, &|| store.remove_file(id.file).map(drop)),
    ];
    for (call, run) in calls {
        for (errno, code) in [(Errno::IO, ErrorCode::Internal), (Errno::NOSPC, ErrorCode::NoSpace)] {
            store.add(Rule::new(call, Fault::Error(errno)).of(of_first));
            let error = run().unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains("file-1 slot 0"), "{error}");
            store.heal();
            for id in [object(1), object(2)] {
                assert_eq!(read(&store, id, 0, LENGTH + 1).unwrap(), [&[1; LENGTH][..], &[0]].concat(), "{call:?}");
            }
            assert_undamaged(&store);
        }
    }
    store.add(Rule::new(Call::Write, Fault::Error(Errno::IO)).of(of_first).numbers(1..2));
    let outcomes = (0..3).map(|_| write(&store, id, &[extent(0, 1)], b"x").is_ok()).collect::<Vec<_>>();
    assert_eq!(outcomes, [true, false, true], "as the rule says");
    assert_eq!(store.struck(), 19);
}

fn a_commit_that_failed_with_nothing_lost_can_be_called_again<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let store = two_objects(store());
    write(&store, object(1), &[extent(0, 3)], b"new").unwrap();
    store.add(Rule::new(Call::Commit, Fault::Error(Errno::IO)).of(of_first).once());
    let error = store.commit(object(1)).unwrap_err();
    assert!(error.to_string().contains("making durable the object of file-1 slot 0"), "{error}");
    assert_eq!(read(&store, object(1), 0, 4).unwrap(), b"new\x01");
    assert_eq!(store.commit(object(1)).unwrap(), Some(LENGTH as u64));
    store.crash(Survivors::Nothing, &mut |_| 0).unwrap();
    assert_eq!(read(&store, object(1), 0, 4).unwrap(), b"new\x01");
}

fn a_commit_that_lost_bytes_stays_failed<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    for (errno, code) in [(Errno::IO, ErrorCode::DataLoss), (Errno::NOSPC, ErrorCode::NoSpace)] {
        let store = two_objects(store());
        for id in [object(1), object(2)] {
            write(&store, id, &[extent(5000, 10), extent(9000, 5000)], &[2; 5010]).unwrap();
        }
        store.add(Rule::new(Call::Commit, Fault::LoseAndFail(errno)).of(of_first).once());
        for _ in 0..3 {
            let error = store.commit(object(1)).unwrap_err();
            assert!(matches!(error, StoreError::Lost { start: 5000, bytes: 5010, .. }), "{error:?}");
            assert_eq!(error.code(), code);
        }
        store.commit(object(2)).unwrap();
        let error = read(&store, object(1), 8000, 2000).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DataLoss, "what is lost is not given out: {error}");
        assert_eq!(read(&store, object(1), 0, 5000).unwrap(), [1; 5000]);
        let blocks = |store: &FaultyStore<S>| -> Vec<u64> {
            let damages = store.verify(object(1), 0..u64::MAX).unwrap();
            damages.iter().map(|damage| damage.extent.offset().0 / BLOCK_BYTES).collect()
        };
        assert_eq!(blocks(&store), [1, 2, 3]);

        write(&store, object(1), &[extent(9000, 5000)], &[3; 5000]).unwrap();
        let error = store.commit(object(1)).unwrap_err();
        assert!(matches!(error, StoreError::Lost { start: 5000, bytes: 10, .. }), "a part is not enough: {error:?}");
        store.add(Rule::new(Call::Write, Fault::ErrorAfter(10, Errno::IO)).once());
        write(&store, object(1), &[extent(5000, 10)], &[3; 10]).unwrap_err();
        store.commit(object(1)).expect_err("a write that has failed brings nothing back");
        write(&store, object(1), &[extent(5000, 10)], &[3; 10]).unwrap();
        store.commit(object(1)).unwrap();
        assert_undamaged(&store);
        store.crash(Survivors::Nothing, &mut |_| 0).unwrap();
        assert_eq!(read(&store, object(1), 9000, 5000).unwrap(), [3; 5000]);
        assert_eq!(read(&store, object(2), 9000, 5000).unwrap(), [2; 5000]);
    }
}

fn lost_bytes_end_with_a_truncation_and_with_the_object<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let store = two_objects(store());
    store.add(Rule::new(Call::Commit, Fault::LoseAndFail(Errno::IO)).numbers(0..2));
    for id in [object(1), object(2)] {
        write(&store, id, &[extent(8000, 1000)], &[2; 1000]).unwrap();
        store.commit(id).unwrap_err();
    }
    store.truncate(object(1), 8000, 1).unwrap();
    assert_eq!(store.commit(object(1)).unwrap(), Some(8000));
    assert_eq!(read(&store, object(1), 0, 9000).unwrap(), [&[1; 8000][..], &[0; 1000]].concat());
    store.remove_file(object(2).file).unwrap();
    assert_eq!(store.commit(object(2)).unwrap(), None);
    store.create(object(2)).unwrap();
    write(&store, object(2), &[extent(0, 3)], b"new").unwrap();
    assert_eq!(store.commit(object(2)).unwrap(), Some(3));
    assert_undamaged(&store);
}

/// No time passes in this test: the gate tells that somebody waits at it.
fn a_slow_object_holds_up_no_other<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let store = two_objects(store());
    let gate = Gate::default();
    for call in [Call::Write, Call::Read, Call::Commit] {
        store.add(Rule::new(call, Fault::Wait(gate.clone())).of(of_first));
    }
    let extents = [extent(0, 3)];
    let checksums: Vec<_> = checksums_of(&extents, b"new").collect();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&store, object(1), &extents, b"new"));
        let committing = scope.spawn(|| store.commit(object(1)));
        gate.wait_for(2);
        assert!(!store.write_now(object(1), &extents, &[b"new"], &checksums).unwrap(), "it would have to wait");
        assert!(!store.read_now(object(1), &extents, &mut [0; 3], &mut Vec::new()).unwrap());
        write(&store, object(2), &extents, b"new").unwrap();
        store.commit(object(2)).unwrap();
        assert_eq!(read(&store, object(2), 0, 3).unwrap(), b"new");
        gate.open();
        writing.join().unwrap().unwrap();
        committing.join().unwrap().unwrap();
    });
    assert_eq!(read(&store, object(1), 0, 3).unwrap(), b"new");
}

fn a_crash_takes_nothing_that_is_durable<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    for survivors in [Survivors::Nothing, Survivors::Some, Survivors::Everything] {
        let (store, mut numbers) = (two_objects(store()), numbers(7));
        write(&store, object(2), &[extent(0, 30_000)], &[2; 30_000]).unwrap();
        store.truncate(object(2), 10, 9).unwrap();
        write(&store, object(1), &[extent(30_000, 5)], b"later").unwrap();
        store.create(object(3)).unwrap();
        store.commit(object(3)).unwrap();
        store.remove_file(object(3).file).unwrap();
        store.crash(survivors, &mut numbers).unwrap();

        assert_eq!(read(&store, object(1), 0, LENGTH).unwrap(), [1; LENGTH]);
        let length = store.stat(object(1)).unwrap().unwrap().length;
        assert!((LENGTH as u64..=30_005).contains(&length), "{length}");
        assert_eq!(store.stat(object(2)).unwrap().unwrap().length, 10);
        assert!(read(&store, object(2), 0, 10).unwrap().iter().all(|byte| [1, 2].contains(byte)));
        assert_eq!(store.stat(object(3)).unwrap(), None);
        assert_undamaged(&store);
        store.truncate(object(2), 5, 1).unwrap();
        assert_eq!(store.commit(object(2)).unwrap(), Some(5), "repetitions have ended with the store");
        let before = read(&store, object(1), 0, 30_005).unwrap();
        store.crash(Survivors::Nothing, &mut numbers).unwrap();
        assert_eq!(read(&store, object(1), 0, 30_005).unwrap(), before, "what was left is durable");
    }
}

/// Numbers without order, the same for the same seed.
fn numbers(seed: usize) -> impl FnMut(usize) -> usize {
    let mut state = seed as u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}

/// Writes of other numbers on top of each other: each sector has what it had at the last commit or after any write since.
fn a_crash_leaves_any_sectors_of_what_was_not<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let (store, mut numbers) = (two_objects(store()), numbers(seed));
        // What a byte may be: what it was at the last commit, then after each write.
        let mut may_be = vec![vec![1]; LENGTH];
        may_be.resize(LENGTH + 10_000, vec![0]);
        for byte in 2..10 {
            let (start, length) = (numbers(LENGTH), 1 + numbers(10_000));
            write(&store, object(1), &[extent(start as u64, length as u64)], &vec![byte; length]).unwrap();
            may_be[start..start + length].iter_mut().for_each(|bytes| bytes.push(byte));
            if numbers(4) == 0 {
                store.commit(object(1)).unwrap();
                may_be.iter_mut().for_each(|bytes| drop(bytes.drain(..bytes.len() - 1)));
            }
        }
        let length = store.stat(object(1)).unwrap().unwrap().length;
        store.crash(Survivors::Some, &mut numbers).unwrap();
        let bytes = read(&store, object(1), 0, may_be.len()).unwrap();
        for (at, (byte, may_be)) in bytes.iter().zip(&may_be).enumerate() {
            assert!(may_be.contains(byte), "seed {seed}: {byte} at {at} is none of {may_be:?}");
            seen.insert(may_be.iter().rev().position(|may_be| may_be == byte));
        }
        assert!(store.stat(object(1)).unwrap().unwrap().length <= length);
        assert_undamaged(&store);
    }
    assert!(seen.len() > 3, "it goes back by none, one and several writes: {seen:?}");
}

fn a_crash_may_take_files_that_were_never_committed<S: ObjectStore>(store: impl Fn() -> FaultyStore<S>) {
    for (survivors, is_there) in [(Survivors::Nothing, false), (Survivors::Everything, true)] {
        let store = store();
        let other = ObjectId { slot: 1, ..object(2) };
        for id in [object(1), object(2), other] {
            store.create(id).unwrap();
            write(&store, id, &[extent(0, 5)], b"bytes").unwrap();
        }
        store.commit(other).unwrap();
        store.crash(survivors, &mut |_| 0).unwrap();
        assert_eq!(store.stat(object(1)).unwrap().is_some(), is_there);
        assert_eq!(read(&store, other, 0, 5).unwrap(), b"bytes");
        let length = store.stat(object(2)).unwrap().unwrap().length;
        assert_eq!(length, if is_there { 5 } else { 0 }, "a store removes whole files only");
    }
}
