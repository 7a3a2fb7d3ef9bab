//! Who goes on with nonblocking collectives while nobody waits for them, and how those who sleep are woken for them.
//!
//! With `MPI_THREAD_MULTIPLE` one thread of the process drives the [`queue`]s of all files. It starts with the first
//! nonblocking collective, and sleeps whenever there is none, so it calls MPI only while the program has one under way.

use crate::drive::Pause;
use crate::{queue, threads};
use std::panic::catch_unwind;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, Thread};

/// The threads that drive queues.
static LISTENING: Mutex<Vec<Thread>> = Mutex::new(Vec::new());

fn listening() -> MutexGuard<'static, Vec<Thread>> {
    LISTENING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the threads that drive queues.
pub(crate) fn ring() {
    listening().iter().for_each(Thread::unpark);
}

/// This thread drives queues, until it drops this.
pub(crate) struct Listening(());

impl Listening {
    pub(crate) fn begin() -> Listening {
        listening().push(thread::current());
        Listening(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let (mut listening, own) = (listening(), thread::current().id());
        if let Some(at) = listening.iter().position(|thread| thread.id() == own) {
            listening.swap_remove(at);
        }
    }
}

/// Starts the thread if MPI allows one, once.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if threads::are_free() {
            // Without it only calls of the program go on with collectives, as MPI allows it.
            let _ = thread::Builder::new().name("pfs-progress".to_owned()).spawn(run);
        }
    });
}

fn run() {
    let _listening = Listening::begin();
    let mut pause = Pause::default();
    loop {
        // A callback of the program may panic; the operations go on.
        let turn = catch_unwind(queue::drive_all).unwrap_or_default();
        pause.after(turn);
    }
}
