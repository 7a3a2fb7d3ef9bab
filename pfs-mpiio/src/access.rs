//! Independent access: each rank for itself, under the group's token or, in atomic mode, its own.

use crate::buffer;
use crate::error::{Error, ErrorClass};
use crate::file::File;
use crate::status::Status;
use mpi::traits::*;
use pfs_core::collective::RankRange;
use pfs_core::extent::MAX_FILE_BYTES;

impl File {
    /// Reads into `buf` from `offset` bytes after the start of the file. Short only at the end of the file.
    pub fn read_at<B: BufferMut + ?Sized>(&self, offset: u64, buf: &mut B) -> Result<Status, Error> {
        self.check_readable()?;
        let mut target = buffer::target(buf)?;
        check_range(offset, target.bytes().len())?;
        let read = self.own_io()?.read_at(target.bytes(), offset)?;
        target.finish(read);
        Ok(Status::new(read as u64))
    }

    /// Writes `buf` at `offset` bytes after the start of the file.
    pub fn write_at<B: Buffer + ?Sized>(&self, offset: u64, buf: &B) -> Result<Status, Error> {
        self.check_writable()?;
        let bytes = buffer::bytes(buf)?;
        check_range(offset, bytes.len())?;
        self.own_io()?.write_at(&bytes, offset)?;
        Ok(Status::new(bytes.len() as u64))
    }
}

/// A range that a file can have. An empty one is fine anywhere.
pub(crate) fn check_range(offset: u64, length: usize) -> Result<RankRange, Error> {
    let length = length as u64;
    match offset.checked_add(length) {
        _ if length == 0 => Ok(RankRange { offset: 0, length: 0 }),
        Some(end) if end <= MAX_FILE_BYTES => Ok(RankRange { offset, length }),
        _ => {
            let message =
                format!("{length} bytes at offset {offset} end past the largest file offset, {MAX_FILE_BYTES}");
            Err(Error::new(ErrorClass::Arg, message))
        }
    }
}
