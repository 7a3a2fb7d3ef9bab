//! The operating system's file system: each method is one system call.

use super::{Disk, DiskFile, DiskSpace, FileStatus};
use rustix::fs::{FallocateFlags, FsWord, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// `st_blocks` counts in these, whatever the file system's own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The types of the file systems that keep their files in memory, as `statfs` tells them.
const TMPFS_MAGIC: FsWord = 0x0102_1994;
const RAMFS_MAGIC: FsWord = 0x8584_58f6;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// A file of the operating system.
#[derive(Debug)]
pub struct RealFile(File);

impl AsFd for RealFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn open(&self, path: &Path) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).open(path).map(RealFile)
    }

    fn create(&self, path: &Path) -> io::Result<RealFile> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path).map(RealFile)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let disk = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            total_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            free_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }

    fn is_in_memory(&self, path: &Path) -> io::Result<bool> {
        let kind = rustix::fs::statfs(path)?.f_type;
        Ok(kind == TMPFS_MAGIC || kind == RAMFS_MAGIC)
    }
}

impl DiskFile for RealFile {
    fn write_some(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match parts {
            [bytes] => self.0.write_at(bytes, offset),
            parts => Ok(rustix::io::pwritev(&self.0, parts, offset)?),
        }
    }

    fn read_some(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn read_nowait(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let parts = &mut [IoSliceMut::new(into)];
        rustix::io::preadv2(&self.0, parts, offset, ReadWriteFlags::NOWAIT).map_err(|error| match error {
            Errno::OPNOTSUPP => ErrorKind::Unsupported.into(),
            other => other.into(),
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, length)?)
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.0, flags, offset, length)?)
    }

    /// Nothing else uses the position in the file.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.0, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok((offset < self.0.metadata()?.len()).then_some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    fn status(&self) -> io::Result<FileStatus> {
        let metadata = self.0.metadata()?;
        let allocated_bytes = metadata.blocks().saturating_mul(STAT_BLOCK_BYTES);
        Ok(FileStatus { length: metadata.len(), allocated_bytes })
    }
}
