//! Files: create, open, close, sizes and times.

use super::names::new_file_id;
use crate::clock::unix_ns;
use crate::namespace::{self, NamespaceError, Report, SetTimes, metadata_of};
use crate::server::Shared;
use crate::store::keys::Counter;
use crate::tokens::{OpenRequest, Opened as OpenedHandle};
use pfs_core::ids::{ClientId, FileId, GroupId, OpenId};
use pfs_proto::metadata::{
    Change, CloseFile, CreateFile, EntryKind, FetchMetadata, FileMetadata, OpenFile, OpenFor, OpenHandle, Opened,
    OperationId, SlotSet, Target, UpdateMetadata,
};
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How often an open is tried on a name whose file is replaced meanwhile.
const OPEN_ATTEMPTS: usize = 16;

/// Refuses calls of clients without a session.
pub(super) async fn check_session(shared: &Shared, client: ClientId) -> Result<(), Status> {
    match shared.namespace.has_session(client).await? {
        true => Ok(()),
        false => Err(NamespaceError::NoSession(client).into()),
    }
}

/// Adds what is known of files beyond the store: reports on their way to the disk, sizes that holders told.
pub(super) async fn complete(shared: &Shared, files: &mut Vec<FileMetadata>) -> Result<(), Status> {
    let mut known = std::mem::take(files);
    *files = shared
        .tokens
        .with(move |state| {
            known.iter_mut().for_each(|file| state.complete(file));
            known
        })
        .await?;
    files.iter_mut().for_each(|file| shared.sizes.overlay(file));
    Ok(())
}

async fn completed(shared: &Shared, file: FileMetadata) -> Result<FileMetadata, Status> {
    let mut files = vec![file];
    complete(shared, &mut files).await?;
    Ok(files.remove(0))
}

pub(super) async fn create(shared: Arc<Shared>, request: CreateFile) -> Result<Opened, Status> {
    let CreateFile { operation, path, exclusive, layout, open } = request;
    let live: Vec<_> = shared.servers.live().into_iter().map(|server| server.id).collect();
    let recipe = shared.placement.recipe(layout, &live);
    let file = new_file_id(&shared).await?;
    let change = namespace::CreateFile { path, exclusive, file, recipe, now_ns: unix_ns() };
    let answer = shared.namespace.run(Some(operation), &change).await?;
    let file = metadata_of(&answer)?;
    let opened = match open {
        None => None,
        Some(open_for) => {
            let name = change.path.to_string();
            let opened = open_linked(&shared, operation, open_for, &file).await?;
            let gone = || status(ErrorCode::NotFound, format!("{name} was removed before it was opened"));
            Some(opened.ok_or_else(gone)?)
        }
    };
    reply(&shared, file, opened, answer.created).await
}

pub(super) async fn open(shared: Arc<Shared>, request: OpenFile) -> Result<Opened, Status> {
    let OpenFile { operation, path, open } = request;
    if let Some(before) = shared.tokens.with(move |state| state.recall_open(operation)).await?? {
        let file = shared.namespace.stat_id(before.file).await?;
        return reply(&shared, file, Some(before), false).await;
    }
    for _ in 0..OPEN_ATTEMPTS {
        let file = shared.namespace.stat(&path).await?;
        if file.kind == EntryKind::Directory {
            return Err(NamespaceError::IsADirectory(path).into());
        }
        if let Some(opened) = open_linked(&shared, operation, open.clone(), &file).await? {
            return reply(&shared, file, Some(opened), false).await;
        }
    }
    Err(NamespaceError::Contended.into())
}

/// Opens a file that was found by name. First it counts as open, then its name is looked at again: a removal that
/// comes later sees the open, one that came before is seen here. Nothing: the name is gone, and so is the open.
async fn open_linked(
    shared: &Shared,
    operation: OperationId,
    open_for: OpenFor,
    file: &FileMetadata,
) -> Result<Option<OpenedHandle>, Status> {
    let open = shared.counters.take(Counter::Open).await.map_err(NamespaceError::from)?;
    let group = match open_for.group_members.is_empty() {
        true => None,
        false => GroupId::new(shared.counters.take(Counter::Group).await.map_err(NamespaceError::from)?),
    };
    let mut known = file.clone();
    shared.sizes.overlay(&mut known);
    let request = OpenRequest {
        operation,
        open: OpenId::new(open).expect("counters start at 1"),
        group,
        open_for,
        file: file.id,
        size: known.size,
        committed_slots: known.committed_slots,
    };
    let opened = shared.tokens.with(move |state| state.open(request)).await??;
    if shared.namespace.is_linked(opened.file).await? == Some(true) {
        return Ok(Some(opened));
    }
    shared.tokens.with(move |state| state.take_back(operation, opened.open)).await?;
    Ok(None)
}

async fn reply(
    shared: &Shared,
    file: FileMetadata,
    opened: Option<OpenedHandle>,
    created: bool,
) -> Result<Opened, Status> {
    let recipe = file.recipe.clone();
    let uses = |server| recipe.iter().any(|recipe| recipe.slots().iter().any(|servers| servers.contains(&server)));
    let servers = shared.servers.addresses(Some(&uses));
    Ok(Opened {
        file: completed(shared, file).await?,
        open: opened.map(|opened| OpenHandle { id: opened.open, holder: opened.holder }),
        owner: None,
        servers,
        created,
    })
}

/// Closes. The size is durable when this is answered; the tokens are free even if it could not be made so.
pub(super) async fn close(shared: Arc<Shared>, request: CloseFile) -> Result<v1::CloseFileReply, Status> {
    let CloseFile { operation, open, size } = request;
    let Some(file) = shared.tokens.with(move |state| state.closing(operation, open)).await?? else {
        return Ok(v1::CloseFileReply {});
    };
    let recorded = match size {
        None => Ok(()),
        Some(size) => {
            shared.tokens.with(move |state| state.learn(file, size)).await?;
            shared.sizes.record_durably(file, &Report { size: Some(size), ..Report::default() }).await
        }
    };
    shared.tokens.with(move |state| state.close(operation, open)).await?;
    match recorded {
        Ok(()) | Err(NamespaceError::NoFile(_)) => Ok(v1::CloseFileReply {}),
        Err(error) => Err(error.into()),
    }
}

async fn find(shared: &Shared, target: &Target) -> Result<FileMetadata, Status> {
    Ok(match target {
        Target::Path(path) => shared.namespace.stat(path).await?,
        Target::File(file) => shared.namespace.stat_id(*file).await?,
    })
}

/// The id of what a request is about.
pub(super) async fn find_id(shared: &Shared, target: &Target) -> Result<FileId, Status> {
    match target {
        Target::Path(_) => Ok(find(shared, target).await?.id),
        Target::File(file) => Ok(*file),
    }
}

pub(super) async fn fetch(shared: &Shared, request: FetchMetadata) -> Result<FileMetadata, Status> {
    check_session(shared, request.client).await?;
    let file = find(shared, &request.target).await?;
    if request.exact_size && file.kind == EntryKind::File {
        ask_sizes(shared, file.id).await?;
    }
    // The store again: what was reported meanwhile may be there already.
    let file = shared.namespace.stat_id(file.id).await?;
    completed(shared, file).await
}

/// Waits until all who may have written have said how far, or are gone.
async fn ask_sizes(shared: &Shared, file: FileId) -> Result<(), Status> {
    let Some(answered) = shared.tokens.with(move |state| state.ask_sizes(file)).await? else { return Ok(()) };
    // A client that does not answer is given up within its lease, and its fences may take a file server's.
    let patience = Duration::from_millis(3 * shared.config.lease_ms);
    match tokio::time::timeout(patience, answered).await {
        Ok(_) => Ok(()),
        Err(_) => {
            let text = format!("writers of {file} did not tell its size within {patience:?}; try again");
            Err(status(ErrorCode::Unavailable, text))
        }
    }
}

pub(super) async fn update(shared: Arc<Shared>, request: UpdateMetadata) -> Result<v1::FetchMetadataReply, Status> {
    let UpdateMetadata { operation, target, change } = request;
    check_session(&shared, operation.client).await?;
    let file = find(&shared, &target).await?;
    let updated = match change {
        Change::Sync { size, committed_slots } => {
            let report = Report { size: Some(size), committed_slots, modified_ns: unix_ns() };
            report_sync(&shared, file, report).await?
        }
        Change::SetSize(_) if file.kind == EntryKind::Directory => {
            return Err(NamespaceError::DirectoryId(file.id).into());
        }
        Change::SetSize(bytes) => {
            let known = completed(&shared, file).await?;
            shared.truncations.set_size(operation, &known, bytes).await?
        }
        Change::SetTimes { modified_ns } => {
            let change = SetTimes { file: file.id, modified_ns, now_ns: unix_ns() };
            metadata_of(&shared.namespace.run(Some(operation), &change).await?)?
        }
    };
    let updated = completed(&shared, updated).await?;
    Ok(v1::FetchMetadataReply { file: Some(updated.into()) })
}

/// A sync: repeating it changes nothing, so it needs no record of its operation.
async fn report_sync(shared: &Shared, file: FileMetadata, report: Report) -> Result<FileMetadata, Status> {
    let Some(recipe) = &file.recipe else { return Err(NamespaceError::DirectoryId(file.id).into()) };
    if let Some(slot) = report.committed_slots.iter().find(|slot| *slot >= recipe.stripe_count()) {
        let text = format!("slot {slot} was reported for {}, which has {}", file.id, recipe.stripe_count());
        return Err(status(ErrorCode::InvalidArgument, text));
    }
    let (id, slots): (FileId, SlotSet) = (file.id, report.committed_slots.clone());
    let size = report.size;
    shared
        .tokens
        .with(move |state| {
            if let Some(size) = size {
                state.learn(id, size);
            }
            state.learn_slots(id, &slots);
        })
        .await?;
    shared.sizes.record_durably(id, &report).await?;
    Ok(shared.namespace.stat_id(id).await?)
}
