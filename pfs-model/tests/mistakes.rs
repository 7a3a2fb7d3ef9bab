//! Each rule that is left out must be missed: the model finds what goes wrong without it.
//!
//! A model that finds nothing proves nothing. If one of these fails, a guard has become so strict that the mistake can not show,
//! or a condition so weak that it is not noticed.

use pfs_model::check::Until;
use pfs_model::mistake::Mistake;
use pfs_model::properties;
use pfs_model::world::World;

/// What the model says about a world in which the rule is left out.
fn finds(mistake: Mistake, until: Until) -> Vec<&'static str> {
    let world = World::<2, 1> { mistake: Some(mistake), ..World::calm() };
    let outcome = match mistake {
        Mistake::GrantBeforeAck | Mistake::DoubtForgotten | Mistake::DrainForgottenByLapse => {
            world.check(until, 1, false)
        }
        Mistake::GivenUpBeforeItStops
        | Mistake::FenceAnsweredTooEarly
        | Mistake::ChunksUnchecked
        | Mistake::ClientLeaseInPlaceOfServers
        | Mistake::FenceSkipped => World { deaths: 1, ..world }.check(until, 1, false),
        Mistake::DeathNotRecorded => World { deaths: 1, restarts: 1, ..world }.check(until, 1, false),
        Mistake::GraceSkipped | Mistake::GraceIgnoresServers => World { restarts: 1, ..world }.check(until, 1, false),
        Mistake::FencesForgotten => {
            World::<2, 2> { deaths: 1, server_crashes: 1, mistake: Some(mistake), ..World::calm() }
                .check(until, 1, false)
        }
    };
    outcome.violations.iter().for_each(|violation| println!("{mistake:?}: {violation}"));
    outcome.violations.iter().map(|violation| violation.name).collect()
}

#[test]
fn every_mistake_is_found() {
    let missed: Vec<Mistake> =
        Mistake::ALL.into_iter().filter(|mistake| finds(*mistake, Until::FirstViolation).is_empty()).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// The conditions can all come to be violated. The one about the manager's table is of use to a reader only: no mistake on the list
/// breaks it.
#[test]
fn every_condition_is_violated_by_some_mistake() {
    let violated = finds(Mistake::GraceSkipped, Until::Done);
    let conditions = properties::always::<2, 1>().into_iter().map(|(name, _)| name);
    let never: Vec<&str> = conditions.filter(|name| !violated.contains(name)).collect();
    assert_eq!(never, ["the manager's table covers what its clients hold"]);
}
