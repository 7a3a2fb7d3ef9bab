//! What a store makes of a disk that fails: the error says what and where, nothing else changes, and what can be read
//! agrees with its checksums.

use super::disk::{Call, Disk, Fault, FaultyDisk, Gate, Rule, SimDisk, Survivors};
use super::*;
use pfs_core::extent::ObjectOffset;
use pfs_proto::status::ErrorCode;
use rustix::io::Errno;
use std::path::Path;

type Faulty = FaultyDisk<SimDisk>;

const LENGTH: usize = 64 << 10;

fn object(file: u64) -> ObjectId {
    ObjectId { file: FileId::new(file).unwrap(), slot: 0 }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn open(disk: &Faulty) -> PosixStore<Faulty> {
    PosixStore::open_on(disk.clone(), Path::new("/store"), PosixOptions::default()).unwrap()
}

fn write(store: &impl ObjectStore, id: ObjectId, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let extents = [extent(offset, bytes.len() as u64)];
    let checksums: Vec<_> = checksums_of(&extents, bytes).collect();
    store.write(id, &extents, &[bytes], &checksums)
}

fn read(store: &impl ObjectStore, id: ObjectId, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
    let extents = [extent(offset, length as u64)];
    let (mut bytes, mut checksums) = (vec![0xaa; length], Vec::new());
    store.read(id, &extents, &mut bytes, &mut checksums)?;
    assert_eq!(checksums, checksums_of(&extents, &bytes).collect::<Vec<_>>());
    Ok(bytes)
}

/// Two objects of ones, committed.
fn two_objects(disk: &Faulty) -> PosixStore<Faulty> {
    let store = open(disk);
    for id in [object(1), object(2)] {
        store.create(id).unwrap();
        write(&store, id, 0, &[1; LENGTH]).unwrap();
        store.commit(id).unwrap();
    }
    store
}

/// The bytes of an object, and no others.
fn is_bytes_of(id: ObjectId) -> impl Fn(&Path) -> bool {
    let name = format!("{:016x}.{:04x}", id.file.get(), id.slot);
    move |path| path.file_name().is_some_and(|found| found == name.as_str())
}

fn is_checksums(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with("sums"))
}

fn is_marks(path: &Path) -> bool {
    path.ends_with("marks")
}

fn assert_undamaged(store: &impl ObjectStore) {
    for id in store.list().unwrap() {
        assert_eq!(store.verify(id, 0..u64::MAX).unwrap(), []);
    }
}

/// The write of twos to a part of the first object has failed: bytes in it are old or new, all others are as they were.
fn assert_only_this_changed(store: &impl ObjectStore, start: usize, end: usize) {
    let bytes = read(store, object(1), 0, LENGTH).unwrap();
    assert!(bytes[start..end].iter().all(|byte| [1, 2].contains(byte)));
    assert!(bytes[..start].iter().chain(&bytes[end..]).all(|byte| *byte == 1));
    assert_eq!(read(store, object(2), 0, LENGTH).unwrap(), [1; LENGTH]);
    assert_undamaged(store);
}

#[test]
fn an_error_in_the_midst_of_a_write_is_told_and_changes_nothing_else() {
    let (start, length) = (5000u64, 30_000);
    for fault in [Fault::Error(Errno::IO), Fault::ErrorHalfWay(Errno::IO)] {
        for call in 0..2 {
            let disk = Faulty::new(SimDisk::default());
            let store = two_objects(&disk);
            disk.add(Rule::new(Call::Write, Fault::Short).of(is_bytes_of(object(1))).numbers(0..call));
            disk.add(Rule::new(Call::Write, fault.clone()).of(is_bytes_of(object(1))).numbers(call..call + 1));
            let error = write(&store, object(1), start, &vec![2; length]).unwrap_err();
            let StoreError::Object { object: id, attempt: Attempt::Write(failed), .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!(*id, object(1));
            assert!(failed.offset().0 <= start + length as u64 && failed.end().0 > start, "{error}");
            assert!(error.to_string().contains("file-1 slot 0"), "{error}");
            assert_only_this_changed(&store, 5000, 35_000);
            disk.heal();
            write(&store, object(1), start, &vec![2; length]).unwrap();
            store.commit(object(1)).unwrap();
            drop(store);
            let store = open(&disk);
            assert_eq!(read(&store, object(1), start, length).unwrap(), vec![2; length]);
            assert_undamaged(&store);
        }
    }
}

#[test]
fn a_full_disk_is_told_and_changes_nothing_else() {
    let disk = Faulty::new(SimDisk::default());
    let store = two_objects(&disk);
    for blocks in 0..6 {
        disk.limit_space(blocks);
        let error = write(&store, object(1), LENGTH as u64 - 100, &[2; 40_000]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoSpace, "{error}");
        let bytes = read(&store, object(1), 0, LENGTH).unwrap();
        assert!(bytes[..LENGTH - 100].iter().all(|byte| *byte == 1));
        assert_eq!(read(&store, object(2), 0, LENGTH).unwrap(), [1; LENGTH]);
        assert_undamaged(&store);
    }
    disk.heal();
    write(&store, object(1), LENGTH as u64 - 100, &[2; 40_000]).unwrap();
    store.commit(object(1)).unwrap();
    drop(store);
    let store = open(&disk);
    assert_eq!(read(&store, object(1), LENGTH as u64 - 100, 40_000).unwrap(), [2; 40_000]);
    assert_undamaged(&store);
}

#[test]
fn a_read_error_is_told_and_is_about_one_object() {
    let disk = Faulty::new(SimDisk::default());
    let store = two_objects(&disk);
    disk.add(Rule::new(Call::Read, Fault::Error(Errno::IO)).of(is_bytes_of(object(1))));
    let error = read(&store, object(1), 4096, 4096).unwrap_err();
    assert!(error.to_string().contains("file-1 slot 0") && error.to_string().contains("4096"), "{error}");
    assert_eq!(read(&store, object(2), 0, LENGTH).unwrap(), [1; LENGTH]);
    assert!(!store.verify(object(1), 0..1).unwrap().is_empty(), "what cannot be read is damage");
    disk.heal();
    assert_eq!(read(&store, object(1), 0, LENGTH).unwrap(), [1; LENGTH]);
}

/// The disk drops the bytes that it failed to sync, and its next sync succeeds: a commit must not.
#[test]
fn a_failed_sync_stays_failed_until_the_bytes_are_written_again() {
    let disk = Faulty::new(SimDisk::default());
    let store = two_objects(&disk);
    disk.add(Rule::new(Call::Sync, Fault::LoseAndFail(Errno::IO)).of(is_bytes_of(object(1))).once());
    write(&store, object(1), 5000, &[2; 20_000]).unwrap();
    write(&store, object(2), 5000, &[2; 20_000]).unwrap();
    for _ in 0..3 {
        let error = store.commit(object(1)).unwrap_err();
        assert!(matches!(error, StoreError::Lost { start: 5000, bytes: 20_000, .. }), "{error:?}");
        assert_eq!(error.code(), ErrorCode::DataLoss);
    }
    store.commit(object(2)).unwrap();
    let extents = [extent(0, LENGTH as u64)];
    let (mut bytes, mut stored) = (vec![0; LENGTH], Vec::new());
    store.read(object(1), &extents, &mut bytes, &mut stored).unwrap();
    let summed: Vec<_> = checksums_of(&extents, &bytes).collect();
    let differ: Vec<usize> = (0..summed.len()).filter(|&block| summed[block] != stored[block]).collect();
    assert_eq!(differ, [1, 2, 3, 4, 5, 6], "a reader notices every block that is not what was written");
    // Whole blocks: what lies in a block that is not what was written is not joined with new bytes.
    write(&store, object(1), 4096, &[3; 24_576]).unwrap();
    store.commit(object(1)).unwrap();
    drop(store);
    let store = open(&disk);
    assert_eq!(read(&store, object(1), 4096, 24_576).unwrap(), [3; 24_576]);
    assert_undamaged(&store);
}

/// Syncs of the checksums and of the marks fail, each of the first few; then power is lost. Whatever commit succeeded
/// has made durable what it said.
#[test]
fn a_failed_sync_of_the_stores_own_files_loses_nothing() {
    for files in [is_checksums as fn(&Path) -> bool, is_marks] {
        for number in 0..6 {
            let disk = Faulty::new(SimDisk::default());
            disk.add(Rule::new(Call::Sync, Fault::LoseAndFail(Errno::IO)).of(files).numbers(number..number + 1));
            // The first sync is that of a new store: without it there is none.
            let path = Path::new("/store");
            let opened = PosixStore::open_on(disk.clone(), path, PosixOptions::default());
            let store = opened.unwrap_or_else(|_| open(&disk));
            let patiently = |call: &dyn Fn() -> Result<(), StoreError>| {
                assert!(call().is_ok() || call().is_ok(), "a single fault fails one call");
            };
            for (round, byte) in [1, 2, 3].into_iter().enumerate() {
                for id in [object(1), object(2)] {
                    store.create(id).unwrap();
                    patiently(&|| write(&store, id, 3000 * round as u64, &[byte; 20_000]));
                    patiently(&|| store.commit(id).map(|_| ()));
                }
            }
            assert_eq!(disk.struck(), 1, "sync {number}");
            let recording = disk.inner().recording();
            let mut platter = recording.start();
            recording.changes().iter().for_each(|change| platter.apply(change));
            let left = Faulty::new(platter.after_power_loss(Survivors::Nothing, &mut |_| 0));
            let store = open(&left);
            for id in [object(1), object(2)] {
                let bytes = read(&store, id, 0, 26_000).unwrap();
                let expected = [&[1; 3000][..], &[2; 3000], &[3; 20_000]].concat();
                assert!(bytes == expected, "{id} after sync {number} failed");
            }
            assert_undamaged(&store);
        }
    }
}

#[test]
fn an_object_that_cannot_be_made_is_not_there() {
    for (number, call) in [(0, Call::Create), (1, Call::Create), (0, Call::MakeDirectory)] {
        let disk = Faulty::new(SimDisk::default());
        let store = open(&disk);
        disk.add(Rule::new(call, Fault::Error(Errno::NOSPC)).numbers(number..number + 1));
        let error = store.create(object(1)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::NoSpace, "{error}");
        assert_eq!(store.stat(object(1)).unwrap(), None);
        assert_eq!(store.list().unwrap(), []);
        store.create(object(1)).unwrap();
        write(&store, object(1), 0, b"bytes").unwrap();
        store.commit(object(1)).unwrap();
        assert_eq!(read(&store, object(1), 0, 5).unwrap(), b"bytes");
    }
}

/// One object waits for its disk; others are written, committed and read meanwhile.
#[test]
fn a_slow_object_holds_up_no_other() {
    let disk = Faulty::new(SimDisk::default());
    let store = two_objects(&disk);
    let gate = Gate::default();
    for call in [Call::Write, Call::Sync] {
        disk.add(Rule::new(call, Fault::Wait(gate.clone())).of(is_bytes_of(object(1))));
    }
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&store, object(1), 0, &[2; 10_000]));
        gate.wait_for(1);
        write(&store, object(2), 0, &[2; 10_000]).unwrap();
        store.commit(object(2)).unwrap();
        assert_eq!(read(&store, object(2), 0, 10_000).unwrap(), [2; 10_000]);
        gate.open();
        writing.join().unwrap().unwrap();
    });
    store.commit(object(1)).unwrap();
    assert_eq!(read(&store, object(1), 0, 10_000).unwrap(), [2; 10_000]);
    assert_undamaged(&store);
}

#[test]
fn a_directory_that_cannot_be_synced_fails_the_commit() {
    let disk = Faulty::new(SimDisk::default());
    let store = open(&disk);
    store.create(object(1)).unwrap();
    write(&store, object(1), 0, b"bytes").unwrap();
    disk.add(Rule::new(Call::SyncDirectory, Fault::LoseAndFail(Errno::IO)).once());
    for _ in 0..2 {
        let error = store.commit(object(1)).unwrap_err();
        assert!(error.to_string().contains("file-1 slot 0"), "{error}");
    }
    assert!(disk.inner().is_directory(Path::new("/store")).unwrap());
}
