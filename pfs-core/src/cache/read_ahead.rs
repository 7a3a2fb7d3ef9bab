//! How far to read ahead of somebody who reads from front to back.
//!
//! Invariant: nothing before `asked_until` is asked for twice as long as the reader stays on his way.

use crate::extent::Extent;

/// First window; doubles with every window that was asked for.
const WINDOW_BYTES_MIN: u64 = 128 * 1024;

/// The way of one reader through one file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAhead {
    /// Where the last read ended.
    last_end: u64,
    asked_until: u64,
    window_bytes: u64,
}

impl ReadAhead {
    /// A read of `range` is served now. Returns what should be asked for in the background, at most `window_max` bytes.
    pub fn note(&mut self, range: Extent, window_max: u64) -> Option<Extent> {
        if range.start() != self.last_end || range.start() == 0 {
            *self = ReadAhead { last_end: range.end(), ..ReadAhead::default() };
            return None;
        }
        self.last_end = range.end();
        if window_max == 0 {
            return None;
        }
        let ahead = self.asked_until.saturating_sub(range.end());
        if ahead > self.window_bytes / 2 {
            return None;
        }
        self.window_bytes = (self.window_bytes * 2).clamp(WINDOW_BYTES_MIN.min(window_max), window_max);
        let from = self.asked_until.max(range.end());
        let until = range.end().saturating_add(self.window_bytes).max(from);
        self.asked_until = until;
        Extent::new(from, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 20;

    fn read(ahead: &mut ReadAhead, start: u64) -> Option<Extent> {
        ahead.note(Extent::new(start, start + 4096).unwrap(), MAX)
    }

    #[test]
    fn a_reader_from_front_to_back_is_read_ahead_of_without_gaps() {
        let mut ahead = ReadAhead::default();
        let mut until = 0;
        for block in 0..1000 {
            if let Some(range) = read(&mut ahead, block * 4096) {
                assert!(range.start() == until || until == 0, "{range} after {until}");
                assert!(range.len() <= MAX);
                until = range.end();
            }
            assert!(block < 2 || until > (block + 1) * 4096, "nothing was asked for ahead of block {block}");
        }
    }

    #[test]
    fn somebody_who_jumps_is_not() {
        let mut ahead = ReadAhead::default();
        for block in [7, 3, 900, 12, 11, 44] {
            assert_eq!(read(&mut ahead, block * 4096), None);
        }
    }
}
