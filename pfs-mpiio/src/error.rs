//! Errors with MPI's classes.
//!
//! A call that is collective returns the same class and the same text on every rank; the text then says which rank
//! it comes from.

use pfs_client::ErrorKind;
use pfs_core::hints::HintError;
use pfs_core::path::PathError;
use std::error::Error as StdError;
use std::fmt;

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $mpi:ident;)*) => {
        /// MPI's error classes, as far as files use them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorClass {
            $($(#[$doc])* $name,)*
        }

        impl ErrorClass {
            const ALL: &[ErrorClass] = &[$(ErrorClass::$name,)*];

            /// MPI's name of the class.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorClass::$name => stringify!($mpi),)*
                }
            }

            /// The number of the class in the MPI library that this program is linked with.
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::unnecessary_cast)] // small constants
            pub fn raw(self) -> std::os::raw::c_int {
                match self {
                    $(ErrorClass::$name => mpi::ffi::$mpi as std::os::raw::c_int,)*
                }
            }
        }
    };
}

classes! {
    /// Permission denied, or a read of a file opened only for writing.
    Access = MPI_ERR_ACCESS;
    /// Access modes that exclude each other.
    Amode = MPI_ERR_AMODE;
    /// An argument that makes no sense.
    Arg = MPI_ERR_ARG;
    /// A file name that is not possible.
    BadFile = MPI_ERR_BAD_FILE;
    /// A communicator that can not open files.
    Comm = MPI_ERR_COMM;
    /// A number of values that no buffer has.
    Count = MPI_ERR_COUNT;
    /// A conversion function of a data representation failed.
    Conversion = MPI_ERR_CONVERSION;
    /// A data representation of this name exists.
    DupDatarep = MPI_ERR_DUP_DATAREP;
    /// A handle that is no file's.
    File = MPI_ERR_FILE;
    /// The file exists.
    FileExists = MPI_ERR_FILE_EXISTS;
    /// A hint's value that makes no sense.
    InfoValue = MPI_ERR_INFO_VALUE;
    /// Any other error of input and output.
    Io = MPI_ERR_IO;
    /// A server's disk is full.
    NoSpace = MPI_ERR_NO_SPACE;
    /// The file does not exist.
    NoSuchFile = MPI_ERR_NO_SUCH_FILE;
    /// The ranks disagree about an argument or about the call.
    NotSame = MPI_ERR_NOT_SAME;
    /// A call on a thread that may not call MPI.
    Other = MPI_ERR_OTHER;
    /// A write of a file opened only for reading.
    ReadOnly = MPI_ERR_READ_ONLY;
    /// A datatype that can not be used here.
    Type = MPI_ERR_TYPE;
    /// A data representation that is not known.
    UnsupportedDatarep = MPI_ERR_UNSUPPORTED_DATAREP;
    /// A call that the file's access mode does not allow.
    UnsupportedOperation = MPI_ERR_UNSUPPORTED_OPERATION;
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What went wrong, and on which rank if the ranks agreed about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    class: ErrorClass,
    rank: Option<u32>,
    message: String,
}

impl Error {
    /// An error of this rank.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Error {
        Error { class, rank: None, message: message.into() }
    }

    /// MPI's class.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The rank whose error this is, after the ranks agreed; nothing for one that concerns all.
    pub fn rank(&self) -> Option<u32> {
        self.rank
    }

    /// The same error, said to be `rank`'s.
    pub(crate) fn of_rank(mut self, rank: u32) -> Error {
        self.rank = Some(rank);
        self
    }

    /// The same error with something else that went wrong.
    pub(crate) fn and(mut self, also: impl fmt::Display) -> Error {
        self.message = format!("{}; {also}", self.message);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let class = ErrorClass::ALL.iter().position(|&class| class == self.class);
        let mut bytes = vec![class.and_then(|class| u8::try_from(class).ok()).expect("every class is listed")];
        bytes.extend_from_slice(self.message.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Error {
        let (class, message) = bytes.split_first().unwrap_or((&0, &[]));
        let class = ErrorClass::ALL.get(usize::from(*class)).copied().unwrap_or(ErrorClass::Io);
        Error::new(class, String::from_utf8_lossy(message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rank {
            Some(rank) => write!(f, "{}: rank {rank}: {}", self.class, self.message),
            None => write!(f, "{}: {}", self.class, self.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {}

impl From<pfs_client::Error> for Error {
    fn from(error: pfs_client::Error) -> Error {
        let class = match error.kind() {
            ErrorKind::NotFound | ErrorKind::Deleted => ErrorClass::NoSuchFile,
            ErrorKind::AlreadyExists => ErrorClass::FileExists,
            ErrorKind::NotADirectory | ErrorKind::IsADirectory => ErrorClass::BadFile,
            ErrorKind::InvalidArgument | ErrorKind::TooLarge | ErrorKind::TooFewServers => ErrorClass::Arg,
            ErrorKind::NoSpace => ErrorClass::NoSpace,
            ErrorKind::Unauthenticated | ErrorKind::NotPermitted => ErrorClass::Access,
            _ => ErrorClass::Io,
        };
        Error::new(class, error.to_string())
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Error {
        Error::new(ErrorClass::BadFile, error.to_string())
    }
}

impl From<HintError> for Error {
    fn from(error: HintError) -> Error {
        Error::new(ErrorClass::InfoValue, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_way_to_other_ranks() {
        for &class in ErrorClass::ALL {
            let error = Error::new(class, "could not do it: äöü");
            assert_eq!(Error::decode(&error.encode()), error);
        }
        assert_eq!(Error::decode(&[]).message, "");
    }

    #[test]
    fn the_text_names_class_and_rank() {
        let error = Error::new(ErrorClass::NoSpace, "disk full").of_rank(3);
        assert_eq!(error.to_string(), "MPI_ERR_NO_SPACE: rank 3: disk full");
    }
}
