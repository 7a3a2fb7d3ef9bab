//! Sizes, slots and times.
//!
//! A size only grows inside its generation, and slots are only added: reports may come late, twice and in any order.

use super::{Change, NamespaceError, OperationKind, status};
use crate::records::{self, Attributes, Nothing, Snapshot};
use crate::store::{Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::token::message::FileSize;
use pfs_proto::metadata::{FileMetadata, SlotSet};
use prost::Message;

/// What is known of a file beyond its stored attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The largest size; of an older generation it says nothing.
    pub size: Option<FileSize>,
    /// Slots with durable objects.
    pub committed_slots: SlotSet,
    /// When it was last written, in nanoseconds since 1970-01-01 UTC; 0: not known.
    pub modified_ns: u64,
}

impl Report {
    /// Takes over what another report says.
    pub fn add(&mut self, other: &Report) {
        self.size = self.size.max(other.size);
        self.committed_slots.extend(&other.committed_slots);
        self.modified_ns = self.modified_ns.max(other.modified_ns);
    }

    /// Adds to what the store says of the file.
    pub fn complete(&self, metadata: &mut FileMetadata) {
        if let Some(size) = self.size
            && size.generation == metadata.size.generation
        {
            metadata.size.learn(size);
        }
        metadata.committed_slots.extend(&self.committed_slots);
        metadata.modified_ns = metadata.modified_ns.max(self.modified_ns);
        metadata.changed_ns = metadata.changed_ns.max(self.modified_ns);
    }

    fn apply_to(&self, attributes: &mut Attributes) -> Result<(), String> {
        if let Some(size) = self.size
            && size.generation == attributes.size_generation
        {
            attributes.size_bytes = attributes.size_bytes.max(size.bytes);
        }
        let mut slots = attributes.slots()?;
        slots.extend(&self.committed_slots);
        attributes.committed_slots = slots.into_bytes();
        attributes.modified_ns = attributes.modified_ns.max(self.modified_ns);
        attributes.changed_ns = attributes.changed_ns.max(self.modified_ns);
        Ok(())
    }
}

/// The attributes, as a condition of the commit.
pub(super) async fn attributes(transaction: &mut Transaction<'_>, file: FileId) -> Result<Attributes, NamespaceError> {
    let key = keys::attributes(file);
    let value = transaction.get(key.clone()).await?.ok_or(NamespaceError::NoFile(file))?;
    Ok(records::decode(&key, &value)?)
}

/// Writes a report down.
pub(super) struct RecordReport<'a> {
    pub(super) file: FileId,
    pub(super) report: &'a Report,
}

impl Change for RecordReport<'_> {
    const KIND: OperationKind = OperationKind::Internal;
    type Answer = Nothing;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Nothing, NamespaceError> {
        let before = attributes(transaction, self.file).await?;
        let mut after = before.clone();
        self.report.apply_to(&mut after).map_err(|error| records::damaged(&keys::attributes(self.file), error))?;
        if after != before {
            transaction.put(keys::attributes(self.file), after.encode_to_vec());
        }
        Ok(Nothing {})
    }
}

impl super::Namespace {
    /// Makes a report durable. Repeating it changes nothing.
    pub async fn record(&self, file: FileId, report: &Report) -> Result<(), NamespaceError> {
        self.run(None, &RecordReport { file, report }).await.map(|Nothing {}| ())
    }
}

/// Sets the times of a file or directory.
#[derive(Clone, Debug)]
pub struct SetTimes {
    /// Of what.
    pub file: FileId,
    /// Nanoseconds since 1970-01-01 UTC.
    pub modified_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for SetTimes {
    const KIND: OperationKind = OperationKind::SetTimes;
    type Answer = Snapshot;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Snapshot, NamespaceError> {
        let mut attributes = attributes(transaction, self.file).await?;
        attributes.modified_ns = self.modified_ns;
        attributes.changed_ns = self.now_ns;
        transaction.put(keys::attributes(self.file), attributes.encode_to_vec());
        status::snapshot(transaction, self.file, false).await
    }
}
