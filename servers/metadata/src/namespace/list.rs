//! Listing a directory, a page at a time.

use super::walk::{find, find_directory};
use super::{Namespace, NamespaceError};
use crate::records::{self, Entry};
use crate::store::{Transaction, keys};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;

/// One page of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamePage {
    /// Names in the order of their bytes, and what they mean.
    pub names: Vec<(String, FileId)>,
    /// More names follow.
    pub more: bool,
}

impl Namespace {
    /// What a name means.
    pub async fn find(&self, path: &PfsPath) -> Result<FileId, NamespaceError> {
        Ok(find(&mut Transaction::new(&**self.store()), path).await?.file)
    }

    /// The first `limit` names behind `after`. A name that comes or goes between two pages may be there or not; every
    /// other name is there once.
    pub async fn list(&self, path: &PfsPath, after: Option<&str>, limit: usize) -> Result<NamePage, NamespaceError> {
        let directory = find_directory(&mut Transaction::new(&**self.store()), path).await?;
        let mut range = keys::entries(directory);
        if let Some(name) = after {
            range = range.after(&keys::entry(directory, name));
        }
        let found = self.store().range(range, limit + 1).await?;
        let mut page = NamePage { names: Vec::with_capacity(found.len()), more: found.len() > limit };
        for (key, value) in found.into_iter().take(limit) {
            let name = keys::entry_name(&key).ok_or_else(|| records::damaged(&key, "the name is not text"))?;
            let entry: Entry = records::decode(&key, &value)?;
            let file = FileId::new(entry.file).ok_or_else(|| records::damaged(&key, "the entry names file 0"))?;
            page.names.push((name.to_owned(), file));
        }
        Ok(page)
    }
}
