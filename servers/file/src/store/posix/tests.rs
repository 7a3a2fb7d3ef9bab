//! What is particular to a store in a directory.

use super::*;
use pfs_core::extent::ObjectOffset;
use std::fs;

fn object(file: u64) -> ObjectId {
    ObjectId { file: FileId::new(file).unwrap(), slot: 3 }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn write(store: &PosixStore, object: ObjectId, extents: &[ObjectExtent], payload: &[u8]) -> Result<(), StoreError> {
    let checksums: Vec<_> = super::super::checksums_of(extents, payload).collect();
    store.write(object, extents, &[payload], &checksums)
}

fn read(store: &PosixStore, object: ObjectId, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; length];
    store.read(object, &[extent(offset, length as u64)], &mut bytes, &mut Vec::new()).unwrap();
    bytes
}

#[test]
fn objects_are_there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let objects = directory.path().join("objects");
    let store = PosixStore::open(&objects, PosixOptions::default()).unwrap();
    for file in 1..=3 {
        store.create(object(file)).unwrap();
        write(&store, object(file), &[extent(100, 4)], b"data").unwrap();
    }
    store.remove_file(object(2).file).unwrap();
    drop(store);
    let store = PosixStore::open(&objects, PosixOptions::default()).unwrap();
    let mut listed = store.list().unwrap();
    listed.sort();
    assert_eq!(listed, [object(1), object(3)]);
    assert_eq!(store.space().unwrap().objects, 2);
    assert_eq!(read(&store, object(3), 99, 6), b"\0data\0");
}

#[test]
fn holes_take_no_space() {
    let directory = tempfile::tempdir().unwrap();
    let store = PosixStore::open(directory.path(), PosixOptions::default()).unwrap();
    store.create(object(1)).unwrap();
    write(&store, object(1), &[extent(1 << 40, 1)], b"x").unwrap();
    let status = store.stat(object(1)).unwrap().unwrap();
    assert_eq!(status.length, (1 << 40) + 1);
    assert!(status.allocated_bytes < 1 << 20, "{status:?}");
}

/// A small cache under many objects with uncommitted bytes: files are closed, and no byte and no object is lost.
#[test]
fn open_files_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let store = PosixStore::open(directory.path(), PosixOptions { open_objects_max: 4 }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for file in 1..=40 {
                    store.create(object(file)).unwrap();
                    write(store, object(file), &[extent(thread, 1)], b"x").unwrap();
                    assert_eq!(read(store, object(file), thread, 1), b"x");
                }
            });
        }
    });
    store.cache.trim();
    assert!(store.cache.len() <= 4, "{} objects are open", store.cache.len());
    assert_eq!(store.space().unwrap().objects, 40);
    (1..=40).for_each(|file| assert_eq!(read(&store, object(file), 0, 5), b"xxxx\0"));
}

#[test]
fn strange_files_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(PosixStore::open(directory.path(), PosixOptions::default()).unwrap());
    fs::create_dir(directory.path().join("000")).unwrap();
    let strange = directory.path().join("000/notes.txt");
    fs::write(&strange, "mine").unwrap();
    let store = PosixStore::open(directory.path(), PosixOptions::default()).unwrap();
    assert_eq!(store.list().unwrap(), []);
    assert!(strange.exists());
}

/// An object that somebody else has cut while the store was down: its checksums tell what is missing. Without them the
/// bytes past its end would read as a hole.
#[test]
fn a_cut_object_is_damaged_past_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = PosixStore::open(directory.path(), PosixOptions::default()).unwrap();
    store.create(object(1)).unwrap();
    let far = 3 * table::UNIT_BYTES;
    write(&store, object(1), &[extent(0, 10_000), extent(far, 10)], &[7; 10_010]).unwrap();
    store.commit(object(1)).unwrap();
    assert_eq!(store.verify(object(1), 0..u64::MAX).unwrap(), []);
    let path = store.bucket(object(1).file).path(object(1));
    drop(store);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap();

    let store = PosixStore::open(directory.path(), PosixOptions::default()).unwrap();
    let damage = store.verify(object(1), 0..u64::MAX).unwrap();
    let extents: Vec<_> = damage.iter().map(|damage| damage.extent).collect();
    assert_eq!(extents, [extent(4096, 5000 - 4096), extent(8192, 4096), extent(far, 4096)]);
    assert!(damage[1].problem.contains("the object ends before them"), "{damage:?}");
    for lost in [extent(4990, 20), extent(9000, 10), extent(far + 5, 1)] {
        let mut bytes = vec![0; usize::try_from(lost.length()).unwrap()];
        let error = store.read(object(1), &[lost], &mut bytes, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(&object(1).to_string()), "{error}");
    }
    let mut sums = Vec::new();
    store.read(object(1), &[extent(8192, 4096)], &mut [0; 4096], &mut sums).unwrap();
    assert_ne!(sums, [Checksum::of(&[0; 4096])], "whoever uses the bytes sees that they are not those");
    assert_eq!(read(&store, object(1), 20_000, 100), [0; 100], "a hole stays one");
}
