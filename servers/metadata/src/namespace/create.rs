//! A file: name, inode and recipe in one step.

use super::walk::{Found, find_place, touch_directory};
use super::{Change, NamespaceError, OperationKind, Tally, status};
use crate::records::{Attributes, Inode, Kind, Snapshot};
use crate::store::{Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::layout::Recipe;
use pfs_core::path::PfsPath;
use prost::Message;

/// Makes a file, or finds the one that is there.
#[derive(Clone, Debug)]
pub struct CreateFile {
    /// Its name.
    pub path: PfsPath,
    /// Refuse a name that is taken.
    pub exclusive: bool,
    /// The id for a new file.
    pub file: FileId,
    /// The layout for a new file, or why there can be none now; a file that exists keeps its own.
    pub recipe: Result<Recipe, NamespaceError>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for CreateFile {
    const KIND: OperationKind = OperationKind::Create;
    type Answer = Snapshot;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Snapshot, NamespaceError> {
        let place = find_place(transaction, &self.path).await?;
        match place.found {
            Some(_) if self.exclusive => Err(NamespaceError::AlreadyExists(self.path.clone())),
            Some(found) if found.is_directory() => Err(NamespaceError::IsADirectory(self.path.clone())),
            Some(found) => status::snapshot(transaction, found.file, false).await,
            None => {
                let recipe = self.recipe.as_ref().map_err(Clone::clone)?;
                let made = Found { file: self.file, kind: Kind::File };
                let inode = Inode::file(self.now_ns, recipe);
                let attributes = Attributes::new(self.now_ns);
                transaction.put(keys::entry(place.directory, place.name), made.entry());
                transaction.put(keys::inode(self.file), inode.encode_to_vec());
                transaction.put(keys::attributes(self.file), attributes.encode_to_vec());
                touch_directory(transaction, place.directory, self.now_ns);
                let (inode, attributes) = (Some(inode), Some(attributes));
                Ok(Snapshot { file: self.file.get(), inode, attributes, created: true, directories_made: 0 })
            }
        }
    }

    fn tally(&self, answer: &Snapshot) -> Tally {
        Tally { files_made: u64::from(answer.created), ..Tally::default() }
    }
}
