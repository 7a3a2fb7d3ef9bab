//! What is done to a disk, one step at a time.

use super::platter::Platter;
use super::tree::{FileNumber, Tree};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One change, or one sync.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Write { file: FileNumber, offset: u64, bytes: Arc<[u8]> },
    SetLength { file: FileNumber, length: u64 },
    Punch { file: FileNumber, offset: u64, length: u64 },
    Allocate { file: FileNumber, offset: u64, length: u64 },
    Sync { file: FileNumber },
    Create { path: PathBuf, file: FileNumber },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    MakeDirectory { path: PathBuf },
    SyncDirectory { directory: PathBuf },
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Write { file, offset, bytes } => write!(f, "write {} bytes at {offset} of {file}", bytes.len()),
            Change::SetLength { file, length } => write!(f, "set {file} to {length} bytes"),
            Change::Punch { file, offset, length } => write!(f, "punch {length} bytes at {offset} of {file}"),
            Change::Allocate { file, offset, length } => write!(f, "allocate {length} bytes at {offset} of {file}"),
            Change::Sync { file } => write!(f, "sync {file}"),
            Change::Create { path, file } => write!(f, "create {} as {file}", path.display()),
            Change::Unlink { path } => write!(f, "unlink {}", path.display()),
            Change::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Change::MakeDirectory { path } => write!(f, "make directory {}", path.display()),
            Change::SyncDirectory { directory } => write!(f, "sync directory {}", directory.display()),
        }
    }
}

/// How a disk began, and everything that was done to it since.
#[derive(Clone, Debug)]
pub struct Recording {
    began: Tree,
    changes: Vec<Change>,
}

impl Recording {
    pub(super) fn new(began: Tree, changes: Vec<Change>) -> Self {
        Recording { began, changes }
    }

    /// Everything that was done, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The disk as it began, all of it durable.
    pub fn start(&self) -> Platter {
        Platter::of(self.began.clone())
    }
}
