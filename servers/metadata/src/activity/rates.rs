//! From counts to rates.

/// How much a count has grown; one that went back began anew.
pub(super) fn since(before: u64, now: u64) -> u64 {
    if now >= before { now - before } else { now }
}

/// So much in so many milliseconds, a second.
pub(super) fn per_second(amount: u64, past_ms: u64) -> f64 {
    if past_ms == 0 { 0.0 } else { amount as f64 * 1000.0 / past_ms as f64 }
}

/// A rate that forgets slowly: what came in bursts is spread over [`Smooth::MEMORY_MS`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smooth(pub(super) f64);

impl Smooth {
    /// After so long two thirds of it are forgotten: two heartbeats, so that their bursts do not show.
    const MEMORY_MS: f64 = 6_000.0;

    /// So much has come in the last milliseconds.
    pub(super) fn add(&mut self, amount: u64, past_ms: u64) {
        let kept = (-(past_ms as f64) / Self::MEMORY_MS).exp();
        self.0 = self.0 * kept + per_second(amount, past_ms) * (1.0 - kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_went_back_began_anew() {
        assert_eq!(since(5, 9), 4);
        assert_eq!(since(9, 5), 5);
        assert_eq!(per_second(10, 500), 20.0);
        assert_eq!(per_second(10, 0), 0.0);
    }

    #[test]
    fn a_smooth_rate_comes_to_the_true_one_and_goes() {
        let mut rate = Smooth::default();
        (0..60).for_each(|second| rate.add(if second % 3 == 0 { 300 } else { 0 }, 1000));
        assert!((rate.0 - 100.0).abs() < 20.0, "{rate:?}");
        (0..60).for_each(|_| rate.add(0, 1000));
        assert!(rate.0 < 0.01, "{rate:?}");
    }
}
