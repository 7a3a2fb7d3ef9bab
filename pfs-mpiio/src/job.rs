//! The report of all files of a job, when MPI ends.
//!
//! MPI ends by deleting the attributes of `MPI_COMM_SELF`, while it still works; the function that deletes ours prints the
//! report. So there is one whichever way a program ends MPI, and nothing has to be called for it.
//!
//! The processes of a job know of each other that each will be here only if all of them have opened a file together; then one
//! report has the sums over all, printed by rank 0 of `MPI_COMM_WORLD`. Otherwise each process prints its own.

use crate::attribute::{Key, SUCCESS};
use crate::error::Error;
use crate::group::Group;
use crate::process;
use crate::report::{Form, ROW, Row, Subject, Summary, row};
use crate::times::process_times;
use mpi::ffi::{self, MPI_Comm};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::os::raw::{c_int, c_void};
use std::panic::catch_unwind;
use std::sync::{Mutex, PoisonError};

/// What the end of MPI has to do.
#[derive(Clone, Copy)]
struct Wanted {
    form: Form,
    /// All processes of the job have opened a file together, and know this form or another.
    by_all: bool,
}

static WANTED: Mutex<Option<Wanted>> = Mutex::new(None);

/// A file was opened by all ranks of the group, which want this form of report.
pub(crate) fn opened(form: Form, group: &Group) -> Result<(), Error> {
    if form == Form::None {
        return Ok(());
    }
    let mut wanted = WANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if wanted.is_none() {
        attach()?;
    }
    let before = wanted.unwrap_or(Wanted { form, by_all: false });
    *wanted = Some(Wanted { by_all: before.by_all || group.is_world(), ..before });
    Ok(())
}

/// Has [`at_end`] called when MPI ends.
fn attach() -> Result<(), Error> {
    let key = Key::new(at_end)?;
    // SAFETY: this communicator is there as long as MPI.
    unsafe { key.set(ffi::RSMPI_COMM_SELF, 0) }
}

unsafe extern "C" fn at_end(_comm: MPI_Comm, _key: c_int, _value: *mut c_void, _extra: *mut c_void) -> c_int {
    // A panic may not pass through MPI; it has told itself.
    let _ = catch_unwind(print);
    SUCCESS
}

fn print() {
    let Some(Wanted { form, by_all }) = *WANTED.lock().unwrap_or_else(PoisonError::into_inner) else { return };
    let own = row(&process_times(), process::all_cache_counts());
    let world = SimpleCommunicator::world();
    let rank = u32::try_from(world.rank()).unwrap_or_default();
    if !by_all {
        eprint!("{}", Summary::of(&[own]).show(form, Subject::Process(rank)));
        return;
    }
    let root = world.process_at_rank(0);
    if rank != 0 {
        root.gather_into(&own[..]);
        return;
    }
    let mut all = vec![0u64; ROW * usize::try_from(world.size()).unwrap_or(1)];
    root.gather_into_root(&own[..], &mut all[..]);
    let rows: Vec<Row> = all.chunks_exact(ROW).map(|row| row.try_into().expect("chunks have this length")).collect();
    eprint!("{}", Summary::of(&rows).show(form, Subject::Job));
}
