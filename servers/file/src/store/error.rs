//! What can go wrong with an object.

use pfs_core::ids::ObjectId;
use pfs_proto::data::ObjectExtent;
use pfs_proto::status::{ErrorCode, ErrorDetail};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Opening it.
    Open,
    /// Making it.
    Create,
    /// Reading bytes.
    Read(ObjectExtent),
    /// Writing bytes.
    Write(ObjectExtent),
    /// Reading or writing its checksums.
    Checksums,
    /// Comparing its bytes with their checksums.
    Verify,
    /// Marking that a part of it is being written.
    Mark,
    /// Taking space for bytes.
    Allocate(ObjectExtent),
    /// Making a hole.
    Punch(ObjectExtent),
    /// Making its bytes durable.
    Commit,
    /// Making its name durable.
    CommitName,
    /// Setting its length.
    Truncate(u64),
    /// Removing it.
    Remove,
    /// Asking for its length.
    Stat,
    /// Listing objects.
    List,
    /// Asking for the free space.
    Space,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attempt::Open => f.write_str("opening"),
            Attempt::Create => f.write_str("making"),
            Attempt::Read(extent) => write!(f, "reading {} bytes at {} of", extent.length(), extent.offset()),
            Attempt::Write(extent) => write!(f, "writing {} bytes at {} of", extent.length(), extent.offset()),
            Attempt::Checksums => f.write_str("keeping the checksums of"),
            Attempt::Verify => f.write_str("comparing with its checksums"),
            Attempt::Mark => f.write_str("marking as being written a part of"),
            Attempt::Allocate(extent) => {
                write!(f, "taking space for {} bytes at {} of", extent.length(), extent.offset())
            }
            Attempt::Punch(extent) => write!(f, "making a hole of {} bytes at {} of", extent.length(), extent.offset()),
            Attempt::Commit => f.write_str("making durable"),
            Attempt::CommitName => f.write_str("making the name durable of"),
            Attempt::Truncate(length) => write!(f, "setting to {length} bytes"),
            Attempt::Remove => f.write_str("removing"),
            Attempt::Stat => f.write_str("asking for the length of"),
            Attempt::List => f.write_str("listing"),
            Attempt::Space => f.write_str("asking for the free space of"),
        }
    }
}

/// Why a store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no object of {object} on this server")]
    Missing {
        /// The object.
        object: ObjectId,
    },
    /// The disk is full.
    #[error("{attempt} the object of {object} failed: no space is left at {}; remove files or add space, then write again", path.display())]
    NoSpace {
        /// The object.
        object: ObjectId,
        /// What was tried.
        attempt: Attempt,
        /// Where it lies.
        path: PathBuf,
    },
    /// The file system below has no files of that size.
    #[error("{attempt} the object of {object} failed: the file system at {} does not take files of that size", path.display())]
    TooLarge {
        /// The object.
        object: ObjectId,
        /// What was tried.
        attempt: Attempt,
        /// Where it lies.
        path: PathBuf,
    },
    /// The disk refused bytes at an earlier commit, and they were not written again.
    #[error("the disk lost {bytes} bytes, from {start} on, of the object of {object} at {} when they were to be made durable ({source}); write them again, then commit", path.display())]
    Lost {
        /// The object.
        object: ObjectId,
        /// Where it lies.
        path: PathBuf,
        /// First lost byte.
        start: u64,
        /// Lost bytes.
        bytes: u64,
        /// What the disk said then.
        source: io::Error,
    },
    /// Stored bytes do not agree with their checksum.
    #[error("{} bytes at {} of the object of {object} at {} are damaged: {problem}; restore them, or write them anew", extent.length(), extent.offset(), path.display())]
    Damaged {
        /// The object.
        object: ObjectId,
        /// Where it lies.
        path: PathBuf,
        /// Which bytes: a block, or more.
        extent: ObjectExtent,
        /// What is wrong.
        problem: String,
    },
    /// Another error of the disk below one object.
    #[error("{attempt} the object of {object} at {} failed: {source}; look at the disk of this server", path.display())]
    Object {
        /// The object.
        object: ObjectId,
        /// What was tried.
        attempt: Attempt,
        /// Where it lies.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// An error of the disk that is about no single object.
    #[error("{attempt} {} failed: {source}; look at the disk of this server", path.display())]
    Disk {
        /// What was tried.
        attempt: Attempt,
        /// Where.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl StoreError {
    /// The error of an operation on one object, told apart by what can be done about it.
    pub fn of_object(object: ObjectId, attempt: Attempt, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => StoreError::NoSpace { object, attempt, path },
            Some(Errno::FBIG) => StoreError::TooLarge { object, attempt, path },
            _ => StoreError::Object { object, attempt, path, source },
        }
    }

    /// The error of an operation on the store as a whole.
    pub fn of_disk(attempt: Attempt, path: &Path, source: io::Error) -> Self {
        StoreError::Disk { attempt, path: path.to_owned(), source }
    }

    /// The code for programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            StoreError::Missing { .. } => ErrorCode::NotFound,
            StoreError::NoSpace { .. } => ErrorCode::NoSpace,
            StoreError::TooLarge { .. } => ErrorCode::InvalidArgument,
            StoreError::Lost { source, .. } if is_full(source) => ErrorCode::NoSpace,
            StoreError::Lost { .. } | StoreError::Damaged { .. } => ErrorCode::DataLoss,
            StoreError::Object { .. } | StoreError::Disk { .. } => ErrorCode::Internal,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

impl From<StoreError> for ErrorDetail {
    fn from(error: StoreError) -> Self {
        ErrorDetail::new(error.code(), error.to_string())
    }
}
