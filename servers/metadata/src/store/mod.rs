//! The transactional key–value store below everything that survives a restart.
//!
//! Invariants:
//! * a commit is answered only when it is durable, and a read sees only durable commits;
//! * a batch is applied whole or not at all, and only if every one of its conditions holds at that moment:
//!   what a change was based on is named in its batch, so changes need no lock;
//! * batches are applied in the order in which [`MetadataStore::commit`] was called.
//!
//! The trait asks for what both an embedded B-tree and a networked engine (etcd: ranges, compares, puts, deletes)
//! can do: small keys, small transactions, no cursors, no callbacks inside a transaction.

mod group_commit;
pub mod keys;
mod memory;
mod redb;
#[cfg(test)]
mod suite;
mod transaction;

pub use self::memory::MemoryStore;
pub use self::redb::RedbStore;
pub use self::transaction::Transaction;

use futures::future::BoxFuture;
use std::path::PathBuf;

/// A key; [`keys`] has the byte maps.
pub type Key = Vec<u8>;
/// A value; an encoded record of [`crate::records`].
pub type Value = Vec<u8>;

/// The half-open range of keys `[start, end)` in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Key,
    /// First key after the range.
    pub end: Key,
}

impl KeyRange {
    /// Every key that begins with `prefix`, which must not be empty or all ones.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        assert!(!end.is_empty(), "a prefix has a byte below 255");
        KeyRange { start: prefix.to_vec(), end }
    }

    /// The part of the range behind `key`.
    pub fn after(mut self, key: &[u8]) -> Self {
        let mut next = key.to_vec();
        next.push(0);
        self.start = self.start.max(next);
        self
    }
}

/// What must be true for a batch to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key has exactly this value, or none.
    Is {
        /// The key.
        key: Key,
        /// Its value; nothing: the key is absent.
        value: Option<Value>,
    },
    /// No key of the range is present.
    Empty(KeyRange),
}

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(Key, Value),
    /// Removes a key, if it is there.
    Delete(Key),
}

/// Writes that are applied together, if all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// What must be true.
    pub conditions: Vec<Condition>,
    /// What is done; a key occurs at most once.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Adds a put.
    pub fn put(&mut self, key: Key, value: Value) -> &mut Self {
        self.writes.push(Write::Put(key, value));
        self
    }

    /// Adds a delete.
    pub fn delete(&mut self, key: Key) -> &mut Self {
        self.writes.push(Write::Delete(key));
        self
    }

    /// Whether all conditions hold in the state that `get` and `any_in` show.
    fn holds<E>(
        &self,
        get: impl Fn(&[u8]) -> Result<Option<Value>, E>,
        any_in: impl Fn(&KeyRange) -> Result<bool, E>,
    ) -> Result<bool, E> {
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Is { key, value } => get(key)? == *value,
                Condition::Empty(range) => !any_in(range)?,
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Why the store could not be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store's file can not be opened.
    #[error("the metadata store {path} can not be opened: {cause}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The engine's words.
        cause: String,
    },
    /// A read failed.
    #[error("a read of the metadata store failed: {0}")]
    Read(String),
    /// A durable commit failed; whether it is on the disk is not known.
    #[error("a commit to the metadata store failed: {0}; restart the server when the disk is well again")]
    Write(String),
    /// The commit thread has ended.
    #[error("the metadata store is closed")]
    Closed,
    /// A stored record can not be read.
    #[error("the metadata store holds a damaged record under key {key:02x?}: {problem}")]
    Damaged {
        /// The key's bytes.
        key: Key,
        /// What is wrong.
        problem: String,
    },
}

/// Why a batch was not applied.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition did not hold; nothing was changed.
    #[error("another change came first")]
    Conflict,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A transactional store of ordered keys.
pub trait MetadataStore: Send + Sync + 'static {
    /// The value of one key.
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;

    /// The first `limit` keys of a range with their values, in order, from one consistent state.
    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Vec<(Key, Value)>, StoreError>>;

    /// Applies a batch. The batch has its place in the order of commits when this returns; the future ends when
    /// it is durable, or refused. A dropped future does not take the batch back.
    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<(), CommitError>>;
}

/// Reads a whole range in pages, handing every entry to `each`.
pub async fn for_each(
    store: &dyn MetadataStore,
    mut range: KeyRange,
    mut each: impl FnMut(Key, Value) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    const PAGE_ENTRIES: usize = 1000;
    loop {
        let page = store.range(range.clone(), PAGE_ENTRIES).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        range = range.after(last);
        let full = page.len() == PAGE_ENTRIES;
        for (key, value) in page {
            each(key, value)?;
        }
        if !full {
            return Ok(());
        }
    }
}
