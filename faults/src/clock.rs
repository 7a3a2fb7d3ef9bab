//! One clock for all processes of a run: nanoseconds since the machine's start, sleep included.

use rustix::time::{ClockId, clock_gettime};

/// Now.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let part = u64::try_from(now.tv_nsec).unwrap_or_default();
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000 + part
}
