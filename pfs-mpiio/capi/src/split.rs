//! Split collective accesses: the one of a file that was begun, until it is ended.

use crate::failure::Failure;
use pfs_mpiio::{ErrorClass, SplitOperation, Status};
use std::sync::{Mutex, PoisonError};

/// Which functions belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ReadAtAll,
    WriteAtAll,
    ReadAll,
    WriteAll,
    ReadOrdered,
    WriteOrdered,
}

/// The access of a file that was begun.
#[derive(Default)]
pub struct Splits(Mutex<Option<(Kind, SplitOperation)>>);

impl Splits {
    /// Keeps one. That there is none was seen to when it was started.
    pub fn begin(&self, kind: Kind, operation: SplitOperation) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((kind, operation));
    }

    /// Waits for it.
    pub fn end(&self, kind: Kind) -> Result<Status, Failure> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(begun, _)| *begun == kind);
        match begun {
            Some((_, operation)) => Ok(operation.end()?),
            None => {
                Err(Failure::new(ErrorClass::Io, format!("the end of a split access, {kind:?}, that was not begun")))
            }
        }
    }
}
