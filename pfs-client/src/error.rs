//! What can go wrong, and what to do about it.

use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use std::error::Error as StdError;
use std::fmt;
use tonic::Status;

/// What kind of thing went wrong: for programs to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such file or directory.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// A component of the path is a file.
    NotADirectory,
    /// The path is a directory where a file is needed.
    IsADirectory,
    /// The directory has entries.
    DirectoryNotEmpty,
    /// An argument that no file system could serve.
    InvalidArgument,
    /// The disk of a file server is full.
    NoSpace,
    /// More than a server takes at once.
    TooLarge,
    /// The cluster secret is missing or wrong.
    Unauthenticated,
    /// Another cluster or protocol version.
    WrongCluster,
    /// This client's tokens are not valid any more.
    Stale,
    /// The session is over: the metadata server has given this client up, or stayed away for longer than the patience. What
    /// was not synced may be lost; connect again and open the files again.
    NoSession,
    /// Fewer live file servers than needed.
    TooFewServers,
    /// Nobody answers.
    Unavailable,
    /// An answer did not come in time.
    TimedOut,
    /// Stored bytes are gone or damaged.
    DataLoss,
    /// A file server was restarted between a write and its sync: unsynced bytes may be gone.
    ServerRestarted,
    /// A fault of a disk or a program.
    Internal,
    /// The file was deleted.
    Deleted,
    /// The open mode does not allow it.
    NotPermitted,
    /// A file server and this client are not yet in step with the same start of the metadata server.
    OutOfStep,
    /// The group that opened the file was given up as a whole: open the file again.
    GroupLost,
    /// A member of the group that opened the file was given up; accesses of one rank go on, collective ones can not.
    MemberLost,
}

impl ErrorKind {
    /// Whether the same call may succeed a little later.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::OutOfStep)
    }
}

impl From<ErrorCode> for ErrorKind {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotFound => ErrorKind::NotFound,
            ErrorCode::AlreadyExists => ErrorKind::AlreadyExists,
            ErrorCode::NotADirectory => ErrorKind::NotADirectory,
            ErrorCode::IsADirectory => ErrorKind::IsADirectory,
            ErrorCode::DirectoryNotEmpty => ErrorKind::DirectoryNotEmpty,
            ErrorCode::InvalidArgument => ErrorKind::InvalidArgument,
            ErrorCode::NoSpace => ErrorKind::NoSpace,
            ErrorCode::TooLarge => ErrorKind::TooLarge,
            ErrorCode::Unauthenticated => ErrorKind::Unauthenticated,
            ErrorCode::WrongCluster => ErrorKind::WrongCluster,
            ErrorCode::Stale => ErrorKind::Stale,
            ErrorCode::NoSession => ErrorKind::NoSession,
            ErrorCode::TooFewServers => ErrorKind::TooFewServers,
            ErrorCode::Unavailable => ErrorKind::Unavailable,
            ErrorCode::DataLoss => ErrorKind::DataLoss,
            ErrorCode::ServerRestarted => ErrorKind::ServerRestarted,
            ErrorCode::Deleted => ErrorKind::Deleted,
            ErrorCode::NotPermitted => ErrorKind::NotPermitted,
            ErrorCode::OutOfStep => ErrorKind::OutOfStep,
            ErrorCode::GroupFenced => ErrorKind::GroupLost,
            ErrorCode::Internal | ErrorCode::Unspecified => ErrorKind::Internal,
        }
    }
}

/// A failed call. Its text says what was tried, on what, why it failed and what to do.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<std::sync::Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind with this text.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// Keeps what caused it.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(std::sync::Arc::new(source));
        self
    }

    /// Puts what was being done before the text.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn from_status(status: Status) -> Self {
        let detail = error_detail(&status);
        let kind = match status.code() {
            tonic::Code::DeadlineExceeded => ErrorKind::TimedOut,
            _ => detail.code.into(),
        };
        Error::new(kind, detail.message).with_source(status)
    }

    pub(crate) fn malformed(what: &str, error: impl StdError + Send + Sync + 'static) -> Self {
        let message = format!("{what} is malformed: {error}; client and server may be of different versions");
        Error::new(ErrorKind::Internal, message).with_source(error)
    }
}

impl From<ErrorDetail> for Error {
    fn from(detail: ErrorDetail) -> Self {
        Error::new(detail.code.into(), detail.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
