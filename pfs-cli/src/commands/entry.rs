//! One file or directory as the commands show it.

use pfs_client::{EntryKind, FileStatus};
use serde::Serialize;

/// A file or directory, as JSON. The keys are part of the command's interface.
#[derive(Debug, Serialize)]
pub struct EntryJson {
    /// As given or found, like `pfs:/a/b`.
    pub path: String,
    /// `file` or `directory`.
    pub kind: &'static str,
    /// Never used again for another file.
    pub id: u64,
    /// 0 for a directory.
    pub size_bytes: u64,
    /// Absent for a directory.
    pub stripe_unit_bytes: Option<u64>,
    /// Absent for a directory.
    pub stripe_count: Option<u32>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub modified_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub changed_ns: u64,
}

impl EntryJson {
    /// What is known of `path`.
    pub fn new(path: String, status: &FileStatus) -> Self {
        EntryJson {
            path,
            kind: kind_name(status.kind),
            id: status.id.get(),
            size_bytes: status.size_bytes,
            stripe_unit_bytes: status.recipe.as_ref().map(|recipe| recipe.stripe_unit()),
            stripe_count: status.recipe.as_ref().map(|recipe| recipe.stripe_count()),
            created_ns: status.created_ns,
            modified_ns: status.modified_ns,
            changed_ns: status.changed_ns,
        }
    }
}

/// The word for a kind of entry.
pub fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
    }
}
