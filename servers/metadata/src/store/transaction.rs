//! A change being built: what it read becomes its conditions, what it wrote its batch.
//!
//! Invariant: if the commit succeeds, every read of the transaction still had the value that the change was based
//! on. So a change is written as if it were alone, and is tried again when it was not.

use super::{Batch, CommitError, Condition, Key, KeyRange, MetadataStore, StoreError, Value, Write};
use std::collections::BTreeMap;

/// Reads with memory, and writes that wait for the commit.
pub struct Transaction<'a> {
    store: &'a dyn MetadataStore,
    read: BTreeMap<Key, Option<Value>>,
    empty: Vec<KeyRange>,
    written: BTreeMap<Key, Option<Value>>,
}

impl<'a> Transaction<'a> {
    /// A transaction that has seen nothing yet.
    pub fn new(store: &'a dyn MetadataStore) -> Self {
        Transaction { store, read: BTreeMap::new(), empty: Vec::new(), written: BTreeMap::new() }
    }

    /// A key's value, the transaction's own writes included.
    pub async fn get(&mut self, key: Key) -> Result<Option<Value>, StoreError> {
        if let Some(value) = self.written.get(&key).or_else(|| self.read.get(&key)) {
            return Ok(value.clone());
        }
        let value = self.store.get(&key).await?;
        self.read.insert(key, value.clone());
        Ok(value)
    }

    /// A key's value for an answer only: what is committed does not depend on it.
    pub async fn peek(&self, key: &Key) -> Result<Option<Value>, StoreError> {
        match self.written.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key).await,
        }
    }

    /// Whether a range has no key in the store. The transaction's own writes are not looked at.
    pub async fn is_empty(&mut self, range: KeyRange) -> Result<bool, StoreError> {
        let empty = self.store.range(range.clone(), 1).await?.is_empty();
        if empty {
            self.empty.push(range);
        }
        Ok(empty)
    }

    /// Sets a key.
    pub fn put(&mut self, key: Key, value: Value) {
        self.written.insert(key, Some(value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Key) {
        self.written.insert(key, None);
    }

    /// Commits. Nothing written means nothing to commit: what was read was true when it was read.
    pub async fn commit(self) -> Result<(), CommitError> {
        if self.written.is_empty() {
            return Ok(());
        }
        let read = self.read.into_iter().map(|(key, value)| Condition::Is { key, value });
        let batch = Batch {
            conditions: read.chain(self.empty.into_iter().map(Condition::Empty)).collect(),
            writes: self
                .written
                .into_iter()
                .map(|(key, value)| match value {
                    Some(value) => Write::Put(key, value),
                    None => Write::Delete(key),
                })
                .collect(),
        };
        self.store.commit(batch).await
    }
}
