//! What is moved, the same for whoever moves it.
//!
//! Invariant: the byte at offset `o` of a measured file is that at `o` modulo the source's length, whoever wrote it and in
//! whatever order, so every read can be checked.

use anyhow::{Result, ensure};
use bytes::Bytes;
use pfs_core::checksum::BLOCK_BYTES;

/// Bytes of one small operation and of one piece of a list.
pub const BLOCK: usize = BLOCK_BYTES as usize;
/// Pieces of one list.
pub const LIST_PIECES: usize = 256;

/// One job, timed as a whole, with a sync at the end if it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// The file from front to back, in calls of so many bytes.
    Write {
        /// Bytes of one call.
        call_bytes: usize,
    },
    /// The same for reading.
    Read {
        /// Bytes of one call.
        call_bytes: usize,
    },
    /// Single blocks in a random order.
    WriteBlocks {
        /// How many are under way.
        depth: usize,
    },
    /// The same for reading.
    ReadBlocks {
        /// How many are under way.
        depth: usize,
    },
    /// Lists of every other block, one list after the other.
    WriteLists,
    /// The same for reading.
    ReadLists,
}

/// Source bytes, and the order of small operations.
pub struct Material {
    source: Bytes,
    /// Bytes of the file for large operations.
    pub large_bytes: u64,
    /// Block offsets in a random order.
    pub offsets: Vec<u64>,
    /// Block offsets of each list, ascending.
    pub lists: Vec<Vec<u64>>,
    /// The payload of each list.
    pub payloads: Vec<Vec<u8>>,
}

impl Material {
    /// For large operations on so many bytes and small operations on so many blocks.
    pub fn new(large_bytes: u64, blocks: usize) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let source_bytes = usize::try_from(large_bytes).unwrap_or(usize::MAX).min(64 << 20);
        let source: Bytes = (0..source_bytes / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let mut offsets: Vec<u64> = (0..blocks as u64).map(|block| block * BLOCK_BYTES).collect();
        for last in (1..offsets.len()).rev() {
            offsets.swap(last, usize::try_from(random.next() % (last as u64 + 1)).unwrap_or(0));
        }
        let lists: Vec<Vec<u64>> = (0..blocks / LIST_PIECES / 2)
            .map(|list| (0..LIST_PIECES).map(|piece| ((list * LIST_PIECES + piece) * 2 * BLOCK) as u64).collect())
            .collect();
        let mut material = Material { source, large_bytes, offsets, lists, payloads: Vec::new() };
        let gather = |list: &Vec<u64>| list.iter().flat_map(|offset| material.at(*offset, BLOCK)).copied().collect();
        material.payloads = material.lists.iter().map(gather).collect();
        material
    }

    /// The bytes that belong at an offset; they do not cross the source's end.
    pub fn at(&self, offset: u64, length: usize) -> &[u8] {
        let at = usize::try_from(offset % self.source.len() as u64).unwrap_or(0);
        &self.source[at..at + length]
    }

    /// The same as bytes that share the source.
    pub fn shared_at(&self, offset: u64, length: usize) -> Bytes {
        self.source.slice_ref(self.at(offset, length))
    }

    /// The calls of a large operation: offset and bytes.
    pub fn calls(&self, call_bytes: usize) -> impl Iterator<Item = (u64, &[u8])> {
        (0..self.large_bytes).step_by(call_bytes).map(move |offset| (offset, self.at(offset, call_bytes)))
    }

    /// The single blocks: offset and bytes.
    pub fn blocks(&self) -> Vec<(u64, &[u8])> {
        self.offsets.iter().map(|offset| (*offset, self.at(*offset, BLOCK))).collect()
    }

    /// Whether bytes that were read are those that were written.
    pub fn check(&self, offset: u64, read: &[u8]) -> Result<()> {
        ensure!(read == self.at(offset, read.len()), "{} bytes at {offset} are not what was written", read.len());
        Ok(())
    }

    /// The same for the last list, whose pieces are at the begin of `read`.
    pub fn check_list(&self, read: &[u8]) -> Result<()> {
        let last = self.lists.last().into_iter().flatten();
        last.zip(read.chunks_exact(BLOCK)).try_for_each(|(offset, piece)| self.check(*offset, piece))
    }

    /// Where the last list ends.
    pub fn lists_end(&self) -> u64 {
        self.lists.last().and_then(|list| list.last()).map_or(0, |last| last + BLOCK_BYTES)
    }

    /// Operations and bytes of a job.
    pub fn extent_of(&self, job: Job) -> (u64, u64) {
        match job {
            Job::Write { call_bytes } | Job::Read { call_bytes } => {
                (self.large_bytes / call_bytes as u64, self.large_bytes)
            }
            Job::WriteBlocks { .. } | Job::ReadBlocks { .. } => {
                (self.offsets.len() as u64, self.offsets.len() as u64 * BLOCK_BYTES)
            }
            Job::WriteLists | Job::ReadLists => {
                let pieces = (self.lists.len() * LIST_PIECES) as u64;
                (pieces, pieces * BLOCK_BYTES)
            }
        }
    }
}

impl Job {
    /// Whether it needs the file to be there.
    pub fn reads(self) -> bool {
        matches!(self, Job::Read { .. } | Job::ReadBlocks { .. } | Job::ReadLists)
    }
}

/// Xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_comes_once_and_lists_have_their_payload() {
        let material = Material::new(1 << 20, 1024);
        let mut offsets = material.offsets.clone();
        offsets.sort_unstable();
        assert!(offsets.iter().copied().eq((0..1024).map(|block| block * BLOCK_BYTES)));
        assert_eq!(material.lists.len(), 2);
        assert_eq!(material.lists[1][..2], [512 * BLOCK_BYTES, 514 * BLOCK_BYTES]);
        assert_eq!(&material.payloads[1][BLOCK..2 * BLOCK], material.at(514 * BLOCK_BYTES, BLOCK));
        assert_eq!(material.calls(256 << 10).count(), 4);
        assert_eq!(material.extent_of(Job::WriteLists), (512, 512 * BLOCK_BYTES));
    }
}
