//! Checksums of stored bytes: CRC32C, one for each piece.
//!
//! An object is checked in blocks of [`BLOCK_BYTES`]. The extents of a request, cut at every multiple of that, are its
//! *pieces*: a piece lies in one block, and most pieces of a large request are whole blocks. The checksum of a piece is made
//! from the caller's buffer and goes with the bytes to the disk; that of a whole block is stored as it came.
//!
//! Invariants: pieces come in the payload's order, together they are exactly the payload, none is empty.

use crate::extent::ObjectOffset;
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of one block. Stripe units are multiples of it, so no block belongs to two stripes.
pub const BLOCK_BYTES: u64 = 4096;

/// CRC32C (Castagnoli, reflected, start and final value inverted: the one of iSCSI, ext4 and SCTP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checksum(pub u32);

impl Checksum {
    /// The checksum of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Checksum(low(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes)))
    }
}

/// Makes the checksum of a piece that comes in several parts.
#[derive(Clone, Debug)]
pub struct Checksummer(Digest);

impl Checksummer {
    /// Of no bytes yet.
    pub fn new() -> Self {
        Checksummer(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// More bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far; what follows is another piece.
    pub fn finish(&mut self) -> Checksum {
        Checksum(low(self.0.finalize_reset()))
    }
}

impl Default for Checksummer {
    fn default() -> Self {
        Checksummer::new()
    }
}

fn low(crc: u64) -> u32 {
    u32::try_from(crc).expect("a CRC of 32 bits")
}

/// A part of a request that lies in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte, an object offset.
    pub offset: ObjectOffset,
    /// Bytes, 1 to [`BLOCK_BYTES`].
    pub length: usize,
}

impl Piece {
    /// The block, counted from 0.
    pub fn block(self) -> u64 {
        self.offset.0 / BLOCK_BYTES
    }

    /// Whether it is all of its block.
    pub fn is_whole(self) -> bool {
        self.length as u64 == BLOCK_BYTES
    }
}

/// The pieces of ranges given as (object offset, length).
pub fn pieces(ranges: impl IntoIterator<Item = (ObjectOffset, u64)>) -> impl Iterator<Item = Piece> {
    ranges.into_iter().flat_map(|(start, length)| {
        let (mut at, end) = (start.0, start.0 + length);
        std::iter::from_fn(move || {
            let next = (at - at % BLOCK_BYTES + BLOCK_BYTES).min(end);
            let length = usize::try_from(next - at).expect("at most a block");
            let piece = Piece { offset: ObjectOffset(std::mem::replace(&mut at, next)), length };
            (length > 0).then_some(piece)
        })
    })
}

/// How many pieces there are.
pub fn count(ranges: impl IntoIterator<Item = (ObjectOffset, u64)>) -> usize {
    let of_one = |(start, length): (ObjectOffset, u64)| match length {
        0 => 0,
        _ => (start.0 + length - 1) / BLOCK_BYTES - start.0 / BLOCK_BYTES + 1,
    };
    usize::try_from(ranges.into_iter().map(of_one).sum::<u64>()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_iscsi() {
        assert_eq!(Checksum::of(b"123456789"), Checksum(0xe306_9283));
        assert_eq!(Checksum::of(&[0; 32]), Checksum(0x8a91_36aa));
        assert_eq!(Checksum::of(b""), Checksum(0));
    }

    #[test]
    fn parts_have_the_checksum_of_the_whole() {
        let mut sum = Checksummer::new();
        sum.update(b"1234");
        sum.update(b"");
        sum.update(b"56789");
        assert_eq!(sum.finish(), Checksum::of(b"123456789"));
        sum.update(b"next");
        assert_eq!(sum.finish(), Checksum::of(b"next"));
    }

    #[test]
    fn ranges_are_cut_at_blocks() {
        let ranges = [(ObjectOffset(4000), 5000), (ObjectOffset(8192), 4096), (ObjectOffset(7), 1)];
        let found: Vec<_> = pieces(ranges).map(|piece| (piece.offset.0, piece.length)).collect();
        assert_eq!(found, [(4000, 96), (4096, 4096), (8192, 808), (8192, 4096), (7, 1)]);
        assert_eq!(count(ranges), found.len());
        assert_eq!(count([(ObjectOffset(4096), 8192)]), 2);
        assert_eq!(pieces([(ObjectOffset(4096), 0)]).count(), 0);
    }
}
