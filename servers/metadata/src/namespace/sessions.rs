//! Sessions, as far as they are durable: who may change things, and who is dead.

use super::{Change, Namespace, NamespaceError, OperationKind};
use crate::records::{Nothing, Session};
use crate::store::{Batch, CommitError, KeyRange, MetadataStore, Transaction, keys};
use pfs_core::ids::ClientId;
use pfs_proto::metadata::SESSION_SLOTS;
use prost::Message;

/// A session begins.
#[derive(Clone, Debug)]
pub struct AddSession {
    /// The new client.
    pub client: ClientId,
    /// For people.
    pub name: String,
}

impl Change for AddSession {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        transaction.put(keys::session(self.client), Session { name: self.name.clone() }.encode_to_vec());
        Ok(Nothing {})
    }
}

/// A session ends, with all that is stored for it. Nothing of it can commit afterwards.
#[derive(Clone, Debug)]
pub struct EndSession {
    /// The client.
    pub client: ClientId,
    /// It did not say good-bye: it is recorded as dead until every file server refuses it.
    pub dead: bool,
}

impl Change for EndSession {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        let session = keys::session(self.client);
        if transaction.get(session.clone()).await?.is_none() {
            return Ok(Nothing {});
        }
        transaction.delete(session);
        for slot in 0..SESSION_SLOTS {
            let key = keys::operation(self.client, slot);
            if transaction.get(key.clone()).await?.is_some() {
                transaction.delete(key);
            }
        }
        if self.dead {
            transaction.put(keys::dead(self.client), Vec::new());
        }
        Ok(Nothing {})
    }
}

/// Every file server refuses a dead client.
#[derive(Clone, Debug)]
pub struct ForgetDead {
    /// The client.
    pub client: ClientId,
}

impl Change for ForgetDead {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        transaction.delete(keys::dead(self.client));
        Ok(Nothing {})
    }
}

impl Namespace {
    /// Whether a client has a session.
    pub async fn has_session(&self, client: ClientId) -> Result<bool, NamespaceError> {
        Ok(self.store().get(&keys::session(client)).await?.is_some())
    }

    /// Removes the sessions of earlier starts, whose stamps every file server refuses as a whole.
    pub async fn forget_sessions(&self) -> Result<(), CommitError> {
        for range in [keys::sessions(), keys::all_operations(), keys::all_dead()] {
            clear(&**self.store(), range).await?;
        }
        Ok(())
    }
}

async fn clear(store: &dyn MetadataStore, range: KeyRange) -> Result<(), CommitError> {
    const PAGE_KEYS: usize = 512;
    loop {
        let page = store.range(range.clone(), PAGE_KEYS).await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (key, _) in page {
            batch.delete(key);
        }
        store.commit(batch).await?;
    }
}
