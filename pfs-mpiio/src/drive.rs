//! Driving futures on the thread of a call.
//!
//! A call of this library is a future that is polled here until it is done. What it waits for is of two kinds. File servers
//! and the metadata server are talked to by the client's own threads, which wake whoever waits. Operations of MPI go on only
//! when they are tested, and wake nobody: as long as a poll has met one, the future is polled again, at once at first, and
//! less often when nothing happens for long.
//!
//! While a call waits, it goes on with the nonblocking collectives of all files ([`queue`]).
//!
//! A future lies on the stack of [`drive`] and is dropped there, whatever happens: it is never forgotten. Accesses that
//! lend the memory of the caller rely on that.

use self::turn::Turn;
use crate::progress::Listening;
use crate::queue;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What a poll of some futures has met, told by the leaves to whoever polls, on the same thread.
pub(crate) mod turn {
    use std::cell::Cell;

    /// What was met.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Turn {
        /// Something is waited for that wakes nobody.
        pub(crate) is_open: bool,
        /// Something that was waited for has come.
        pub(crate) has_moved: bool,
    }

    impl Turn {
        /// What was met by either.
        pub(crate) fn and(self, other: Turn) -> Turn {
            Turn { is_open: self.is_open || other.is_open, has_moved: self.has_moved || other.has_moved }
        }
    }

    thread_local! {
        static TURN: Cell<Turn> = const { Cell::new(Turn { is_open: false, has_moved: false }) };
    }

    /// Somebody must poll again without being woken.
    pub(crate) fn note_open() {
        TURN.set(Turn { is_open: true, ..TURN.get() });
    }

    /// Somebody who must be polled again has gone on.
    pub(crate) fn note_move() {
        TURN.set(Turn { has_moved: true, ..TURN.get() });
    }

    /// What `poll` meets.
    pub(crate) fn watch<T>(poll: impl FnOnce() -> T) -> (T, Turn) {
        let before = TURN.take();
        let output = poll();
        (output, TURN.replace(before))
    }
}

/// Polls a future until it is done.
pub(crate) fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = waker();
    let mut context = Context::from_waker(&waker);
    let mut pause = Pause::default();
    let mut listening = None;
    loop {
        let (poll, own) = turn::watch(|| future.as_mut().poll(&mut context));
        if let Poll::Ready(output) = poll {
            return output;
        }
        if listening.is_none() && queue::any() {
            listening = Some(Listening::begin());
        }
        let turn = own.and(queue::drive_all());
        pause.after(turn);
    }
}

/// Goes on with what is under way as far as nothing has to be waited for.
pub(crate) fn poke() {
    while queue::drive_all().has_moved {}
}

/// Waits for a time.
pub(crate) async fn sleep(time: Duration) {
    let end = Instant::now() + time;
    poll_fn(|_| match Instant::now() < end {
        true => {
            turn::note_open();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes this thread.
fn waker() -> Waker {
    thread_local! {
        static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    }
    let new = || Waker::from(Arc::new(Unpark(thread::current())));
    WAKER.with_borrow_mut(|waker| waker.get_or_insert_with(new).clone())
}

/// How long is spent how while nothing happens: messages are mostly there within microseconds, and a rank that waits
/// longer has to leave the core to others, above all when there are more ranks than cores.
#[derive(Default)]
pub(crate) struct Pause {
    since: Option<Instant>,
    spins: u32,
}

impl Pause {
    const SPINS: u32 = 64;
    const YIELD_FOR: Duration = Duration::from_millis(1);
    const SLEEP: Duration = Duration::from_micros(50);

    /// What is done after a turn: nothing if something has moved, a little wait if something must be polled again, and else a
    /// sleep until this thread is woken.
    pub(crate) fn after(&mut self, turn: Turn) {
        if turn.is_open && !turn.has_moved {
            return self.take();
        }
        if !turn.has_moved {
            thread::park();
        }
        *self = Pause::default();
    }

    /// Waits a little; a waker of this thread ends it early.
    fn take(&mut self) {
        if self.spins < Self::SPINS {
            self.spins += 1;
            std::hint::spin_loop();
        } else if self.since.get_or_insert_with(Instant::now).elapsed() < Self::YIELD_FOR {
            thread::yield_now();
        } else {
            thread::park_timeout(Self::SLEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_future_that_is_woken_elsewhere_ends_the_wait() {
        let (send, receive) = mpsc::channel::<Waker>();
        let waking = thread::spawn(move || receive.recv().unwrap().wake());
        let mut polls = 0;
        let answer = drive(poll_fn(|context| {
            polls += 1;
            if polls == 1 {
                send.send(context.waker().clone()).unwrap();
                return Poll::Pending;
            }
            Poll::Ready(7)
        }));
        waking.join().unwrap();
        assert_eq!((answer, polls), (7, 2));
    }

    #[test]
    fn what_wakes_nobody_is_polled_again() {
        let mut left = 200;
        drive(poll_fn(|_| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            turn::note_open();
            Poll::Pending
        }));
    }

    #[test]
    fn what_is_met_is_told_to_the_nearest() {
        let ((), outer) = turn::watch(|| {
            let ((), inner) = turn::watch(turn::note_open);
            assert!(inner.is_open && !inner.has_moved);
            turn::note_move();
        });
        assert!(!outer.is_open && outer.has_moved);
    }
}
