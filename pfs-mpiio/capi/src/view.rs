//! The types of a file's view, which a program may ask for.

use crate::failure::Failure;
use mpi::datatype::DatatypeRef;
use mpi::ffi::{self, MPI_Datatype};
use mpi::traits::FromRaw;
use std::sync::{Mutex, PoisonError};

/// Etype and filetype of a view.
#[derive(Default)]
pub struct Types(Mutex<Option<[Kept; 2]>>);

/// A datatype that stays: a predefined one, or an own handle of a derived one.
struct Kept {
    datatype: MPI_Datatype,
    is_derived: bool,
}

// SAFETY: the handle of a datatype may be used by every thread that may call MPI.
unsafe impl Send for Kept {}

impl Kept {
    /// # Safety
    /// The datatype is a handle that is alive.
    unsafe fn of(datatype: MPI_Datatype) -> Result<Kept, Failure> {
        // SAFETY: the caller's promise.
        if !unsafe { pfs_mpiio::datatype::is_derived(datatype) }? {
            return Ok(Kept { datatype, is_derived: false });
        }
        // SAFETY: the caller's promise; the variable lives during the call.
        unsafe {
            let mut own = ffi::RSMPI_DATATYPE_NULL;
            Failure::check(ffi::MPI_Type_dup(datatype, &mut own), "MPI_Type_dup")?;
            Ok(Kept { datatype: own, is_derived: true })
        }
    }

    /// A handle for the program, which frees it if it is derived.
    fn give(&self) -> Result<MPI_Datatype, Failure> {
        if !self.is_derived {
            return Ok(self.datatype);
        }
        // SAFETY: the handle is alive until this is dropped.
        unsafe {
            let mut given = ffi::RSMPI_DATATYPE_NULL;
            Failure::check(ffi::MPI_Type_dup(self.datatype, &mut given), "MPI_Type_dup")?;
            Ok(given)
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_derived {
            // SAFETY: an own handle, which nobody uses any more.
            unsafe { ffi::MPI_Type_free(&mut self.datatype) };
        }
    }
}

impl Types {
    /// Keeps the types of a view that was set.
    ///
    /// # Safety
    /// Both are handles that are alive.
    pub unsafe fn set(&self, etype: MPI_Datatype, filetype: MPI_Datatype) -> Result<(), Failure> {
        // SAFETY: the caller's promise.
        let kept = unsafe { [Kept::of(etype)?, Kept::of(filetype)?] };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(())
    }

    /// The types of the view; bytes before one was set.
    pub fn get(&self) -> Result<[MPI_Datatype; 2], Failure> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some([etype, filetype]) => Ok([etype.give()?, filetype.give()?]),
            None => Ok([BYTE; 2]),
        }
    }
}

unsafe extern "C" {
    /// See `constants.c`.
    #[link_name = "PFS_MPIIO_BYTE"]
    safe static BYTE: MPI_Datatype;
}

/// A datatype as rsmpi has it.
///
/// # Safety
/// The handle is alive, or null, and as long as the value is used.
pub unsafe fn datatype(raw: MPI_Datatype) -> DatatypeRef<'static> {
    // SAFETY: the caller's promise; a null handle is refused by what it is given to.
    unsafe { DatatypeRef::from_raw(raw) }
}
