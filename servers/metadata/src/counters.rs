//! Numbers that are handed out once, over all restarts.
//!
//! Invariant: the stored number of a counter is above every number that was handed out. Numbers are reserved in
//! blocks, so that most of them cost no commit; the rest of a block is lost at a restart.

use crate::store::keys::{self, Counter};
use crate::store::{Batch, CommitError, Condition, MetadataStore, StoreError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Numbers reserved with one commit.
const BLOCK: u64 = 4096;

/// All counters of a store.
pub(crate) struct Counters {
    store: Arc<dyn MetadataStore>,
    blocks: Mutex<BTreeMap<u8, Range<u64>>>,
}

impl Counters {
    pub(crate) fn new(store: Arc<dyn MetadataStore>) -> Self {
        Counters { store, blocks: Mutex::default() }
    }

    /// A number that was never handed out. Later calls give larger numbers.
    pub(crate) async fn take(&self, counter: Counter) -> Result<u64, StoreError> {
        loop {
            if let Some(number) = self.blocks.lock().get_mut(&(counter as u8)).and_then(Iterator::next) {
                return Ok(number);
            }
            let block = self.reserve(counter, BLOCK).await?;
            let mut blocks = self.blocks.lock();
            let current = blocks.entry(counter as u8).or_insert(0..0);
            // Somebody else may have reserved a later block meanwhile: numbers never go back.
            if current.end <= block.start {
                *current = block;
            }
        }
    }

    /// Reserves numbers durably.
    pub(crate) async fn reserve(&self, counter: Counter, count: u64) -> Result<Range<u64>, StoreError> {
        let key = keys::counter(counter);
        loop {
            let before = self.store.get(&key).await?;
            let start = match &before {
                None => counter.first(),
                Some(bytes) => u64::from_be_bytes(
                    bytes.as_slice().try_into().map_err(|_| crate::records::damaged(&key, "not 8 bytes"))?,
                ),
            };
            let end = start + count;
            let mut batch = Batch::default();
            batch.conditions.push(Condition::Is { key: key.clone(), value: before });
            batch.put(key.clone(), end.to_be_bytes().to_vec());
            match self.store.commit(batch).await {
                Ok(()) => return Ok(start..end),
                Err(CommitError::Conflict) => {}
                Err(CommitError::Store(error)) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use std::collections::BTreeSet;

    #[tokio::test]
    async fn numbers_are_handed_out_once_over_restarts() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            let counters = Counters::new(store.clone());
            let taken = futures::future::join_all((0..BLOCK + 10).map(|_| counters.take(Counter::File))).await;
            for number in taken {
                assert!(seen.insert(number.unwrap()), "a number was handed out twice");
            }
        }
        assert_eq!(seen.first(), Some(&2), "1 is the root");
    }
}
