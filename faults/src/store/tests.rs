//! The replay finds nothing wrong with the store, and what is wrong with a disk that lies.

use super::*;

#[test]
fn power_is_lost_and_nothing_else() {
    let (counts, losses) = replay_all(1..4);
    assert!(losses.is_empty(), "{}", losses[0]);
    assert_eq!(counts.seeds, 3);
    assert!(counts.boundaries > 200 && counts.second > 100, "{counts:?}");
}
