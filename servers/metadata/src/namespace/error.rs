//! Why something of the namespace was refused.

use crate::file_servers::RegistrationError;
use crate::store::StoreError;
use pfs_core::ids::{ClientId, FileId};
use pfs_core::layout::RecipeError;
use pfs_core::path::{PathError, PfsPath};
use pfs_proto::metadata::OperationId;
use pfs_proto::status::{ErrorCode, ErrorDetail};

/// Why a change or a read of the namespace was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No such name.
    #[error("{0} does not exist")]
    NotFound(PfsPath),
    /// No such file.
    #[error("{0} does not exist; it was deleted, or never made")]
    NoFile(FileId),
    /// The name is taken.
    #[error("{0} exists already")]
    AlreadyExists(PfsPath),
    /// A file where a directory is needed.
    #[error("{0} is a file, not a directory")]
    NotADirectory(PfsPath),
    /// A directory where a file is needed.
    #[error("{0} is a directory, not a file")]
    IsADirectory(PfsPath),
    /// A directory where a file is needed.
    #[error("{0} is a directory, not a file")]
    DirectoryId(FileId),
    /// The directory has entries.
    #[error("the directory {0} is not empty")]
    DirectoryNotEmpty(PfsPath),
    /// A directory can not be moved below itself.
    #[error("{from} can not be moved to {to}, which is below it")]
    BelowItself {
        /// The directory.
        from: PfsPath,
        /// Where it should go.
        to: PfsPath,
    },
    /// The path can not be used so.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A layout that no file can have.
    #[error(transparent)]
    Layout(#[from] RecipeError),
    /// More servers asked for than are up.
    #[error(
        "a stripe count of {wanted} was asked for, and {live} file servers are up; ask for fewer or start more (`pfs status` lists them)"
    )]
    TooFewServers {
        /// Servers asked for.
        wanted: u32,
        /// Servers that are up.
        live: usize,
    },
    /// The first server's index is out of range.
    #[error("start server {start} was asked for, and {live} file servers are up; the first one is 0")]
    StartServer {
        /// The index.
        start: u32,
        /// Servers that are up.
        live: usize,
    },
    /// The client has no session.
    #[error("{0} has no session at this metadata server; connect again")]
    NoSession(ClientId),
    /// The operation's number is older than the slot's last one.
    #[error("operation {} of {}, slot {}, came after operation {last}; numbers of a slot must increase", operation.sequence, operation.client, operation.slot)]
    Superseded {
        /// The late one.
        operation: OperationId,
        /// The slot's last number.
        last: u64,
    },
    /// The operation's number was used for something else.
    #[error("operation {} of {}, slot {}, was another operation before; every operation needs a number of its own", .0.sequence, .0.client, .0.slot)]
    Reused(OperationId),
    /// A file server may not join.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// Others always came first.
    #[error("the change was tried many times and others always came first; try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NamespaceError {
    /// The code for programs.
    pub fn code(&self) -> ErrorCode {
        use NamespaceError as E;
        match self {
            E::NotFound(_) | E::NoFile(_) => ErrorCode::NotFound,
            E::AlreadyExists(_) => ErrorCode::AlreadyExists,
            E::NotADirectory(_) => ErrorCode::NotADirectory,
            E::IsADirectory(_) | E::DirectoryId(_) => ErrorCode::IsADirectory,
            E::DirectoryNotEmpty(_) => ErrorCode::DirectoryNotEmpty,
            E::BelowItself { .. }
            | E::Path(_)
            | E::Layout(_)
            | E::StartServer { .. }
            | E::Superseded { .. }
            | E::Reused(_) => ErrorCode::InvalidArgument,
            E::TooFewServers { .. } => ErrorCode::TooFewServers,
            E::NoSession(_) => ErrorCode::NoSession,
            E::Registration(_) => ErrorCode::WrongCluster,
            E::Contended => ErrorCode::Unavailable,
            E::Store(StoreError::Damaged { .. }) => ErrorCode::DataLoss,
            E::Store(_) => ErrorCode::Internal,
        }
    }
}

impl From<NamespaceError> for ErrorDetail {
    fn from(error: NamespaceError) -> Self {
        ErrorDetail::new(error.code(), error.to_string())
    }
}

impl From<NamespaceError> for tonic::Status {
    fn from(error: NamespaceError) -> Self {
        ErrorDetail::from(error).into()
    }
}
