//! `MPI_Info` as the library's own.

use crate::failure::Failure;
use crate::trace;
use mpi::ffi::{self, MPI_Info};
use pfs_mpiio::Info;
use std::ffi::{CStr, CString, c_char, c_int};

/// The pairs of an info, without values that make no sense. `MPI_INFO_NULL` has none.
///
/// # Safety
/// The handle is null or alive.
pub unsafe fn read(info: MPI_Info) -> Result<Info, Failure> {
    let mut pairs = Info::new();
    // SAFETY: a constant of MPI; in what follows the handle is alive, and the texts have the room that MPI asks for.
    unsafe {
        if info == ffi::RSMPI_INFO_NULL {
            return Ok(pairs);
        }
        let mut number = 0;
        Failure::check(ffi::MPI_Info_get_nkeys(info, &mut number), "MPI_Info_get_nkeys")?;
        for at in 0..number {
            let mut key = [0; ffi::MPI_MAX_INFO_KEY as usize + 1];
            Failure::check(ffi::MPI_Info_get_nthkey(info, at, key.as_mut_ptr()), "MPI_Info_get_nthkey")?;
            if let Some(value) = value(info, key.as_ptr())? {
                pairs.set(text(key.as_ptr()), value);
            }
        }
    }
    Ok(pairs.possible(trace::rank() == Some(0)))
}

/// # Safety
/// The handle is alive, and the key ends with a zero.
unsafe fn value(info: MPI_Info, key: *const c_char) -> Result<Option<String>, Failure> {
    let (mut length, mut is_there): (c_int, c_int) = (0, 0);
    // SAFETY: the caller's promise; the value has room for its length and a zero.
    unsafe {
        Failure::check(ffi::MPI_Info_get_valuelen(info, key, &mut length, &mut is_there), "MPI_Info_get_valuelen")?;
        let mut value = vec![0; usize::try_from(length).unwrap_or_default() + 1];
        Failure::check(ffi::MPI_Info_get(info, key, length, value.as_mut_ptr(), &mut is_there), "MPI_Info_get")?;
        Ok((is_there != 0).then(|| text(value.as_ptr())))
    }
}

/// # Safety
/// The text ends with a zero.
unsafe fn text(from: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// A new info with these pairs. A value that is longer than MPI's longest is left out.
pub fn write(pairs: &Info) -> Result<MPI_Info, Failure> {
    // SAFETY: the handle is made here, and the texts end with a zero.
    unsafe {
        let mut info = ffi::RSMPI_INFO_NULL;
        Failure::check(ffi::MPI_Info_create(&mut info), "MPI_Info_create")?;
        for (key, value) in pairs.iter().filter(|(_, value)| value.len() < ffi::MPI_MAX_INFO_VAL as usize) {
            let (key, value) = (c_text(key)?, c_text(value)?);
            Failure::check(ffi::MPI_Info_set(info, key.as_ptr(), value.as_ptr()), "MPI_Info_set")?;
        }
        Ok(info)
    }
}

fn c_text(text: &str) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::bug("a hint with a zero in it"))
}
