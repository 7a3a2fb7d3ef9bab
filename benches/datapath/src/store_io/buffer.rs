//! Bytes that begin at a page, as files without page cache want them.

use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The alignment.
const PAGE: usize = 4096;

/// A page-aligned buffer.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Of so many bytes, none of them 0.
    pub fn new(length: usize) -> Self {
        let bytes = vec![7; length + PAGE];
        let start = bytes.as_ptr().align_offset(PAGE);
        Buffer { bytes, start }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes.len() - PAGE
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len()]
    }

    /// The bytes, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let end = self.start + self.len();
        &mut self.bytes[self.start..end]
    }

    /// Writes all of it.
    pub fn write(&self, file: &File, offset: u64) -> Result<()> {
        file.write_all_at(self.bytes(), offset).context("write")
    }

    /// Fills all of it.
    pub fn read(&mut self, file: &File, offset: u64) -> Result<()> {
        file.read_exact_at(self.bytes_mut(), offset).context("read")
    }
}
