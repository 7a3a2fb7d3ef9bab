//! Requests that wait for their answers.
//!
//! Invariants: an id is given once; a place is taken from the begin of a request until who waits for it has its answer or has
//! gone away, and an answer for an earlier request in the same place finds nobody.

use crate::error::Error;
use pfs_proto::v1::small_reply::Outcome;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Bits of an id that tell the place; the others count.
const PLACE_BITS: u32 = 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    places: Vec<Place>,
    free: Vec<usize>,
    /// Requests until now.
    count: u64,
}

#[derive(Debug)]
struct Place {
    /// Of the request that has it; 0 if none has.
    id: u64,
    since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Answered(Result<Outcome, Error>),
}

impl Outstanding {
    /// A request begins; returns its id.
    pub(super) fn enter(&mut self, now: Instant) -> u64 {
        self.count += 1;
        let index = self.free.pop().unwrap_or(self.places.len());
        assert!(index >> PLACE_BITS == 0, "more requests than any budget lets through");
        let id = self.count << PLACE_BITS | index as u64;
        let place = Place { id, since: now, state: State::Waiting(None) };
        match self.places.get_mut(index) {
            Some(free) => *free = place,
            None => self.places.push(place),
        }
        id
    }

    /// Takes the answer of a request, which is over with it.
    pub(super) fn poll(&mut self, id: u64, cx: &Context<'_>) -> Poll<Result<Outcome, Error>> {
        let place = self.find(id).expect("a request has its place until its answer was taken");
        match &mut place.state {
            State::Waiting(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            }
            State::Answered(_) => {}
        }
        match self.take(id) {
            Some(State::Answered(answer)) => Poll::Ready(answer),
            _ => unreachable!("it was answered"),
        }
    }

    /// Nobody waits for the request any more.
    pub(super) fn leave(&mut self, id: u64) {
        self.take(id);
    }

    /// A request is answered. True if somebody is there to take it; wake who is put into `woken`.
    pub(super) fn answer(&mut self, id: u64, answer: Result<Outcome, Error>, woken: &mut Vec<Waker>) -> bool {
        let Some(Place { state: state @ State::Waiting(_), .. }) = self.find(id) else { return false };
        if let State::Waiting(Some(waker)) = std::mem::replace(state, State::Answered(answer)) {
            woken.push(waker);
        }
        true
    }

    /// All requests that wait are answered with an error.
    pub(super) fn fail(&mut self, error: &Error) -> Vec<Waker> {
        self.fail_if(|_| Some(error.clone()))
    }

    /// Those that wait for longer than `timeout` are answered with this error. Also tells when to look again.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration, error: &Error) -> (Vec<Waker>, Instant) {
        let mut next = now + timeout;
        let woken = self.fail_if(|since| {
            let end = since + timeout;
            if end > now {
                next = next.min(end);
                return None;
            }
            Some(error.clone())
        });
        (woken, next)
    }

    fn fail_if(&mut self, mut error: impl FnMut(Instant) -> Option<Error>) -> Vec<Waker> {
        let mut woken = Vec::new();
        for place in self.places.iter_mut().filter(|place| place.id != 0) {
            if let State::Waiting(waker) = &mut place.state
                && let Some(error) = error(place.since)
            {
                woken.extend(waker.take());
                place.state = State::Answered(Err(error));
            }
        }
        woken
    }

    fn find(&mut self, id: u64) -> Option<&mut Place> {
        self.places.get_mut(index(id)).filter(|place| place.id == id)
    }

    fn take(&mut self, id: u64) -> Option<State> {
        let place = self.find(id)?;
        place.id = 0;
        let state = std::mem::replace(&mut place.state, State::Waiting(None));
        self.free.push(index(id));
        Some(state)
    }
}

fn index(id: u64) -> usize {
    (id & ((1 << PLACE_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use pfs_proto::v1;

    fn written(instance: u64) -> Result<Outcome, Error> {
        Ok(Outcome::Write(v1::WriteReply { instance }))
    }

    fn poll(outstanding: &mut Outstanding, id: u64) -> Poll<Result<Outcome, Error>> {
        outstanding.poll(id, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn places_are_used_again_and_ids_are_not() {
        let mut outstanding = Outstanding::default();
        let now = Instant::now();
        let (first, second) = (outstanding.enter(now), outstanding.enter(now));
        assert!(poll(&mut outstanding, first).is_pending());
        let mut woken = Vec::new();
        assert!(outstanding.answer(first, written(1), &mut woken));
        assert_eq!(woken.len(), 1);
        assert!(!outstanding.answer(first, written(2), &mut woken), "it was answered");
        assert!(matches!(poll(&mut outstanding, first), Poll::Ready(Ok(Outcome::Write(reply))) if reply.instance == 1));
        let third = outstanding.enter(now);
        assert_eq!((index(third), third == first), (index(first), false));
        assert!(!outstanding.answer(first, written(3), &mut woken), "its place is another's");
        assert!(!outstanding.answer(u64::MAX, written(3), &mut woken));
        outstanding.leave(second);
        assert!(!outstanding.answer(second, written(3), &mut woken), "nobody waits");
        assert!(poll(&mut outstanding, third).is_pending());
    }

    #[test]
    fn the_overdue_fail_alone() {
        let mut outstanding = Outstanding::default();
        let timeout = Duration::from_secs(1000);
        let start = Instant::now();
        let ids = [0, 500, 1990].map(|second| outstanding.enter(start + Duration::from_secs(second)));
        let now = start + Duration::from_secs(2000);
        let error = Error::new(ErrorKind::TimedOut, "late");
        let (_, next) = outstanding.expire(now, timeout, &error);
        assert_eq!(next, start + Duration::from_secs(2990));
        for id in &ids[..2] {
            assert!(
                matches!(poll(&mut outstanding, *id), Poll::Ready(Err(error)) if error.kind() == ErrorKind::TimedOut)
            );
        }
        assert!(poll(&mut outstanding, ids[2]).is_pending());
        assert_eq!(outstanding.fail(&error).len(), 1);
        assert!(poll(&mut outstanding, ids[2]).is_ready());
    }
}
