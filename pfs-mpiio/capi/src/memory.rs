//! A program's memory and places in files, from C's arguments.
//!
//! What is wrong about them travels with the memory: in a collective call this rank takes part all the same, and all learn of it.

use mpi::ffi::{self, MPI_Count, MPI_Datatype, MPI_Offset};
use pfs_mpiio::{At, Error, ErrorClass, RawBuffer, RawBufferMut, Whence};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;

/// Memory to write from, for an access at `at`.
///
/// # Safety
/// As long as the value is used, and if the access is made, the datatype is null or alive and the values are there.
pub unsafe fn source(at: Place, buf: *const c_void, count: MPI_Count, datatype: MPI_Datatype) -> RawBuffer {
    match checked(at, count) {
        // SAFETY: the caller's promise.
        Ok(count) => unsafe { RawBuffer::new(buf, count, datatype) },
        Err(error) => RawBuffer::invalid(error),
    }
}

/// Memory to read into, for an access at `at`.
///
/// # Safety
/// As for [`source`], and the values are nobody else's.
pub unsafe fn destination(at: Place, buf: *mut c_void, count: MPI_Count, datatype: MPI_Datatype) -> RawBufferMut {
    match checked(at, count) {
        // SAFETY: the caller's promise.
        Ok(count) => unsafe { RawBufferMut::new(buf, count, datatype) },
        Err(error) => RawBufferMut::invalid(error),
    }
}

fn checked(at: Place, count: MPI_Count) -> Result<u64, Error> {
    if let Place::Offset(offset @ ..0) = at {
        return Err(Error::new(ErrorClass::Arg, format!("the offset {offset} is negative")));
    }
    u64::try_from(count)
        .map_err(|_| Error::new(ErrorClass::Count, format!("the number of values is negative: {count}")))
}

/// Where an access begins, as C says it.
#[derive(Clone, Copy)]
pub enum Place {
    Offset(MPI_Offset),
    Pointer,
    Shared,
}

impl Place {
    /// The offset; of a negative one the memory knows.
    pub fn offset(self) -> u64 {
        match self {
            Place::Offset(offset) => u64::try_from(offset).unwrap_or_default(),
            Place::Pointer | Place::Shared => 0,
        }
    }

    pub fn at(self) -> At {
        match self {
            Place::Offset(_) => At::Offset(self.offset()),
            Place::Pointer => At::Pointer,
            Place::Shared => At::SharedPointer,
        }
    }
}

/// The whence of a seek.
#[allow(clippy::cast_possible_wrap)] // small constants
pub fn whence(number: c_int) -> Result<Whence, Error> {
    const SET: c_int = ffi::MPI_SEEK_SET as c_int;
    const CURRENT: c_int = ffi::MPI_SEEK_CUR as c_int;
    const END: c_int = ffi::MPI_SEEK_END as c_int;
    match number {
        SET => Ok(Whence::Set),
        CURRENT => Ok(Whence::Current),
        END => Ok(Whence::End),
        other => {
            let message = format!("a seek is from MPI_SEEK_SET, MPI_SEEK_CUR or MPI_SEEK_END, not from {other}");
            Err(Error::new(ErrorClass::Arg, message))
        }
    }
}

/// A size in bytes; one that no file has in place of a negative one.
pub fn size(bytes: MPI_Offset) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A text of C's.
///
/// # Safety
/// It is null or ends with a zero.
pub unsafe fn text(from: *const c_char) -> String {
    match from.is_null() {
        true => String::new(),
        // SAFETY: the caller's promise.
        false => unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned(),
    }
}

/// Shows an access: where, how many values of which datatype.
pub struct Shown(pub Place, pub MPI_Count, pub MPI_Datatype);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(place, count, datatype) = self;
        if let Place::Offset(offset) = place {
            write!(f, ", at {offset}")?;
        }
        write!(f, ", {count} of {}", name(*datatype))
    }
}

/// MPI's name of a datatype, for people.
pub fn name(datatype: MPI_Datatype) -> String {
    let mut text = [0; ffi::MPI_MAX_OBJECT_NAME as usize + 1];
    let mut length = 0;
    // SAFETY: a handle that is not null is alive, and the text has the room that MPI asks for.
    unsafe {
        if datatype == ffi::RSMPI_DATATYPE_NULL {
            return "MPI_DATATYPE_NULL".to_owned();
        }
        ffi::MPI_Type_get_name(datatype, text.as_mut_ptr(), &mut length);
        match length {
            0 => "a derived type".to_owned(),
            _ => CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned(),
        }
    }
}
