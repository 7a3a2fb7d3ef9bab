//! `set_size`, from the token to the last object.
//!
//! The order is the safety: nobody else has the file from the smaller of both sizes on; the new size is durable with a
//! new generation; all objects are cut or extended, again after any restart; the record goes; the range is free.

use super::backoff::Backoff;
use crate::background::Background;
use crate::clock::unix_ns;
use crate::data_clients::DataClients;
use crate::file_servers::FileServers;
use crate::namespace::{BeginTruncation, FinishTruncation, Namespace, NamespaceError, PendingTruncation, metadata_of};
use crate::tokens::Tokens;
use futures::StreamExt;
use pfs_core::extent::Extent;
use pfs_core::ids::{FileId, ObjectId};
use pfs_core::layout::Recipe;
use pfs_proto::data::Truncate;
use pfs_proto::metadata::{FileMetadata, OperationId};
use pfs_proto::status::{ErrorCode, ErrorDetail, status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tonic::Status;

/// Objects of one file that are truncated at once.
const SLOTS_AT_ONCE: usize = 16;

/// What truncations need.
pub(crate) struct Truncations {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) servers: Arc<FileServers>,
    pub(crate) data: Arc<DataClients>,
    pub(crate) tokens: Tokens,
    pub(crate) background: Background,
    /// How long a caller waits.
    pub(crate) patience: Duration,
    /// One more has ended.
    pub(crate) finished: Notify,
}

impl Truncations {
    /// Sets a file's size and waits until all objects have it. After an error because of the time the truncation goes
    /// on if it had begun, and the same operation waits for it again.
    pub(crate) async fn set_size(
        self: &Arc<Self>,
        operation: OperationId,
        file: &FileMetadata,
        size_bytes: u64,
    ) -> Result<FileMetadata, Status> {
        let (decided, decision) = oneshot::channel();
        let (this, known) = (self.clone(), file.clone());
        self.background.spawn(async move { this.drive(operation, known, size_bytes, decided).await });
        let patience = self.patience;
        let whole = async {
            let set = decision.await.map_err(|_| Status::from(crate::tokens::Stopped))??;
            self.wait_finished(set.id, set.size.generation).await?;
            Ok(set)
        };
        match tokio::time::timeout(patience, whole).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let text = format!(
                    "the size of {} was not set on all its file servers within {patience:?}; it will be when all of them are up (see `pfs status`)",
                    file.id
                );
                Err(status(ErrorCode::Unavailable, text))
            }
        }
    }

    async fn drive(
        &self,
        operation: OperationId,
        file: FileMetadata,
        size_bytes: u64,
        decided: oneshot::Sender<Result<FileMetadata, Status>>,
    ) {
        let id = file.id;
        let range = Extent::from(file.size.bytes.min(size_bytes));
        let Ok((taking, taken)) = self.tokens.with(move |state| state.take(id, range)) else { return };
        if taken.await.is_ok() {
            let begin = BeginTruncation { file: id, size_bytes, now_ns: unix_ns() };
            let begun = self.namespace.run(Some(operation), &begin).await.and_then(|answer| metadata_of(&answer));
            if let Ok(set) = &begun {
                let size = set.size;
                let _ = self.tokens.with(move |state| state.set_size(id, size));
            }
            // Whoever asked may be gone.
            let _ = decided.send(begun.map_err(Status::from));
            self.finish(id).await;
        }
        let _ = self.tokens.with(move |state| state.give_back(taking, id));
    }

    /// Takes the range of an unfinished truncation at the start of the server, before anybody can ask for it, and
    /// carries it out.
    pub(crate) async fn resume(self: &Arc<Self>, pending: PendingTruncation) {
        let file = pending.file;
        let range = Extent::from(pending.from_bytes);
        let Ok((taking, taken)) = self.tokens.with(move |state| state.take(file, range)) else { return };
        let this = self.clone();
        self.background.spawn(async move {
            tracing::info!(%file, bytes = pending.size.bytes, "resuming a truncation");
            if taken.await.is_ok() {
                this.finish(file).await;
            }
            let _ = this.tokens.with(move |state| state.give_back(taking, file));
        });
    }

    /// Brings a file's pending truncation to all objects and ends it.
    async fn finish(&self, file: FileId) {
        let mut backoff = Backoff::new();
        loop {
            match self.try_finish(file).await {
                Ok(()) => break,
                Err(error) => tracing::warn!(%file, %error, "a truncation is not done; trying again"),
            }
            backoff.pause().await;
        }
        self.finished.notify_waiters();
    }

    async fn try_finish(&self, file: FileId) -> Result<(), ErrorDetail> {
        // A file that was removed meanwhile has no pending truncation any more.
        let Some(pending) = self.namespace.pending_truncation(file).await? else { return Ok(()) };
        let recipe = match self.namespace.stat_id(file).await {
            Ok(metadata) => metadata.recipe,
            Err(NamespaceError::NoFile(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Some(recipe) = recipe {
            let slots = futures::stream::iter(0..recipe.stripe_count());
            let calls = slots.map(|slot| self.truncate(&recipe, pending, slot));
            let outcomes: Vec<_> = calls.buffer_unordered(SLOTS_AT_ONCE).collect().await;
            outcomes.into_iter().collect::<Result<(), ErrorDetail>>()?;
        }
        self.namespace.run(None, &FinishTruncation { file, generation: pending.size.generation }).await?;
        Ok(())
    }

    /// Truncates one slot's object on all its servers.
    async fn truncate(&self, recipe: &Recipe, pending: PendingTruncation, slot: u32) -> Result<(), ErrorDetail> {
        let truncate = Truncate {
            size_generation: pending.size.generation,
            object: ObjectId { file: pending.file, slot },
            object_length: recipe.object_length(slot, pending.size.bytes),
        };
        for server in &recipe.slots()[slot as usize] {
            let known = self.servers.get(*server).filter(|server| self.servers.is_live(server));
            let Some(known) = known else {
                let text = format!("{server}, which has slot {slot} of {}, is down", pending.file);
                return Err(ErrorDetail::new(ErrorCode::Unavailable, text));
            };
            match self.data.truncate(&known.address, truncate).await {
                Ok(()) => {}
                Err(error) if error.code == ErrorCode::Deleted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a truncation, or a later one of the file, has ended.
    async fn wait_finished(&self, file: FileId, generation: u64) -> Result<(), NamespaceError> {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            match self.namespace.pending_truncation(file).await? {
                Some(pending) if pending.size.generation <= generation => finished.await,
                _ => return Ok(()),
            }
        }
    }
}
