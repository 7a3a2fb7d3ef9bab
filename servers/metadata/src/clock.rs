//! The two clocks: one for leases, one for the times of files.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the machine started, sleep included, so that a lease runs out while a machine is suspended.
pub(crate) fn boottime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds * 1000 + nanoseconds / 1_000_000
}

/// Nanoseconds since 1970-01-01 UTC, for the times of files; 0 on a machine whose clock is before that.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
