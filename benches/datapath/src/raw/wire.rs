//! The bytes between the two.
//!
//! ```text
//! request   op 1 │ 0 3 │ extents 4 │ bytes 8 │ then, for each extent, offset 8 │ length 8 │ then, of a write, chunks
//! reply     bytes 8 │ then, of a read, chunks
//! chunk     a checksum of 4 for each block │ at most CHUNK_BYTES of the payload
//! ```
//!
//! Numbers are little-endian. Replies come in the order of the requests.

use anyhow::{Result, ensure};
use std::io::{Error, ErrorKind, Read};

use super::BLOCK;

/// Payload bytes that are summed, sent and stored at a time: small enough to be in the processor's cache all the while.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a request before its extents.
pub const REQUEST_BYTES: usize = 16;
/// Bytes of one extent.
pub const EXTENT_BYTES: usize = 16;
/// Bytes of a reply before its chunks.
pub const REPLY_BYTES: usize = 8;
/// Most extents of one request.
const EXTENTS_MAX: usize = 4096;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Store the payload.
    Write,
    /// Send what is stored.
    Read,
    /// Store the checksums and make all of it last.
    Sync,
    /// Cut the file to nothing.
    Empty,
}

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte; a multiple of a block.
    pub offset: u64,
    /// Bytes: whole blocks, and a part of one behind them in the last range of a request.
    pub length: usize,
}

/// The fixed part of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is asked for.
    pub operation: Operation,
    /// How many extents follow.
    pub extents: usize,
    /// Payload bytes of the request, or of the answer to it.
    pub bytes: usize,
}

impl Head {
    /// Appends the request and its extents.
    pub fn put(operation: Operation, extents: impl Iterator<Item = Range>, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&[operation as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let (mut count, mut bytes) = (0u32, 0u64);
        for extent in extents {
            into.extend_from_slice(&extent.offset.to_le_bytes());
            into.extend_from_slice(&(extent.length as u64).to_le_bytes());
            count += 1;
            bytes += extent.length as u64;
        }
        into[start + 4..start + 8].copy_from_slice(&count.to_le_bytes());
        into[start + 8..start + 16].copy_from_slice(&bytes.to_le_bytes());
    }

    /// Reads the fixed part.
    pub fn get(bytes: &[u8]) -> Result<Self> {
        let operation = match bytes[0] {
            0 => Operation::Write,
            1 => Operation::Read,
            2 => Operation::Sync,
            3 => Operation::Empty,
            other => anyhow::bail!("operation {other} is not known"),
        };
        let extents = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        ensure!(extents <= EXTENTS_MAX, "{extents} extents are more than {EXTENTS_MAX}");
        Ok(Head { operation, extents, bytes: usize::try_from(number(&bytes[8..]))? })
    }
}

impl Range {
    /// Reads one extent.
    pub fn get(bytes: &[u8]) -> Result<Self> {
        let range = Range { offset: number(bytes), length: usize::try_from(number(&bytes[8..]))? };
        ensure!(range.offset.is_multiple_of(BLOCK as u64), "{range:?} begins within a block");
        Ok(range)
    }
}

/// The number in the first 8 bytes.
pub fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"))
}

/// Bytes of the checksums of so many payload bytes.
pub fn checksum_bytes(payload: usize) -> usize {
    payload.div_ceil(BLOCK) * 4
}

/// A reused buffer in front of a socket.
pub struct Incoming<R> {
    source: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// How much more than what is needed may be received at once.
const AHEAD_BYTES: usize = 128 << 10;

impl<R: Read> Incoming<R> {
    /// With room for whatever is asked for at a time.
    pub fn new(source: R) -> Self {
        let room = AHEAD_BYTES + CHUNK_BYTES + checksum_bytes(CHUNK_BYTES) + REQUEST_BYTES + EXTENTS_MAX * EXTENT_BYTES;
        Incoming { source, buffer: vec![0; room], start: 0, end: 0 }
    }

    /// Bytes that have arrived and were not taken.
    pub fn available(&self) -> usize {
        self.end - self.start
    }

    /// Takes `length` bytes as soon as they are there. Small ones are received with whatever comes behind them.
    pub fn take(&mut self, length: usize) -> std::io::Result<&[u8]> {
        if self.available() == 0 {
            (self.start, self.end) = (0, 0);
        }
        if self.start + length > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.available());
        }
        while self.available() < length {
            let most = (self.start + length).max(self.end + AHEAD_BYTES.saturating_sub(length)).min(self.buffer.len());
            match self.source.read(&mut self.buffer[self.end..most])? {
                0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
                count => self.end += count,
            }
        }
        let taken = self.start..self.start + length;
        self.start += length;
        Ok(&self.buffer[taken])
    }

    /// Fills `target` with what comes next, from the socket straight into it where that is possible.
    pub fn fill(&mut self, target: &mut [u8]) -> std::io::Result<()> {
        let there = self.available().min(target.len());
        target[..there].copy_from_slice(&self.buffer[self.start..self.start + there]);
        self.start += there;
        self.source.read_exact(&mut target[there..])
    }
}
