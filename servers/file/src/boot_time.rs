//! The clock of leases: nanoseconds since the machine's start, sleep included.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Now.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, part) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    let seconds = seconds.expect("the time since the machine's start is not negative");
    seconds * 1_000_000_000 + part.expect("a part of a second is not negative")
}

/// A duration on this clock; one that does not fit is as long as can be.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let before = now_ns();
        assert!(now_ns() >= before && before > 0);
        assert_eq!(nanoseconds(Duration::from_millis(3)), 3_000_000);
        assert_eq!(nanoseconds(Duration::MAX), u64::MAX);
    }
}
