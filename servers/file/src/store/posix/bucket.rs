//! One part of the fan-out: its names, their durability, and the truncations of its objects.

use super::super::disk::Disk;
use super::super::generations::Generations;
use super::super::sync_ledger::{Loss, PieceCount};
use super::super::{Attempt, StoreError};
use super::directory::SyncedDirectory;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use pfs_core::ids::{FileId, ObjectId};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// Number of buckets.
pub(super) const BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 10;

/// The bucket of a file: the upper bits of a product with 2^64 / φ, which spreads consecutive ids evenly.
pub(super) fn index(file: FileId) -> usize {
    let spread = file.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(spread >> (u64::BITS - BUCKET_BITS)).expect("less than the number of buckets")
}

/// One part of the fan-out.
#[derive(Debug)]
pub(super) struct Bucket<D: Disk> {
    /// The directory, made with its first object.
    directory: SyncedDirectory<D>,
    /// The directory that the buckets are in.
    store: Arc<SyncedDirectory<D>>,
    /// Shared by who opens or makes an object, exclusive for who unlinks some.
    names: RwLock<()>,
    /// Held while an object of this bucket is truncated or removed.
    generations: Mutex<Generations>,
}

impl<D: Disk> Bucket<D> {
    pub(super) fn new(store: Arc<SyncedDirectory<D>>, index: usize, pieces: PieceCount) -> Self {
        let path = store.path().join(format!("{index:03x}"));
        let directory = SyncedDirectory::new(store.disk().clone(), path, pieces);
        Bucket { directory, store, names: RwLock::default(), generations: Mutex::default() }
    }

    fn disk(&self) -> &D {
        self.store.disk()
    }

    /// Where an object lies.
    pub(super) fn path(&self, object: ObjectId) -> PathBuf {
        self.directory.path().join(format!("{:016x}.{:04x}", object.file.get(), object.slot))
    }

    /// To be held from before an object's file is opened until it is in the cache.
    pub(super) fn names(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read()
    }

    /// To be held while an object is truncated.
    pub(super) fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock()
    }

    /// Opens an object's file; nothing if there is none.
    pub(super) fn open(&self, object: ObjectId) -> Result<Option<D::File>, StoreError> {
        let path = self.path(object);
        match self.disk().open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::of_object(object, Attempt::Open, &path, error)),
        }
    }

    /// Makes an object's file; nothing if there is one already.
    pub(super) fn create(&self, object: ObjectId) -> Result<Option<D::File>, StoreError> {
        let path = self.path(object);
        let make = || self.directory.change(|| self.disk().create(&path));
        let made = match make() {
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_directory().and_then(|()| make()),
            other => other,
        };
        match made {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(StoreError::of_object(object, Attempt::Create, &path, error)),
        }
    }

    fn make_directory(&self) -> io::Result<()> {
        match self.store.change(|| self.disk().make_directory(self.directory.path())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Unlinks all objects of a file and calls `unlinked` for each, while nobody can open one.
    pub(super) fn unlink(&self, file: FileId, unlinked: impl Fn(ObjectId)) -> Result<u64, StoreError> {
        let _names = self.names.write();
        let mut count = 0;
        for object in self.list()?.into_iter().filter(|object| object.file == file) {
            let path = self.path(object);
            self.directory
                .change(|| self.disk().unlink(&path))
                .map_err(|error| StoreError::of_object(object, Attempt::Remove, &path, error))?;
            unlinked(object);
            count += 1;
        }
        Ok(count)
    }

    /// Makes all changes of names so far durable; `object` is named in the error.
    pub(super) fn commit_names(&self, object: ObjectId) -> Result<(), StoreError> {
        let failed = |loss: Loss| StoreError::of_object(object, Attempt::CommitName, &self.path(object), loss.source);
        self.store.commit().map_err(failed)?;
        self.directory.commit().map_err(failed)
    }

    /// The objects that are here.
    pub(super) fn list(&self) -> Result<Vec<ObjectId>, StoreError> {
        let directory = self.directory.path();
        let failed = |error| StoreError::of_disk(Attempt::List, directory, error);
        let entries = match self.disk().list(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let mut objects = Vec::new();
        for name in entries {
            match name.to_str().and_then(parse_name) {
                Some(object) => objects.push(object),
                None => tracing::warn!(directory = %directory.display(), ?name, "a file in the store is no object"),
            }
        }
        Ok(objects)
    }
}

fn parse_name(name: &str) -> Option<ObjectId> {
    let (file, slot) = name.split_once('.')?;
    if file.len() != 16 || slot.len() != 4 {
        return None;
    }
    let file = FileId::new(u64::from_str_radix(file, 16).ok()?)?;
    Some(ObjectId { file, slot: u32::from_str_radix(slot, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::super::super::disk::RealDisk;
    use super::*;

    #[test]
    fn names_lead_back_to_objects() {
        let store = SyncedDirectory::new(RealDisk, "/store".into(), PieceCount::default());
        let bucket = Bucket::new(Arc::new(store), 0x3a, PieceCount::default());
        let object = ObjectId { file: FileId::new(42).unwrap(), slot: 0xfff };
        let path = bucket.path(object);
        assert_eq!(path, std::path::Path::new("/store/03a/000000000000002a.0fff"));
        assert_eq!(parse_name(path.file_name().unwrap().to_str().unwrap()), Some(object));
        for strange in ["", ".", "lock", "000000000000002a", "0000000000000000.0000", "2a.0", "000000000000002g.0000"] {
            assert_eq!(parse_name(strange), None, "{strange}");
        }
    }

    #[test]
    fn consecutive_files_spread_over_all_buckets() {
        let mut counts = vec![0; BUCKETS];
        (1..=10 * BUCKETS as u64).for_each(|file| counts[index(FileId::new(file).unwrap())] += 1);
        assert!(counts.iter().all(|count| (5..=15).contains(count)), "{counts:?}");
    }
}
