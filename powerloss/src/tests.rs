//! The replay finds nothing wrong with the store, and what is wrong with a disk that lies.

use super::*;

#[test]
fn power_is_lost_and_nothing_else() {
    let (counts, losses) = replay_all(6..7);
    assert!(losses.is_empty(), "{}", losses[0]);
    assert_eq!(counts.seeds, 1);
    assert!(counts.boundaries > 100 && counts.second > 100, "{counts:?}");
}

#[test]
fn disks_that_lie_are_caught() {
    assert_eq!(lies(), LIES.len());
}
