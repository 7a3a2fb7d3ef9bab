//! A small store on a disk in memory, whose files a target replaces by its input.

use pfs_core::checksum::Checksum;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_file_server::store::disk::{Disk, DiskFile, SimDisk};
use pfs_file_server::store::{ObjectStore, PosixOptions, PosixStore, StoreError, checksums_of};
use pfs_proto::data::ObjectExtent;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Bytes of the object: three blocks and a half.
pub const OBJECT_BYTES: u64 = 14_000;
/// Bytes of a block.
pub const BLOCK_BYTES: u64 = pfs_core::checksum::BLOCK_BYTES;

const DIRECTORY: &str = "/store";
/// What was written last, and not committed.
const OPEN: (u64, u64) = (5000, 100);

/// A store that has ended.
pub struct Ended {
    disk: SimDisk,
    /// The bytes of its object.
    pub bytes: Vec<u8>,
}

/// How a store has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    ShutDown,
    /// As if it were killed when nothing was open.
    Killed,
    /// As if it were killed when the object had been written and not committed.
    KilledWhileOpen,
}

/// The object.
pub fn object() -> ObjectId {
    ObjectId { file: FileId::new(1).expect("it is not zero"), slot: 3 }
}

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).expect("it is in range")
}

fn write(store: &PosixStore<SimDisk>, offset: u64, bytes: &[u8]) {
    let extents = [extent(offset, bytes.len() as u64)];
    let checksums: Vec<_> = checksums_of(&extents, bytes).collect();
    store.write(object(), &extents, &[bytes], &checksums).expect("the disk is good");
}

impl Ended {
    /// A store with one object, in which the third block is all zeros.
    pub fn new(ending: Ending) -> Self {
        let disk = SimDisk::default();
        let ended = Ended { disk, bytes: Vec::new() };
        let store = ended.open().expect("an empty disk");
        let zeros = 2 * BLOCK_BYTES..3 * BLOCK_BYTES;
        let mut bytes: Vec<u8> =
            (0..OBJECT_BYTES).map(|at| if zeros.contains(&at) { 0 } else { (at % 241) as u8 + 1 }).collect();
        store.create(object()).expect("the disk is good");
        write(&store, 0, &bytes);
        store.commit(object()).expect("the disk is good");
        if ending == Ending::KilledWhileOpen {
            let (offset, length) = OPEN;
            let changed = &mut bytes[offset as usize..(offset + length) as usize];
            changed.fill(0xee);
            write(&store, offset, changed);
        }
        let marks = ended.file(&ended.marks_path());
        drop(store);
        let ended = Ended { bytes, ..ended };
        if ending != Ending::ShutDown {
            ended.replace(&ended.marks_path(), &marks);
        }
        ended
    }

    /// Opens the store.
    pub fn open(&self) -> Result<PosixStore<SimDisk>, StoreError> {
        PosixStore::open_on(self.disk.clone(), Path::new(DIRECTORY), PosixOptions::default())
    }

    /// Where the open marks are.
    pub fn marks_path(&self) -> PathBuf {
        Path::new(DIRECTORY).join("marks")
    }

    /// Where the object's checksums are.
    pub fn sums_path(&self) -> PathBuf {
        let buckets = self.disk.list(Path::new(DIRECTORY)).expect("the disk is good");
        let buckets = buckets.into_iter().map(|name| Path::new(DIRECTORY).join(name));
        let mut directories = buckets.filter(|path| self.disk.is_directory(path).expect("the disk is good"));
        let directory = directories.next().expect("there is an object");
        let names = self.disk.list(&directory).expect("the disk is good");
        let name = names.into_iter().find(|name| name.to_string_lossy().ends_with(".sums"));
        directory.join(name.expect("the object was committed"))
    }

    /// What a file has.
    pub fn file(&self, path: &Path) -> Vec<u8> {
        let file = self.disk.open(path).expect("the file is there");
        let length = file.status().expect("the disk is good").length;
        let mut bytes = vec![0; usize::try_from(length).expect("it is small")];
        file.read_to_end(&mut bytes, 0).expect("the disk is good");
        bytes
    }

    /// Gives a file other bytes.
    pub fn replace(&self, path: &Path, bytes: &[u8]) {
        let file = match self.disk.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.disk.create(path),
            other => other,
        };
        let file = file.expect("the disk is good");
        file.set_len(0).and_then(|()| file.write_all(bytes, 0)).expect("the disk is good");
    }
}

/// Bytes of a block before the object's end.
pub fn block_length(block: u64) -> u64 {
    BLOCK_BYTES.min(OBJECT_BYTES - block * BLOCK_BYTES)
}

/// Blocks of the object.
pub fn blocks() -> u64 {
    OBJECT_BYTES.div_ceil(BLOCK_BYTES)
}

/// Reads a part of a block; nothing if the store or the checksum tells that it is damaged.
pub fn read(store: &PosixStore<SimDisk>, offset: u64, length: u64) -> Option<Vec<u8>> {
    let (extents, mut bytes, mut checksums) = ([extent(offset, length)], vec![0xaa; length as usize], Vec::new());
    store.read(object(), &extents, &mut bytes, &mut checksums).ok()?;
    (checksums == [Checksum::of(&bytes)]).then_some(bytes)
}

/// Whether the store tells of this block that it is whole. Reads of all of it and of a part must say the same, and what is
/// read is what was written.
pub fn is_whole(store: &PosixStore<SimDisk>, block: u64, written: &[u8]) -> bool {
    let (start, length) = (block * BLOCK_BYTES, block_length(block));
    let all = read(store, start, BLOCK_BYTES);
    let part = read(store, start + 1, length - 2);
    let damages = store.verify(object(), block..block + 1).expect("the disk is good");
    let written = &written[start as usize..(start + length) as usize];
    match (&all, &part) {
        (Some(all), Some(part)) => {
            let (bytes, end) = all.split_at(length as usize);
            assert!(bytes == written && end.iter().all(|byte| *byte == 0), "block {block} has other bytes");
            assert!(*part == written[1..written.len() - 1], "block {block} has other bytes in its midst");
        }
        _ => assert!(all.is_none() && part.is_none(), "block {block}: all of it {all:?}, a part {part:?}"),
    }
    assert_eq!(damages.is_empty(), all.is_some(), "block {block}: {damages:?}");
    all.is_some()
}
