//! Requests: operations that keep the memory of the program borrowed.
//!
//! Why that is safe. A request belongs to a [`Scope`] of rsmpi, which outlives the borrow of its buffer: the scope is told
//! of the request before the operation begins, and that it is over when the operation is complete. A request that is
//! dropped waits. One that is forgotten is never over, and its scope ends the process before the borrow can end; of the
//! static scope only buffers that live for ever are borrowed. So no operation uses memory that the program has got back.

use crate::drive::{drive, poke};
use crate::error::Error;
use crate::operation::Operation;
use crate::status::Status;
use mpi::request::{Scope, StaticScope};
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::Poll;

/// A nonblocking access that is under way, and the borrow of its buffer. Dropping it waits until the access is complete,
/// and then nobody is told of an error.
#[must_use = "dropping a request waits for it, and loses its result"]
pub struct Request<'a, S: Scope<'a> = StaticScope> {
    operation: Operation,
    scope: S,
    borrow: PhantomData<Cell<&'a ()>>,
}

impl<'a, S: Scope<'a>> Request<'a, S> {
    /// The request of what `start` starts. The memory that it uses is borrowed for `'a`.
    pub(crate) fn start(scope: S, start: impl FnOnce() -> Result<Operation, Error>) -> Result<Request<'a, S>, Error> {
        scope.register();
        match start() {
            Ok(operation) => Ok(Request { operation, scope, borrow: PhantomData }),
            Err(error) => {
                // SAFETY: registered once, above; there is no operation.
                unsafe { scope.unregister() };
                Err(error)
            }
        }
    }

    /// Waits until the access is complete.
    pub fn wait(self) -> Result<Status, Error> {
        self.operation.wait()
    }

    /// Does what can be done without waiting: what came of the access if it is complete, else the request.
    pub fn test(self) -> Result<Result<Status, Error>, Self> {
        match self.operation.test() {
            Some(result) => Ok(result),
            None => Err(self),
        }
    }

    /// What is under way, without its buffer.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }
}

impl<'a, S: Scope<'a>> Drop for Request<'a, S> {
    fn drop(&mut self) {
        // Who wants the error waits by himself.
        let _ = self.operation.wait();
        // SAFETY: registered once, at the start; the operation is complete and does not use the buffer any more.
        unsafe { self.scope.unregister() };
    }
}

impl<'a, S: Scope<'a>> fmt::Debug for Request<'a, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("operation", &self.operation).finish()
    }
}

/// Waits until all are complete; what came of each, in their order.
pub fn wait_all<'a, S: Scope<'a>>(requests: Vec<Request<'a, S>>) -> Vec<Result<Status, Error>> {
    requests.into_iter().map(Request::wait).collect()
}

/// Waits until one is complete, and takes it out: where it was and what came of it. Nothing if there are none.
pub fn wait_any<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Option<(usize, Result<Status, Error>)> {
    wait_for_one(requests);
    take_first(requests)
}

/// Waits until one is complete, and takes out all that are: where each was in the list as it was given, and what came of it.
pub fn wait_some<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Vec<(usize, Result<Status, Error>)> {
    wait_for_one(requests);
    take_complete(requests)
}

/// Takes all out if all are complete: what came of each, in their order.
pub fn test_all<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Option<Vec<Result<Status, Error>>> {
    poke();
    let results = requests.iter().map(|request| request.operation.result()).collect::<Option<Vec<_>>>()?;
    requests.clear();
    Some(results)
}

/// Takes one out if one is complete: where it was and what came of it.
pub fn test_any<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Option<(usize, Result<Status, Error>)> {
    poke();
    take_first(requests)
}

/// Takes out all that are complete: where each was in the list as it was given, and what came of it.
pub fn test_some<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Vec<(usize, Result<Status, Error>)> {
    poke();
    take_complete(requests)
}

fn wait_for_one<'a, S: Scope<'a>>(requests: &[Request<'a, S>]) {
    if requests.is_empty() {
        return;
    }
    drive(poll_fn(|context| {
        // Each of them wakes this call.
        let is_ready = |request: &Request<'a, S>| pin!(request.operation.completed()).poll(context).is_ready();
        if requests.iter().any(is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }));
}

fn take_first<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Option<(usize, Result<Status, Error>)> {
    let complete = |(at, request): (usize, &Request<'a, S>)| Some((at, request.operation.result()?));
    let (at, result) = requests.iter().enumerate().find_map(complete)?;
    drop(requests.remove(at));
    Some((at, result))
}

fn take_complete<'a, S: Scope<'a>>(requests: &mut Vec<Request<'a, S>>) -> Vec<(usize, Result<Status, Error>)> {
    let complete = |(at, request): (usize, &Request<'a, S>)| Some((at, request.operation.result()?));
    let results: Vec<_> = requests.iter().enumerate().filter_map(complete).collect();
    results.iter().rev().for_each(|(at, _)| drop(requests.remove(*at)));
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Completion;
    use std::thread;

    fn begin(number: usize) -> (Vec<Request<'static>>, Vec<Completion>) {
        let begin = |_| {
            let (operation, completion) = Operation::begin();
            (Request::start(StaticScope, || Ok(operation)).unwrap(), completion)
        };
        (0..number).map(begin).unzip()
    }

    fn done(bytes: u64) -> Result<Status, Error> {
        Ok(Status::new(bytes, bytes))
    }

    #[test]
    fn several_are_tested_and_taken_out() {
        let (mut requests, completions) = begin(4);
        assert_eq!((test_any(&mut requests), test_some(&mut requests)), (None, Vec::new()));
        let mut completions: Vec<_> = completions.into_iter().map(Some).collect();
        let mut finish = |at: usize| completions[at].take().unwrap().finish(done(at as u64));
        finish(2);
        assert_eq!(test_all(&mut requests), None);
        assert_eq!(test_any(&mut requests), Some((2, done(2))));
        finish(3);
        finish(0);
        assert_eq!(wait_some(&mut requests), [(0, done(0)), (2, done(3))]);
        finish(1);
        assert_eq!(test_all(&mut requests), Some(vec![done(1)]));
        assert_eq!((wait_any(&mut requests), wait_some(&mut requests)), (None, Vec::new()));
        assert_eq!(test_all(&mut requests), Some(Vec::new()));
    }

    #[test]
    fn whoever_waits_for_several_is_woken_by_each() {
        let (mut requests, mut completions) = begin(3);
        let late = completions.remove(1);
        let finishing = thread::spawn(move || late.finish(done(9)));
        assert_eq!(wait_any(&mut requests), Some((1, done(9))));
        finishing.join().unwrap();
        let finishing = thread::spawn(move || completions.into_iter().for_each(|one| one.finish(done(1))));
        assert_eq!(wait_all(requests), [done(1), done(1)]);
        finishing.join().unwrap();
    }

    #[test]
    fn a_request_that_is_dropped_waits() {
        let (operation, completion) = Operation::begin();
        let buffer = [0u8; 4];
        let finishing = mpi::request::scope(|scope| {
            let request = Request::start(scope, || Ok(operation.clone())).unwrap();
            let finishing = thread::spawn(move || completion.finish(done(buffer.len() as u64)));
            drop(request);
            assert!(operation.is_complete());
            finishing
        });
        finishing.join().unwrap();
    }
}
