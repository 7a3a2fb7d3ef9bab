//! Visits all states of a world and says what was found.

use crate::state::State;
use crate::world::World;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

/// How often a long check says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How often the end of a check is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// When a check ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When all states were visited.
    Done,
    /// When something was found that should not be.
    FirstViolation,
}

/// What a check of one world found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The world.
    pub world: String,
    /// States that events led to, each as often as one did.
    pub states: usize,
    /// Different ones among them.
    pub unique: usize,
    /// The number of states on the longest of the shortest ways.
    pub depth: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// What should hold and does not, with the events that lead there.
    pub violations: Vec<Violation>,
}

/// A condition that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The condition.
    pub name: &'static str,
    /// The events that lead to it; none if it is one that should have come true somewhere and did not.
    pub events: Vec<String>,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Outcome { world, states, unique, depth, elapsed, .. } = self;
        write!(f, "{world}: {states} states, {unique} unique, depth {depth}, {:.1} s", elapsed.as_secs_f64())
    }
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.events.is_empty() {
            return write!(f, "never seen: {}", self.name);
        }
        write!(f, "violated: {}", self.name)?;
        self.events.iter().enumerate().try_for_each(|(number, event)| write!(f, "\n  {:>3}  {event}", number + 1))
    }
}

impl<const C: usize, const S: usize> World<C, S> {
    /// Visits all states, or those up to a violation.
    pub fn check(self, until: Until, threads: usize, progress: bool) -> Outcome {
        let started = Instant::now();
        let world = self.to_string();
        let finish = match until {
            Until::Done => HasDiscoveries::AllFailures,
            Until::FirstViolation => HasDiscoveries::AnyFailures,
        };
        let checker = self.checker().threads(threads).finish_when(finish).spawn_bfs();
        let mut said = started;
        while !checker.is_done() {
            std::thread::sleep(LOOK_EVERY);
            if progress && said.elapsed() > PROGRESS_EVERY {
                said = Instant::now();
                let (unique, seconds) = (checker.unique_state_count(), started.elapsed().as_secs());
                eprintln!("{world}: {unique} states so far, depth {}, {seconds} s", checker.max_depth());
            }
        }
        let checker = checker.join();
        let violations = self.properties().into_iter().filter_map(|property| {
            let path = checker.discovery(property.name);
            match property.expectation {
                Expectation::Sometimes if self.mistake.is_some() || path.is_some() => None,
                Expectation::Sometimes => Some(Violation { name: property.name, events: Vec::new() }),
                Expectation::Always | Expectation::Eventually => {
                    Some(Violation { name: property.name, events: self.story(&path?.into_states()) })
                }
            }
        });
        Outcome {
            violations: violations.collect(),
            states: checker.state_count(),
            unique: checker.unique_state_count(),
            depth: checker.max_depth(),
            elapsed: started.elapsed(),
            world,
        }
    }

    /// The events between states, with one name for a client throughout: in the states that were visited, names change.
    fn story(&self, states: &[State<C, S>]) -> Vec<String> {
        let mut events = Vec::new();
        let mut now = State::new();
        for next in states.iter().skip(1) {
            let mut possible = Vec::new();
            self.actions(&now, &mut possible);
            let step = possible.into_iter().find_map(|event| {
                let after = self.after(now, event).filter(|after| after.canonical() == *next)?;
                Some((event, after))
            });
            let Some((event, after)) = step else { break };
            events.push(format!("{event:?}"));
            now = after;
        }
        events
    }
}
