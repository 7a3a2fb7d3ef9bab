//! Accesses that are under way while the program goes on.
//!
//! An [`Operation`] knows nothing of the memory that it reads or fills: whoever starts one keeps that memory until it is
//! complete. [`Request`](crate::Request) is the form for Rust programs, in which the compiler sees to that.
//!
//! Invariants: an operation has a result from some moment on, and it never changes; before that moment its memory may be
//! used at any time, afterwards never again. Callbacks run once, after that moment, on the thread that made it or on the
//! one that adds them.

use crate::drive::{drive, poke};
use crate::error::{Error, ErrorClass};
use crate::status::Status;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// What came of an access.
pub(crate) type Outcome = Result<Status, Error>;

type Callback = Box<dyn FnOnce(&Result<Status, Error>) + Send>;

/// An access that was started. Clones are the same one. Dropping it changes nothing: it goes on.
#[derive(Clone)]
pub struct Operation {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    result: Option<Outcome>,
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
}

/// The duty to complete an operation. When it is dropped instead, the operation has failed.
#[must_use = "the operation fails when it is dropped"]
pub(crate) struct Completion {
    operation: Option<Operation>,
}

impl Operation {
    /// One that is not complete.
    pub(crate) fn begin() -> (Operation, Completion) {
        let operation = Operation { state: Arc::default() };
        (operation.clone(), Completion { operation: Some(operation) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is complete; nothing is done for it.
    pub fn is_complete(&self) -> bool {
        self.state().result.is_some()
    }

    /// What came of it, if it is complete; nothing is done for it.
    pub fn result(&self) -> Option<Result<Status, Error>> {
        self.state().result.clone()
    }

    /// Does what can be done for the operations of all files without waiting; what came of this one, if it is complete.
    pub fn test(&self) -> Option<Result<Status, Error>> {
        poke();
        self.result()
    }

    /// Waits until it is complete.
    pub fn wait(&self) -> Result<Status, Error> {
        drive(self.completed())
    }

    /// Has `callback` called when it is complete: by whichever thread makes it so, or now. It must not wait for anything.
    pub fn on_complete(&self, callback: impl FnOnce(&Result<Status, Error>) + Send + 'static) {
        let mut state = self.state();
        match state.result.clone() {
            None => state.callbacks.push(Box::new(callback)),
            Some(result) => {
                drop(state);
                callback(&result);
            }
        }
    }

    /// Waits for it in an asynchronous function.
    pub(crate) async fn completed(&self) -> Outcome {
        poll_fn(|context| {
            let mut state = self.state();
            match state.result.clone() {
                Some(result) => Poll::Ready(result),
                None => {
                    if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                        state.wakers.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Counts what is under way, so that somebody can wait until nothing is.
#[derive(Default)]
pub(crate) struct Outstanding {
    state: Mutex<(usize, Vec<Waker>)>,
}

/// One of them.
pub(crate) struct Entered(Arc<Outstanding>);

impl Outstanding {
    /// Those of all files.
    pub(crate) fn of_all_files() -> &'static Arc<Outstanding> {
        static ALL: LazyLock<Arc<Outstanding>> = LazyLock::new(Arc::default);
        &ALL
    }

    fn state(&self) -> MutexGuard<'_, (usize, Vec<Waker>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more, until this is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        self.state().0 += 1;
        Entered(self.clone())
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.0 == 0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let wakers = {
            let mut state = self.0.state();
            state.0 -= 1;
            if state.0 == 0 { std::mem::take(&mut state.1) } else { Vec::new() }
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("result", &self.result()).finish()
    }
}

impl Completion {
    /// The operation is complete, and its memory is not used any more.
    pub(crate) fn finish(mut self, result: Outcome) {
        self.set(result);
    }

    fn set(&mut self, result: Outcome) {
        let Some(operation) = self.operation.take() else { return };
        let (wakers, callbacks) = {
            let mut state = operation.state();
            state.result = Some(result.clone());
            (std::mem::take(&mut state.wakers), std::mem::take(&mut state.callbacks))
        };
        callbacks.into_iter().for_each(|callback| callback(&result));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.set(Err(Error::new(ErrorClass::Io, "an access ended without a result; this is a bug")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn a_result_wakes_who_waits_and_calls_back_once() {
        let (operation, completion) = Operation::begin();
        let (send, called) = mpsc::channel();
        let early = send.clone();
        operation.on_complete(move |result| early.send(result.clone()).unwrap());
        assert!(!operation.is_complete() && operation.result().is_none());
        let waiting = thread::spawn({
            let operation = operation.clone();
            move || drive(operation.completed())
        });
        completion.finish(Ok(Status::new(7, 7)));
        assert_eq!(waiting.join().unwrap(), Ok(Status::new(7, 7)));
        operation.on_complete(move |result| send.send(result.clone()).unwrap());
        assert_eq!(called.iter().collect::<Vec<_>>(), [Ok(Status::new(7, 7)), Ok(Status::new(7, 7))]);
        assert!(operation.is_complete());
    }

    #[test]
    fn nobody_waits_for_an_operation_that_was_given_up() {
        let (operation, completion) = Operation::begin();
        drop(completion);
        assert_eq!(operation.result().unwrap().unwrap_err().class(), ErrorClass::Io);
    }
}
