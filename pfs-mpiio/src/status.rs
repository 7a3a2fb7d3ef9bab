//! What an access did.

use crate::datatype;
use crate::error::Error;
use crate::signature::Signature;
use mpi::ffi::MPI_Datatype;
use mpi::traits::Equivalence;

/// The result of an access that worked. By default nothing was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    bytes: u64,
    file_bytes: u64,
}

impl Status {
    /// `bytes` of memory, which are `file_bytes` in the file.
    pub(crate) fn new(bytes: u64, file_bytes: u64) -> Status {
        Status { bytes, file_bytes }
    }

    /// Bytes that were moved, as memory has them; less than asked for only at the end of the file.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// The same as the file has them; another number only in a data representation with sizes of its own.
    pub fn file_bytes(self) -> u64 {
        self.file_bytes
    }

    /// Whole values of type `T` that were moved, or nothing when the bytes are not whole values.
    pub fn count<T: Equivalence>(self) -> Option<u64> {
        match size_of::<T>() as u64 {
            0 => Some(0),
            size => self.bytes.is_multiple_of(size).then_some(self.bytes / size),
        }
    }

    /// Whole values of an MPI datatype that were moved, as `MPI_Get_count` has them; nothing when the bytes are not whole
    /// values.
    ///
    /// # Safety
    /// The datatype is a handle that is alive.
    pub unsafe fn count_of(self, datatype: MPI_Datatype) -> Result<Option<u64>, Error> {
        let size = datatype::size(datatype)?;
        Ok(match self.bytes {
            0 => Some(0),
            bytes => bytes.checked_rem(size).is_some_and(|rest| rest == 0).then(|| bytes / size),
        })
    }

    /// Values of the predefined types that an MPI datatype is made of, as `MPI_Get_elements` counts them; nothing when the
    /// bytes are not whole values of them.
    ///
    /// # Safety
    /// The datatype is a handle that is alive.
    pub unsafe fn elements_of(self, datatype: MPI_Datatype) -> Result<Option<u64>, Error> {
        let size = datatype::size(datatype)?;
        match self.bytes {
            0 => Ok(Some(0)),
            _ if size == 0 => Ok(None),
            bytes => Signature::of(bytes.div_ceil(size), datatype)?.elements_in(bytes),
        }
    }
}
