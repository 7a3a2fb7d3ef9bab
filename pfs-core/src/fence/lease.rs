//! A file server's own lease: how long it may serve without word from the metadata server (rule 16).
//!
//! Points in time and durations are `u64`s of one unit of the caller's choice, on a clock that counts while the machine
//! sleeps.
//!
//! Invariants:
//! * the lease runs from the *sending* of what renewed it, so it ends here before the metadata server takes it for ended;
//! * a lease that has ended is not renewed: only a registration, which brings fresh fences, begins a new one;
//! * a new one begins only after [`Admission::lapse`](super::Admission::lapse) has refused whatever ran under the one that
//!   ended, and its ticket is done. So whoever has waited for the end of a lease knows that nothing that was under way
//!   then can be applied later.

/// The lease. There is none at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLease {
    ends: u64,
    /// Something may have begun under the lease that ends then and was not refused since.
    used: bool,
    lapses: u64,
}

impl ServerLease {
    /// Whether the lease lasts at this time: to be asked before everything that is served.
    pub fn lasts_at(&self, now: u64) -> bool {
        if crate::mutant!(FencesForgotten) {
            return now < self.ends || self.ends == 0;
        }
        now < self.ends || crate::mutant!(ServerLeaseIgnored)
    }

    /// Whether the lease has ended since it was last begun, and what ran under it was not refused yet. If so, call
    /// [`Admission::lapse`](super::Admission::lapse), wait for its ticket, and then [`Self::lapsed`], before
    /// [`Self::begin`].
    pub fn must_lapse(&self, now: u64) -> bool {
        self.used && !self.lasts_at(now)
    }

    /// Nothing that ran under the lease that has ended can touch an object any more.
    ///
    /// # Panics
    /// While the lease lasts.
    pub fn lapsed(&mut self, now: u64) {
        assert!(!self.lasts_at(now), "a lease that lasts has not lapsed");
        self.used = false;
        self.lapses += 1;
    }

    /// A registration that was sent at `sent` was answered, and its fences are in force. The answer may be older than a
    /// later renewal; it shortens nothing.
    ///
    /// # Panics
    /// When the lease [must lapse](Self::must_lapse) first.
    pub fn begin(&mut self, sent: u64, duration: u64, now: u64) {
        assert!(!self.must_lapse(now), "what ran under the lease that has ended must be refused first");
        self.ends = self.ends.max(sent.saturating_add(duration));
        self.used = true;
    }

    /// A heartbeat that was sent at `sent` was answered `now`. False: the lease has ended, and only a registration helps.
    pub fn renew(&mut self, sent: u64, duration: u64, now: u64) -> bool {
        let lasts = self.lasts_at(now);
        if lasts {
            self.ends = self.ends.max(sent.saturating_add(duration));
        }
        lasts
    }

    /// How often a lease has ended and what ran under it was refused.
    pub fn lapses(&self) -> u64 {
        self.lapses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: u64 = 100;

    #[test]
    fn a_lease_counts_from_the_sending() {
        let mut lease = ServerLease::default();
        assert!(!lease.lasts_at(0) && !lease.must_lapse(0));
        lease.begin(50, LEASE, 60);
        assert!(lease.lasts_at(149) && !lease.lasts_at(150));
        assert!(lease.renew(100, LEASE, 149));
        assert!(lease.lasts_at(199) && !lease.lasts_at(200));
    }

    #[test]
    fn an_ended_lease_is_not_renewed_and_lapses_before_it_begins_again() {
        let mut lease = ServerLease::default();
        assert!(!lease.renew(1, LEASE, 2));
        lease.begin(1, LEASE, 2);
        assert!(!lease.must_lapse(100));
        assert!(!lease.renew(90, LEASE, 101), "the answer came too late");
        assert!(lease.must_lapse(101));
        lease.lapsed(102);
        assert!(!lease.must_lapse(103) && lease.lapses() == 1);
        lease.begin(110, LEASE, 111);
        assert!(lease.lasts_at(200));
        assert_eq!(lease.lapses(), 1);
    }

    #[test]
    #[should_panic(expected = "refused first")]
    fn a_lease_that_did_not_lapse_can_not_begin_again() {
        let mut lease = ServerLease::default();
        lease.begin(0, LEASE, 1);
        lease.begin(200, LEASE, 201);
    }

    #[test]
    fn a_late_answer_shortens_nothing() {
        let mut lease = ServerLease::default();
        lease.begin(100, LEASE, 101);
        assert!(lease.renew(20, LEASE, 150));
        assert!(lease.lasts_at(199));
        lease.begin(0, LEASE, 160);
        assert!(lease.lasts_at(199));
        lease.begin(199, u64::MAX, 199);
        assert!(lease.lasts_at(u64::MAX - 1));
    }

    /// The answer to a registration may come after the lease that it was to give.
    #[test]
    fn an_answer_that_comes_too_late_begins_nothing() {
        let mut lease = ServerLease::default();
        lease.begin(0, LEASE, 500);
        assert!(!lease.lasts_at(500) && lease.must_lapse(500));
    }
}
