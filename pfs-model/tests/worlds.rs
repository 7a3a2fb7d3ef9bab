//! Worlds small enough for every test run: each kind of crash once, without a rule left out.
//!
//! If the model were too strict, no state would be reached in which the protocol has something to do; if it were too loose, or
//! the protocol wrong, a condition would be violated.

use pfs_model::check::Until;
use pfs_model::world::World;

fn holds<const C: usize, const S: usize>(world: World<C, S>) {
    let outcome = world.check(Until::Done, 1, false);
    println!("{outcome}");
    let violations: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    assert!(violations.is_empty(), "{outcome}\n{}", violations.join("\n"));
}

#[test]
fn three_clients_in_peace() {
    holds(World::<3, 1>::calm());
}

#[test]
fn a_client_dies() {
    holds(World::<2, 1> { deaths: 1, ..World::calm() });
    holds(World::<2, 2> { deaths: 1, ..World::calm() });
}

#[test]
fn the_metadata_server_restarts() {
    holds(World::<2, 1> { restarts: 1, ..World::calm() });
}

#[test]
fn a_file_server_crashes() {
    holds(World::<2, 1> { server_crashes: 1, ..World::calm() });
    holds(World::<2, 2> { server_crashes: 1, ..World::calm() });
}

#[test]
fn a_client_dies_and_the_metadata_server_restarts() {
    holds(World::<2, 1> { deaths: 1, restarts: 1, ..World::calm() });
}
