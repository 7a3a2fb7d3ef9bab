//! `set_size`: the decision, durable before any object is touched, and its end.
//!
//! The new size has a new generation, so that every report about the file before it is recognised as late. The
//! truncation's record stays until all objects have the new length; a restart goes on from it.

use super::update::attributes;
use super::{Change, Namespace, NamespaceError, OperationKind, status};
use crate::records::{self, Inode, Kind, Nothing, Snapshot, Truncation};
use crate::store::{StoreError, Transaction, for_each, keys};
use pfs_core::ids::FileId;
use pfs_core::token::message::FileSize;
use prost::Message;

/// Decides a new size.
#[derive(Clone, Debug)]
pub struct BeginTruncation {
    /// Of which file.
    pub file: FileId,
    /// The new size in bytes.
    pub size_bytes: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for BeginTruncation {
    const KIND: OperationKind = OperationKind::SetSize;
    type Answer = Snapshot;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Snapshot, NamespaceError> {
        let inode_key = keys::inode(self.file);
        let inode = transaction.get(inode_key.clone()).await?.ok_or(NamespaceError::NoFile(self.file))?;
        if records::decode::<Inode>(&inode_key, &inode)?.kind() != Kind::File {
            return Err(NamespaceError::DirectoryId(self.file));
        }
        let mut attributes = attributes(transaction, self.file).await?;
        let mut from_bytes = attributes.size_bytes.min(self.size_bytes);
        if let Some(unfinished) = pending(transaction, self.file).await? {
            from_bytes = from_bytes.min(unfinished.from_bytes);
        }
        attributes.size_bytes = self.size_bytes;
        attributes.size_generation += 1;
        attributes.modified_ns = self.now_ns;
        attributes.changed_ns = self.now_ns;
        let size_generation = attributes.size_generation;
        let truncation = Truncation { size_bytes: self.size_bytes, size_generation, from_bytes };
        transaction.put(keys::attributes(self.file), attributes.encode_to_vec());
        transaction.put(keys::truncation(self.file), truncation.encode_to_vec());
        status::snapshot(transaction, self.file, false).await
    }
}

/// Ends a truncation that has reached all objects, unless a later one took its place.
#[derive(Clone, Debug)]
pub struct FinishTruncation {
    /// Of which file.
    pub file: FileId,
    /// Its generation.
    pub generation: u64,
}

impl Change for FinishTruncation {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        if pending(transaction, self.file).await?.is_some_and(|it| it.size_generation == self.generation) {
            transaction.delete(keys::truncation(self.file));
        }
        Ok(Nothing {})
    }
}

async fn pending(transaction: &mut Transaction<'_>, file: FileId) -> Result<Option<Truncation>, NamespaceError> {
    let key = keys::truncation(file);
    Ok(transaction.get(key.clone()).await?.map(|value| records::decode(&key, &value)).transpose()?)
}

/// A truncation that has not reached all objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingTruncation {
    /// Of which file.
    pub file: FileId,
    /// The new size.
    pub size: FileSize,
    /// Nobody may use the file from here on before it is done, in bytes.
    pub from_bytes: u64,
}

impl PendingTruncation {
    fn new(file: FileId, record: &Truncation) -> Self {
        let size = FileSize { generation: record.size_generation, bytes: record.size_bytes };
        PendingTruncation { file, size, from_bytes: record.from_bytes }
    }
}

impl Namespace {
    /// A file's unfinished truncation.
    pub async fn pending_truncation(&self, file: FileId) -> Result<Option<PendingTruncation>, NamespaceError> {
        let record = pending(&mut Transaction::new(&**self.store()), file).await?;
        Ok(record.map(|record| PendingTruncation::new(file, &record)))
    }

    /// All unfinished truncations.
    pub async fn pending_truncations(&self) -> Result<Vec<PendingTruncation>, StoreError> {
        let mut found = Vec::new();
        for_each(&**self.store(), keys::truncations(), |key, value| {
            let file = keys::key_number(&key).and_then(FileId::new);
            let file = file.ok_or_else(|| records::damaged(&key, "the key has no file"))?;
            found.push(PendingTruncation::new(file, &records::decode(&key, &value)?));
            Ok(())
        })
        .await?;
        Ok(found)
    }
}
