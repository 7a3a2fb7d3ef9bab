//! What is known of a file now: the store, and what is on its way there.
//!
//! The order makes the answer complete. A holder's size is in the tokens' state while the file is open, then in the size
//! writer, then in the store; so they are asked in this order, and nothing that was known before the first question can
//! slip through between two of them.

use crate::namespace::{NamespaceError, Report};
use crate::server::Shared;
use pfs_core::ids::FileId;
use pfs_proto::metadata::FileMetadata;
use tonic::Status;

/// What is known of a file or directory, with or without a name.
pub(super) async fn read(shared: &Shared, file: FileId) -> Result<FileMetadata, Status> {
    let reports = before_the_store(shared, &[file])?;
    let mut metadata = shared.namespace.stat_id(file).await?;
    reports.iter().for_each(|report| report.complete(&mut metadata));
    Ok(metadata)
}

/// What the store knows of a file or directory, and what is on its way there.
pub(super) async fn stored(shared: &Shared, file: FileId) -> Result<FileMetadata, NamespaceError> {
    let pending = shared.sizes.pending(file);
    let mut metadata = shared.namespace.stat_id(file).await?;
    pending.complete(&mut metadata);
    Ok(metadata)
}

/// What holders told and what waits for the disk, one report for each file. Read the store after this.
pub(super) fn before_the_store(shared: &Shared, files: &[FileId]) -> Result<Vec<Report>, Status> {
    let mut known: Vec<Report> = shared.tokens.with(|state| files.iter().map(|file| state.known(*file)).collect())?;
    for (report, file) in known.iter_mut().zip(files) {
        report.add(&shared.sizes.pending(*file));
    }
    Ok(known)
}
