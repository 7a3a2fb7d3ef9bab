//! The end of files without a name: from orphan to a queue of removals, one entry for each file server.

use super::{Change, Namespace, NamespaceError, OperationKind, Tally};
use crate::records::{self, Inode, Unlinked};
use crate::store::{Batch, CommitError, StoreError, Transaction, for_each, keys};
use pfs_core::ids::{FileId, ServerId};

/// Turns an orphan that nobody has open into removals. From then on no server gets the file vouched for.
#[derive(Clone, Debug)]
pub struct Reap {
    /// The orphan.
    pub file: FileId,
}

impl Change for Reap {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Unlinked;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Unlinked, NamespaceError> {
        let (orphan, inode_key) = (keys::orphan(self.file), keys::inode(self.file));
        if transaction.get(orphan.clone()).await?.is_none() {
            return Ok(Unlinked::default());
        }
        let inode = transaction.get(inode_key.clone()).await?.ok_or(NamespaceError::NoFile(self.file))?;
        let inode: Inode = records::decode(&inode_key, &inode)?;
        for server in inode.slots.iter().flat_map(|slot| &slot.servers).copied().filter_map(ServerId::new) {
            transaction.put(keys::removal(server, self.file), Vec::new());
        }
        for key in [orphan, inode_key, keys::attributes(self.file), keys::truncation(self.file)] {
            transaction.delete(key);
        }
        Ok(Unlinked { file: self.file.get(), directory: false })
    }

    fn tally(&self, answer: &Unlinked) -> Tally {
        Tally { files_gone: u64::from(answer.file != 0), ..Tally::default() }
    }
}

impl Namespace {
    /// All files without a name.
    pub async fn orphans(&self) -> Result<Vec<FileId>, StoreError> {
        let mut found = Vec::new();
        for_each(&**self.store(), keys::orphans(), |key, _| {
            found.extend(keys::key_number(&key).and_then(FileId::new));
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The first `limit` files whose objects are to be removed on a server.
    pub async fn removals(&self, server: ServerId, limit: usize) -> Result<Vec<FileId>, StoreError> {
        let entries = self.store().range(keys::removals(server), limit).await?;
        Ok(entries.iter().filter_map(|(key, _)| keys::removal_file(key)).collect())
    }

    /// A server has removed these files and refuses them from now on.
    pub async fn removed(&self, server: ServerId, files: &[FileId]) -> Result<(), CommitError> {
        let mut batch = Batch::default();
        for file in files {
            batch.delete(keys::removal(server, *file));
        }
        self.store().commit(batch).await
    }
}
