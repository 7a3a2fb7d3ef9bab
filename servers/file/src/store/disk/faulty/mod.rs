//! A disk that does what another one does, but for the faults that a test asks for.
//!
//! A [`Rule`] says which calls, of which files, are struck and how. Whatever does not follow from the rules is the other disk's
//! own doing, so a `FaultyDisk` without rules keeps all promises, and one with harmless faults (short, interrupted and
//! slow calls) does too.

mod gate;
mod rules;
mod space;
#[cfg(test)]
mod tests;
mod unsynced;

pub use gate::Gate;
pub use rules::{Call, Fault, Rule};

use super::{Disk, DiskFile, DiskSpace, FileStatus};
use parking_lot::Mutex;
use rules::{Rules, Struck};
use rustix::io::Errno;
use space::Space;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unsynced::Unsynced;

/// A disk with faults. Clones share the rules.
#[derive(Clone, Debug)]
pub struct FaultyDisk<D: Disk> {
    inner: D,
    faults: Arc<Faults>,
}

/// An open file of a [`FaultyDisk`].
#[derive(Debug)]
pub struct FaultyFile<F: DiskFile> {
    inner: F,
    path: PathBuf,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    rules: Rules,
    space: Mutex<Option<Space>>,
    unsynced: Mutex<Unsynced>,
}

impl<D: Disk> FaultyDisk<D> {
    /// The same as the other disk, until there are rules.
    pub fn new(inner: D) -> Self {
        FaultyDisk { inner, faults: Arc::default() }
    }

    /// The disk below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// From now on this rule is applied too, after those that are there: a call is struck by the first that fits.
    pub fn add(&self, rule: Rule) {
        self.faults.rules.add(rule);
    }

    /// Faults that a store has to live with, and that nobody above it may notice: calls that are interrupted, or do a part.
    pub fn add_harmless(&self) {
        for call in [Call::Write, Call::Read] {
            self.add(Rule::new(call, Fault::Error(Errno::INTR)).every(3));
            self.add(Rule::new(call, Fault::Short).every(2));
        }
    }

    /// The disk is whole again, and has space.
    pub fn heal(&self) {
        self.faults.rules.clear();
        *self.faults.space.lock() = None;
    }

    /// How many calls rules have struck.
    pub fn struck(&self) -> u64 {
        self.faults.rules.struck()
    }

    /// From now on there is room for so many more blocks of 4096 bytes. What is overwritten needs none, and what is cut off,
    /// punched or unlinked gives its room back.
    pub fn limit_space(&self, blocks: u64) {
        *self.faults.space.lock() = Some(Space::new(blocks));
    }

    fn strike(&self, call: Call, path: &Path) -> io::Result<Option<Struck>> {
        self.faults.rules.strike(call, path)
    }

    fn file(&self, inner: D::File, path: &Path) -> FaultyFile<D::File> {
        FaultyFile { inner, path: path.to_owned(), faults: self.faults.clone() }
    }
}

impl<D: Disk> Disk for FaultyDisk<D> {
    type File = FaultyFile<D::File>;

    fn open(&self, path: &Path) -> io::Result<Self::File> {
        self.strike(Call::Open, path)?;
        self.inner.open(path).map(|file| self.file(file, path))
    }

    fn create(&self, path: &Path) -> io::Result<Self::File> {
        self.strike(Call::Create, path)?;
        self.inner.create(path).map(|file| self.file(file, path))
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.strike(Call::Unlink, path)?;
        self.inner.unlink(path)?;
        self.faults.forget(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.strike(Call::Rename, from)?;
        self.inner.rename(from, to)?;
        self.faults.forget(to);
        self.faults.forget(from);
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.strike(Call::MakeDirectory, path)?;
        self.inner.make_directory(path)
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.strike(Call::List, directory)?;
        self.inner.list(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        match self.strike(Call::SyncDirectory, directory)? {
            Some(Struck::Ignore) => Ok(()),
            Some(Struck::LoseAndFail(error)) => Err(error.into()),
            Some(Struck::Some { .. }) | None => self.inner.sync_directory(directory),
        }
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.space(path)
    }

    fn is_in_memory(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_in_memory(path)
    }
}

impl Faults {
    fn forget(&self, path: &Path) {
        self.unsynced.lock().forget(path);
        if let Some(space) = &mut *self.space.lock() {
            space.give_back(path, 0, u64::MAX);
        }
    }
}

impl<F: DiskFile> FaultyFile<F> {
    fn strike(&self, call: Call) -> io::Result<Option<Struck>> {
        self.faults.rules.strike(call, &self.path)
    }

    /// Writes the first bytes, as far as there is room for them, and remembers what was there.
    fn write_first(&self, parts: &[IoSlice<'_>], count: usize, offset: u64) -> io::Result<usize> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(count).collect();
        let fits = match &mut *self.faults.space.lock() {
            Some(space) => space.take(&self.path, offset, bytes.len()),
            None => bytes.len(),
        };
        if fits == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        if self.faults.rules.may_lose(&self.path) {
            self.faults.unsynced.lock().note(&self.path, &self.inner, offset, fits)?;
        }
        self.inner.write_some(&[IoSlice::new(&bytes[..fits])], offset)
    }

    fn free(&self, offset: u64, end: u64) {
        if let Some(space) = &mut *self.faults.space.lock() {
            space.give_back(&self.path, offset, end);
        }
    }
}

impl<F: DiskFile> DiskFile for FaultyFile<F> {
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let count = parts.iter().map(|part| part.len()).sum();
        match self.strike(Call::Write)? {
            Some(Struck::Ignore) => Ok(count),
            Some(Struck::Some { then: None }) => self.write_first(parts, count.div_ceil(2), offset),
            Some(Struck::Some { then: Some(error) } | Struck::LoseAndFail(error)) => {
                self.write_first(parts, count / 2, offset)?;
                Err(error.into())
            }
            None => self.write_first(parts, count, offset),
        }
    }

    fn read_some(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = into.len();
        match self.strike(Call::Read)? {
            Some(Struck::Some { then: None }) => self.inner.read_some(&mut into[..count.div_ceil(2)], offset),
            Some(Struck::Some { then: Some(error) } | Struck::LoseAndFail(error)) => Err(error.into()),
            Some(Struck::Ignore) | None => self.inner.read_some(into, offset),
        }
    }

    /// A disk with rules for reads has nothing in memory, so that every read is struck by them.
    fn read_nowait(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.faults.rules.is_any_for(Call::Read, &self.path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.inner.read_nowait(into, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.strike(Call::SetLength)?;
        self.inner.set_len(length)?;
        self.free(length, u64::MAX);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        match self.strike(Call::Sync)? {
            Some(Struck::Ignore) => return Ok(()),
            Some(Struck::LoseAndFail(error)) => {
                self.faults.unsynced.lock().undo(&self.path, &self.inner)?;
                return Err(error.into());
            }
            Some(Struck::Some { .. }) | None => self.inner.sync_data()?,
        }
        self.faults.unsynced.lock().forget(&self.path);
        Ok(())
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.strike(Call::Allocate)?;
        if let Some(space) = &mut *self.faults.space.lock()
            && !space.take_all(&self.path, offset, length)
        {
            return Err(Errno::NOSPC.into());
        }
        self.inner.allocate(offset, length)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.strike(Call::Punch)?;
        self.inner.punch(offset, length)?;
        self.free(offset, offset.saturating_add(length));
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(offset)
    }

    fn status(&self) -> io::Result<FileStatus> {
        self.strike(Call::Status)?;
        self.inner.status()
    }
}
