//! The collective operations of a file, one after the other.
//!
//! A collective operation takes a number when the program calls it, and begins when all with smaller numbers are over. A
//! blocking one runs in its own call; a nonblocking one is a future that waits here, and that is driven
//! * by every call of this library that waits or tests, for whatever file: so two ranks that have begun something on one
//!   file and wait for each other in another one both go on;
//! * by a thread of its own, if MPI lets every thread call it (`MPI_THREAD_MULTIPLE`).
//!
//! Invariants: on every rank the operations of a file begin in the order of the calls, and one at a time, so the ranks find
//! each other's messages; only one thread at a time polls the futures of a queue; when an operation's number is over, its
//! future was dropped; a queue that has a future is known to all threads, whatever became of its file.

use crate::drive::turn::{self, Turn};
use crate::error::{Error, ErrorClass};
use crate::operation::{Completion, Operation, Outcome};
use crate::{progress, threads};
use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The queues that have futures.
static BUSY: Mutex<Vec<Arc<Queue>>> = Mutex::new(Vec::new());
/// Their number.
static BUSY_COUNT: AtomicUsize = AtomicUsize::new(0);

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Held by the thread that polls.
    first: Mutex<Option<Running>>,
    news: Arc<News>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The number that may run.
    serving: u64,
    /// Numbers that are over before their time.
    over: BTreeSet<u64>,
    waiting: VecDeque<Queued>,
    /// A future of `waiting` was taken out and is not over.
    is_running: bool,
    wakers: Vec<Waker>,
}

struct Queued {
    number: u64,
    work: Work,
    completion: Completion,
}

struct Running {
    queued: Queued,
    /// The last poll met something that wakes nobody.
    is_open: bool,
}

/// What became of a future.
enum Polled {
    Pending(Running),
    /// Its number is over too.
    Over(Completion, Outcome),
}

/// Whether the future that runs was woken.
#[derive(Default)]
struct News(AtomicBool);

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        progress::ring();
    }
}

impl Queue {
    /// Begins an operation when its time has come, which may be now.
    pub(crate) fn start(self: &Arc<Self>, work: impl Future<Output = Outcome> + Send + 'static) -> Operation {
        let (operation, completion) = Operation::begin();
        {
            let mut busy = busy();
            let mut state = self.state();
            let number = state.take_number();
            state.waiting.push_back(Queued { number, work: Box::pin(work), completion });
            drop(state);
            if !busy.iter().any(|queue| Arc::ptr_eq(queue, self)) {
                busy.push(self.clone());
                BUSY_COUNT.store(busy.len(), Ordering::Release);
            }
        }
        progress::start();
        progress::ring();
        operation
    }

    /// The place of a blocking operation, in the order of the calls of this function.
    pub(crate) fn turn(&self) -> impl Future<Output = Place<'_>> {
        let place = Place { queue: self, number: self.state().take_number() };
        async move {
            poll_fn(|context| {
                let mut state = self.state();
                if state.serving == place.number {
                    return Poll::Ready(());
                }
                state.wakers.push(context.waker().clone());
                Poll::Pending
            })
            .await;
            place
        }
    }

    /// Goes on with the first futures as far as nothing has to be waited for.
    fn drive(&self) -> Turn {
        let mut first = match self.first.try_lock() {
            Ok(first) => first,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is at it, and may stop.
            Err(TryLockError::WouldBlock) => return Turn { is_open: true, has_moved: false },
        };
        let mut all = Turn::default();
        while let Some(running) = first.take().or_else(|| self.take_first()) {
            let (polled, turn) = self.poll(running);
            all = all.and(turn);
            match polled {
                Polled::Pending(running) => {
                    *first = Some(running);
                    break;
                }
                Polled::Over(completion, outcome) => {
                    all.has_moved = true;
                    completion.finish(outcome);
                }
            }
        }
        all
    }

    /// The next future, if it is its turn.
    fn take_first(&self) -> Option<Running> {
        let mut state = self.state();
        let serving = state.serving;
        let queued = state.waiting.pop_front_if(|queued| queued.number == serving)?;
        state.is_running = true;
        self.news.0.store(true, Ordering::Release);
        Some(Running { queued, is_open: false })
    }

    /// Polls a future if that is of any use.
    fn poll(&self, mut running: Running) -> (Polled, Turn) {
        if !self.news.0.swap(false, Ordering::AcqRel) && !running.is_open {
            return (Polled::Pending(running), Turn::default());
        }
        let waker = Waker::from(self.news.clone());
        let mut context = Context::from_waker(&waker);
        let polled = || running.queued.work.as_mut().poll(&mut context);
        let (poll, turn) = turn::watch(|| catch_unwind(AssertUnwindSafe(polled)));
        // The next ones must not wait for it.
        let poll = poll.unwrap_or_else(|_| {
            let message = "a nonblocking collective has panicked; this is a bug";
            Poll::Ready(Err(Error::new(ErrorClass::Io, message)))
        });
        match poll {
            Poll::Pending => {
                running.is_open = turn.is_open;
                (Polled::Pending(running), turn)
            }
            Poll::Ready(outcome) => {
                let Queued { number, work, completion } = running.queued;
                drop(work);
                self.state().is_running = false;
                self.end(number);
                (Polled::Over(completion, outcome), turn)
            }
        }
    }

    fn end(&self, number: u64) {
        let wakers = {
            let mut state = self.state();
            state.over.insert(number);
            while let Some(true) = state.over.first().map(|first| *first == state.serving) {
                state.over.pop_first();
                state.serving += 1;
            }
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
        // Who drives this queue may have found that it was not its turn.
        progress::ring();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn has_futures(&self) -> bool {
        self.is_running || !self.waiting.is_empty()
    }
}

/// A blocking operation's place in the queue; dropping it lets the next one begin.
pub(crate) struct Place<'a> {
    queue: &'a Queue,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.end(self.number);
    }
}

fn busy() -> MutexGuard<'static, Vec<Arc<Queue>>> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether any queue has a future.
pub(crate) fn any() -> bool {
    BUSY_COUNT.load(Ordering::Acquire) > 0
}

/// Goes on with the operations of all files as far as nothing has to be waited for.
pub(crate) fn drive_all() -> Turn {
    if !any() || !threads::may_call() {
        return Turn::default();
    }
    let queues = busy().clone();
    let turn = queues.iter().fold(Turn::default(), |turn, queue| turn.and(queue.drive()));
    if turn.has_moved {
        drop(queues);
        let mut busy = busy();
        busy.retain(|queue| queue.state().has_futures());
        BUSY_COUNT.store(busy.len(), Ordering::Release);
    }
    turn
}

/// Waits until no queue has a future.
pub(crate) async fn all_done() {
    poll_fn(|_| {
        if !any() {
            return Poll::Ready(());
        }
        turn::note_open();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use futures::channel::oneshot;

    fn go_on(queue: &Queue) {
        while queue.drive().has_moved {}
    }

    /// Numbers are given at the call: what was called first goes first, blocking or not, and one at a time.
    #[test]
    fn operations_run_in_the_order_of_the_calls() {
        let queue = Arc::new(Queue::default());
        let log = Arc::new(Mutex::new(Vec::new()));
        let waits = |number: u64, gate: oneshot::Receiver<()>| {
            let log = log.clone();
            async move {
                log.lock().unwrap().push(number);
                gate.await.unwrap();
                Ok(Status::new(number, number))
            }
        };
        let (open_first, first_gate) = oneshot::channel();
        let (open_third, third_gate) = oneshot::channel();
        // Not by `start`: tests of this program do not start MPI, so no call may drive these.
        let push = |work: Work| {
            let (operation, completion) = Operation::begin();
            let mut state = queue.state();
            let number = state.take_number();
            state.waiting.push_back(Queued { number, work, completion });
            operation
        };
        let first = push(Box::pin(waits(1, first_gate)));
        let mut second = Box::pin(queue.turn());
        let third = push(Box::pin(waits(3, third_gate)));
        open_third.send(()).unwrap();
        go_on(&queue);
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending() && !first.is_complete());
        assert_eq!(*log.lock().unwrap(), [1]);
        open_first.send(()).unwrap();
        go_on(&queue);
        assert_eq!(first.result(), Some(Ok(Status::new(1, 1))));
        let Poll::Ready(place) = second.as_mut().poll(&mut context) else { panic!("it is its turn") };
        go_on(&queue);
        assert_eq!(*log.lock().unwrap(), [1]);
        drop(place);
        go_on(&queue);
        assert_eq!(third.result(), Some(Ok(Status::new(3, 3))));
    }

    /// A call that was given up before its turn, and a future that panics, hold up nobody.
    #[test]
    fn what_ends_in_disorder_holds_up_nobody() {
        let queue = Arc::new(Queue::default());
        let first = drive_to_place(&queue);
        drop(queue.turn());
        let mut last = Box::pin(queue.turn());
        let mut context = Context::from_waker(Waker::noop());
        assert!(last.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(last.as_mut().poll(&mut context).is_ready());
        drop(last);
        let (operation, completion) = Operation::begin();
        let number = queue.state().take_number();
        let work: Work = Box::pin(async { panic!("on purpose") });
        queue.state().waiting.push_back(Queued { number, work, completion });
        go_on(&queue);
        assert_eq!(operation.result().unwrap().unwrap_err().class(), ErrorClass::Io);
        drop(drive_to_place(&queue));
    }

    fn drive_to_place(queue: &Queue) -> Place<'_> {
        let mut turn = Box::pin(queue.turn());
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => panic!("it is its turn"),
        }
    }
}
