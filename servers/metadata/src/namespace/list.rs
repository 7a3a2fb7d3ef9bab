//! Listing a directory, a page at a time.

use super::walk::find_directory;
use super::{Namespace, NamespaceError, metadata_of, status};
use crate::records::{self, Entry};
use crate::store::{Key, Transaction, Value, keys};
use pfs_core::ids::FileId;
use pfs_core::path::PfsPath;
use pfs_proto::metadata::{DirectoryEntry, DirectoryPage};
use prost::Message;

/// Entries after which a long listing lets other work run.
const YIELD_ENTRIES: usize = 64;
/// Bytes of records after which a page ends early, so that it fits one message: recipes can be long.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Namespace {
    /// The first `limit` names behind `after`, fewer if they are large. A name that comes or goes meanwhile may be
    /// there or not; every other name is there once.
    pub async fn list(
        &self,
        path: &PfsPath,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DirectoryPage, NamespaceError> {
        let mut transaction = Transaction::new(&**self.store());
        let directory = find_directory(&mut transaction, path).await?;
        let mut range = keys::entries(directory);
        if let Some(name) = after {
            range = range.after(&keys::entry(directory, name));
        }
        loop {
            let found = self.store().range(range.clone(), limit + 1).await?;
            let page = page(&transaction, &found, limit).await?;
            match found.get(limit - 1) {
                // Every name of this page went while it was read; more follow.
                Some((last, _)) if page.entries.is_empty() && page.more => range = range.after(last),
                _ => return Ok(page),
            }
        }
    }
}

/// The entries among the first `limit` keys.
async fn page(
    transaction: &Transaction<'_>,
    found: &[(Key, Value)],
    limit: usize,
) -> Result<DirectoryPage, NamespaceError> {
    let mut page = DirectoryPage { entries: Vec::with_capacity(found.len()), more: found.len() > limit };
    let mut bytes = 0;
    for (index, (key, value)) in found.iter().take(limit).enumerate() {
        if index % YIELD_ENTRIES == YIELD_ENTRIES - 1 {
            tokio::task::yield_now().await;
        }
        if bytes >= PAGE_BYTES_MAX {
            page.more = true;
            break;
        }
        let name = keys::entry_name(key).ok_or_else(|| records::damaged(key, "the name is not text"))?;
        let entry: Entry = records::decode(key, value)?;
        let file = FileId::new(entry.file).ok_or_else(|| records::damaged(key, "the entry names file 0"))?;
        match status::snapshot(transaction, file, false).await {
            Ok(snapshot) => {
                bytes += key.len() + snapshot.encoded_len();
                page.entries.push(DirectoryEntry { name: name.to_owned(), file: metadata_of(&snapshot)? });
            }
            Err(NamespaceError::NoFile(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}
