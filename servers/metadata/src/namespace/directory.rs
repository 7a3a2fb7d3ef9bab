//! Directories.

use super::walk::{Found, look_up, touch_directory};
use super::{Change, NamespaceError, OperationKind, Tally, status};
use crate::records::{Attributes, Inode, Kind, Snapshot};
use crate::store::{Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;
use prost::Message;

/// Makes a directory, and those above it if asked to.
#[derive(Clone, Debug)]
pub struct MakeDirectory {
    /// Its name.
    pub path: PfsPath,
    /// Make missing directories above it too, and accept one that exists.
    pub parents: bool,
    /// An id for each name of the path.
    pub ids: Vec<FileId>,
    /// Nanoseconds since 1970-01-01 UTC.
    pub now_ns: u64,
}

impl Change for MakeDirectory {
    const KIND: OperationKind = OperationKind::MakeDirectory;
    type Answer = Snapshot;

    async fn apply(&self, transaction: &mut Transaction<'_>) -> Result<Snapshot, NamespaceError> {
        let last = self.path.names().count().checked_sub(1);
        let (mut directory, mut walked, mut made) = (keys::ROOT, PfsPath::root(), 0u64);
        if last.is_none() && !self.parents {
            return Err(NamespaceError::AlreadyExists(self.path.clone()));
        }
        for ((index, name), id) in self.path.names().enumerate().zip(&self.ids) {
            walked = walked.join(name)?;
            directory = match look_up(transaction, directory, name).await? {
                Some(_) if Some(index) == last && !self.parents => return Err(NamespaceError::AlreadyExists(walked)),
                Some(found) if found.is_directory() => found.file,
                Some(_) if Some(index) == last => return Err(NamespaceError::AlreadyExists(walked)),
                Some(_) => return Err(NamespaceError::NotADirectory(walked)),
                None if Some(index) == last || self.parents => {
                    make(transaction, directory, name, *id, self.now_ns);
                    made += 1;
                    *id
                }
                None => return Err(NamespaceError::NotFound(walked)),
            };
        }
        let mut answer = status::snapshot(transaction, directory, made > 0).await?;
        answer.directories_made = made;
        Ok(answer)
    }

    fn tally(&self, answer: &Snapshot) -> Tally {
        Tally { directories_made: answer.directories_made, ..Tally::default() }
    }
}

fn make(transaction: &mut Transaction<'_>, parent: FileId, name: &str, id: FileId, now_ns: u64) {
    let made = Found { file: id, kind: Kind::Directory };
    touch_directory(transaction, parent, now_ns);
    transaction.put(keys::entry(parent, name), made.entry());
    transaction.put(keys::inode(id), Inode::directory(now_ns).encode_to_vec());
    transaction.put(keys::attributes(id), Attributes::new(now_ns).encode_to_vec());
}
