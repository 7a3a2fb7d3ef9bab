//! A world: how many crashes it has, which events can happen in it, and what must hold.

use crate::client::{Operation, Revoked, Step};
use crate::manager::Phase;
use crate::mistake::Mistake;
use crate::properties;
use crate::state::{Mode, State};
use stateright::{Model, Property};
use std::fmt::{self, Display, Formatter};

/// An event. `c` numbers clients and `s` file servers, as in the state in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`c` and `s` are said above")]
pub enum Event {
    /// A client begins to read or write under its token.
    Start { c: usize, operation: Operation },
    /// A client's request for a token reaches the manager.
    Ask { c: usize, wish: Mode },
    /// A grant reaches its client.
    GrantArrives { c: usize },
    /// A revoke reaches its client.
    RevokeArrives { c: usize },
    /// A client gives up what was revoked.
    Ack { c: usize },
    /// A client stops waiting for its write.
    Abandon { c: usize },
    /// A client sends a refused request again.
    Resend { c: usize, s: usize },
    /// A file server confirms that a write in doubt is over.
    Drain { c: usize, s: usize },
    /// A held ack passes.
    PassHeldAck { c: usize },
    /// A request gets on by one step at a file server.
    Advance { c: usize, s: usize },
    /// A client has heard nothing for its lease, and stops.
    LeaseRunsOut { c: usize },
    /// A stopped client hears that it lives.
    ComeBack { c: usize },
    /// A client of an earlier boot says what it holds.
    Reassert { c: usize },
    /// A client is given up.
    GiveUp { c: usize },
    /// A death becomes durable.
    Record { c: usize },
    /// A file server hears what it must refuse.
    Tell { s: usize },
    /// The manager hears that a file server refuses it.
    Confirm { s: usize },
    /// A file server has heard nothing for its lease, and stops.
    ServerLapses { s: usize },
    /// The manager knows that a file server has stopped.
    NoticeLapse { s: usize },
    /// The manager's grace ends.
    EndGrace,
    /// A file server is killed and started.
    ServerCrashes { s: usize },
    /// The metadata server is killed and started.
    Restart,
}

/// `C` clients and `S` file servers, with so many crashes. That a client is given up counts as its crash: a pause that
/// it survives costs nothing, and neither does a lease that a file server loses and gets again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World<const C: usize, const S: usize> {
    /// Clients that may die.
    pub deaths: u8,
    /// Restarts of the metadata server.
    pub restarts: u8,
    /// Crashes of each file server.
    pub server_crashes: u8,
    /// Crashes of any kind.
    pub crashes: u8,
    /// The rule that is left out, if any.
    pub mistake: Option<Mistake>,
}

impl<const C: usize, const S: usize> World<C, S> {
    /// A world in which nothing crashes and no rule is left out.
    pub fn calm() -> Self {
        World { deaths: 0, restarts: 0, server_crashes: 0, crashes: u8::MAX, mistake: None }
    }

    /// What an event makes of a state, with the names of clients and servers kept; nothing if it can not happen.
    pub fn after(&self, mut state: State<C, S>, event: Event) -> Option<State<C, S>> {
        let mistake = self.mistake;
        match event {
            Event::Start { c, operation } => state.start(c, operation)?,
            Event::Ask { c, wish } => state.ask(c, wish, mistake)?,
            Event::GrantArrives { c } => state.grant_arrives(c)?,
            Event::RevokeArrives { c } => state.revoke_arrives(c)?,
            Event::Ack { c } => state.ack(c, mistake)?,
            Event::Abandon { c } => state.abandon(c)?,
            Event::Resend { c, s } => state.resend(c, s)?,
            Event::Drain { c, s } => state.drain(c, s)?,
            Event::PassHeldAck { c } => state.pass_held_ack(c, mistake)?,
            Event::Advance { c, s } => state.advance(c, s, mistake)?,
            Event::LeaseRunsOut { c } => state.lease_runs_out(c)?,
            Event::ComeBack { c } => state.come_back(c)?,
            Event::Reassert { c } => state.reassert(c)?,
            Event::GiveUp { c } => state.give_up(c, mistake)?,
            Event::Record { c } => state.record(c, mistake)?,
            Event::Tell { s } => state.tell(s)?,
            Event::Confirm { s } => state.confirm(s, mistake)?,
            Event::ServerLapses { s } => state.server_lapses(s)?,
            Event::NoticeLapse { s } => state.notice_lapse(s, mistake)?,
            Event::EndGrace => state.end_grace(mistake)?,
            Event::ServerCrashes { s } => state.server_crashes(s, mistake),
            Event::Restart => state.restart(mistake),
        }
        Some(state)
    }

    fn crashes_left(&self, state: &State<C, S>) -> bool {
        let servers: u8 = state.servers.iter().map(|server| server.crashes).sum();
        state.deaths + state.restarts + servers < self.crashes
    }

    fn client_events(&self, state: &State<C, S>, c: usize, events: &mut Vec<Event>) {
        let (client, record) = (&state.clients[c], &state.manager.records[c]);
        for s in 0..S {
            match client.requests[s].step {
                Step::Waiting(_) if client.operation == Operation::Doubt => {
                    events.extend([Event::Advance { c, s }, Event::Drain { c, s }]);
                }
                Step::Waiting(_) | Step::Inside(_) => events.push(Event::Advance { c, s }),
                Step::Refused => events.push(Event::Resend { c, s }),
                Step::None | Step::Done => {}
            }
        }
        let awaited = matches!(record.phase, Phase::Live | Phase::Unheard);
        if client.suspended {
            events.push(Event::ComeBack { c });
        } else {
            self.operations(state, c, events);
        }
        let may_die = state.deaths < self.deaths && self.crashes_left(state);
        if awaited && !client.suspended {
            events.push(Event::LeaseRunsOut { c });
        }
        if awaited && may_die && (client.suspended || self.mistake == Some(Mistake::GivenUpBeforeItStops)) {
            events.push(Event::GiveUp { c });
        }
        match record.phase {
            Phase::Unheard => events.push(Event::Reassert { c }),
            Phase::GivenUp => events.push(Event::Record { c }),
            _ => {}
        }
        if record.held != Revoked::No {
            events.push(Event::PassHeldAck { c });
        }
    }

    fn operations(&self, state: &State<C, S>, c: usize, events: &mut Vec<Event>) {
        match state.clients[c].operation {
            Operation::Idle => events.extend([
                Event::Start { c, operation: Operation::Read },
                Event::Start { c, operation: Operation::Write },
                Event::Ask { c, wish: Mode::Shared },
                Event::Ask { c, wish: Mode::Exclusive },
            ]),
            Operation::Write => events.push(Event::Abandon { c }),
            Operation::Read | Operation::Doubt => {}
        }
        if state.manager.records[c].phase == Phase::Live {
            events.extend([Event::GrantArrives { c }, Event::RevokeArrives { c }, Event::Ack { c }]);
        }
    }

    fn server_events(&self, state: &State<C, S>, s: usize, events: &mut Vec<Event>) {
        let server = &state.servers[s];
        events.extend([Event::Tell { s }, Event::Confirm { s }, Event::NoticeLapse { s }]);
        if server.serving {
            events.push(Event::ServerLapses { s });
        }
        if server.crashes < self.server_crashes && self.crashes_left(state) {
            events.push(Event::ServerCrashes { s });
        }
    }
}

impl<const C: usize, const S: usize> Display for World<C, S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let World { deaths, restarts, server_crashes, crashes, mistake } = *self;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{C} client{}, {S} file server{}", plural(C), plural(S))?;
        let each = (usize::from(deaths), restarts, server_crashes);
        match each {
            _ if crashes < deaths + restarts + server_crashes * S as u8 => {
                write!(f, ", at most {crashes} crashes of any kind")?;
            }
            (0, 0, 0) => write!(f, ", no crash")?,
            each if each == (C, 1, 1) => write!(f, ", at most one crash of each")?,
            _ => {
                write!(f, ", crashes: clients {deaths}, metadata server {restarts}, each file server {server_crashes}")?
            }
        }
        mistake.map_or(Ok(()), |mistake| write!(f, ", with {mistake:?}"))
    }
}

impl<const C: usize, const S: usize> Model for World<C, S> {
    type State = State<C, S>;
    type Action = Event;

    fn init_states(&self) -> Vec<State<C, S>> {
        vec![State::new()]
    }

    fn actions(&self, state: &State<C, S>, events: &mut Vec<Event>) {
        (0..C).for_each(|c| self.client_events(state, c, events));
        (0..S).for_each(|s| self.server_events(state, s, events));
        if state.manager.grace {
            events.push(Event::EndGrace);
        }
        if state.restarts < self.restarts && self.crashes_left(state) {
            events.push(Event::Restart);
        }
    }

    fn next_state(&self, last: &State<C, S>, event: Event) -> Option<State<C, S>> {
        self.after(*last, event).map(State::canonical)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = properties::always().into_iter().map(|(name, holds)| Property::always(name, holds));
        let mut sometimes = properties::sometimes();
        if self.deaths > 0 {
            sometimes.extend(properties::sometimes_with_death());
        }
        if self.restarts > 0 {
            sometimes.extend(properties::sometimes_with_restart());
        }
        let sometimes = sometimes.into_iter().map(|(name, happens)| Property::sometimes(name, happens));
        always.chain(sometimes).collect()
    }
}
