//! Rename, by the rules of POSIX.

use super::remove::{tally, unlink};
use super::walk::{find_place, touch_directory};
use super::{Change, NamespaceError, OperationKind, Tally};
use crate::records::Unlinked;
use crate::store::{Transaction, keys};
use pfs_core::path::PfsPath;

/// Gives a file or directory another name, in one step. What had the new name before is replaced: a file by a file,
/// an empty directory by a directory.
#[derive(Clone, Debug)]
pub struct Rename {
    /// The name it has.
    pub from: PfsPath,
    /// The name it gets.
    pub to: PfsPath,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for Rename {
    const KIND: OperationKind = OperationKind::Rename;
    type Answer = Unlinked;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Unlinked, NamespaceError> {
        let Rename { from, to, now_ns } = self;
        let source = find_place(transaction, from).await?;
        let moved = source.found.ok_or_else(|| NamespaceError::NotFound(from.clone()))?;
        if from == to {
            return Ok(Unlinked::default());
        }
        if moved.is_directory() && to.starts_with(from) {
            return Err(NamespaceError::BelowItself { from: from.clone(), to: to.clone() });
        }
        let target = find_place(transaction, to).await?;
        let replaced = match target.found {
            None => Unlinked::default(),
            Some(found) if found.is_directory() && !moved.is_directory() => {
                return Err(NamespaceError::IsADirectory(to.clone()));
            }
            Some(found) if !found.is_directory() && moved.is_directory() => {
                return Err(NamespaceError::NotADirectory(to.clone()));
            }
            Some(found) => unlink(transaction, found, to).await?,
        };
        transaction.delete(keys::entry(source.directory, source.name));
        transaction.put(keys::entry(target.directory, target.name), moved.entry());
        touch_directory(transaction, source.directory, *now_ns);
        touch_directory(transaction, target.directory, *now_ns);
        Ok(replaced)
    }

    fn tally(&self, answer: &Unlinked) -> Tally {
        tally(answer)
    }
}
