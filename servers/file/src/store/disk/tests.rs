//! One suite for every disk: what a store may rest on, but for loss of power.

use super::*;
use std::path::PathBuf;

/// Holds a disk to its promises, in a directory of its own.
pub(super) fn all<D: Disk>(disk: &D, directory: &Path) {
    names_are_made_once(disk, directory);
    bytes_are_where_they_were_written(disk, directory);
    many_parts_are_one_write(disk, directory);
    holes_read_as_zeros(disk, directory);
    what_is_in_memory_is_read_without_waiting(disk, directory);
}

fn kind<T: Debug>(outcome: io::Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

fn names_are_made_once<D: Disk>(disk: &D, directory: &Path) {
    let inner = directory.join("names");
    let path = |name: &str| inner.join(name);
    assert_eq!(kind(disk.open(&path("a"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.create(&path("a"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(&inner)), ErrorKind::NotFound);
    assert_eq!(kind(disk.sync_directory(&inner)), ErrorKind::NotFound);
    assert!(!disk.is_directory(&inner).unwrap());
    disk.make_directory(&inner).unwrap();
    assert!(disk.is_directory(&inner).unwrap());
    assert_eq!(kind(disk.make_directory(&inner)), ErrorKind::AlreadyExists);

    let a = disk.create(&path("a")).unwrap();
    a.write_all(b"a", 0).unwrap();
    assert_eq!(kind(disk.create(&path("a"))), ErrorKind::AlreadyExists);
    disk.create(&path("b")).unwrap().write_all(b"b", 0).unwrap();
    disk.rename(&path("b"), &path("a")).unwrap();
    assert_eq!(names(disk, &inner), [Path::new("a")]);
    assert_eq!(bytes(&disk.open(&path("a")).unwrap(), 0, 1), b"b");
    assert_eq!(bytes(&a, 0, 1), b"a", "a replaced file is there for who has it open");
    assert_eq!(kind(disk.rename(&path("b"), &path("c"))), ErrorKind::NotFound);
    disk.sync_directory(&inner).unwrap();
    disk.unlink(&path("a")).unwrap();
    assert_eq!(kind(disk.unlink(&path("a"))), ErrorKind::NotFound);
    assert_eq!(names(disk, &inner), Vec::<PathBuf>::new());
    assert!(disk.space(&inner).unwrap().free_bytes <= disk.space(&inner).unwrap().total_bytes);
}

fn names<D: Disk>(disk: &D, directory: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = disk.list(directory).unwrap().into_iter().map(PathBuf::from).collect();
    names.sort();
    names
}

fn bytes(file: &impl DiskFile, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; length];
    let read = file.read_to_end(&mut bytes, offset).unwrap();
    bytes.truncate(read);
    bytes
}

fn bytes_are_where_they_were_written<D: Disk>(disk: &D, directory: &Path) {
    let path = directory.join("bytes");
    let file = disk.create(&path).unwrap();
    file.write_all(b"world", 6).unwrap();
    file.write_all(b"hello", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(bytes(&file, 0, 100), b"hello\0world");
    assert_eq!(bytes(&disk.open(&path).unwrap(), 3, 4), b"lo\0w");
    assert_eq!(bytes(&file, 11, 1), b"");
    file.set_len(8).unwrap();
    file.set_len(10).unwrap();
    assert_eq!(bytes(&file, 0, 100), b"hello\0wo\0\0");
    assert_eq!(file.status().unwrap().length, 10);
    file.write_all(b"", 50).unwrap();
    assert_eq!(file.status().unwrap().length, 10, "no bytes change nothing");
}

fn many_parts_are_one_write<D: Disk>(disk: &D, directory: &Path) {
    let file = disk.create(&directory.join("parts")).unwrap();
    let payload: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let mut parts: Vec<IoSlice<'_>> = payload.chunks(3).map(IoSlice::new).collect();
    parts.insert(0, IoSlice::new(b""));
    parts.insert(1500, IoSlice::new(b""));
    file.write_all_parts(&mut parts, 7).unwrap();
    assert_eq!(bytes(&file, 7, 20_000), payload);
}

fn holes_read_as_zeros<D: Disk>(disk: &D, directory: &Path) {
    let file = disk.create(&directory.join("holes")).unwrap();
    file.write_all(&[7; 64 << 10], 0).unwrap();
    file.punch(4096, 8192).unwrap();
    assert!((4096..=12_288).contains(&file.next_data(4096).unwrap().unwrap()), "a hole may be passed over");
    assert_eq!(file.next_data(20_000).unwrap(), Some(20_000), "bytes may not");
    assert_eq!(file.next_data(64 << 10).unwrap(), None);
    assert_eq!(bytes(&file, 4095, 8194), [&[7][..], &[0; 8192], &[7]].concat());
    assert_eq!(file.status().unwrap().length, 64 << 10);
    file.allocate(1 << 20, 1 << 20).unwrap();
    let status = file.status().unwrap();
    assert_eq!(status.length, 64 << 10, "{status:?}");
    assert!(status.allocated_bytes >= 1 << 20, "{status:?}");
}

fn what_is_in_memory_is_read_without_waiting<D: Disk>(disk: &D, directory: &Path) {
    let file = disk.create(&directory.join("nowait")).unwrap();
    file.write_all(b"bytes", 0).unwrap();
    let mut into = [0; 5];
    match file.read_nowait(&mut into, 0) {
        Ok(read) => assert_eq!(into[..read], b"bytes"[..read]),
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Unsupported | ErrorKind::Interrupted),
            "{error}"
        ),
    }
}

#[test]
fn the_real_disk_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    all(&RealDisk, directory.path());
}

#[test]
fn memory_is_told_from_disks() {
    assert!(RealDisk.is_in_memory(Path::new("/dev/shm")).unwrap());
    assert!(!RealDisk.is_in_memory(Path::new("/proc")).unwrap());
}
