//! Moving bytes: blocks of one file to another by several threads, or between a file and a pipe.
//!
//! Invariants: a block is read whole before it is written, at the same offset. Memory is bounded by the threads and
//! the block size, never by the file. The first failure ends the transfer; what was written by then stays written.

mod blocks;
pub mod copier;
mod endpoint;
pub mod interrupt;
mod local;
mod pipe;
mod progress;
mod tree;

use pfs_client::blocking::File as RemoteFile;
use pfs_core::layout::Recipe;
use progress::Progress;
use std::error::Error;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

/// What a source or a target says when it fails.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Something that is read at offsets, by several threads.
pub trait Source: Sync {
    /// Fills the buffer from `offset` on; fewer bytes only at the end.
    fn read_block(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Cause>;
}

/// Something that is written at offsets, by several threads.
pub trait Target: Sync {
    /// Writes the whole buffer at `offset`.
    fn write_block(&self, buffer: &[u8], offset: u64) -> Result<(), Cause>;
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The source.
    #[error("reading the source at byte {offset}: {cause}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        cause: Cause,
    },
    /// The target.
    #[error("writing the destination at byte {offset}: {cause}")]
    Write {
        /// Where.
        offset: u64,
        /// Why.
        cause: Cause,
    },
    /// The source has fewer bytes than when the transfer began.
    #[error("the source ended at byte {end} of {expected}: it was cut while it was being copied")]
    SourceCut {
        /// Where it ends now.
        end: u64,
        /// What it had.
        expected: u64,
    },
    /// The user.
    #[error("interrupted")]
    Interrupted,
}

/// How a transfer is cut into blocks.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes that one thread reads and writes at a time.
    pub block_bytes: usize,
    /// Threads that move blocks.
    pub threads: usize,
}

impl Shape {
    /// Blocks of about `block_bytes` that are whole turns over all servers, or at least whole stripe units.
    pub fn fit(block_bytes: usize, threads: usize, recipe: Option<&Recipe>) -> Self {
        let wished = block_bytes as u64;
        let granule = recipe
            .and_then(|recipe| [recipe.stripe_width(), recipe.stripe_unit()].into_iter().find(|bytes| *bytes <= wished))
            .unwrap_or(wished);
        let fitted = usize::try_from(wished / granule * granule).unwrap_or(block_bytes);
        Shape { block_bytes: fitted, threads }
    }

    /// This shape for a file of `bytes` bytes: no more threads than blocks, no more memory than the file.
    fn for_file(self, bytes: u64) -> Self {
        let blocks = bytes.div_ceil(self.block_bytes as u64);
        Shape {
            block_bytes: usize::try_from(bytes).map_or(self.block_bytes, |bytes| self.block_bytes.min(bytes)).max(1),
            threads: usize::try_from(blocks).map_or(self.threads, |blocks| self.threads.min(blocks)).max(1),
        }
    }
}

impl Source for RemoteFile {
    fn read_block(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Cause> {
        Ok(self.read_at(buffer, offset)?)
    }
}

impl Target for RemoteFile {
    fn write_block(&self, buffer: &[u8], offset: u64) -> Result<(), Cause> {
        Ok(self.write_at(buffer, offset)?)
    }
}

impl Source for File {
    fn read_block(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Cause> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }
}

impl Target for File {
    fn write_block(&self, buffer: &[u8], offset: u64) -> Result<(), Cause> {
        Ok(self.write_all_at(buffer, offset)?)
    }
}

/// Reads the whole block or fails.
fn read_whole(source: &dyn Source, block: &mut [u8], offset: u64, expected: u64) -> Result<(), TransferError> {
    let bytes = source.read_block(block, offset).map_err(|cause| TransferError::Read { offset, cause })?;
    if bytes < block.len() {
        return Err(TransferError::SourceCut { end: offset + bytes as u64, expected });
    }
    Ok(())
}

/// Writes the block or fails.
fn write_whole(target: &dyn Target, block: &[u8], offset: u64, progress: &Progress) -> Result<(), TransferError> {
    target.write_block(block, offset).map_err(|cause| TransferError::Write { offset, cause })?;
    progress.moved(block.len())
}

/// Fills the buffer from a stream; fewer bytes only at its end.
fn fill(stream: &mut dyn io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::ids::ServerId;
    use pfs_core::layout::StripeSlot;

    fn recipe(unit: u64, count: u32) -> Recipe {
        let slots = (1..=count).map(|id| StripeSlot::from_slice(&[ServerId::new(id).unwrap()])).collect();
        Recipe::new(unit, slots).unwrap()
    }

    #[test]
    fn blocks_are_whole_turns_where_that_fits() {
        let block = |unit, count| Shape::fit(8 << 20, 4, Some(&recipe(unit, count))).block_bytes;
        assert_eq!(block(1 << 20, 3), 6 << 20);
        assert_eq!(block(3 << 20, 4), 6 << 20);
        assert_eq!(block(64 << 20, 4), 8 << 20);
        assert_eq!(Shape::fit(5, 4, None).block_bytes, 5);
    }

    #[test]
    fn small_files_take_little() {
        let shape = Shape { block_bytes: 100, threads: 4 };
        for (bytes, block_bytes, threads) in [(0, 1, 1), (7, 7, 1), (101, 100, 2), (10_000, 100, 4)] {
            let fitted = shape.for_file(bytes);
            assert_eq!((fitted.block_bytes, fitted.threads), (block_bytes, threads), "{bytes} bytes");
        }
    }
}
