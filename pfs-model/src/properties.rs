//! What must hold in every state, and what must happen in some: a model in which nothing happens breaks no rule either.

use crate::client::{Client, Operation, Revoked, Step};
use crate::manager::{Phase, Record};
use crate::state::{Breach, Mode, State};
use crate::world::World;

/// A named condition on a state.
pub type Condition<const C: usize, const S: usize> = (&'static str, fn(&World<C, S>, &State<C, S>) -> bool);

/// What holds in every state.
pub fn always<const C: usize, const S: usize>() -> Vec<Condition<C, S>> {
    vec![
        ("no write is applied after its fence was answered", |_, state| !state.has(Breach::WriteAfterFence)),
        ("no write is applied over a later one", |_, state| !state.has(Breach::LateWrite)),
        ("a read returns the last completed write", |_, state| !state.has(Breach::StaleRead)),
        ("nothing is granted before all have spoken or are fenced", |_, state| !state.has(Breach::GrantInGrace)),
        ("no re-assertion conflicts with another", |_, state| !state.has(Breach::ConflictingReassertion)),
        ("no two conflicting holders can use what they hold", |_, state| !conflict_in_use(state)),
        ("no write can reach the disk beside a conflicting holder", |_, state| !conflict_at_disk(state)),
        ("the manager's table covers what its clients hold", |_, state| table_covers(state)),
    ]
}

/// What happens in some state. Worlds without the crash in question have no such state.
pub fn sometimes<const C: usize, const S: usize>() -> Vec<Condition<C, S>> {
    vec![
        ("an exclusive holder becomes a shared one", |_, state| some(state, |r, _| r.asked == Revoked::ToShared)),
        ("two readers hold", |_, state| state.clients.iter().filter(|c| c.token == Mode::Shared).count() == 2),
        ("an ack is held for a drain", |_, state| some(state, |r, _| r.held != Revoked::No)),
        ("a client stops and lives", |_, state| some(state, |r, c| r.phase == Phase::Live && c.suspended)),
        ("a server loses its lease", |_, state| state.servers.iter().any(|s| !s.serving && s.crashes == 0)),
    ]
}

/// What happens in some state if a client may die.
pub fn sometimes_with_death<const C: usize, const S: usize>() -> Vec<Condition<C, S>> {
    vec![
        ("a fence waits for a chunk", |_, state| {
            zombie(state, |step, fenced, r| fenced && r.phase == Phase::Recorded && matches!(step, Step::Inside(_)))
        }),
        ("a zombie's write meets its fence", |_, state| {
            zombie(state, |step, fenced, r| fenced && r.phase == Phase::Recorded && matches!(step, Step::Waiting(_)))
        }),
        ("a zombie's write comes after its tokens are free", |_, state| {
            zombie(state, |step, _, r| r.phase == Phase::Freed && matches!(step, Step::Waiting(_)))
        }),
        ("a silent server's fence is in force by its lapse", |_, state| {
            let freed = |c: usize| state.manager.records[c].phase == Phase::Freed;
            (0..C).any(|c| freed(c) && state.servers.iter().any(|server| server.fences >> c & 1 == 0))
        }),
        ("tokens of a dead client go to another", |_, state| {
            let freed = some(state, |r, _| r.phase == Phase::Freed);
            freed && some(state, |_, c| c.token == Mode::Exclusive && c.operation == Operation::Write)
        }),
    ]
}

/// What happens in some state if the metadata server may restart.
pub fn sometimes_with_restart<const C: usize, const S: usize>() -> Vec<Condition<C, S>> {
    vec![
        ("a re-assertion is accepted", |_, state| {
            let boot = state.manager.boot;
            some(state, |r, c| r.phase == Phase::Live && r.token == Mode::Exclusive && c.boot < boot)
        }),
        ("a write goes on under the next boot", |_, state| {
            let writing = |c: &Client<S>| c.boot > 0 && c.operation == Operation::Write;
            state.manager.grace && state.clients.iter().any(writing)
        }),
        ("a grant after a restart", |_, state| {
            state.manager.boot > 0 && !state.manager.grace && some(state, |r, c| r.token > c.token)
        }),
        ("a write of an earlier boot is refused", |_, state| {
            let refused = |c: &Client<S>| c.requests.iter().any(|r| r.step == Step::Refused);
            let told = state.servers.iter().all(|server| server.floor == state.manager.boot && server.crashes == 0);
            state.manager.boot > 0 && told && state.clients.iter().any(refused)
        }),
        ("a server is told of a boot when others are granted already", |_, state| {
            !state.manager.grace && state.servers.iter().any(|server| server.floor < state.manager.boot)
        }),
    ]
}

fn some<const C: usize, const S: usize>(state: &State<C, S>, is: impl Fn(&Record, &Client<S>) -> bool) -> bool {
    state.manager.records.iter().zip(&state.clients).any(|(record, client)| is(record, client))
}

/// Whether there is a dead client's request for which this holds: how far it is, whether that server has the fence, and what the
/// manager knows.
fn zombie<const C: usize, const S: usize>(state: &State<C, S>, is: impl Fn(Step, bool, &Record) -> bool) -> bool {
    (0..C).filter(|c| state.clients[*c].writes()).any(|c| {
        let at = |s: usize| (state.clients[c].requests[s].step, state.servers[s].fences >> c & 1 == 1);
        (0..S).map(at).any(|(step, fenced)| is(step, fenced, &state.manager.records[c]))
    })
}

/// A client that has not stopped uses its token at any moment, if only for what it has in its cache.
fn conflict_in_use<const C: usize, const S: usize>(state: &State<C, S>) -> bool {
    let used = |c: usize| if state.clients[c].suspended { Mode::None } else { state.clients[c].token };
    pairs::<C>().any(|(a, b)| a < b && used(a).conflicts(used(b)))
}

/// A write that a file server has not refused for ever, and somebody else who has a token.
fn conflict_at_disk<const C: usize, const S: usize>(state: &State<C, S>) -> bool {
    let reaches = |c: usize, s: usize| {
        let (server, request) = (&state.servers[s], state.clients[c].requests[s]);
        match request.step {
            Step::Inside(_) => true,
            Step::Waiting(_) => server.serving && server.floor == request.boot && !server.refuses(c, request.boot),
            Step::None | Step::Refused | Step::Done => false,
        }
    };
    let writes = |c: usize| state.clients[c].writes() && (0..S).any(|s| reaches(c, s));
    let has = |c: usize| state.clients[c].token != Mode::None && !state.clients[c].suspended;
    pairs::<C>().any(|(writer, other)| writer != other && writes(writer) && has(other))
}

fn table_covers<const C: usize, const S: usize>(state: &State<C, S>) -> bool {
    let boot = state.manager.boot;
    state
        .manager
        .records
        .iter()
        .zip(&state.clients)
        .all(|(record, client)| record.phase != Phase::Live || client.boot < boot || client.token <= record.token)
}

fn pairs<const C: usize>() -> impl Iterator<Item = (usize, usize)> {
    (0..C).flat_map(|a| (0..C).map(move |b| (a, b)))
}
