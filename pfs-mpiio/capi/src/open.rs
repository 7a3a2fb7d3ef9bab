//! Opening, closing and deleting files of ours.

use crate::call;
use crate::errhandler;
use crate::failure::{Failure, SUCCESS};
use crate::names::Name;
use crate::native::native;
use crate::table::{self, Entry};
use crate::{info, process, signals, trace};
use mpi::ffi::{self, MPI_Comm, MPI_File, MPI_Info};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, ErrorClass, File};
use std::ffi::{c_char, c_int};
use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard, PoisonError};

type Open = unsafe extern "C" fn(MPI_Comm, *const c_char, c_int, MPI_Info, *mut MPI_File) -> c_int;
type Close = unsafe extern "C" fn(*mut MPI_File) -> c_int;

/// Opening and closing a handle is collective on `MPI_COMM_SELF`, of which there is one for all threads.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static HANDLES: Mutex<()> = Mutex::new(());
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a file on all ranks of a communicator, and puts its handle to the program's place.
///
/// # Safety
/// The communicator and the info are null or alive, and there is room for a handle at `to`.
pub unsafe fn open(
    comm: MPI_Comm,
    name: &Name,
    amode: c_int,
    hints: MPI_Info,
    to: *mut MPI_File,
) -> Result<(), Failure> {
    process::watch_for_end();
    // SAFETY: the caller's promise.
    unsafe {
        *to = call::file_null();
        check_communicator(comm)?;
    }
    let comm = communicator(comm);
    // SAFETY: the caller's promise.
    let prepared = amode_of(amode).and_then(|amode| Ok((amode, unsafe { info::read(hints) }?, handle()?)));
    let (amode, hints, handle) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return Err(File::refuse_open(&*comm, failure.into_error()).into()),
    };
    let opened = signals::not_for_threads_of(|| {
        if name.is_mapped && amode.contains(AccessMode::CREATE) && comm.rank() == 0 {
            // If it fails, so does the open, on all ranks.
            if let Err(error) = pfs_mpiio::make_parents(&name.url) {
                trace::line(format_args!("the folders of {}: {error}", name.url));
            }
        }
        File::open(&*comm, &name.url, amode, &hints)
    });
    match opened {
        Ok(file) => {
            file.set_visible_at_once(process::is_visible_at_once());
            table::insert(Entry::new(handle, name.url.clone(), file));
            // SAFETY: the caller's promise.
            unsafe { *to = handle };
            Ok(())
        }
        Err(error) => {
            give_back(handle);
            Err(error.into())
        }
    }
}

/// Deletes a file.
pub fn delete(name: &Name) -> Result<(), Failure> {
    Ok(signals::not_for_threads_of(|| pfs_mpiio::delete(&name.url))?)
}

fn amode_of(amode: c_int) -> Result<AccessMode, Failure> {
    let bits = u32::try_from(amode).map_err(|_| Failure::new(ErrorClass::Amode, format!("the access mode {amode}")))?;
    Ok(AccessMode::from_bits(bits)?)
}

/// # Safety
/// The communicator is null or alive.
unsafe fn check_communicator(comm: MPI_Comm) -> Result<(), Failure> {
    let mut is_inter = 0;
    // SAFETY: a constant of MPI, and the caller's promise.
    unsafe {
        if comm == ffi::RSMPI_COMM_NULL {
            return Err(Failure::new(ErrorClass::Comm, "MPI_COMM_NULL is no communicator"));
        }
        Failure::check(ffi::MPI_Comm_test_inter(comm, &mut is_inter), "MPI_Comm_test_inter")?;
    }
    match is_inter {
        0 => Ok(()),
        _ => Err(Failure::new(ErrorClass::Comm, "files can not be opened on an inter-communicator")),
    }
}

/// The program's communicator, which is not to be freed here.
fn communicator(comm: MPI_Comm) -> ManuallyDrop<SimpleCommunicator> {
    // SAFETY: it was checked, and stays the program's.
    unsafe {
        ManuallyDrop::new(if comm == ffi::RSMPI_COMM_WORLD {
            SimpleCommunicator::world()
        } else if comm == ffi::RSMPI_COMM_SELF {
            SimpleCommunicator::self_comm()
        } else {
            SimpleCommunicator::from_raw(comm)
        })
    }
}

/// A handle of MPI's own that does nothing.
fn handle() -> Result<MPI_File, Failure> {
    let open = native!(MPI_File_open: Open).get();
    let _one = one_at_a_time();
    let mut handle = call::file_null();
    #[allow(clippy::cast_possible_wrap)] // a small constant
    let read_only = ffi::MPI_MODE_RDONLY as c_int;
    // SAFETY: the name ends with a zero, and there is room for the handle.
    let code =
        unsafe { open(ffi::RSMPI_COMM_SELF, c"/dev/null".as_ptr(), read_only, ffi::RSMPI_INFO_NULL, &mut handle) };
    Failure::check(code, "MPI_File_open of /dev/null, which stands for the file,")?;
    errhandler::keep_inherited(handle);
    Ok(handle)
}

fn give_back(mut handle: MPI_File) {
    let _ = close_handle(&mut handle);
}

/// Closes a handle of MPI's own, which is not in the table any more.
fn close_handle(handle: &mut MPI_File) -> c_int {
    let close = native!(MPI_File_close: Close).get();
    let _one = one_at_a_time();
    // SAFETY: the handle was opened here, and is closed once.
    unsafe { close(handle) }
}

/// Closes a file of ours. An error that its handler has seen is returned after the handle is gone.
///
/// # Safety
/// The handle is one of ours, at a place of the caller's.
pub unsafe fn close(function: &'static str, at: *mut MPI_File) -> c_int {
    // SAFETY: the caller's promise.
    let mut handle = unsafe { *at };
    let Some(entry) = table::remove(handle) else {
        // Another thread has closed it since it was found.
        return errhandler_of_null(function);
    };
    let name = entry.name.clone();
    let closed = call::shown(function, &name, format_args!(""), || Ok(entry.into_file().close()?));
    let code = call::raised(function, handle, closed);
    let gone = close_handle(&mut handle);
    // SAFETY: the caller's promise.
    unsafe { *at = call::file_null() };
    if code == SUCCESS { gone } else { code }
}

fn errhandler_of_null(function: &'static str) -> c_int {
    let closed = Failure::new(ErrorClass::Arg, "the file was closed by another thread");
    call::raised::<()>(function, call::file_null(), Err(closed))
}
