//! One suite for every backend: what the trait promises, each promise one function.

use super::{Batch, CommitError, Condition, Key, KeyRange, MemoryStore, MetadataStore, RedbStore, Value, for_each};
use std::sync::Arc;

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(key.into(), value.into());
    batch
}

fn is(key: &str, value: Option<&str>) -> Condition {
    Condition::Is { key: key.into(), value: value.map(Value::from) }
}

fn texts(entries: &[(Key, Value)]) -> Vec<(&str, &str)> {
    entries
        .iter()
        .map(|(key, value)| (std::str::from_utf8(key).unwrap(), std::str::from_utf8(value).unwrap()))
        .collect()
}

async fn ranges_are_ordered_and_limited(store: &dyn MetadataStore) {
    for (key, value) in [("d/b", "2"), ("d/a", "1"), ("e", "9"), ("d/c", "3"), ("c", "0")] {
        store.commit(put(key, value)).await.unwrap();
    }
    let range = KeyRange::prefix(b"d/");
    let all = store.range(range.clone(), 10).await.unwrap();
    assert_eq!(texts(&all), [("d/a", "1"), ("d/b", "2"), ("d/c", "3")]);
    let two = store.range(range.clone(), 2).await.unwrap();
    assert_eq!(texts(&two), [("d/a", "1"), ("d/b", "2")]);
    let rest = store.range(range.clone().after(b"d/b"), 2).await.unwrap();
    assert_eq!(texts(&rest), [("d/c", "3")]);
    assert!(store.range(range.after(b"d/zzz"), 2).await.unwrap().is_empty());
    assert!(store.range(KeyRange { start: vec![9], end: vec![1] }, 2).await.unwrap().is_empty());
}

async fn a_batch_is_applied_whole_or_not_at_all(store: &dyn MetadataStore) {
    store.commit(put("w/old", "x")).await.unwrap();
    let mut batch = put("w/new", "y");
    batch.delete(b"w/old".to_vec());
    batch.conditions = vec![is("w/old", Some("x")), is("w/new", Some("wrong"))];
    assert!(matches!(store.commit(batch.clone()).await, Err(CommitError::Conflict)));
    assert_eq!(store.get(b"w/old").await.unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(store.get(b"w/new").await.unwrap(), None);

    batch.conditions = vec![is("w/old", Some("x")), is("w/new", None)];
    store.commit(batch.clone()).await.unwrap();
    assert_eq!(store.get(b"w/old").await.unwrap(), None);
    assert_eq!(store.get(b"w/new").await.unwrap().as_deref(), Some(&b"y"[..]));
    assert!(matches!(store.commit(batch).await, Err(CommitError::Conflict)), "the same conditions hold only once");
}

async fn an_empty_range_is_a_condition(store: &dyn MetadataStore) {
    let mut batch = put("r", "gone");
    batch.conditions = vec![Condition::Empty(KeyRange::prefix(b"r/"))];
    store.commit(batch.clone()).await.unwrap();
    store.commit(put("r/child", "1")).await.unwrap();
    assert!(matches!(store.commit(batch).await, Err(CommitError::Conflict)));
}

/// Batches queued together are checked one after the other, not all against the state before them.
async fn of_many_at_once_exactly_one_wins(store: Arc<dyn MetadataStore>) {
    let attempts = (0..50).map(|i| {
        let mut batch = put("once", &i.to_string());
        batch.conditions = vec![is("once", None)];
        store.commit(batch)
    });
    let results = futures::future::join_all(attempts).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(store.get(b"once").await.unwrap().as_deref(), Some(&b"0"[..]), "the first queued is the first applied");
}

async fn commits_keep_their_order(store: &dyn MetadataStore) {
    let commits: Vec<_> = (0..200).map(|i| store.commit(put("last", &i.to_string()))).collect();
    futures::future::join_all(commits).await;
    assert_eq!(store.get(b"last").await.unwrap().as_deref(), Some(&b"199"[..]));
}

async fn pages_cover_a_range(store: &dyn MetadataStore) {
    let mut batch = Batch::default();
    for i in 0..2000u32 {
        batch.put([b"page/".as_slice(), &i.to_be_bytes()].concat(), Vec::new());
    }
    store.commit(batch).await.unwrap();
    let mut count = 0u32;
    for_each(store, KeyRange::prefix(b"page/"), |key, _| {
        assert_eq!(key[5..], count.to_be_bytes());
        count += 1;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(count, 2000);
}

async fn all(store: Arc<dyn MetadataStore>) {
    ranges_are_ordered_and_limited(&*store).await;
    a_batch_is_applied_whole_or_not_at_all(&*store).await;
    an_empty_range_is_a_condition(&*store).await;
    commits_keep_their_order(&*store).await;
    pages_cover_a_range(&*store).await;
    of_many_at_once_exactly_one_wins(store).await;
}

#[tokio::test]
async fn memory_keeps_the_promises() {
    all(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn redb_keeps_the_promises() {
    let directory = tempfile::tempdir().unwrap();
    all(Arc::new(RedbStore::open(&directory.path().join("store")).unwrap())).await;
}

#[tokio::test]
async fn redb_keeps_what_was_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = RedbStore::open(&path).unwrap();
    store.commit(put("kept", "yes")).await.unwrap();
    assert!(RedbStore::open(&path).is_err(), "two processes must not have one store open");
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.get(b"kept").await.unwrap().as_deref(), Some(&b"yes"[..]));
}
