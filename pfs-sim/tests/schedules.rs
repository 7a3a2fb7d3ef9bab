//! A few hundred schedules, and what the commands rely on.

use pfs_sim::runner::{DELIVERED_MIN, regressions, run_many, run_one, story};

/// The number of schedules of the test run, times `PFS_TEST_ROUNDS` if that is set.
fn seeds() -> Vec<u64> {
    let rounds: u64 = std::env::var("PFS_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    regressions().into_iter().chain(1..1 + 200 * rounds).collect()
}

#[test]
fn no_schedule_violates_an_invariant() {
    let summary = run_many(&seeds(), 2, |_, violations| violations == 0);
    if let Some(seed) = summary.violations.keys().next() {
        panic!("{}", story(*seed));
    }
    assert_eq!(summary.too_small(), None);
    assert!(summary.least[2] >= DELIVERED_MIN);
}

/// A seed that failed must fail again, or nobody can look at it.
#[test]
fn a_seed_is_a_schedule() {
    for seed in 1..20 {
        let (once, again) = (run_one(seed, &[], false), run_one(seed, &[], true));
        assert_eq!(once.hash, again.hash, "seed {seed}, with a trace or without");
        assert!(once.trace.is_empty() && !again.trace.is_empty());
    }
    assert_ne!(run_one(1, &[], false).hash, run_one(2, &[], false).hash);
}

#[test]
fn faults_can_be_left_out() {
    let whole = run_one(1, &[], false);
    let less = run_one(1, &[0], false);
    assert_eq!(less.faults + 1, whole.faults);
    assert_eq!(less.violation, None);
}

/// No build for use has deliberate mistakes.
#[cfg(not(pfs_mutants))]
#[test]
fn mutants_are_off() {
    const { assert!(!pfs_core::mutant!(GrantBeforeAck)) };
}
