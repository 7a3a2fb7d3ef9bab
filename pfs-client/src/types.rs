//! What callers give and get: open options, status of files.

use pfs_core::ids::FileId;
use pfs_core::layout::Recipe;
use pfs_core::token::message::FileSize;
use pfs_proto::metadata::{FileMetadata, SlotSet};

pub use pfs_proto::metadata::{Access, EntryKind, LayoutRequest};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// What for.
    pub access: Access,
    /// Make it if it does not exist.
    pub create: bool,
    /// With `create`: fail if it exists.
    pub exclusive: bool,
    /// Cut it to nothing.
    pub truncate: bool,
    /// With `create`: how a new file is striped.
    pub layout: LayoutRequest,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            access: Access::Read,
            create: false,
            exclusive: false,
            truncate: false,
            layout: LayoutRequest::default(),
        }
    }
}

impl OpenOptions {
    /// Makes or overwrites a file, for writing and reading.
    pub fn create() -> Self {
        OpenOptions { access: Access::ReadWrite, create: true, truncate: true, ..Default::default() }
    }
}

/// What is known of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Never reused.
    pub id: FileId,
    /// File or directory.
    pub kind: EntryKind,
    /// Bytes; 0 for a directory.
    pub size_bytes: u64,
    /// Layout; absent for a directory.
    pub recipe: Option<Recipe>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub modified_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub changed_ns: u64,
    pub(crate) size: FileSize,
    pub(crate) committed_slots: SlotSet,
}

impl FileStatus {
    /// Whether a slot's object was made durable once: if it is gone, bytes are lost.
    pub fn is_durable(&self, slot: u32) -> bool {
        self.committed_slots.contains(slot)
    }
}

impl From<FileMetadata> for FileStatus {
    fn from(file: FileMetadata) -> Self {
        FileStatus {
            id: file.id,
            kind: file.kind,
            size_bytes: file.size.bytes,
            recipe: file.recipe,
            created_ns: file.created_ns,
            modified_ns: file.modified_ns,
            changed_ns: file.changed_ns,
            size: file.size,
            committed_slots: file.committed_slots,
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The last component of its path.
    pub name: String,
    /// What it is.
    pub status: FileStatus,
}
