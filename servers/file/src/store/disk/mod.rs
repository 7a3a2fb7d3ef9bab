//! What a store does to a local disk, and nothing more.
//!
//! [`PosixStore`](super::PosixStore) makes every call to the file system through [`Disk`] and [`DiskFile`], chosen at
//! compile time: [`RealDisk`] is the operating system, at no cost. For tests there are [`FaultyDisk`], which does to another
//! disk what a test asks for, and [`SimDisk`], which remembers what a loss of power would leave of it.
//!
//! What a store may rest on, of any disk:
//! * bytes that were written, or set by a change of length, are seen by every later call, and are durable after the next
//!   successful [`DiskFile::sync_data`] that began after them; so is the file's length;
//! * names that were made, renamed or unlinked are durable after the next successful [`Disk::sync_directory`] of their
//!   directory; the file's bytes and its name do not wait for each other;
//! * until then a loss of power leaves any of it, in any order, and of a write any whole sectors;
//! * a rename replaces the other name in one step: after a loss of power it leads to the one file or the other;
//! * a failed sync has lost what it was about, and the next sync does not tell.

mod faulty;
mod real;
mod sim;
#[cfg(test)]
mod tests;

pub use faulty::{Call, Fault, FaultyDisk, FaultyFile, Gate, Rule};
pub use real::{RealDisk, RealFile};
pub(super) use sim::Chance;
pub use sim::{Change, FileNumber, Platter, Recording, SECTOR_BYTES, SimDisk, SimFile, Survivors};

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

/// Most parts that one system call takes.
const PARTS_PER_CALL_MAX: usize = 1024;

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Bytes up to its end.
    pub length: u64,
    /// Bytes that it takes on the disk.
    pub allocated_bytes: u64,
}

/// The space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that can still be written.
    pub free_bytes: u64,
}

/// A local file system. All methods block; clones are the same disk.
pub trait Disk: Clone + Debug + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file for reading and writing; one that is not there is [`ErrorKind::NotFound`].
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes an empty file and opens it; one that is there already is [`ErrorKind::AlreadyExists`].
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Takes a file's name away; its bytes go when nobody has it open.
    fn unlink(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, which may be that of another file: that one is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a directory; one that is there already is [`ErrorKind::AlreadyExists`].
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a directory of that name.
    fn is_directory(&self, path: &Path) -> io::Result<bool>;

    /// The names in a directory, in no particular order.
    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// The space of the file system that `path` lies in.
    fn space(&self, path: &Path) -> io::Result<DiskSpace>;

    /// Whether the file system that `path` lies in keeps its files in memory, so that no read ever waits.
    fn is_in_memory(&self, path: &Path) -> io::Result<bool>;
}

/// An open file. All methods may be called from any thread at any time, and all of them block but
/// [`read_nowait`](Self::read_nowait).
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Writes some of the bytes and tells how many; at most 1024 parts.
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Reads some bytes and tells how many: none only at the end of the file.
    fn read_some(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The same, but only what is in memory: [`ErrorKind::WouldBlock`] if nothing is, [`ErrorKind::Unsupported`] if the
    /// file system cannot tell.
    fn read_nowait(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Sets the length: cuts bytes off, or adds a hole.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Takes space for these bytes, so that writing them cannot find the disk full; the length stays.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes a hole of these bytes; the length stays.
    fn punch(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Length and size on disk.
    fn status(&self) -> io::Result<FileStatus>;

    /// The first byte from `offset` on that may be in no hole; nothing if only holes follow, up to the end.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok((offset < self.status()?.length).then_some(offset))
    }

    /// Writes all bytes. After an error any of them may have been written.
    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_parts(&mut [IoSlice::new(bytes)], offset)
    }

    /// Writes all bytes of all parts, one part after the other. After an error any of them may have been written.
    fn write_all_parts(&self, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let some = &parts[..parts.len().min(PARTS_PER_CALL_MAX)];
            match self.write_some(some, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    IoSlice::advance_slices(&mut parts, count);
                    offset += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Fills the buffer as far as the file goes, and tells how far that is.
    fn read_to_end(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < into.len() {
            match self.read_some(&mut into[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}
