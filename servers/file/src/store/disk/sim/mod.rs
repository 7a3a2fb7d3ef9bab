//! A disk in memory that remembers every change, and what a loss of power may leave of it.
//!
//! ```text
//! store ─► SimDisk ─► Recording: how the disk began, and every change since, in order
//!                        └► Platter: what is durable and what is not, after the first n changes
//!                              └► after_power_loss: a SimDisk again, with some of what was not durable
//! ```
//!
//! It promises what [`super`] lists and as little else as ext4 and XFS do with their default mount options:
//! * what is not durable survives or not sector by sector (512 bytes), in any order. A sector has what it was
//!   at the last sync, or after any later write to it; a sector is never torn;
//! * a length that writes have grown may be any in between, at a sector's boundary; what lies past it is gone. A length
//!   that has survived without its bytes has zeros there, never somebody else's old bytes (so not `data=writeback`);
//! * a truncation is one step and is ordered with the other truncations of its file, and with the later writes to
//!   the bytes that it cut. A hole that was punched is not: it is like a write of zeros;
//! * a file's bytes are durable without its name and the other way round. Names of one directory survive in any
//!   order, but the changes of one name in theirs; a rename is one step.

mod change;
mod file;
mod platter;
mod sectors;
#[cfg(test)]
mod tests;
mod tree;

pub use change::{Change, Recording};
pub(in crate::store) use platter::Chance;
pub use platter::{Platter, Survivors};
pub use sectors::SECTOR_BYTES;

use super::{Disk, DiskFile, DiskSpace, FileStatus};
use parking_lot::Mutex;
use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
pub use tree::FileNumber;
use tree::Tree;

/// What the disk says of its size; it is not bounded.
const TOTAL_BYTES: u64 = 1 << 44;

/// A disk in memory that remembers every change. Its root directory is `/`.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`].
#[derive(Debug)]
pub struct SimFile {
    disk: SimDisk,
    number: FileNumber,
}

#[derive(Debug, Default)]
struct State {
    began: Tree,
    now: Tree,
    changes: Vec<Change>,
}

impl State {
    fn change(&mut self, change: Change) -> io::Result<()> {
        self.now.apply(&change)?;
        self.changes.push(change);
        Ok(())
    }
}

impl SimDisk {
    fn of(tree: Tree) -> Self {
        SimDisk { state: Arc::new(Mutex::new(State { began: tree.clone(), now: tree, changes: Vec::new() })) }
    }

    /// How many changes there were. A call that is under way may have made some of its changes.
    pub fn changes(&self) -> usize {
        self.state.lock().changes.len()
    }

    /// Everything that was done to the disk so far.
    pub fn recording(&self) -> Recording {
        let state = self.state.lock();
        Recording::new(state.began.clone(), state.changes.clone())
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.state.lock().change(change)
    }

    /// Whoever waits for this sync waits longer than it takes: what others write meanwhile is not covered.
    fn sync(&self, change: Change) -> io::Result<()> {
        self.change(change)?;
        std::thread::yield_now();
        Ok(())
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn open(&self, path: &Path) -> io::Result<SimFile> {
        let number = self.state.lock().now.file(path)?;
        Ok(SimFile { disk: self.clone(), number })
    }

    fn create(&self, path: &Path) -> io::Result<SimFile> {
        let mut state = self.state.lock();
        let number = state.now.next_file();
        state.change(Change::Create { path: path.to_owned(), file: number })?;
        Ok(SimFile { disk: self.clone(), number })
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.change(Change::Unlink { path: path.to_owned() })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(from.parent(), to.parent(), "a rename stays in its directory");
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.change(Change::MakeDirectory { path: path.to_owned() })
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        Ok(self.state.lock().now.is_directory(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        self.state.lock().now.list(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.sync(Change::SyncDirectory { directory: directory.to_owned() })
    }

    fn space(&self, _path: &Path) -> io::Result<DiskSpace> {
        let used = self.state.lock().now.allocated_bytes();
        Ok(DiskSpace { total_bytes: TOTAL_BYTES, free_bytes: TOTAL_BYTES.saturating_sub(used) })
    }

    fn is_in_memory(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }
}

impl DiskFile for SimFile {
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let bytes: Arc<[u8]> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let count = bytes.len();
        if count > 0 {
            self.disk.change(Change::Write { file: self.number, offset, bytes })?;
        }
        Ok(count)
    }

    fn read_some(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.disk.state.lock().now.contents(self.number).read(into, offset))
    }

    fn read_nowait(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_some(into, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.change(Change::SetLength { file: self.number, length })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(Change::Sync { file: self.number })
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.change(Change::Allocate { file: self.number, offset, length })
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.change(Change::Punch { file: self.number, offset, length })
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.disk.state.lock().now.contents(self.number).next_data(offset))
    }

    fn status(&self) -> io::Result<FileStatus> {
        let state = self.disk.state.lock();
        let contents = state.now.contents(self.number);
        Ok(FileStatus { length: contents.length(), allocated_bytes: contents.allocated_bytes() })
    }
}
