//! The store in an embedded redb database: one file, one table, group commit.
//!
//! Reads run in the caller's thread: they find their pages in redb's cache or read a few 4 KiB pages of a local file. They all
//! read the table as the last commit has left it, which is opened once for each commit: to open it takes as long as to find
//! something in it.
//!
//! Invariant: the table that is read is that of the last commit before anybody is told of that commit.

use super::group_commit::{Engine, GroupCommit};
use super::{Batch, CommitError, Key, KeyRange, MetadataStore, StoreError, Value, Write};
use ::redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use parking_lot::RwLock;
use std::path::Path;
use std::sync::Arc;

const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("metadata");

/// Pages that redb keeps in memory, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A [`MetadataStore`] in one redb file, which no other process can have open at the same time.
pub struct RedbStore {
    committed: Arc<Committed>,
    commits: GroupCommit,
}

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The table as the last commit has left it.
struct Committed(RwLock<Arc<ReadTable>>);

impl Committed {
    fn read(database: &Database) -> Result<Arc<ReadTable>, ::redb::Error> {
        Ok(Arc::new(database.begin_read()?.open_table(TABLE)?))
    }

    fn table(&self) -> Arc<ReadTable> {
        self.0.read().clone()
    }
}

impl RedbStore {
    /// Opens the file, or makes it. After a crash the last durable commit is what it shows.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |cause: String| StoreError::Open { path: path.to_owned(), cause };
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| failed(error.to_string()))?;
        let committed = create_table(&database).map_err(|error| failed(error.to_string()))?;
        let committed = Arc::new(Committed(RwLock::new(committed)));
        let engine = RedbEngine { database, committed: committed.clone() };
        let commits = GroupCommit::start(engine).map_err(|error| failed(error.to_string()))?;
        Ok(RedbStore { committed, commits })
    }

    fn get_now(&self, key: &[u8]) -> Result<Option<Value>, ::redb::Error> {
        Ok(self.committed.table().get(key)?.map(|value| value.value().to_vec()))
    }

    fn range_now(&self, range: &KeyRange, limit: usize) -> Result<Vec<(Key, Value)>, ::redb::Error> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        let table = self.committed.table();
        let mut found = Vec::new();
        for entry in table.range(range.start.as_slice()..range.end.as_slice())?.take(limit) {
            let (key, value) = entry?;
            found.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(found)
    }
}

fn read_failed(error: ::redb::Error) -> StoreError {
    StoreError::Read(error.to_string())
}

impl MetadataStore for RedbStore {
    fn get(&self, key: &[u8]) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(ready(self.get_now(key).map_err(read_failed)))
    }

    fn range(&self, range: KeyRange, limit: usize) -> BoxFuture<'_, Result<Vec<(Key, Value)>, StoreError>> {
        Box::pin(ready(self.range_now(&range, limit).map_err(read_failed)))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'static, Result<(), CommitError>> {
        let answer = self.commits.submit(batch);
        answer.map(|answer| answer.unwrap_or(Err(StoreError::Closed.into()))).boxed()
    }
}

fn create_table(database: &Database) -> Result<Arc<ReadTable>, ::redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(TABLE)?;
    transaction.commit()?;
    Committed::read(database)
}

struct RedbEngine {
    database: Database,
    committed: Arc<Committed>,
}

impl RedbEngine {
    fn apply_group(&self, batches: &[Batch]) -> Result<Vec<Result<(), CommitError>>, ::redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut results = Vec::with_capacity(batches.len());
        let mut table = transaction.open_table(TABLE)?;
        for batch in batches {
            results.push(if apply(&mut table, batch)? { Ok(()) } else { Err(CommitError::Conflict) });
        }
        drop(table);
        if results.iter().any(Result::is_ok) {
            transaction.commit()?;
            *self.committed.0.write() = Committed::read(&self.database)?;
        } else {
            transaction.abort()?;
        }
        Ok(results)
    }
}

/// Applies one batch inside the group's transaction, if its conditions hold there.
fn apply(table: &mut Table<'_, &'static [u8], &'static [u8]>, batch: &Batch) -> Result<bool, ::redb::Error> {
    let holds = batch.holds::<::redb::Error>(
        |key| Ok(table.get(key)?.map(|value| value.value().to_vec())),
        |range| {
            Ok(range.start < range.end && table.range(range.start.as_slice()..range.end.as_slice())?.next().is_some())
        },
    )?;
    if holds {
        for write in &batch.writes {
            match write {
                Write::Put(key, value) => drop(table.insert(key.as_slice(), value.as_slice())?),
                Write::Delete(key) => drop(table.remove(key.as_slice())?),
            }
        }
    }
    Ok(holds)
}

impl Engine for RedbEngine {
    fn apply(&mut self, batches: &[Batch]) -> Result<Vec<Result<(), CommitError>>, StoreError> {
        self.apply_group(batches).map_err(|error| StoreError::Write(error.to_string()))
    }
}
