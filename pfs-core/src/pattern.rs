//! Regular sets of ranges in constant space: `(start, length, stride, count)`.

use crate::extent::{Extent, MAX_FILE_BYTES};
use std::fmt;

/// `count` ranges of `length` bytes whose starts are `stride` bytes apart.
///
/// Invariants: `length >= 1`, `count >= 1`, `stride >= length` when `count > 1`, and no byte past
/// [`MAX_FILE_BYTES`] except for a single range to infinity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RangePattern {
    start: u64,
    length: u64,
    stride: u64,
    count: u64,
}

/// Why a pattern was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Length or count is 0.
    #[error("a range pattern with length {length} and count {count} has no bytes; both must be at least 1")]
    Empty {
        /// Bytes of one range.
        length: u64,
        /// Number of ranges.
        count: u64,
    },
    /// Neighbours overlap.
    #[error("a range pattern's stride of {stride} bytes is less than its length of {length} bytes")]
    Overlap {
        /// Bytes between starts.
        stride: u64,
        /// Bytes of one range.
        length: u64,
    },
    /// The last byte is out of bounds.
    #[error("a range pattern from {start} ends past the largest file offset, {MAX_FILE_BYTES}")]
    TooFar {
        /// First byte.
        start: u64,
    },
}

impl RangePattern {
    /// Checks and makes a pattern.
    pub fn new(start: u64, length: u64, stride: u64, count: u64) -> Result<Self, PatternError> {
        if length == 0 || count == 0 {
            return Err(PatternError::Empty { length, count });
        }
        if count > 1 && stride < length {
            return Err(PatternError::Overlap { stride, length });
        }
        let last = (count - 1).checked_mul(stride).and_then(|way| way.checked_add(start));
        let end = last.and_then(|last| last.checked_add(length));
        match end {
            Some(end) if end <= MAX_FILE_BYTES => Ok(RangePattern { start, length, stride, count }),
            Some(end) if end == u64::MAX && count == 1 => Ok(RangePattern { start, length, stride, count }),
            _ => Err(PatternError::TooFar { start }),
        }
    }

    /// Start of the first range.
    pub fn start(self) -> u64 {
        self.start
    }

    /// Bytes of one range.
    pub fn length(self) -> u64 {
        self.length
    }

    /// Bytes between the starts of neighbours.
    pub fn stride(self) -> u64 {
        self.stride
    }

    /// Number of ranges.
    pub fn count(self) -> u64 {
        self.count
    }

    /// From the first byte to the last.
    pub fn hull(self) -> Extent {
        let end = self.start + (self.count - 1) * self.stride + self.length;
        Extent::new(self.start, end).expect("a pattern has bytes")
    }

    /// The ranges in order.
    pub fn extents(self) -> impl Iterator<Item = Extent> {
        (0..self.count).map(move |i| {
            let start = self.start + i * self.stride;
            Extent::new(start, start + self.length).expect("a pattern's length is at least 1")
        })
    }
}

impl From<Extent> for RangePattern {
    fn from(extent: Extent) -> Self {
        RangePattern { start: extent.start(), length: extent.len(), stride: extent.len(), count: 1 }
    }
}

impl fmt::Debug for RangePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => fmt::Display::fmt(&self.hull(), f),
            n => write!(f, "{} × {} B from {} every {}", n, self.length, self.start, self.stride),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_patterns_are_refused() {
        assert_eq!(RangePattern::new(0, 0, 1, 1), Err(PatternError::Empty { length: 0, count: 1 }));
        assert_eq!(RangePattern::new(0, 1, 1, 0), Err(PatternError::Empty { length: 1, count: 0 }));
        assert_eq!(RangePattern::new(0, 8, 7, 2), Err(PatternError::Overlap { stride: 7, length: 8 }));
        assert_eq!(RangePattern::new(9, 8, u64::MAX / 2, 4), Err(PatternError::TooFar { start: 9 }));
        assert_eq!(RangePattern::new(MAX_FILE_BYTES, 1, 1, 1), Err(PatternError::TooFar { start: MAX_FILE_BYTES }));
        assert!(RangePattern::new(5, u64::MAX - 5, 0, 1).is_ok(), "one range to infinity is fine");
    }

    #[test]
    fn a_pattern_lists_its_ranges() {
        let pattern = RangePattern::new(10, 5, 100, 3).unwrap();
        let ranges: Vec<String> = pattern.extents().map(|e| e.to_string()).collect();
        assert_eq!(ranges, ["[10, 15)", "[110, 115)", "[210, 215)"]);
        assert_eq!(pattern.hull().to_string(), "[10, 215)");
    }
}
