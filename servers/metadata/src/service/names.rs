//! Names: directories, rename, delete, listing.

use super::known;
use super::sessions::check;
use crate::clock::unix_ns;
use crate::namespace::{self, NamePage, NamespaceError, metadata_of};
use crate::records::Unlinked;
use crate::server::Shared;
use crate::store::keys::Counter;
use pfs_core::ids::FileId;
use pfs_proto::metadata::{DeleteFile, DirectoryEntry, DirectoryPage, ListDirectory, MakeDirectory, Rename};
use pfs_proto::v1;
use std::sync::Arc;
use tonic::Status;

/// Entries after which a long listing lets other work run.
const YIELD_ENTRIES: usize = 64;
/// Bytes after which a page ends early, so that it fits one message.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// An upper bound of an entry's bytes in a message, without its name and its slots.
const ENTRY_BYTES: usize = 640;
/// An upper bound of a slot's bytes in a message.
const SLOT_BYTES: usize = 16;

/// A new id for a file or directory.
pub(super) async fn new_file_id(shared: &Shared) -> Result<FileId, Status> {
    let number = shared.counters.take(Counter::File).await.map_err(NamespaceError::from)?;
    Ok(FileId::new(number).expect("counters start at 1"))
}

pub(super) async fn make_directory(
    shared: Arc<Shared>,
    request: MakeDirectory,
) -> Result<v1::MakeDirectoryReply, Status> {
    let MakeDirectory { operation, path, parents } = request;
    check(&shared, operation.client)?;
    let mut ids = Vec::new();
    for _ in path.names() {
        ids.push(new_file_id(&shared).await?);
    }
    let change = namespace::MakeDirectory { path, parents, ids, now_ns: unix_ns() };
    let made = shared.namespace.run(Some(operation), &change).await?;
    Ok(v1::MakeDirectoryReply { directory: Some(metadata_of(&made)?.into()) })
}

pub(super) async fn rename(shared: Arc<Shared>, request: Rename) -> Result<v1::RenameReply, Status> {
    let Rename { operation, from, to } = request;
    check(&shared, operation.client)?;
    let change = namespace::Rename { from, to, now_ns: unix_ns() };
    let replaced = shared.namespace.run(Some(operation), &change).await?;
    announce(&shared, &replaced).await?;
    Ok(v1::RenameReply {})
}

pub(super) async fn delete(shared: Arc<Shared>, request: DeleteFile) -> Result<v1::DeleteFileReply, Status> {
    let DeleteFile { operation, path, kind } = request;
    check(&shared, operation.client)?;
    let change = namespace::Remove { path, kind, now_ns: unix_ns() };
    let removed = shared.namespace.run(Some(operation), &change).await?;
    announce(&shared, &removed).await?;
    Ok(v1::DeleteFileReply {})
}

/// A file without a name is removed when nobody has it open. Saying so twice does no harm.
async fn announce(shared: &Shared, unlinked: &Unlinked) -> Result<(), Status> {
    if let Some(file) = FileId::new(unlinked.file) {
        shared.tokens.with(move |state| state.unlinked(file))?;
    }
    Ok(())
}

pub(super) async fn list(shared: Arc<Shared>, request: ListDirectory) -> Result<DirectoryPage, Status> {
    let ListDirectory { client, path, mut after, limit } = request;
    check(&shared, client)?;
    loop {
        let names = shared.namespace.list(&path, after.as_deref(), limit as usize).await?;
        let last = names.names.last().map(|(name, _)| name.clone());
        let page = entries(&shared, names).await?;
        match last {
            // Every name of this page went while it was read, and more follow.
            Some(_) if page.entries.is_empty() && page.more => after = last,
            _ => return Ok(page),
        }
    }
}

/// What is known behind the names of a page; a page of long recipes ends early.
async fn entries(shared: &Shared, names: NamePage) -> Result<DirectoryPage, Status> {
    let mut page = DirectoryPage { entries: Vec::with_capacity(names.names.len()), more: names.more };
    let files: Vec<FileId> = names.names.iter().map(|(_, file)| *file).collect();
    let reports = known::before_the_store(shared, &files)?;
    let mut bytes = 0;
    for (index, ((name, file), report)) in names.names.into_iter().zip(reports).enumerate() {
        if index % YIELD_ENTRIES == YIELD_ENTRIES - 1 {
            tokio::task::yield_now().await;
        }
        if bytes >= PAGE_BYTES_MAX {
            page.more = true;
            break;
        }
        let mut file = match shared.namespace.stat_id(file).await {
            Ok(file) => file,
            Err(NamespaceError::NoFile(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        report.complete(&mut file);
        let slots = file.recipe.as_ref().map_or(0, |recipe| recipe.slots().len());
        bytes += ENTRY_BYTES + name.len() + slots * SLOT_BYTES;
        page.entries.push(DirectoryEntry { name, file });
    }
    Ok(page)
}
