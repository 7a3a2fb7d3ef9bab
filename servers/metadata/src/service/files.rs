//! Files: create, open, close, sizes and times.

use super::known;
use super::names::new_file_id;
use super::sessions::check;
use crate::clock::unix_ns;
use crate::namespace::{self, NamespaceError, Report, SetTimes, metadata_of};
use crate::server::Shared;
use crate::store::keys::Counter;
use crate::tokens::{OpenRefused, OpenRequest, Opened as OpenedHandle, State, Stopped};
use pfs_core::ids::{FileId, GroupId, OpenId, ServerId};
use pfs_core::path::PfsPath;
use pfs_proto::metadata::{
    Change, CloseFile, CreateFile, EntryKind, FetchMetadata, FileMetadata, MovePointer, MovedPointer, OpenFile,
    OpenFor, OpenHandle, Opened, OperationId, Target, UpdateMetadata,
};
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::v1;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// How often an open is tried on a name whose file is replaced meanwhile.
const OPEN_ATTEMPTS: usize = 16;

pub(super) async fn create(shared: Arc<Shared>, request: CreateFile) -> Result<Opened, Status> {
    let CreateFile { operation, path, exclusive, layout, open } = request;
    check(&shared, operation.client)?;
    let live: Vec<_> = shared.servers.live().into_iter().map(|server| server.id).collect();
    let recipe = shared.placement.recipe(layout, &live);
    let file = new_file_id(&shared).await?;
    let change = namespace::CreateFile { path, exclusive, file, recipe, now_ns: unix_ns() };
    let answer = shared.namespace.run(Some(operation), &change).await?;
    let file = metadata_of(&answer)?;
    let Some(open_for) = open else {
        // The stored answer: by now the file may be gone again.
        return Ok(reply(&shared, file, None, answer.created));
    };
    match open_linked(&shared, operation, open_for, &change.path, file).await? {
        Some((file, opened)) => Ok(reply(&shared, file, Some(opened), answer.created)),
        None => {
            let text = format!("{} was removed by somebody else before it was opened", change.path);
            Err(status(ErrorCode::NotFound, text))
        }
    }
}

pub(super) async fn open(shared: Arc<Shared>, request: OpenFile) -> Result<Opened, Status> {
    let OpenFile { operation, path, open } = request;
    if let Some(before) = shared.tokens.with(move |state| state.recall_open(operation))?? {
        return Ok(reply(&shared, known::read(&shared, before.file).await?, Some(before), false));
    }
    for _ in 0..OPEN_ATTEMPTS {
        let file = shared.namespace.stat(&path).await?;
        if file.kind == EntryKind::Directory {
            return Err(NamespaceError::IsADirectory(path).into());
        }
        if let Some((file, opened)) = open_linked(&shared, operation, open.clone(), &path, file).await? {
            return Ok(reply(&shared, file, Some(opened), false));
        }
    }
    Err(NamespaceError::Contended.into())
}

/// Opens a file that was found by name. First it counts as open, then the store is looked at again: a removal or a
/// size that comes later finds the open, one that came before is found here. Nothing: the name is gone, and so is the
/// open.
async fn open_linked(
    shared: &Shared,
    operation: OperationId,
    open_for: OpenFor,
    name: &PfsPath,
    file: FileMetadata,
) -> Result<Option<(FileMetadata, OpenedHandle)>, Status> {
    let open = shared.counters.take(Counter::Open).await.map_err(NamespaceError::from)?;
    let group = match open_for.group_members.is_empty() {
        true => None,
        false => GroupId::new(shared.counters.take(Counter::Group).await.map_err(NamespaceError::from)?),
    };
    let request = OpenRequest {
        operation,
        open: OpenId::new(open).expect("counters start at 1"),
        group,
        open_for,
        file: file.id,
        name: name.clone(),
        size: file.size,
        committed_slots: file.committed_slots,
    };
    let (opened, told) = shared.tokens.with(move |state| state.open(request))??;
    // In this order; see `known`.
    let pending = shared.sizes.pending(opened.file);
    if shared.namespace.is_linked(opened.file).await? != Some(true) {
        shared.tokens.with(move |state| state.take_back(operation, opened.open))?;
        return Ok(None);
    }
    let mut file = shared.namespace.stat_id(opened.file).await?;
    [told, pending].iter().for_each(|report| report.complete(&mut file));
    let (id, size, slots) = (file.id, file.size, file.committed_slots.clone());
    // Before the answer, which goes the same way.
    shared.tokens.with(move |state| state.refresh(id, size, &slots))?;
    Ok(Some((file, opened)))
}

fn reply(shared: &Shared, file: FileMetadata, opened: Option<OpenedHandle>, created: bool) -> Opened {
    let used: BTreeSet<ServerId> = file.recipe.iter().flat_map(|recipe| recipe.slots()).flatten().copied().collect();
    Opened {
        servers: shared.servers.addresses(|server| used.contains(&server)),
        file,
        open: opened.map(|opened| OpenHandle { id: opened.open, holder: opened.holder }),
        owner: None,
        created,
    }
}

/// Closes. The size is durable when this is answered; the tokens are free even if it could not be made so.
pub(super) async fn close(shared: Arc<Shared>, request: CloseFile) -> Result<v1::CloseFileReply, Status> {
    let CloseFile { operation, open, size } = request;
    let begin = move |state: &mut State| match (state.closing(operation, open)?, size) {
        (Some(file), Some(size)) => {
            state.learn(file, size);
            Ok(Some((file, size)))
        }
        (Some(_), None) => {
            state.close(operation, open);
            Ok(None)
        }
        (None, _) => Ok(None),
    };
    let begun: Result<_, OpenRefused> = shared.tokens.with(begin)?;
    let Some((file, size)) = begun? else { return Ok(v1::CloseFileReply {}) };
    let recorded = shared.sizes.record_durably(file, &Report { size: Some(size), ..Report::default() }).await;
    shared.tokens.with(move |state| state.close(operation, open))?;
    match recorded {
        Ok(()) | Err(NamespaceError::NoFile(_)) => Ok(v1::CloseFileReply {}),
        Err(error) => Err(error.into()),
    }
}

/// Moves a shared file pointer. After a start, where it was is known when all have said what they know.
pub(super) async fn move_pointer(shared: Arc<Shared>, request: MovePointer) -> Result<MovedPointer, Status> {
    let patience = Duration::from_millis(3 * shared.config.lease_ms + shared.config.grace_ms());
    if tokio::time::timeout(patience, shared.grace_over.cancelled()).await.is_err() {
        let text = format!("not all clients that the metadata server has to hear have spoken within {patience:?}");
        return Err(status(ErrorCode::Unavailable, text));
    }
    Ok(shared.tokens.with(move |state| state.move_pointer(request))??)
}

/// The id of what a request is about.
pub(super) async fn find(shared: &Shared, target: &Target) -> Result<FileId, Status> {
    match target {
        Target::Path(path) => Ok(shared.namespace.find(path).await?),
        Target::File(file) => Ok(*file),
    }
}

pub(super) async fn fetch(shared: Arc<Shared>, request: FetchMetadata) -> Result<v1::FetchMetadataReply, Status> {
    check(&shared, request.client)?;
    let file = find(&shared, &request.target).await?;
    if request.exact_size {
        ask_sizes(&shared, file).await?;
    }
    Ok(v1::FetchMetadataReply { file: Some(known::read(&shared, file).await?.into()) })
}

/// Waits until all who may have written have said how far, or are gone. After a start all who may have written are known
/// when the grace is over.
async fn ask_sizes(shared: &Shared, file: FileId) -> Result<(), Status> {
    let asked = async {
        shared.grace_over.cancelled().await;
        match shared.tokens.with(move |state| state.ask_sizes(file))? {
            // A question that is dropped unanswered: the server ends.
            Some(answered) => answered.await.map_err(|_| Stopped),
            None => Ok(()),
        }
    };
    // A client that does not answer is given up within its lease, and its fences may take a file server's.
    let patience = Duration::from_millis(3 * shared.config.lease_ms + shared.config.grace_ms());
    match tokio::time::timeout(patience, asked).await {
        Ok(told) => Ok(told?),
        Err(_) => {
            let text = format!("writers of {file} did not tell its size within {patience:?}; try again");
            Err(status(ErrorCode::Unavailable, text))
        }
    }
}

pub(super) async fn update(shared: Arc<Shared>, request: UpdateMetadata) -> Result<v1::FetchMetadataReply, Status> {
    let UpdateMetadata { operation, target, change } = request;
    check(&shared, operation.client)?;
    let file = known::read(&shared, find(&shared, &target).await?).await?;
    let id = file.id;
    match change {
        Change::Sync { size, committed_slots } => {
            let report = Report { size: Some(size), committed_slots, modified_ns: unix_ns() };
            report_sync(&shared, &file, report).await?;
        }
        Change::SetSize(_) if file.kind == EntryKind::Directory => {
            return Err(NamespaceError::DirectoryId(id).into());
        }
        Change::SetSize(bytes) => {
            let set = shared.truncations.set_size(operation, &file, bytes).await?;
            return Ok(v1::FetchMetadataReply { file: Some(set.into()) });
        }
        Change::SetTimes { modified_ns } => {
            shared.namespace.run(Some(operation), &SetTimes { file: id, modified_ns, now_ns: unix_ns() }).await?;
        }
    }
    Ok(v1::FetchMetadataReply { file: Some(known::read(&shared, id).await?.into()) })
}

/// A sync: repeating it changes nothing, so it needs no record of its operation.
async fn report_sync(shared: &Shared, file: &FileMetadata, mut report: Report) -> Result<(), Status> {
    let Some(recipe) = &file.recipe else { return Err(NamespaceError::DirectoryId(file.id).into()) };
    if let Some(slot) = report.committed_slots.iter().find(|slot| *slot >= recipe.stripe_count()) {
        let text = format!("slot {slot} was reported for {}, which has {}", file.id, recipe.stripe_count());
        return Err(status(ErrorCode::InvalidArgument, text));
    }
    // A size of the time before a truncation says nothing.
    report.size = report.size.filter(|size| size.generation == file.size.generation);
    let (id, size, slots) = (file.id, report.size, report.committed_slots.clone());
    shared.tokens.with(move |state| {
        if let Some(size) = size {
            state.learn(id, size);
        }
        state.learn_slots(id, &slots);
    })?;
    Ok(shared.sizes.record_durably(id, &report).await?)
}
