//! The data, and how wrong data is found.
//!
//! Invariants: the first 8 bytes of each 512 bytes of a transfer depend on the run, the rank that wrote them and their place
//! in the file, so that a sector that is stale, swapped or another rank's is found; all others depend on the run and the rank
//! and on their place in the transfer. With [`Packet::Random`] every 8 bytes depend on all of it.
//!
//! Only the first 8 bytes of each sector are made anew for each transfer, as IOR does, so that a test measures the file system
//! and not its own memory.

/// The difference of neighbouring words: odd, so that no two words of a transfer are equal.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Words that one stamp covers: a disk's sector.
const SECTOR_WORDS: usize = 64;

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Numbers that count up from the run's signature.
    Timestamp,
    /// The same, and each sector begins with its offset in the file, which other programs can read: 48 bits of offset, 16 of
    /// signature.
    Offset,
    /// Nothing that can be compressed.
    Incompressible,
    /// The same, and all of it anew in each transfer.
    Random,
}

impl Packet {
    /// The kind that IOR calls so.
    pub fn parse(text: &str) -> Result<Packet, String> {
        match text.bytes().next() {
            None | Some(b't') => Ok(Packet::Timestamp),
            Some(b'o') => Ok(Packet::Offset),
            Some(b'i') => Ok(Packet::Incompressible),
            Some(b'r') => Ok(Packet::Random),
            Some(_) => {
                Err(format!("Unknown packet type {text:?}; it must be timestamp, offset, incompressible or random"))
            }
        }
    }

    /// IOR's letter of it.
    pub fn letter(self) -> &'static str {
        match self {
            Packet::Timestamp => "t",
            Packet::Offset => "o",
            Packet::Incompressible => "i",
            Packet::Random => "r",
        }
    }

    /// IOR's number of it.
    pub fn number(self) -> i64 {
        match self {
            Packet::Timestamp => 0,
            Packet::Incompressible => 1,
            Packet::Offset => 2,
            Packet::Random => 3,
        }
    }
}

/// The data of one rank in one repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    packet: Packet,
    base: u64,
}

/// Wrong bytes of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where the first is in the file.
    pub place: u64,
    /// The 8 bytes that should be there, as a little-endian number.
    pub expected: u64,
    /// Those that are there.
    pub actual: u64,
    /// How many words of 8 bytes are wrong.
    pub words: u64,
}

impl Pattern {
    /// For the data that `rank` writes in the run with this signature.
    pub fn new(packet: Packet, signature: u64, rank: u64) -> Pattern {
        Pattern { packet, base: mix(mix(signature) ^ rank) }
    }

    /// Fills the buffer of a transfer with what stays.
    pub fn fill(self, transfer: &mut [u8]) {
        for (i, word) in transfer.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = self.lasting(i as u64).to_le_bytes();
        }
    }

    /// Puts in what depends on the place, a file offset that is a multiple of 8.
    pub fn stamp(self, place: u64, transfer: &mut [u8]) {
        let words = transfer.as_chunks_mut::<8>().0;
        let every = if self.packet == Packet::Random { 1 } else { SECTOR_WORDS };
        for (i, word) in words.iter_mut().enumerate().step_by(every) {
            *word = self.stamped(place + i as u64 * 8).to_le_bytes();
        }
    }

    /// Makes sure that what is not read is found.
    pub fn spoil(transfer: &mut [u8]) {
        for word in transfer.as_chunks_mut::<8>().0.iter_mut().step_by(SECTOR_WORDS) {
            word[0] = !word[0];
        }
    }

    /// What is wrong with a transfer that was read from `place`.
    pub fn check(self, place: u64, transfer: &[u8]) -> Option<Mismatch> {
        let mut found: Option<Mismatch> = None;
        for (i, word) in transfer.as_chunks::<8>().0.iter().enumerate() {
            let at = place + i as u64 * 8;
            let is_stamp = self.packet == Packet::Random || i % SECTOR_WORDS == 0;
            let expected = if is_stamp { self.stamped(at) } else { self.lasting(i as u64) };
            let actual = u64::from_le_bytes(*word);
            if actual != expected {
                found.get_or_insert(Mismatch { place: at, expected, actual, words: 0 }).words += 1;
            }
        }
        found
    }

    fn lasting(self, word: u64) -> u64 {
        let sum = self.base.wrapping_add(word.wrapping_mul(STEP));
        if matches!(self.packet, Packet::Incompressible | Packet::Random) { mix(sum) } else { sum }
    }

    fn stamped(self, place: u64) -> u64 {
        match self.packet {
            Packet::Offset => place & 0xffff_ffff_ffff | self.base & 0xffff_0000_0000_0000,
            _ => mix(self.base ^ place),
        }
    }
}

/// A bijection that changes about half of all bits when one changes (the finalizer of SplitMix64).
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(STEP);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packet; 4] = [Packet::Timestamp, Packet::Offset, Packet::Incompressible, Packet::Random];

    fn data(pattern: Pattern, place: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        pattern.fill(&mut data);
        pattern.stamp(place, &mut data);
        data
    }

    #[test]
    fn data_is_right_where_it_belongs() {
        for packet in ALL {
            let pattern = Pattern::new(packet, 1, 2);
            for (place, bytes) in [(0, 8), (47_008, 47_008), (4096, 1 << 20)] {
                assert_eq!(pattern.check(place, &data(pattern, place, bytes)), None);
            }
        }
    }

    /// A test that swaps, keeps or mixes sectors must not pass, whatever the kind of data.
    #[test]
    fn swapped_stale_foreign_and_unread_sectors_are_found() {
        for packet in ALL {
            let pattern = Pattern::new(packet, 7, 0);
            let right = data(pattern, 4096, 4096);
            let mut swapped = right.clone();
            swapped[512..1536].rotate_left(512);
            let stale = data(Pattern::new(packet, 6, 0), 4096, 4096);
            let foreign = data(Pattern::new(packet, 7, 1), 4096, 4096);
            let elsewhere = data(pattern, 8192, 4096);
            let mut unread = right.clone();
            Pattern::spoil(&mut unread);
            for (what, wrong) in [
                ("swapped", &swapped),
                ("stale", &stale),
                ("foreign", &foreign),
                ("elsewhere", &elsewhere),
                ("unread", &unread),
            ] {
                let mismatch = pattern.check(4096, wrong);
                assert!(mismatch.is_some(), "{what} {packet:?}");
                for sector in 0..8 {
                    let part = sector * 512..(sector + 1) * 512;
                    if what != "swapped" || (1..3).contains(&sector) {
                        let mut one = right.clone();
                        one[part.clone()].copy_from_slice(&wrong[part]);
                        assert!(pattern.check(4096, &one).is_some(), "{what} sector {sector} {packet:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_single_wrong_bit_is_told_with_its_place() {
        let pattern = Pattern::new(Packet::Timestamp, 7, 0);
        let mut torn = data(pattern, 4096, 512);
        let expected = u64::from_le_bytes(torn[96..104].try_into().unwrap());
        torn[100] ^= 1;
        let mismatch = Mismatch { place: 4192, expected, actual: expected ^ 1 << 32, words: 1 };
        assert_eq!(pattern.check(4096, &torn), Some(mismatch));
    }

    #[test]
    fn offsets_can_be_read_by_others() {
        let bytes = data(Pattern::new(Packet::Offset, 9, 3), 1 << 30, 1024);
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) & 0xffff_ffff_ffff;
        assert_eq!((number(0), number(512)), (1 << 30, (1 << 30) + 512));
    }
}
