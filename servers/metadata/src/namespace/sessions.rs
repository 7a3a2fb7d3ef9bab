//! Sessions, as far as they are durable: who may change things, and who is shut out. They outlive restarts: a session
//! ends when its client says so, or is given up.

use super::{Change, Namespace, NamespaceError, OperationKind};
use crate::records::{self, FencedGroup, Nothing, Session};
use crate::store::{Key, StoreError, Transaction, for_each, keys};
use pfs_core::ids::{ClientId, GroupId};
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

/// A group is shut out as a whole. The record stays as long as a member lives that may name the group again.
#[derive(Clone, Debug)]
pub struct FenceGroup {
    /// The group.
    pub group: GroupId,
    /// Its members.
    pub members: Vec<ClientId>,
}

impl Change for FenceGroup {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        let members = self.members.iter().map(|member| member.get()).collect();
        transaction.put(keys::fenced_group(self.group), FencedGroup { members }.encode_to_vec());
        Ok(Nothing {})
    }
}

/// No member of a group that was shut out lives any more.
#[derive(Clone, Debug)]
pub struct ForgetGroup {
    /// The group.
    pub group: GroupId,
}

impl Change for ForgetGroup {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        transaction.delete(keys::fenced_group(self.group));
        Ok(Nothing {})
    }
}

/// What the store knows of sessions when the server starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSessions {
    /// Clients with a session, and their names.
    pub living: Vec<(ClientId, String)>,
    /// Clients that are dead and may not be refused everywhere.
    pub dead: Vec<ClientId>,
    /// Groups that are shut out, and their members.
    pub fenced_groups: Vec<(GroupId, Vec<ClientId>)>,
}

impl Namespace {
    /// The sessions of earlier starts that have not ended, and who was being shut out.
    pub async fn known_sessions(&self) -> Result<KnownSessions, StoreError> {
        let mut known = KnownSessions::default();
        let store = &**self.store();
        for_each(store, keys::sessions(), |key, value| {
            known.living.push((client_of(&key)?, records::decode::<Session>(&key, &value)?.name));
            Ok(())
        })
        .await?;
        for_each(store, keys::all_dead(), |key, _| {
            known.dead.push(client_of(&key)?);
            Ok(())
        })
        .await?;
        for_each(store, keys::fenced_groups(), |key, value| {
            let group = keys::key_number(&key).and_then(GroupId::new);
            let group = group.ok_or_else(|| records::damaged(&key, "the key has no group"))?;
            let record: FencedGroup = records::decode(&key, &value)?;
            known.fenced_groups.push((group, record.members.into_iter().filter_map(ClientId::new).collect()));
            Ok(())
        })
        .await?;
        Ok(known)
    }
}

fn client_of(key: &Key) -> Result<ClientId, StoreError> {
    let client = keys::key_number(key).and_then(ClientId::new);
    client.ok_or_else(|| records::damaged(key, "the key has no client"))
}
