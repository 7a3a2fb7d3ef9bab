//! The file server's own lease: how long it may serve without word from the metadata server.
//!
//! Invariants: the lease runs from the *sending* of the renewal, so it ends here before the metadata server takes it
//! for ended. A lease that has ended is not renewed: only a registration, which brings fresh fences, begins a new one.
//! The clock counts while the machine sleeps.

use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point in time since the machine's start, sleep included, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// Now.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        let (seconds, nanoseconds) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
        let seconds = seconds.expect("the time since the machine's start is not negative");
        BootTime(seconds * 1_000_000_000 + nanoseconds.expect("a part of a second is not negative"))
    }

    fn after(self, duration: Duration) -> u64 {
        self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The lease. There is none at first.
#[derive(Debug, Default)]
pub struct Lease {
    ends: AtomicU64,
}

impl Lease {
    /// Whether the lease lasts at this time.
    pub fn lasts_at(&self, now: BootTime) -> bool {
        now.0 < self.ends.load(Ordering::Acquire)
    }

    /// A registration that was sent at `sent` was answered, and its fences are in force.
    pub fn begin(&self, sent: BootTime, duration: Duration) {
        self.ends.fetch_max(sent.after(duration), Ordering::AcqRel);
    }

    /// A heartbeat that was sent at `sent` was answered `now`. False: the lease has ended, and only a registration helps.
    pub fn renew(&self, sent: BootTime, duration: Duration, now: BootTime) -> bool {
        let lasts = self.lasts_at(now);
        if lasts {
            self.begin(sent, duration);
        }
        lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_nanos(100);

    #[test]
    fn a_lease_counts_from_the_sending() {
        let lease = Lease::default();
        assert!(!lease.lasts_at(BootTime(0)));
        lease.begin(BootTime(50), LEASE);
        assert!(lease.lasts_at(BootTime(149)) && !lease.lasts_at(BootTime(150)));
        assert!(lease.renew(BootTime(100), LEASE, BootTime(149)));
        assert!(lease.lasts_at(BootTime(199)) && !lease.lasts_at(BootTime(200)));
    }

    #[test]
    fn an_ended_lease_is_not_renewed() {
        let lease = Lease::default();
        assert!(!lease.renew(BootTime(1), LEASE, BootTime(2)));
        lease.begin(BootTime(1), LEASE);
        assert!(!lease.renew(BootTime(90), LEASE, BootTime(101)), "the answer came too late");
        lease.begin(BootTime(110), LEASE);
        assert!(lease.lasts_at(BootTime(200)));
    }

    #[test]
    fn a_late_answer_shortens_nothing() {
        let lease = Lease::default();
        lease.begin(BootTime(100), LEASE);
        assert!(lease.renew(BootTime(20), LEASE, BootTime(150)));
        assert!(lease.lasts_at(BootTime(199)));
        lease.begin(BootTime(200), Duration::MAX);
        assert!(lease.lasts_at(BootTime(u64::MAX - 1)));
    }

    #[test]
    fn time_goes_on() {
        let before = BootTime::now();
        assert!(BootTime::now() >= before && before > BootTime(0));
    }
}
