//! Threads of the library that disturb no program.
//!
//! The client's threads are made in calls of the program and inherit its thread's mask of signals. They take no signals: a
//! handler of the program runs on a thread of the program. Above all `SIGPIPE` is not for them: programs in C end by it, and
//! a server that closes its connection is an error of a call and not the end of the program.

use std::mem::MaybeUninit;

/// What a thread does to itself must reach it.
const OWN: [libc::c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT, libc::SIGTRAP];

/// Does what may make threads.
pub fn not_for_threads_of<T>(work: impl FnOnce() -> T) -> T {
    let _masked = Masked::begin();
    work()
}

/// No signals are taken by this thread, until this is dropped.
struct Masked(libc::sigset_t);

impl Masked {
    fn begin() -> Masked {
        let (mut none, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the sets are filled before they are read, by functions that can not fail with these arguments.
        unsafe {
            libc::sigfillset(none.as_mut_ptr());
            for signal in OWN {
                libc::sigdelset(none.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, none.as_ptr(), before.as_mut_ptr());
            Masked(before.assume_init())
        }
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: the set that was there before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}
