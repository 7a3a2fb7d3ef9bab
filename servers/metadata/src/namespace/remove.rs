//! Names that go.

use super::walk::{Found, Place, find_place, touch_directory};
use super::{Change, NamespaceError, OperationKind, Tally};
use crate::records::{Kind, Unlinked};
use crate::store::{Transaction, keys};
use pfs_core::path::PfsPath;
use pfs_proto::metadata::EntryKind;

/// Removes the name of a file, or an empty directory. The file becomes an orphan: it lives until its last close.
#[derive(Clone, Debug)]
pub struct Remove {
    /// The name.
    pub path: PfsPath,
    /// What the caller takes it for; nothing takes both.
    pub kind: Option<EntryKind>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for Remove {
    const KIND: OperationKind = OperationKind::Remove;
    type Answer = Unlinked;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Unlinked, NamespaceError> {
        let Place { directory, name, found } = find_place(transaction, &self.path).await?;
        let found = found.ok_or_else(|| NamespaceError::NotFound(self.path.clone()))?;
        match (self.kind, found.kind) {
            (Some(EntryKind::File), Kind::Directory) => return Err(NamespaceError::IsADirectory(self.path.clone())),
            (Some(EntryKind::Directory), Kind::File) => return Err(NamespaceError::NotADirectory(self.path.clone())),
            _ => {}
        }
        let unlinked = unlink(transaction, found, &self.path).await?;
        transaction.delete(keys::entry(directory, name));
        touch_directory(transaction, directory, self.now_ns);
        Ok(unlinked)
    }

    fn tally(&self, answer: &Unlinked) -> Tally {
        tally(answer)
    }
}

/// Takes away what a name meant: a file becomes an orphan, a directory must be empty and is gone.
pub(super) async fn unlink(
    transaction: &mut Transaction<'_>,
    found: Found,
    path: &PfsPath,
) -> Result<Unlinked, NamespaceError> {
    match found.kind {
        Kind::File => {
            transaction.put(keys::orphan(found.file), Vec::new());
            Ok(Unlinked { file: found.file.get(), directory: false })
        }
        Kind::Directory => {
            if !transaction.is_empty(keys::entries(found.file)).await? {
                return Err(NamespaceError::DirectoryNotEmpty(path.clone()));
            }
            transaction.delete(keys::inode(found.file));
            transaction.delete(keys::attributes(found.file));
            Ok(Unlinked { file: 0, directory: true })
        }
    }
}

/// The file's inode stays until it is reaped; a directory's is gone.
pub(super) fn tally(answer: &Unlinked) -> Tally {
    Tally { directories_gone: u64::from(answer.directory), ..Tally::default() }
}
