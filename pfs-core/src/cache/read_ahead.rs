//! How far to read ahead of somebody who reads from front to back, or pieces of one length at one distance.
//!
//! Invariant: nothing before `asked_until` is asked for twice as long as the reader stays on his way.

use crate::extent::Extent;

/// First window; doubles with every window that was asked for.
const WINDOW_BYTES_MIN: u64 = 128 * 1024;

/// The way of one reader through one file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAhead {
    last: Option<Extent>,
    /// From the beginning of the read before to that of the last one, if both were as long and did not touch.
    stride: Option<u64>,
    asked_until: u64,
    window_bytes: u64,
}

impl ReadAhead {
    /// A read of `range` is served now. Returns what should be asked for in the background, in order and disjoint: together at
    /// most `window_max` bytes.
    pub fn note(&mut self, range: Extent, window_max: u64) -> Vec<Extent> {
        let last = self.last.replace(range);
        match last {
            Some(last) if last.end() == range.start() => {
                if self.stride.is_some() {
                    self.turn(None);
                }
                self.go_on(range.end(), range.len(), None, window_max)
            }
            Some(last) if last.len() == range.len() && last.end() < range.start() => {
                let stride = range.start() - last.start();
                if self.stride != Some(stride) {
                    self.turn(Some(stride));
                    return Vec::new();
                }
                match range.start().checked_add(stride) {
                    Some(next) => self.go_on(next, range.len(), Some(stride), window_max),
                    None => Vec::new(),
                }
            }
            _ => {
                self.turn(None);
                Vec::new()
            }
        }
    }

    /// The reader goes another way.
    fn turn(&mut self, stride: Option<u64>) {
        *self = ReadAhead { last: self.last, stride, ..ReadAhead::default() };
    }

    /// The next read will begin at `next`: every piece of so many bytes follows the one before at this distance, or at once.
    fn go_on(&mut self, next: u64, length: u64, stride: Option<u64>, window_max: u64) -> Vec<Extent> {
        let from = self.asked_until.max(next);
        // Bytes that were asked for and not read.
        let ahead = stride.map_or(from - next, |stride| (from - next) / stride * length);
        if window_max < stride.map_or(1, |_| length) || ahead > self.window_bytes / 2 {
            return Vec::new();
        }
        self.window_bytes = (self.window_bytes * 2).clamp(WINDOW_BYTES_MIN.min(window_max), window_max);
        let wanted = self.window_bytes.saturating_sub(ahead);
        let Some(stride) = stride else {
            self.asked_until = from.saturating_add(wanted);
            return Extent::new(from, self.asked_until).into_iter().collect();
        };
        let pieces = (wanted / length).max(1);
        let piece = |number: u64| {
            let start = from.checked_add(number.checked_mul(stride)?)?;
            Extent::new(start, start.checked_add(length)?)
        };
        let ask: Vec<Extent> = (0..pieces).map_while(piece).collect();
        self.asked_until = ask.last().map_or(from, |last| last.start().saturating_add(stride));
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 20;

    fn read(ahead: &mut ReadAhead, start: u64, length: u64) -> Vec<Extent> {
        ahead.note(Extent::new(start, start + length).unwrap(), MAX)
    }

    #[test]
    fn a_reader_from_front_to_back_is_read_ahead_of_without_gaps() {
        let mut ahead = ReadAhead::default();
        let mut until = 0;
        for block in 0..1000 {
            for range in read(&mut ahead, block * 4096, 4096) {
                assert!(range.start() == until || until == 0, "{range} after {until}");
                assert!(range.len() <= MAX);
                until = range.end();
            }
            assert!(block < 2 || until > (block + 1) * 4096, "nothing was asked for ahead of block {block}");
        }
    }

    /// Pieces of several ranks that take turns: exactly the pieces of this one are asked for, each once.
    #[test]
    fn a_reader_of_pieces_at_one_distance_is_read_ahead_of_piece_by_piece() {
        let (length, stride) = (47_008, 4 * 47_008);
        let mut ahead = ReadAhead::default();
        let mut asked: Vec<Extent> = Vec::new();
        for number in 0..1000 {
            let ranges = read(&mut ahead, 5 + number * stride, length);
            assert!(ranges.iter().map(|range| range.len()).sum::<u64>() <= MAX);
            asked.extend(ranges);
            let is_asked = |number: u64| asked.iter().any(|range| range.start() == 5 + number * stride);
            assert!(number < 2 || is_asked(number + 1), "piece {} was not asked for", number + 1);
        }
        let first = asked[0].start();
        for (number, range) in (0..).zip(&asked) {
            assert_eq!((range.start(), range.len()), (first + number * stride, length));
        }
        assert!(asked.len() <= 1000 + (MAX / length) as usize, "the window is a bound");
        // Another distance is another way.
        assert_eq!(read(&mut ahead, 1 << 40, length), []);
        assert_eq!(read(&mut ahead, (1 << 40) + 3 * length, length), []);
        assert_eq!(read(&mut ahead, (1 << 40) + 6 * length, length)[0].start(), (1 << 40) + 9 * length);
    }

    #[test]
    fn somebody_who_jumps_is_not() {
        let mut ahead = ReadAhead::default();
        for block in [7, 3, 900, 12, 11, 44, 46, 49] {
            assert_eq!(read(&mut ahead, block * 4096, 4096), []);
        }
        for (start, length) in [(0, 10), (20, 5), (40, 7), (60, 9)] {
            assert_eq!(read(&mut ahead, start, length), [], "pieces of several lengths");
        }
    }

    #[test]
    fn a_window_that_holds_no_piece_is_none() {
        let mut ahead = ReadAhead::default();
        for number in 0..10 {
            let range = Extent::new(number * 100, number * 100 + 50).unwrap();
            assert_eq!(ahead.note(range, 49), []);
        }
    }
}
