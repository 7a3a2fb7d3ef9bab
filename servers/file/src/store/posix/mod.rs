//! Objects as sparse files in a local directory.
//!
//! ```text
//! objects/000/ … objects/3ff/        the bucket of a file is a hash of its id: all its slots are in one
//!     000000000000002a.0003          file id and slot, in hex
//! ```
//!
//! Assumed of the disk: a successful `fdatasync` of a file makes its bytes and its length durable, a successful `fsync`
//! of a directory its names; neither tears or loses what was durable before. A failed sync loses what it was about,
//! and says so once.
//!
//! Invariants:
//! * a bucket's directory is made with its first object, and is durable before that object is;
//! * an object has at most one [`OpenObject`] at a time, so its ledger knows every write since the last sync;
//! * an object's file is opened, made or unlinked only under its bucket's names lock.

mod bucket;
mod cache;
mod directory;
mod object;

use super::disk::{Disk, DiskSpace, RealDisk};
use super::sync_ledger::PieceCount;
use super::{Attempt, Damage, ObjectStatus, ObjectStore, StoreError};
use bucket::{BUCKETS, Bucket};
use cache::ObjectCache;
use directory::SyncedDirectory;
use object::OpenObject;
use pfs_core::checksum::Checksum;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::ObjectExtent;
use pfs_proto::metadata::SpaceReport;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bounds of a store's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosixOptions {
    /// Most object files that are kept open.
    pub open_objects_max: usize,
}

impl Default for PosixOptions {
    fn default() -> Self {
        PosixOptions { open_objects_max: 1024 }
    }
}

/// A store in a local directory.
#[derive(Debug)]
pub struct PosixStore<D: Disk = RealDisk> {
    disk: D,
    directory: PathBuf,
    buckets: Vec<Bucket<D>>,
    cache: ObjectCache<D::File>,
    pieces: PieceCount,
    objects: AtomicU64,
}

impl PosixStore {
    /// Opens the store in `directory`, which is made if it is not there. One store at a time for one directory.
    pub fn open(directory: &Path, options: PosixOptions) -> Result<Self, StoreError> {
        Self::open_on(RealDisk, directory, options)
    }
}

impl<D: Disk> PosixStore<D> {
    /// The same on another disk.
    pub fn open_on(disk: D, directory: &Path, options: PosixOptions) -> Result<Self, StoreError> {
        let pieces = PieceCount::default();
        make_durable_directory(&disk, directory)
            .map_err(|error| StoreError::of_disk(Attempt::Create, directory, error))?;
        let fan_out = Arc::new(SyncedDirectory::new(disk.clone(), directory.to_owned(), pieces.clone()));
        let buckets = (0..BUCKETS).map(|index| Bucket::new(fan_out.clone(), index, pieces.clone())).collect();
        let store = PosixStore {
            disk,
            directory: directory.to_owned(),
            buckets,
            cache: ObjectCache::new(options.open_objects_max),
            pieces,
            objects: AtomicU64::new(0),
        };
        let objects = store.buckets.iter().try_fold(0, |sum, bucket| Ok(sum + bucket.list()?.len() as u64))?;
        store.objects.store(objects, Ordering::Relaxed);
        Ok(store)
    }

    fn bucket(&self, file: FileId) -> &Bucket<D> {
        &self.buckets[bucket::index(file)]
    }

    /// The object, opened if it is not open yet; nothing if it does not exist.
    fn find(&self, id: ObjectId) -> Result<Option<Arc<OpenObject<D::File>>>, StoreError> {
        if let Some(object) = self.cache.get(id) {
            return Ok(Some(object));
        }
        let bucket = self.bucket(id.file);
        let object = {
            let _names = bucket.names();
            let Some(file) = bucket.open(id)? else { return Ok(None) };
            self.cache.insert(OpenObject::new(id, bucket.path(id), file, self.pieces.clone()))
        };
        self.cache.trim();
        Ok(Some(object))
    }

    fn existing(&self, object: ObjectId) -> Result<Arc<OpenObject<D::File>>, StoreError> {
        self.find(object)?.ok_or(StoreError::Missing { object })
    }
}

/// Makes the directory and what is missing above it, each durable in the one above.
fn make_durable_directory<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    if disk.is_directory(directory)? {
        return Ok(());
    }
    let above = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = above {
        make_durable_directory(disk, parent)?;
    }
    disk.make_directory(directory)?;
    above.map_or(Ok(()), |parent| disk.sync_directory(parent))
}

impl<D: Disk> ObjectStore for PosixStore<D> {
    fn create(&self, id: ObjectId) -> Result<(), StoreError> {
        let bucket = self.bucket(id.file);
        {
            let _names = bucket.names();
            let Some(file) = bucket.create(id)? else { return Ok(()) };
            self.objects.fetch_add(1, Ordering::Relaxed);
            self.cache.insert(OpenObject::new(id, bucket.path(id), file, self.pieces.clone()));
        }
        self.cache.trim();
        Ok(())
    }

    fn is_at_hand(&self, object: ObjectId) -> bool {
        self.cache.get(object).is_some()
    }

    fn write(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        _checksums: &[Checksum],
    ) -> Result<(), StoreError> {
        let payload = payload.concat();
        self.existing(object)?.write(extents, &payload)
    }

    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError> {
        self.existing(object)?.read(extents, into)?;
        checksums.extend(super::checksums_of(extents, into));
        Ok(())
    }

    fn write_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<bool, StoreError> {
        self.write(object, extents, payload, checksums).map(|()| true)
    }

    fn read_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, StoreError> {
        match self.is_at_hand(object) {
            true => self.read(object, extents, into, checksums).map(|()| true),
            false => Ok(false),
        }
    }

    fn allocate(&self, object: ObjectId, _extent: ObjectExtent) -> Result<(), StoreError> {
        self.existing(object).map(|_| ())
    }

    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        let object = self.existing(object)?;
        let length = extent.end().0.min(object.status()?.length).saturating_sub(extent.offset().0);
        match ObjectExtent::new(extent.offset(), length) {
            Some(inside) => object.write(&[inside], &vec![0; usize::try_from(length).unwrap_or(usize::MAX)]),
            None => Ok(()),
        }
    }

    fn verify(&self, object: ObjectId, _blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        self.existing(object).map(|_| Vec::new())
    }

    fn commit(&self, id: ObjectId) -> Result<Option<u64>, StoreError> {
        let Some(object) = self.find(id)? else { return Ok(None) };
        self.bucket(id.file).commit_names(id)?;
        object.commit()?;
        Ok(Some(object.status()?.length))
    }

    fn truncate(&self, id: ObjectId, length: u64, generation: u64) -> Result<(), StoreError> {
        let mut generations = self.bucket(id.file).generations();
        if generations.covers(id, generation) {
            return Ok(());
        }
        if let Some(object) = self.find(id)? {
            object.truncate(length)?;
        }
        generations.note(id, generation);
        Ok(())
    }

    fn remove_file(&self, file: FileId) -> Result<u64, StoreError> {
        let bucket = self.bucket(file);
        let mut generations = bucket.generations();
        let removed = bucket.unlink(file, |id| {
            self.cache.remove(id);
            self.objects.fetch_sub(1, Ordering::Relaxed);
        })?;
        generations.forget(file);
        drop(generations);
        // Also when nothing was there: an earlier call may have ended between the two steps.
        bucket.commit_names(ObjectId { file, slot: 0 })?;
        Ok(removed)
    }

    fn stat(&self, object: ObjectId) -> Result<Option<ObjectStatus>, StoreError> {
        self.find(object)?.map(|object| object.status()).transpose()
    }

    fn list(&self) -> Result<Vec<ObjectId>, StoreError> {
        let mut objects = Vec::new();
        for bucket in &self.buckets {
            objects.extend(bucket.list()?);
        }
        Ok(objects)
    }

    fn space(&self) -> Result<SpaceReport, StoreError> {
        let failed = |error| StoreError::of_disk(Attempt::Space, &self.directory, error);
        let DiskSpace { total_bytes, free_bytes } = self.disk.space(&self.directory).map_err(failed)?;
        Ok(SpaceReport { total_bytes, free_bytes, objects: self.objects.load(Ordering::Relaxed) })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
