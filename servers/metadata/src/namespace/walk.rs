//! From a path to an inode. Every name on the way becomes a condition of the commit.

use super::NamespaceError;
use crate::records::{self, Attributes, Entry, Kind};
use crate::store::{Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;
use prost::Message;

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) file: FileId,
    pub(super) kind: Kind,
}

impl Found {
    const ROOT: Found = Found { file: keys::ROOT, kind: Kind::Directory };

    pub(super) fn is_directory(self) -> bool {
        self.kind == Kind::Directory
    }

    pub(super) fn entry(self) -> Vec<u8> {
        Entry { file: self.file.get(), kind: self.kind.into() }.encode_to_vec()
    }
}

/// A name in its directory, and what it means if it exists.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) directory: FileId,
    pub(super) name: &'a str,
    pub(super) found: Option<Found>,
}

/// What a name in a directory means.
pub(super) async fn look_up(
    transaction: &mut Transaction<'_>,
    directory: FileId,
    name: &str,
) -> Result<Option<Found>, NamespaceError> {
    let key = keys::entry(directory, name);
    let Some(value) = transaction.get(key.clone()).await? else { return Ok(None) };
    let entry: Entry = records::decode(&key, &value)?;
    let file = FileId::new(entry.file).ok_or_else(|| records::damaged(&key, "the entry names file 0"))?;
    let kind = Kind::try_from(entry.kind).map_err(|error| records::damaged(&key, error.to_string()))?;
    Ok(Some(Found { file, kind }))
}

/// What a path means.
pub(super) async fn find(transaction: &mut Transaction<'_>, path: &PfsPath) -> Result<Found, NamespaceError> {
    let mut found = Found::ROOT;
    let mut walked = PfsPath::root();
    for name in path.names() {
        if !found.is_directory() {
            return Err(NamespaceError::NotADirectory(walked));
        }
        walked = walked.join(name)?;
        found =
            look_up(transaction, found.file, name).await?.ok_or_else(|| NamespaceError::NotFound(walked.clone()))?;
    }
    Ok(found)
}

/// The directory that a path means.
pub(super) async fn find_directory(
    transaction: &mut Transaction<'_>,
    path: &PfsPath,
) -> Result<FileId, NamespaceError> {
    match find(transaction, path).await? {
        found if found.is_directory() => Ok(found.file),
        _ => Err(NamespaceError::NotADirectory(path.clone())),
    }
}

/// The place of a path's last name; the directories before it must exist.
pub(super) async fn find_place<'a>(
    transaction: &mut Transaction<'_>,
    path: &'a PfsPath,
) -> Result<Place<'a>, NamespaceError> {
    let (parent, name) = path.split_last()?;
    let directory = find_directory(transaction, &parent).await?;
    let found = look_up(transaction, directory, name).await?;
    Ok(Place { directory, name, found })
}

/// Sets a directory's times. Two changes in one directory must not collide over them, so this reads nothing: the
/// later commit's time stays.
pub(super) fn touch_directory(transaction: &mut Transaction<'_>, directory: FileId, now_ns: u64) {
    transaction.put(keys::attributes(directory), Attributes::new(now_ns).encode_to_vec());
}
