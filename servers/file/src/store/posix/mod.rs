//! Objects as sparse files in a local directory, each with its checksums beside it. `docs/ON_DISK.md` draws the files.
//!
//! ```text
//! objects/marks                      which regions of which objects are being written
//! objects/000/ … objects/3ff/        the bucket of a file is a hash of its id: all its slots are in one
//!     000000000000002a.0003          file id and slot, in hex: the bytes
//!     000000000000002a.0003.sums     a checksum for each block of them
//! ```
//!
//! What is assumed of the disk is in `disk/mod.rs`.
//!
//! Invariants:
//! * a bucket's directory is made with its first object, and is durable before that object is;
//! * an object has at most one [`OpenObject`] at a time, so its ledger knows every write since the last sync;
//! * an object's files are opened, made, named or unlinked only under its bucket's names lock;
//! * a block that differs from its checksum on the disk, at whatever moment the store ends, is one of an object without a
//!   checksum file or lies in a region with an open mark, or is damaged;
//! * an object that is not open has its checksums on the disk, and so has every object when the store was shut down.

mod blocks;
mod bucket;
mod cache;
mod directory;
mod marks;
mod object;
mod recovery;
mod regions;
mod segments;
mod shape;
mod sidecar;
mod table;
mod verify;

pub use recovery::Recovered;

use super::disk::{Disk, DiskFile, DiskSpace, RealDisk};
use super::sync_ledger::{PieceCount, Standing};
use super::{Attempt, Damage, ObjectStatus, ObjectStore, StoreError};
use bucket::{BUCKETS, Bucket};
use cache::ObjectCache;
use directory::SyncedDirectory;
use marks::MarkFile;
use object::OpenObject;
use pfs_core::checksum::Checksum;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::ObjectExtent;
use pfs_proto::metadata::SpaceReport;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use table::{UnitCount, Wait};

/// Bounds of a store's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosixOptions {
    /// Most objects that are kept open; each has two files.
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
    shared: Arc<Shared<D>>,
    directory: PathBuf,
    buckets: Vec<Arc<Bucket<D>>>,
    cache: ObjectCache<D>,
    objects: AtomicU64,
    recovered: Recovered,
}

/// What all objects of a store share.
#[derive(Debug)]
struct Shared<D: Disk> {
    /// Whether reading never waits for a disk.
    is_in_memory: bool,
    marks: MarkFile<D>,
    pieces: PieceCount,
    units: UnitCount,
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
        let failed = |attempt| move |error| StoreError::of_disk(attempt, directory, error);
        make_durable_directory(&disk, directory).map_err(failed(Attempt::Create))?;
        let (marks, last_run) = MarkFile::open(&disk, directory).map_err(failed(Attempt::Open))?;
        let is_in_memory = disk.is_in_memory(directory).map_err(failed(Attempt::Open))?;
        let pieces = PieceCount::default();
        let fan_out = Arc::new(SyncedDirectory::new(disk, directory.to_owned(), pieces.clone()));
        let bucket = |index| Arc::new(Bucket::new(fan_out.clone(), index, pieces.clone()));
        let mut store = PosixStore {
            shared: Arc::new(Shared { is_in_memory, marks, pieces: pieces.clone(), units: UnitCount::default() }),
            directory: directory.to_owned(),
            buckets: (0..BUCKETS).map(bucket).collect(),
            cache: ObjectCache::new(options.open_objects_max),
            objects: AtomicU64::new(0),
            recovered: Recovered::default(),
        };
        if !last_run.was_shut_down {
            let bucket_of = |object: ObjectId| store.bucket(object.file).as_ref();
            let buckets = store.buckets.iter().map(Arc::as_ref);
            store.recovered = recovery::recover(buckets, bucket_of, &last_run.marks)?;
        }
        store.shared.marks.begin().map_err(failed(Attempt::Mark))?;
        let objects = store.buckets.iter().try_fold(0, |sum, bucket| Ok(sum + bucket.list()?.len() as u64))?;
        store.objects.store(objects, Ordering::Relaxed);
        Ok(store)
    }

    /// What had to be put right when the store was opened; nothing if it was shut down in order.
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    fn disk(&self) -> &D {
        self.buckets[0].disk()
    }

    fn bucket(&self, file: FileId) -> &Arc<Bucket<D>> {
        &self.buckets[bucket::index(file)]
    }

    /// The object, opened if it is not open yet; nothing if it does not exist.
    fn find(&self, id: ObjectId) -> Result<Option<Arc<OpenObject<D>>>, StoreError> {
        if let Some(object) = self.cache.get(id) {
            return Ok(Some(object));
        }
        let bucket = self.bucket(id.file);
        let object = {
            let _opening = bucket.opening();
            // Somebody else may have opened it just now, and even have made it.
            match self.cache.get(id) {
                Some(object) => object,
                None => {
                    let Some(file) = bucket.open(id)? else { return Ok(None) };
                    self.cache.insert(OpenObject::found(id, file, bucket, &self.shared)?)
                }
            }
        };
        self.cache.trim();
        Ok(Some(object))
    }

    fn existing(&self, object: ObjectId) -> Result<Arc<OpenObject<D>>, StoreError> {
        self.find(object)?.ok_or(StoreError::Missing { object })
    }

    /// Makes everything durable; tells whether that is so.
    fn shut_down(&self) -> bool {
        let objects = self.cache.all();
        objects.iter().filter(|object| object.standing() == Standing::Uncommitted).for_each(|object| object.settle());
        let names = self.buckets.iter().all(|bucket| bucket.settle_names());
        names && objects.iter().all(|object| object.standing() == Standing::Settled) && self.shared.marks.is_empty()
    }
}

/// A store that is closed is shut down in order, if the disk lets it.
impl<D: Disk> Drop for PosixStore<D> {
    fn drop(&mut self) {
        if !self.shut_down() {
            tracing::warn!(directory = %self.directory.display(), "the store ends with bytes that are not durable");
        } else if let Err(error) = self.shared.marks.end() {
            tracing::warn!(%error, directory = %self.directory.display(), "the store cannot be marked as shut down");
        }
    }
}

/// Reads up to the end of the file; nothing if that would have to wait.
fn fetch<F: DiskFile>(
    file: &F,
    into: &mut [u8],
    offset: u64,
    is_in_memory: bool,
    wait: Wait,
) -> io::Result<Option<usize>> {
    if wait == Wait::Allowed || is_in_memory {
        return file.read_to_end(into, offset).map(Some);
    }
    let mut read = 0;
    while read < into.len() {
        match file.read_nowait(&mut into[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Unsupported) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(read))
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
            let _opening = bucket.opening();
            let Some((file, sums)) = bucket.create(id)? else { return Ok(()) };
            self.objects.fetch_add(1, Ordering::Relaxed);
            self.cache.insert(OpenObject::made(id, file, sums, bucket, &self.shared));
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
        checksums: &[Checksum],
    ) -> Result<(), StoreError> {
        self.existing(object)?.write(extents, payload, checksums, Wait::Allowed).map(|done| debug_assert!(done))
    }

    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError> {
        self.existing(object)?.read(extents, into, checksums, Wait::Allowed).map(|done| debug_assert!(done))
    }

    fn write_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<bool, StoreError> {
        let object = self.cache.get(object);
        object.map_or(Ok(false), |object| object.write(extents, payload, checksums, Wait::Never))
    }

    fn read_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, StoreError> {
        let object = self.cache.get(object);
        object.map_or(Ok(false), |object| object.read(extents, into, checksums, Wait::Never))
    }

    fn allocate(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        self.existing(object)?.allocate(extent)
    }

    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        self.existing(object)?.punch(extent)
    }

    fn verify(&self, object: ObjectId, blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        self.existing(object)?.verify(blocks)
    }

    /// The names last: at the first commit the checksums get theirs.
    fn commit(&self, id: ObjectId) -> Result<Option<u64>, StoreError> {
        let Some(object) = self.find(id)? else { return Ok(None) };
        object.commit()?;
        self.bucket(id.file).commit_names(id)?;
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
        let mut open = Vec::new();
        let removed = bucket.unlink(file, |id| {
            open.extend(self.cache.remove(id));
            self.objects.fetch_sub(1, Ordering::Relaxed);
        })?;
        generations.forget(file);
        drop(generations);
        // Also when nothing was there: an earlier call may have ended between the two steps.
        bucket.commit_names(ObjectId { file, slot: 0 })?;
        open.iter().for_each(|object| object.is_gone());
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
        let DiskSpace { total_bytes, free_bytes } = self.disk().space(&self.directory).map_err(failed)?;
        Ok(SpaceReport { total_bytes, free_bytes, objects: self.objects.load(Ordering::Relaxed) })
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

#[cfg(test)]
#[path = "integrity_tests.rs"]
mod integrity_tests;
