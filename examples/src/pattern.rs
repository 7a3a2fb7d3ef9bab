//! Bytes that say which write they belong to and where: a byte depends on the write's seed and its file offset.

/// The byte that the write with this seed puts at this offset.
pub fn byte(seed: u64, offset: u64) -> u8 {
    // SplitMix64's finalizer: neighbouring seeds and offsets give unrelated bytes.
    let mut value = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ (value >> 31)).to_le_bytes()[0]
}

/// What the write with this seed puts at `offset`.
pub fn bytes(seed: u64, offset: u64, length: usize) -> Vec<u8> {
    (offset..).take(length).map(|at| byte(seed, at)).collect()
}

/// The offset of the first byte that does not belong to the write with this seed.
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    (offset..).zip(bytes).find(|&(at, &actual)| actual != byte(seed, at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_differ_in_nearly_every_byte() {
        let (one, other) = (bytes(1, 0, 4096), bytes(2, 0, 4096));
        let equal = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(equal < 64, "{equal} of 4096 bytes are equal");
        assert_eq!(first_wrong(1, 10, &one[10..20]), None);
        assert!(first_wrong(1, 11, &one[10..20]).is_some());
    }
}
