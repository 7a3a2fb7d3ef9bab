//! What the server keeps: one file, and one of checksums beside it.
//!
//! Checksums of all blocks are in memory and go to their file at a sync, those of the parts that changed.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::BLOCK;
use super::wire::Range;

/// Checksums that go out together.
const PART: usize = 1024;

/// A file and its checksums.
pub struct Store {
    data: File,
    sums: File,
    known: Vec<AtomicU32>,
    changed: Vec<AtomicBool>,
}

impl Store {
    /// Makes both files, empty, for at most `bytes_max` bytes.
    pub fn create(directory: &Path, bytes_max: u64) -> Result<Self> {
        let make = |name: &str| {
            let path = directory.join(name);
            let made = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            made.with_context(|| format!("make {}", path.display()))
        };
        let blocks = usize::try_from(bytes_max)?.div_ceil(BLOCK);
        Ok(Store {
            data: make("data")?,
            sums: make("sums")?,
            known: (0..blocks).map(|_| AtomicU32::new(0)).collect(),
            changed: (0..blocks.div_ceil(PART)).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Stores bytes that were verified.
    pub fn write(&self, offset: u64, bytes: &[u8], checksums: &[u8]) -> Result<()> {
        let blocks = self.blocks(Range { offset, length: bytes.len() })?;
        self.data.write_all_at(bytes, offset).context("write the data")?;
        for (block, sum) in blocks.clone().zip(checksums.chunks_exact(4)) {
            self.known[block].store(u32::from_le_bytes(sum.try_into().expect("4 bytes")), Ordering::Relaxed);
        }
        for part in blocks.start / PART..=(blocks.end - 1) / PART {
            self.changed[part].store(true, Ordering::Release);
        }
        Ok(())
    }

    /// The checksums of a range, as they are stored.
    pub fn checksums(&self, range: Range, into: &mut [u8]) -> Result<()> {
        for (known, sum) in self.known[self.blocks(range)?].iter().zip(into.chunks_exact_mut(4)) {
            sum.copy_from_slice(&known.load(Ordering::Relaxed).to_le_bytes());
        }
        Ok(())
    }

    /// Reads a range; nothing is verified, which is for the client to do.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.data.read_exact_at(into, offset).context("read the data")
    }

    /// Stores the checksums that changed, and makes both files last.
    pub fn sync(&self) -> Result<()> {
        let mut bytes = Vec::new();
        for (part, changed) in self.changed.iter().enumerate() {
            if changed.swap(false, Ordering::Acquire) {
                let first = part * PART;
                let sums = &self.known[first..self.known.len().min(first + PART)];
                bytes.clear();
                sums.iter().for_each(|sum| bytes.extend_from_slice(&sum.load(Ordering::Relaxed).to_le_bytes()));
                self.sums.write_all_at(&bytes, first as u64 * 4).context("write the checksums")?;
            }
        }
        self.data.sync_data().context("sync the data")?;
        self.sums.sync_data().context("sync the checksums")
    }

    /// Forgets everything.
    pub fn empty(&self) -> Result<()> {
        self.data.set_len(0).context("empty the data")?;
        self.sums.set_len(0).context("empty the checksums")
    }

    fn blocks(&self, range: Range) -> Result<std::ops::Range<usize>> {
        let first = usize::try_from(range.offset)? / BLOCK;
        let blocks = first..first.saturating_add(range.length.div_ceil(BLOCK));
        ensure!(!blocks.is_empty() && blocks.end <= self.known.len(), "{range:?} is empty or past the end");
        Ok(blocks)
    }
}
