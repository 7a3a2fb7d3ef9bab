//! The data: every 8 bytes depend on the run, the rank that wrote them and their place in the file, so that a block
//! that is stale, in the wrong place, another rank's or torn is found.

/// What the words of one rank's data in one repetition have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(u64);

/// A wrong byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the file.
    pub offset: u64,
    /// What should be there.
    pub expected: u8,
    /// What is there.
    pub actual: u8,
}

impl Signature {
    /// For the data that `rank` writes in the run with this number.
    pub fn new(run: u64, rank: u64) -> Signature {
        Signature(mix(mix(run) ^ rank))
    }

    /// The 8 bytes that start at this multiple of 8.
    fn word(self, offset: u64) -> [u8; 8] {
        mix(self.0 ^ offset).to_le_bytes()
    }

    /// Fills a buffer with the data that belongs at `offset`.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        self.pieces(offset, buffer.len(), |at, expected| {
            buffer[at..at + expected.len()].copy_from_slice(expected);
        });
    }

    /// How many bytes of a buffer read at `offset` are wrong, and the first of them.
    pub fn check(self, offset: u64, buffer: &[u8]) -> (u64, Option<Mismatch>) {
        let (mut wrong, mut first) = (0, None);
        self.pieces(offset, buffer.len(), |at, expected| {
            let actual = &buffer[at..at + expected.len()];
            if actual == expected {
                return;
            }
            for (i, (&expected, &actual)) in expected.iter().zip(actual).enumerate().filter(|(_, (e, a))| e != a) {
                wrong += 1;
                first.get_or_insert(Mismatch { offset: offset + (at + i) as u64, expected, actual });
            }
        });
        (wrong, first)
    }

    /// Calls `each` with the words of a range, cut to it, and their places in the buffer.
    fn pieces(self, offset: u64, length: usize, mut each: impl FnMut(usize, &[u8])) {
        let mut at = 0;
        while at < length {
            let place = offset + at as u64;
            let skip = (place % 8) as usize;
            let take = (8 - skip).min(length - at);
            each(at, &self.word(place - skip as u64)[skip..skip + take]);
            at += take;
        }
    }
}

/// A bijection that changes about half of all bits when one changes (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(signature: Signature, offset: u64, length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        signature.fill(offset, &mut data);
        data
    }

    #[test]
    fn data_is_right_where_it_belongs_also_in_parts() {
        let signature = Signature::new(1, 2);
        let whole = data(signature, 3, 1000);
        assert_eq!(signature.check(3, &whole), (0, None));
        assert_eq!(signature.check(13, &whole[10..21]), (0, None));
    }

    #[test]
    fn swapped_stale_foreign_and_torn_blocks_are_found() {
        let signature = Signature::new(7, 0);
        let right = data(signature, 4096, 512);
        let wrong = |bytes: &[u8]| signature.check(4096, bytes).0;
        assert!(wrong(&data(signature, 8192, 512)) > 400, "a block of another place");
        assert!(wrong(&data(Signature::new(6, 0), 4096, 512)) > 400, "a block of the run before");
        assert!(wrong(&data(Signature::new(7, 1), 4096, 512)) > 400, "a block of another rank");
        let mut torn = right.clone();
        torn[100] ^= 1;
        let mismatch = Mismatch { offset: 4196, expected: right[100], actual: torn[100] };
        assert_eq!(signature.check(4096, &torn), (1, Some(mismatch)));
    }
}
