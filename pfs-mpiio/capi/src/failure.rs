//! What a call of C returns when it fails: MPI's class, and words for who wants to know more.

use mpi::ffi;
use pfs_mpiio::{Error, ErrorClass};
use std::ffi::c_int;
use std::fmt;

/// Success, as functions of C return it.
#[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // the constant's type differs between MPIs
pub const SUCCESS: c_int = ffi::MPI_SUCCESS as c_int;

/// An error on its way to C.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the function returns.
    pub code: c_int,
    error: Error,
}

impl Failure {
    /// An error of a class.
    pub fn new(class: ErrorClass, message: impl fmt::Display) -> Failure {
        Error::new(class, message.to_string()).into()
    }

    /// A mistake of this library.
    pub fn bug(message: impl fmt::Display) -> Failure {
        #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)] // as above
        let code = ffi::MPI_ERR_INTERN as c_int;
        Failure { code, ..Failure::new(ErrorClass::Other, format_args!("MPI_ERR_INTERN: {message}")) }
    }

    /// Checks what a function of MPI has returned.
    pub fn check(code: c_int, what: &str) -> Result<(), Failure> {
        match code {
            SUCCESS => Ok(()),
            code => {
                Err(Failure { code, ..Failure::new(ErrorClass::Other, format_args!("MPI's {what} failed ({code})")) })
            }
        }
    }

    /// Nothing that a program would expect, so it is told of on standard error, whatever becomes of the code.
    pub fn is_unexpected(&self) -> bool {
        matches!(self.error.class(), ErrorClass::Io | ErrorClass::NoSpace | ErrorClass::Other)
    }

    pub fn into_error(self) -> Error {
        self.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { code: error.class().raw(), error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}
