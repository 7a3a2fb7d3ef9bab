//! The data: every 8 bytes depend on the run, the rank that wrote them and their place in the file, so that a block
//! that is stale, in the wrong place, another rank's or torn is found.

/// The difference of neighbouring words: odd, so that no two words of a file are equal.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

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

    /// The 8 bytes that start at this multiple of 8. A sum, so that filling is about as fast as memory.
    fn word(self, offset: u64) -> [u8; 8] {
        self.0.wrapping_add((offset / 8).wrapping_mul(STEP)).to_le_bytes()
    }

    /// Fills a buffer with the data that belongs at `offset`.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let head = head(offset, buffer.len());
        let (first, rest) = buffer.split_at_mut(head);
        first.copy_from_slice(&self.part(offset)[..head]);
        let start = offset + head as u64;
        let (words, last) = rest.as_chunks_mut::<8>();
        let mut value = u64::from_le_bytes(self.word(start));
        for word in &mut *words {
            *word = value.to_le_bytes();
            value = value.wrapping_add(STEP);
        }
        last.copy_from_slice(&value.to_le_bytes()[..last.len()]);
    }

    /// How many bytes of a buffer read at `offset` are wrong, and the first of them.
    pub fn check(self, offset: u64, buffer: &[u8]) -> (u64, Option<Mismatch>) {
        let (mut wrong, mut first) = (0, None);
        let mut compare = |place: u64, expected: &[u8], actual: &[u8]| {
            for (i, (&expected, &actual)) in expected.iter().zip(actual).enumerate().filter(|(_, (e, a))| e != a) {
                wrong += 1;
                first.get_or_insert(Mismatch { offset: place + i as u64, expected, actual });
            }
        };
        let head = head(offset, buffer.len());
        let (start, rest) = buffer.split_at(head);
        compare(offset, &self.part(offset)[..head], start);
        let mut place = offset + head as u64;
        let (words, last) = rest.as_chunks::<8>();
        let mut value = u64::from_le_bytes(self.word(place));
        for word in words {
            if *word != value.to_le_bytes() {
                compare(place, &value.to_le_bytes(), word);
            }
            value = value.wrapping_add(STEP);
            place += 8;
        }
        compare(place, &value.to_le_bytes(), last);
        (wrong, first)
    }

    /// The bytes of a word from `offset` on, in front.
    fn part(self, offset: u64) -> [u8; 8] {
        let mut word = self.word(offset - offset % 8);
        word.rotate_left((offset % 8) as usize);
        word
    }
}

/// How many bytes of a buffer at `offset` lie before the next multiple of 8.
fn head(offset: u64, length: usize) -> usize {
    ((8 - offset % 8) % 8).min(length as u64) as usize
}

/// A bijection that changes about half of all bits when one changes (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
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
        for start in 0..20 {
            for length in 0..20 {
                let part = &whole[start..start + length];
                assert_eq!(signature.check(3 + start as u64, part), (0, None));
                assert_eq!(data(signature, 3 + start as u64, length), part);
            }
        }
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
