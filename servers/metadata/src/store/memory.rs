//! A store in memory, for tests and for callers that need no durability.

use super::{Batch, CommitError, Key, KeyRange, MetadataStore, StoreError, Value, Write};
use futures::future::{BoxFuture, ready};
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// A [`MetadataStore`] that forgets everything at its end.
#[derive(Default)]
pub struct MemoryStore {
    entries: Mutex<BTreeMap<Key, Value>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn apply(&self, batch: Batch) -> Result<(), CommitError> {
        let mut entries = self.entries.lock();
        let holds: Result<bool, StoreError> =
            batch.holds(|key| Ok(entries.get(key).cloned()), |range| Ok(entries.range(bounds(range)).next().is_some()));
        if !holds? {
            return Err(CommitError::Conflict);
        }
        for write in batch.writes {
            match write {
                Write::Put(key, value) => entries.insert(key, value),
                Write::Delete(key) => entries.remove(&key),
            };
        }
        Ok(())
    }
}

fn bounds(range: &KeyRange) -> std::ops::Range<Key> {
    range.start.clone()..range.end.clone().max(range.start.clone())
}

impl MetadataStore for MemoryStore {
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        let value = self.entries.lock().get(key).cloned();
        Box::pin(ready(Ok(value)))
    }

    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Vec<(Key, Value)>, StoreError>> {
        let entries = self.entries.lock();
        let found =
            entries.range(bounds(&range)).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
        Box::pin(ready(Ok(found)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(ready(self.apply(batch)))
    }
}
