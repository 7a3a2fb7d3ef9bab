//! Exactly once: the last change of every slot of a session, with its answer.
//!
//! A client has one operation at a time in a slot and numbers them upwards. What fails changes nothing and is not
//! recorded, so numbers may be skipped; a number below the recorded one is a message that was overtaken.

use super::NamespaceError;
use crate::records::{self, OperationRecord};
use crate::store::{Transaction, keys};
use pfs_proto::metadata::OperationId;
use prost::Message;

/// What an operation was. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OperationKind {
    /// `CreateFile`.
    Create = 1,
    /// `MakeDirectory`.
    MakeDirectory = 2,
    /// `Rename`.
    Rename = 3,
    /// `DeleteFile`.
    Remove = 4,
    /// `UpdateMetadata` with a size.
    SetSize = 5,
    /// `UpdateMetadata` with times.
    SetTimes = 6,
    /// The server's own; never recorded.
    Internal = 7,
}

/// The stored answer, if the operation was done before. Makes the session a condition of the commit.
pub(super) async fn recall<T: Message + Default>(
    transaction: &mut Transaction<'_>,
    operation: OperationId,
    kind: OperationKind,
) -> Result<Option<T>, NamespaceError> {
    if transaction.get(keys::session(operation.client)).await?.is_none() {
        return Err(NamespaceError::NoSession(operation.client));
    }
    let key = keys::operation(operation.client, operation.slot);
    let Some(value) = transaction.get(key.clone()).await? else { return Ok(None) };
    let last: OperationRecord = records::decode(&key, &value)?;
    if last.sequence < operation.sequence {
        return Ok(None);
    }
    if last.sequence > operation.sequence {
        return Err(NamespaceError::Superseded { operation, last: last.sequence });
    }
    if last.operation != kind as u32 {
        return Err(NamespaceError::Reused(operation));
    }
    Ok(Some(records::decode(&key, &last.answer)?))
}

/// Stores the answer with the change.
pub(super) fn record(
    transaction: &mut Transaction<'_>,
    operation: OperationId,
    kind: OperationKind,
    answer: &impl Message,
) {
    let record =
        OperationRecord { sequence: operation.sequence, operation: kind as u32, answer: answer.encode_to_vec() };
    transaction.put(keys::operation(operation.client, operation.slot), record.encode_to_vec());
}
