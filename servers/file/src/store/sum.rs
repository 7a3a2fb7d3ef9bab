//! The checksum of a block as a store keeps it.
//!
//! It is the CRC32C of the block, filled up with zeros to [`BLOCK_BYTES`] if the object ends in it, and then XORed with that of
//! a block of zeros. So it is 0 for zeros: a hole of an object has its checksums in a hole of the checksum file, and the
//! sum of an object's last block stays right when the object grows.

use pfs_core::checksum::{BLOCK_BYTES, Checksum, Checksummer};

/// [`BLOCK_BYTES`] as the length of a buffer.
pub(super) const BLOCK: usize = BLOCK_BYTES as usize;

/// Bytes of a [`StoredSum`] in a file.
pub(super) const SUM_BYTES: u64 = 4;

/// The CRC32C of a block of zeros.
const OF_ZEROS: u32 = 0x98f9_4189;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The checksum of one block as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredSum(u32);

impl StoredSum {
    /// That of zeros.
    pub(super) const HOLE: StoredSum = StoredSum(0);

    /// That of a block with these bytes, and zeros after them.
    pub(super) fn of(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= BLOCK, "a block has {BLOCK} bytes");
        if bytes.len() == BLOCK {
            return Checksum::of(bytes).into();
        }
        let mut sum = Checksummer::new();
        sum.update(bytes);
        sum.update(&ZEROS[bytes.len()..]);
        sum.finish().into()
    }

    /// One that this is not, to keep what is known to be wrong from looking right.
    pub(super) fn spoiled(self) -> Self {
        StoredSum(!self.0)
    }

    /// As it is in a file.
    pub(super) fn to_bytes(self) -> [u8; SUM_BYTES as usize] {
        self.0.to_le_bytes()
    }

    /// As it was in a file.
    pub(super) fn from_bytes(bytes: [u8; SUM_BYTES as usize]) -> Self {
        StoredSum(u32::from_le_bytes(bytes))
    }
}

/// From the checksum of a whole block.
impl From<Checksum> for StoredSum {
    fn from(checksum: Checksum) -> Self {
        StoredSum(checksum.0 ^ OF_ZEROS)
    }
}

/// To the checksum of the whole block.
impl From<StoredSum> for Checksum {
    fn from(sum: StoredSum) -> Self {
        Checksum(sum.0 ^ OF_ZEROS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_have_the_sum_of_a_hole() {
        assert_eq!(StoredSum::of(&ZEROS), StoredSum::HOLE);
        assert_eq!(StoredSum::of(&[]), StoredSum::HOLE);
        assert_eq!(Checksum::from(StoredSum::HOLE), Checksum::of(&ZEROS));
    }

    #[test]
    fn what_is_missing_counts_as_zeros() {
        let mut block = [0; BLOCK];
        block[..3].copy_from_slice(b"end");
        assert_eq!(StoredSum::of(b"end"), StoredSum::of(&block));
        assert_eq!(Checksum::from(StoredSum::of(b"end")), Checksum::of(&block));
        assert_ne!(StoredSum::of(b"end").spoiled(), StoredSum::of(b"end"));
        assert_eq!(StoredSum::from_bytes(StoredSum::of(b"end").to_bytes()), StoredSum::of(b"end"));
    }
}
