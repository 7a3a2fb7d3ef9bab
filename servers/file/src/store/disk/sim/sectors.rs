//! The bytes of one file, by sector; sectors that were never written are not kept.
//!
//! Invariant: what lies past the length is zero, or not kept.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a sector: the most that a loss of power does not tear.
pub const SECTOR_BYTES: u64 = 512;

/// One sector; shared by the states of a file that have not changed it.
pub(super) type Sector = Arc<[u8; SECTOR_BYTES as usize]>;

/// The bytes and the length of one file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    sectors: BTreeMap<u64, Sector>,
    length: u64,
    /// Taken ahead of writing.
    reserved_bytes: u64,
}

fn small(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a part of a buffer in memory")
}

/// The sectors of a range: number, range inside the sector, range inside the buffer.
fn sectors_of(offset: u64, count: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let end = offset + count as u64;
    (offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).map(move |number| {
        let base = number * SECTOR_BYTES;
        let (from, to) = (offset.max(base), end.min(base + SECTOR_BYTES));
        (number, small(from - base)..small(to - base), small(from - offset)..small(to - offset))
    })
}

/// The numbers of the sectors of a range.
pub(super) fn numbers(offset: u64, count: u64) -> Range<u64> {
    offset / SECTOR_BYTES..(offset + count).div_ceil(SECTOR_BYTES)
}

/// A sector with nothing from this byte of the file on.
pub(super) fn cut_sector(sector: &mut Sector, number: u64, length: u64) {
    let kept = length.saturating_sub(number * SECTOR_BYTES).min(SECTOR_BYTES);
    if kept < SECTOR_BYTES {
        Arc::make_mut(sector)[small(kept)..].fill(0);
    }
}

impl Contents {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.sectors.len() as u64 * SECTOR_BYTES + self.reserved_bytes
    }

    pub(super) fn sector(&self, number: u64) -> Sector {
        self.sectors.get(&number).cloned().unwrap_or_else(|| Arc::new([0; SECTOR_BYTES as usize]))
    }

    pub(super) fn sector_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.sectors.keys().copied()
    }

    /// The first byte from this one on that was written, in this length.
    pub(super) fn next_data(&self, offset: u64) -> Option<u64> {
        let (&number, _) = self.sectors.range(offset / SECTOR_BYTES..).next()?;
        Some(offset.max(number * SECTOR_BYTES)).filter(|byte| *byte < self.length)
    }

    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> usize {
        let count = into.len().min(usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX));
        for (number, in_sector, in_buffer) in sectors_of(offset, count) {
            match self.sectors.get(&number) {
                Some(sector) => into[in_buffer].copy_from_slice(&sector[in_sector]),
                None => into[in_buffer].fill(0),
            }
        }
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        for (number, in_sector, in_buffer) in sectors_of(offset, bytes.len()) {
            let sector = self.sectors.entry(number).or_insert_with(|| Arc::new([0; SECTOR_BYTES as usize]));
            Arc::make_mut(sector)[in_sector].copy_from_slice(&bytes[in_buffer]);
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub(super) fn put(&mut self, number: u64, sector: Sector) {
        self.sectors.insert(number, sector);
    }

    pub(super) fn set_length(&mut self, length: u64) {
        self.length = length;
        self.sectors.split_off(&length.div_ceil(SECTOR_BYTES));
        if let Some(last) = self.sectors.get_mut(&(length / SECTOR_BYTES)) {
            cut_sector(last, length / SECTOR_BYTES, length);
        }
        self.reserved_bytes = 0;
    }

    pub(super) fn reserve(&mut self, length: u64) {
        self.reserved_bytes += length;
    }

    pub(super) fn punch(&mut self, offset: u64, length: u64) {
        let end = (offset + length).min(self.length.div_ceil(SECTOR_BYTES) * SECTOR_BYTES);
        let numbers: Vec<u64> =
            self.sectors.range(numbers(offset, end.saturating_sub(offset))).map(|(&n, _)| n).collect();
        for number in numbers {
            let base = number * SECTOR_BYTES;
            let (from, to) = (offset.max(base) - base, end.min(base + SECTOR_BYTES) - base);
            if (from, to) == (0, SECTOR_BYTES) {
                self.sectors.remove(&number);
            } else if let Some(sector) = self.sectors.get_mut(&number) {
                Arc::make_mut(sector)[small(from)..small(to)].fill(0);
            }
        }
    }
}
