//! Attributes of communicators: numbers that MPI keeps with them, forgets with them, and does not copy to duplicates.

use crate::error::Error;
use crate::pending::check;
use mpi::ffi::{self, MPI_Comm};
use std::os::raw::{c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};

/// Called when an attribute is deleted, which is with its communicator.
pub(crate) type OnDelete = unsafe extern "C" fn(MPI_Comm, c_int, *mut c_void, *mut c_void) -> c_int;

/// What such functions return.
#[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // the constant's type differs between MPIs
pub(crate) const SUCCESS: c_int = ffi::MPI_SUCCESS as c_int;

/// A kind of attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(c_int);

impl Key {
    /// A new kind. MPI is initialised.
    pub(crate) fn new(on_delete: OnDelete) -> Result<Key, Error> {
        let mut key = 0;
        // SAFETY: the functions have the signatures that MPI asks for, and are there as long as the process.
        check(unsafe { ffi::MPI_Comm_create_keyval(Some(no_copy), Some(on_delete), &mut key, null_mut()) })?;
        Ok(Key(key))
    }

    /// # Safety
    /// The handle is that of a communicator that is alive.
    pub(crate) unsafe fn set(self, comm: MPI_Comm, value: usize) -> Result<(), Error> {
        // SAFETY: the caller's promise; the value is a number and points to nothing.
        check(unsafe { ffi::MPI_Comm_set_attr(comm, self.0, without_provenance_mut(value)) })
    }

    /// # Safety
    /// The handle is that of a communicator that is alive.
    pub(crate) unsafe fn get(self, comm: MPI_Comm) -> Result<Option<usize>, Error> {
        let (mut value, mut is_set) = (null_mut::<c_void>(), 0);
        // SAFETY: the caller's promise; MPI stores a pointer at the address that is given.
        check(unsafe { ffi::MPI_Comm_get_attr(comm, self.0, (&raw mut value).cast(), &mut is_set) })?;
        Ok((is_set != 0).then(|| value.addr()))
    }
}

/// Does nothing.
pub(crate) unsafe extern "C" fn forget(_: MPI_Comm, _: c_int, _: *mut c_void, _: *mut c_void) -> c_int {
    SUCCESS
}

unsafe extern "C" fn no_copy(
    _from: MPI_Comm,
    _key: c_int,
    _extra: *mut c_void,
    _value: *mut c_void,
    _to: *mut c_void,
    is_copied: *mut c_int,
) -> c_int {
    // SAFETY: MPI gives a place for the answer.
    unsafe { *is_copied = 0 };
    SUCCESS
}
