//! What is kept about one file or directory, in strict types.

use super::{Namespace, NamespaceError};
use crate::records::{self, Attributes, Inode, Kind, Snapshot};
use crate::store::{StoreError, Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;
use pfs_proto::metadata::{EntryKind, FileMetadata};

/// What a stored answer says about its file.
pub fn metadata_of(snapshot: &Snapshot) -> Result<FileMetadata, NamespaceError> {
    let missing = || records::damaged(&keys::cluster(), "a stored answer lacks its file");
    let file = FileId::new(snapshot.file).ok_or_else(missing)?;
    let inode = snapshot.inode.as_ref().ok_or_else(missing)?;
    let attributes = snapshot.attributes.as_ref().ok_or_else(missing)?;
    Ok(from_records(file, inode, attributes)?)
}

fn from_records(file: FileId, inode: &Inode, attributes: &Attributes) -> Result<FileMetadata, StoreError> {
    let damaged = |problem: String| records::damaged(&keys::inode(file), problem);
    let (kind, recipe) = match Kind::try_from(inode.kind) {
        Ok(Kind::Directory) => (EntryKind::Directory, None),
        Ok(Kind::File) => (EntryKind::File, Some(inode.recipe().map_err(damaged)?)),
        Err(error) => return Err(damaged(error.to_string())),
    };
    Ok(FileMetadata {
        id: file,
        kind,
        recipe,
        size: attributes.size(),
        created_ns: inode.created_ns,
        modified_ns: attributes.modified_ns,
        changed_ns: attributes.changed_ns,
        committed_slots: attributes.slots().map_err(|error| records::damaged(&keys::attributes(file), error))?,
    })
}

/// A file or directory as the transaction sees it, for an answer.
pub(super) async fn snapshot(
    transaction: &Transaction<'_>,
    file: FileId,
    created: bool,
) -> Result<Snapshot, NamespaceError> {
    let (inode_key, attributes_key) = (keys::inode(file), keys::attributes(file));
    let inode = transaction.peek(&inode_key).await?.ok_or(NamespaceError::NoFile(file))?;
    let attributes = transaction.peek(&attributes_key).await?.ok_or(NamespaceError::NoFile(file))?;
    Ok(Snapshot {
        file: file.get(),
        inode: Some(records::decode(&inode_key, &inode)?),
        attributes: Some(records::decode(&attributes_key, &attributes)?),
        created,
        directories_made: 0,
    })
}

impl Namespace {
    /// What is kept about a name.
    pub async fn stat(&self, path: &PfsPath) -> Result<FileMetadata, NamespaceError> {
        let mut transaction = Transaction::new(&**self.store());
        let found = super::walk::find(&mut transaction, path).await?;
        match snapshot(&transaction, found.file, false).await {
            Err(NamespaceError::NoFile(_)) => Err(NamespaceError::NotFound(path.clone())),
            found => metadata_of(&found?),
        }
    }

    /// What is kept about a file or directory by its id, with or without a name.
    pub async fn stat_id(&self, file: FileId) -> Result<FileMetadata, NamespaceError> {
        metadata_of(&snapshot(&Transaction::new(&**self.store()), file, false).await?)
    }
}
