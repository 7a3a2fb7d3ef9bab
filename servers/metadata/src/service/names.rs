//! Names: directories, rename, delete, listing.

use super::files::{check_session, complete};
use crate::clock::unix_ns;
use crate::namespace::{self, metadata_of};
use crate::records::Unlinked;
use crate::server::Shared;
use crate::store::keys::Counter;
use pfs_core::ids::FileId;
use pfs_proto::metadata::{DeleteFile, DirectoryPage, ListDirectory, MakeDirectory, Rename};
use pfs_proto::v1;
use std::sync::Arc;
use tonic::Status;

/// A new id for a file or directory.
pub(super) async fn new_file_id(shared: &Shared) -> Result<FileId, Status> {
    let number = shared.counters.take(Counter::File).await.map_err(namespace::NamespaceError::from)?;
    Ok(FileId::new(number).expect("counters start at 1"))
}

pub(super) async fn make_directory(
    shared: Arc<Shared>,
    request: MakeDirectory,
) -> Result<v1::MakeDirectoryReply, Status> {
    let MakeDirectory { operation, path, parents } = request;
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
    let change = namespace::Rename { from, to, now_ns: unix_ns() };
    let replaced = shared.namespace.run(Some(operation), &change).await?;
    announce(&shared, &replaced).await?;
    Ok(v1::RenameReply {})
}

pub(super) async fn delete(shared: Arc<Shared>, request: DeleteFile) -> Result<v1::DeleteFileReply, Status> {
    let DeleteFile { operation, path, kind } = request;
    let change = namespace::Remove { path, kind, now_ns: unix_ns() };
    let removed = shared.namespace.run(Some(operation), &change).await?;
    announce(&shared, &removed).await?;
    Ok(v1::DeleteFileReply {})
}

/// A file without a name is removed when nobody has it open. Saying so twice does no harm.
async fn announce(shared: &Shared, unlinked: &Unlinked) -> Result<(), Status> {
    if let Some(file) = FileId::new(unlinked.file) {
        shared.tokens.with(move |state| state.unlinked(file)).await?;
    }
    Ok(())
}

pub(super) async fn list(shared: &Shared, request: ListDirectory) -> Result<DirectoryPage, Status> {
    let ListDirectory { client, path, after, limit } = request;
    check_session(shared, client).await?;
    let mut page = shared.namespace.list(&path, after.as_deref(), limit as usize).await?;
    let mut files = page.entries.iter().map(|entry| entry.file.clone()).collect();
    complete(shared, &mut files).await?;
    for (entry, file) in page.entries.iter_mut().zip(files) {
        entry.file = file;
    }
    Ok(page)
}
