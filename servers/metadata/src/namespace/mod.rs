//! Names, inodes, sizes and times: every durable change of the namespace, and the reads.
//!
//! Invariants:
//! * a name is in one directory and means one inode; an inode has one name, or is marked an orphan, or is the root;
//! * an inode has attributes; a directory that is removed has no names in it;
//! * a change commits with the conditions that every name it walked over still meant the same, so that all changes
//!   together are as if they had been made one after the other;
//! * the answer of an operation is stored in the transaction of its change; the same operation again gets the same
//!   answer and changes nothing. Without the session's record nothing of a session commits.
//!
//! Each change is one type that implements [`Change`] and is written as if it were alone; [`Namespace::run`] tries
//! it again when another came first.

mod create;
mod directory;
mod error;
mod list;
mod operation;
mod orphans;
mod remove;
mod rename;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod truncate;
mod update;
mod walk;

pub use create::CreateFile;
pub use directory::MakeDirectory;
pub use error::NamespaceError;
pub use list::NamePage;
pub use operation::OperationKind;
pub use orphans::Reap;
pub use remove::Remove;
pub use rename::Rename;
pub use sessions::{AddSession, EndSession, FenceGroup, ForgetDead, ForgetGroup, KnownSessions};
pub use status::metadata_of;
pub use truncate::{BeginTruncation, FinishTruncation, PendingTruncation};
pub use update::{Report, SetTimes};

use crate::records::{self, Inode, Kind};
use crate::store::{CommitError, MetadataStore, StoreError, Transaction, for_each, keys};
use pfs_core::ids::FileId;
use pfs_proto::metadata::OperationId;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a change is tried while others come first. Of those that collide one always wins, so this many losses in
/// a row mean a name that hundreds of callers fight for.
const ATTEMPTS_MAX: usize = 1000;

/// A durable change of the namespace.
pub trait Change: Sync {
    /// Says which change it is, beside the stored answer.
    const KIND: OperationKind;
    /// What it answers.
    type Answer: Message + Default;

    /// Reads what it needs and writes what it changes.
    fn apply(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = Result<Self::Answer, NamespaceError>> + Send;

    /// What it changed in the numbers of files and directories.
    fn tally(&self, _answer: &Self::Answer) -> Tally {
        Tally::default()
    }
}

/// Changes of the numbers of files and directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Inodes of files made.
    pub files_made: u64,
    /// Inodes of files gone.
    pub files_gone: u64,
    /// Inodes of directories made.
    pub directories_made: u64,
    /// Inodes of directories gone.
    pub directories_gone: u64,
}

/// The namespace in a store.
pub struct Namespace {
    store: Arc<dyn MetadataStore>,
    files: AtomicU64,
    directories: AtomicU64,
}

impl Namespace {
    /// Opens the namespace; an empty store gets its root directory. Counts all inodes once.
    pub async fn open(store: Arc<dyn MetadataStore>, now_ns: u64) -> Result<Self, StoreError> {
        if store.get(&keys::inode(keys::ROOT)).await?.is_none() {
            let mut root = Transaction::new(&*store);
            root.put(keys::inode(keys::ROOT), Inode::directory(now_ns).encode_to_vec());
            root.put(keys::attributes(keys::ROOT), records::Attributes::new(now_ns).encode_to_vec());
            root.commit().await.map_err(|error| match error {
                CommitError::Conflict => StoreError::Write("the root directory was made twice".into()),
                CommitError::Store(error) => error,
            })?;
        }
        let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
        for_each(&*store, keys::inodes(), |key, value| {
            let kind = records::decode::<Inode>(&key, &value)?.kind();
            *counts.entry(kind).or_default() += 1;
            Ok(())
        })
        .await?;
        let count = |kind| AtomicU64::new(counts.get(&kind).copied().unwrap_or(0));
        Ok(Namespace { files: count(Kind::File), directories: count(Kind::Directory), store })
    }

    /// The store, for what is kept beside the namespace.
    pub fn store(&self) -> &Arc<dyn MetadataStore> {
        &self.store
    }

    /// Inodes of files and of directories.
    pub fn counts(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.directories.load(Ordering::Relaxed))
    }

    /// Makes a change, durably and once.
    pub async fn run<C: Change>(
        &self,
        operation: Option<OperationId>,
        change: &C,
    ) -> Result<C::Answer, NamespaceError> {
        for _ in 0..ATTEMPTS_MAX {
            let mut transaction = Transaction::new(&*self.store);
            if let Some(operation) = operation
                && let Some(answer) = operation::recall(&mut transaction, operation, C::KIND).await?
            {
                return Ok(answer);
            }
            let answer = change.apply(&mut transaction).await?;
            if let Some(operation) = operation {
                operation::record(&mut transaction, operation, C::KIND, &answer);
            }
            match transaction.commit().await {
                Ok(()) => {
                    self.count(change.tally(&answer));
                    return Ok(answer);
                }
                Err(CommitError::Conflict) => {}
                Err(CommitError::Store(error)) => return Err(error.into()),
            }
        }
        Err(NamespaceError::Contended)
    }

    fn count(&self, tally: Tally) {
        self.files.fetch_add(tally.files_made, Ordering::Relaxed);
        self.files.fetch_sub(tally.files_gone, Ordering::Relaxed);
        self.directories.fetch_add(tally.directories_made, Ordering::Relaxed);
        self.directories.fetch_sub(tally.directories_gone, Ordering::Relaxed);
    }

    /// Whether a file exists and has a name, or nothing when it does not exist at all.
    pub async fn is_linked(&self, file: FileId) -> Result<Option<bool>, NamespaceError> {
        // The mark first: it is made before the inode goes.
        let orphan = self.store.get(&keys::orphan(file)).await?.is_some();
        let inode = self.store.get(&keys::inode(file)).await?;
        Ok(inode.map(|_| !orphan))
    }
}
