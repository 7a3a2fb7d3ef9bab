//! Clocks that do not go right.

use crate::plan::MS;

/// The rate of a right clock.
const RIGHT_PPM: u64 = 1_000_000;

/// A clock of one machine: counts on, with an offset and a rate of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) offset_ms: u64,
    /// What it counts while a million pass: a right one has a million.
    pub(super) rate_ppm: u64,
}

impl Clock {
    /// What it shows.
    pub(super) fn at(self, now: u64) -> u64 {
        self.offset_ms + now * self.rate_ppm / RIGHT_PPM / MS
    }

    /// When it shows this.
    pub(super) fn when(self, ms: u64) -> u64 {
        let own = ms.saturating_sub(self.offset_ms) * MS;
        let mut at = own * RIGHT_PPM / self.rate_ppm;
        while self.at(at) < ms {
            at += 1;
        }
        at
    }
}
