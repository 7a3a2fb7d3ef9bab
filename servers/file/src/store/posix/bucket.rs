//! One part of the fan-out: its names, their durability, and the truncations of its objects.

use super::super::disk::{Disk, DiskFile};
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

/// An object's bytes, and their checksums.
pub(super) type Files<D> = (<D as Disk>::File, <D as Disk>::File);

/// One part of the fan-out.
#[derive(Debug)]
pub(super) struct Bucket<D: Disk> {
    /// The directory, made with its first object.
    directory: SyncedDirectory<D>,
    /// The directory that the buckets are in.
    store: Arc<SyncedDirectory<D>>,
    /// Shared by who opens, makes or names files, exclusive for who unlinks some.
    names: RwLock<()>,
    /// Held by who opens or makes an object, so that nobody finds one half made.
    opening: Mutex<()>,
    /// Held while an object of this bucket is truncated or removed.
    generations: Mutex<Generations>,
}

impl<D: Disk> Bucket<D> {
    pub(super) fn new(store: Arc<SyncedDirectory<D>>, index: usize, pieces: PieceCount) -> Self {
        let path = store.path().join(format!("{index:03x}"));
        let directory = SyncedDirectory::new(store.disk().clone(), path, pieces);
        Bucket { directory, store, names: RwLock::default(), opening: Mutex::default(), generations: Mutex::default() }
    }

    pub(super) fn disk(&self) -> &D {
        self.store.disk()
    }

    fn path_of(&self, object: ObjectId, kind: Kind) -> PathBuf {
        self.directory.path().join(format!("{:016x}.{:04x}{}", object.file.get(), object.slot, kind.suffix()))
    }

    /// Where an object lies.
    pub(super) fn path(&self, object: ObjectId) -> PathBuf {
        self.path_of(object, Kind::Bytes)
    }

    /// Where the checksums of a committed object lie.
    pub(super) fn sums_path(&self, object: ObjectId) -> PathBuf {
        self.path_of(object, Kind::Sums)
    }

    /// To be held while a checksum file is made or named.
    pub(super) fn names(&self) -> RwLockReadGuard<'_, ()> {
        self.names.read()
    }

    /// To be held from before an object's file is opened or made until it is in the cache.
    pub(super) fn opening(&self) -> Opening<'_> {
        Opening { _opening: self.opening.lock(), _names: self.names.read() }
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

    /// Makes the files of an object, for its bytes and its checksums; nothing if there is such an object already.
    pub(super) fn create(&self, object: ObjectId) -> Result<Option<Files<D>>, StoreError> {
        let path = self.path(object);
        let failed = |error| StoreError::of_object(object, Attempt::Create, &path, error);
        let make = || self.directory.change(|| self.disk().create(&path));
        let made = match make() {
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_directory().and_then(|()| make()),
            other => other,
        };
        let file = match made {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match self.create_early_sums(object) {
            Ok(sums) => Ok(Some((file, sums))),
            Err(error) => {
                self.unlink_one(object, Kind::Bytes)?;
                Err(failed(error))
            }
        }
    }

    /// Opens the checksum file of a committed object.
    pub(super) fn open_sums(&self, object: ObjectId) -> io::Result<D::File> {
        self.disk().open(&self.sums_path(object))
    }

    /// Makes the checksum file of an object that was never committed, empty.
    pub(super) fn create_early_sums(&self, object: ObjectId) -> io::Result<D::File> {
        let path = self.path_of(object, Kind::EarlySums);
        match self.directory.change(|| self.disk().create(&path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let file = self.disk().open(&path)?;
                file.set_len(0)?;
                Ok(file)
            }
            other => other,
        }
    }

    /// Gives that file the name that it has from the first commit on.
    pub(super) fn name_sums(&self, object: ObjectId) -> io::Result<()> {
        let (from, to) = (self.path_of(object, Kind::EarlySums), self.path_of(object, Kind::Sums));
        self.directory.change(|| self.disk().rename(&from, &to))
    }

    fn make_directory(&self) -> io::Result<()> {
        match self.store.change(|| self.disk().make_directory(self.directory.path())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Unlinks all objects of a file and calls `unlinked` for each, while nobody can open one. The checksums go first: bytes
    /// without checksums are an object that was not committed, checksums alone are nothing.
    pub(super) fn unlink(&self, file: FileId, mut unlinked: impl FnMut(ObjectId)) -> Result<u64, StoreError> {
        let _names = self.names.write();
        let mut names: Vec<(ObjectId, Kind)> =
            self.names_here()?.into_iter().filter(|(object, _)| object.file == file).collect();
        names.sort_unstable_by_key(|(object, kind)| (*kind == Kind::Bytes, *object));
        let mut count = 0;
        for (object, kind) in names {
            self.unlink_one(object, kind)?;
            if kind == Kind::Bytes {
                unlinked(object);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Takes one name away.
    pub(super) fn unlink_one(&self, object: ObjectId, kind: Kind) -> Result<(), StoreError> {
        let path = self.path_of(object, kind);
        self.directory
            .change(|| self.disk().unlink(&path))
            .map_err(|error| StoreError::of_object(object, Attempt::Remove, &path, error))
    }

    /// Makes all changes of names so far durable; `object` is named in the error.
    pub(super) fn commit_names(&self, object: ObjectId) -> Result<(), StoreError> {
        let failed = |loss: Loss| StoreError::of_object(object, Attempt::CommitName, &self.path(object), loss.source);
        self.store.commit().map_err(failed)?;
        self.directory.commit().map_err(failed)
    }

    /// Makes all names durable as they are, whoever changed them last.
    pub(super) fn sync_names(&self) -> Result<(), StoreError> {
        let failed = |loss: Loss| StoreError::of_disk(Attempt::CommitName, self.directory.path(), loss.source);
        self.store.commit().map_err(failed)?;
        self.directory.commit().map_err(failed)
    }

    /// Makes changes of names durable that wait for it, and tells whether none is left.
    pub(super) fn settle_names(&self) -> bool {
        self.store.settle() && self.directory.settle()
    }

    /// The objects that are here.
    pub(super) fn list(&self) -> Result<Vec<ObjectId>, StoreError> {
        let names = self.names_here()?.into_iter();
        Ok(names.filter_map(|(object, kind)| (kind == Kind::Bytes).then_some(object)).collect())
    }

    /// All files of objects that are here.
    pub(super) fn names_here(&self) -> Result<Vec<(ObjectId, Kind)>, StoreError> {
        let directory = self.directory.path();
        let entries = match self.disk().list(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| StoreError::of_disk(Attempt::List, directory, error))?,
        };
        let mut names = Vec::new();
        for name in entries {
            match name.to_str().and_then(parse_name) {
                Some(found) => names.push(found),
                None => tracing::warn!(directory = %directory.display(), ?name, "a file in the store is no object"),
            }
        }
        Ok(names)
    }
}

/// Somebody opens or makes an object.
#[must_use = "nobody else opens or makes objects of this bucket while it is held"]
pub(super) struct Opening<'a> {
    _opening: MutexGuard<'a, ()>,
    _names: RwLockReadGuard<'a, ()>,
}

/// What a file of an object has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its bytes.
    Bytes,
    /// Their checksums.
    Sums,
    /// Their checksums, before the first commit.
    EarlySums,
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Kind::Bytes => "",
            Kind::Sums => ".sums",
            Kind::EarlySums => ".sums-new",
        }
    }
}

fn parse_name(name: &str) -> Option<(ObjectId, Kind)> {
    let (file, rest) = name.split_once('.')?;
    let slot = rest.get(..4)?;
    if file.len() != 16 {
        return None;
    }
    let kind = [Kind::Bytes, Kind::Sums, Kind::EarlySums].into_iter().find(|kind| kind.suffix() == &rest[4..])?;
    let file = FileId::new(u64::from_str_radix(file, 16).ok()?)?;
    Some((ObjectId { file, slot: u32::from_str_radix(slot, 16).ok()? }, kind))
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
        for kind in [Kind::Bytes, Kind::Sums, Kind::EarlySums] {
            let path = bucket.path_of(object, kind);
            assert_eq!(parse_name(path.file_name().unwrap().to_str().unwrap()), Some((object, kind)));
        }
        for strange in [
            "",
            ".",
            "lock",
            "000000000000002a",
            "0000000000000000.0000",
            "2a.0",
            "000000000000002g.0000",
            "000000000000002a.0000.sum",
        ] {
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
