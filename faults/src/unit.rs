//! The smallest piece of the workload's file: 64 bytes that say which write they are of.
//!
//! ```text
//! 0   writer     u64     which session of which worker
//! 8   sequence   u64     which of its writes
//! 16  index      u64     which unit of the file
//! 24  five times a hash of the three, each with another salt
//! ```
//!
//! Every byte depends on the write, so a unit that is put together from two writes is recognised.

use crate::random::mix;
use std::fmt;

/// Bytes of a unit.
pub const UNIT_BYTES: usize = 64;

/// Names a write, or the state before all writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// The session; 0: nobody has written.
    pub writer: u64,
    /// Its write, from 1.
    pub sequence: u64,
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.writer, self.sequence)
    }
}

/// The bytes of unit `index` after a write.
pub fn encode(write: WriteId, index: u64) -> [u8; UNIT_BYTES] {
    let mut bytes = [0; UNIT_BYTES];
    if write == WriteId::default() {
        return bytes;
    }
    let seed = mix(write.writer) ^ mix(write.sequence.wrapping_add(1 << 40)) ^ mix(index.wrapping_add(1 << 50));
    let words = [write.writer, write.sequence, index].into_iter().chain((1..6).map(|salt| mix(seed ^ salt)));
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// Which write a unit is of; nothing if the bytes are not of one write to this place.
pub fn decode(bytes: &[u8], index: u64) -> Option<WriteId> {
    let word = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let write = WriteId { writer: word(0)?, sequence: word(8)? };
    (encode(write, index) == bytes).then_some(write)
}

/// The bytes of `count` units from `first` on.
pub fn encode_all(write: WriteId, first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(|index| encode(write, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_name_their_write_and_mixtures_none() {
        let (one, other) = (WriteId { writer: 3, sequence: 9 }, WriteId { writer: 4, sequence: 9 });
        let bytes = encode(one, 77);
        assert_eq!(decode(&bytes, 77), Some(one));
        assert_eq!(decode(&bytes, 78), None);
        assert_eq!(decode(&[0; UNIT_BYTES], 5), Some(WriteId::default()));
        for cut in 1..UNIT_BYTES {
            let mixed = [&bytes[..cut], &encode(other, 77)[cut..]].concat();
            let same = mixed == encode(one, 77) || mixed == encode(other, 77);
            assert!(same || decode(&mixed, 77).is_none(), "{cut}");
        }
        assert_eq!(decode(&bytes[..10], 77), None);
    }
}
