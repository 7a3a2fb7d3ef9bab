//! What an access did.

use mpi::traits::Equivalence;

/// The result of an access that worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    bytes: u64,
}

impl Status {
    pub(crate) fn new(bytes: u64) -> Status {
        Status { bytes }
    }

    /// Bytes that were moved; less than asked for only at the end of the file.
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whole values of type `T` that were moved, or nothing when the bytes are not whole values.
    pub fn count<T: Equivalence>(self) -> Option<u64> {
        match size_of::<T>() as u64 {
            0 => Some(0),
            size => self.bytes.is_multiple_of(size).then_some(self.bytes / size),
        }
    }
}
