//! Which threads may call MPI.
//!
//! Up to `MPI_THREAD_FUNNELED` only the thread that started MPI may; with `MPI_THREAD_SERIALIZED` every thread may and the
//! program sees to it that no two do at a time; with `MPI_THREAD_MULTIPLE` all may. Files can be given to other threads, so
//! calls ask here first.

use crate::error::{Error, ErrorClass};
use mpi::Threading;
use mpi::ffi;
use std::cell::Cell;
use std::sync::OnceLock;

/// What MPI grants to the threads of this process. MPI was started.
fn level() -> Threading {
    static LEVEL: OnceLock<Threading> = OnceLock::new();
    *LEVEL.get_or_init(mpi::environment::threading_support)
}

/// Whether threads of this library may call MPI at any time.
pub(crate) fn are_free() -> bool {
    level() == Threading::Multiple
}

/// Whether this thread may call MPI in a call of the program.
pub(crate) fn may_call() -> bool {
    thread_local! {
        static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
    }
    matches!(level(), Threading::Serialized | Threading::Multiple)
        || IS_MAIN.get().unwrap_or_else(|| {
            let mut is_main = 0;
            // SAFETY: the variable lives during the call. MPI allows this one on every thread.
            unsafe { ffi::MPI_Is_thread_main(&mut is_main) };
            IS_MAIN.set(Some(is_main != 0));
            is_main != 0
        })
}

/// Fails on a thread that may not call MPI.
pub(crate) fn check() -> Result<(), Error> {
    if may_call() {
        return Ok(());
    }
    let message = "files are used on a thread that may not call MPI; ask for MPI_THREAD_SERIALIZED or _MULTIPLE";
    Err(Error::new(ErrorClass::Other, message))
}
