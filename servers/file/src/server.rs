//! What a file server does with checked requests: the gate first, then the store.
//!
//! Invariants:
//! * every access of a client to an object lies inside a chunk of the gate; the gate is never held over the network;
//! * a new object is made only after the metadata server has vouched for it, and inside a chunk of the operation that
//!   asked, so that a deletion in between stops it;
//! * the disk is used in threads of its own; a client that goes away ends its operation, not the work of the disk.

use crate::buffers::{BufferPool, PooledBuffer};
use crate::fence_file::FenceFile;
use crate::gate::Gate;
use crate::metadata_link::MetadataLink;
use crate::metered::Budget;
use crate::replies::{Replies, ReplyShare};
use crate::store::{ObjectStatus, ObjectStore, StoreError};
use crate::traffic::Traffic;
use pfs_core::checksum::Checksum;
use pfs_core::fence::Fences;
use pfs_core::ids::{FileId, Instance, ObjectId};
use pfs_proto::data::{Commit, Read, Stat, Truncate, total_bytes};
use pfs_proto::metadata::{Label, SpaceReport};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_server_runtime::{DirectoryLock, Peer};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Objects of one commit that are made durable at the same time.
const COMMITS_AT_ONCE: usize = 8;

/// A read's bytes, and the budget that they hold.
pub struct ReadAnswer {
    /// The bytes.
    pub payload: PooledBuffer,
    /// One for each piece.
    pub checksums: Vec<Checksum>,
    /// Their share of the memory for replies.
    pub share: ReplyShare,
}

/// One file server, without its network.
pub struct FileServer {
    /// Who may touch objects now.
    pub gate: Arc<Gate>,
    /// Which start of the store this is.
    pub instance: Instance,
    /// The operator's name for this server.
    pub name: String,
    /// The store's directory.
    pub directory: PathBuf,
    /// Whose store it is; known from the first registration on.
    pub label: OnceLock<Label>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) fence_file: FenceFile,
    pub(crate) metadata: MetadataLink,
    pub(crate) buffers: BufferPool,
    pub(crate) replies: Replies,
    pub(crate) writes: Budget,
    /// What it has done.
    pub traffic: Traffic,
    /// Dropped after the store, and before `_gone` tells it.
    pub(crate) _lock: DirectoryLock,
    /// Closed when nobody uses this server any more.
    pub(crate) _gone: mpsc::Sender<()>,
}

impl FileServer {
    /// Reads all at once, and checks every byte.
    pub async fn read(self: &Arc<Self>, read: Read, peer: Peer) -> Result<ReadAnswer, ErrorDetail> {
        let total = total_bytes(&read.extents);
        let reading = self.begin_read(read, peer)?;
        let share = self.replies.claim(reading.client(), reading.peer(), total).await;
        let mut payload = self.buffers.take(usize::try_from(total).expect("bounded by the largest request"));
        let read = move |server: &FileServer| {
            let mut checksums = Vec::new();
            server.read_whole(reading, payload.as_mut(), &mut checksums)?;
            Ok((payload, checksums))
        };
        let (payload, checksums) = self.on_disk(read).await?;
        Ok(ReadAnswer { payload, checksums, share })
    }

    /// Makes objects durable, and tells their lengths in the request's order.
    pub async fn commit(self: &Arc<Self>, commit: Commit) -> Result<Vec<u64>, ErrorDetail> {
        let mut lengths = Vec::with_capacity(commit.objects.len());
        for some in commit.objects.chunks(COMMITS_AT_ONCE) {
            let mut tasks = Vec::with_capacity(some.len());
            for &object in some {
                let running = self.gate.begin(commit.stamp, None, object.file)?;
                let server = self.clone();
                tasks.push(tokio::spawn(async move {
                    let commit = move |server: &FileServer| server.store.commit(object).map_err(logged);
                    let length = server.on_disk(move |server| Ok(commit(server)?)).await?;
                    running.finish()?;
                    Ok::<_, ErrorDetail>(length.unwrap_or(0))
                }));
            }
            for task in tasks {
                lengths.push(task.await.map_err(|error| broken(&error))??);
            }
        }
        Ok(lengths)
    }

    /// Cuts or extends an object, for the metadata server.
    pub async fn truncate(self: &Arc<Self>, truncate: Truncate) -> Result<(), ErrorDetail> {
        let Truncate { size_generation, object, object_length } = truncate;
        self.on_disk(move |server| Ok(server.store.truncate(object, object_length, size_generation).map_err(logged)?))
            .await
    }

    /// Refuses files from now on and removes their objects, for the metadata server. Tells how many there were. After an
    /// error some may be left; those of the others are gone.
    pub async fn remove(self: &Arc<Self>, files: Vec<FileId>) -> Result<u64, ErrorDetail> {
        for file in &files {
            self.gate.remove_file(*file).await;
        }
        self.on_disk(move |server| {
            let remove = |file| Ok(server.store.remove_file(file).map_err(logged)?);
            // All of them, whatever becomes of one.
            let removed: Vec<Result<u64, ErrorDetail>> = files.into_iter().map(remove).collect();
            removed.into_iter().sum()
        })
        .await
    }

    /// Length and state of an object.
    pub async fn stat(self: &Arc<Self>, stat: Stat) -> Result<Option<ObjectStatus>, ErrorDetail> {
        let running = self.gate.begin(stat.stamp, None, stat.object.file)?;
        let status = self.on_disk(move |server| Ok(server.store.stat(stat.object).map_err(logged)?)).await?;
        running.finish()?;
        Ok(status)
    }

    /// Refuses stamps, durably; when it returns, nothing of them can touch an object.
    pub async fn fence(self: &Arc<Self>, fences: Fences) -> Result<(), ErrorDetail> {
        let ticket = self.gate.fence(&fences);
        self.on_disk(move |server| {
            server.fence_file.add(&fences).map_err(|error| {
                tracing::error!(error = format!("{error:#}"), "a fence is in force but not durable");
                ErrorDetail::new(ErrorCode::Internal, format!("{} cannot keep a fence: {error:#}", server.name))
            })
        })
        .await?;
        self.gate.wait(&ticket).await;
        Ok(())
    }

    /// Lengths of objects in their order, 0 for one that does not exist, for the metadata server. After a fence they are
    /// what the fenced have left.
    pub async fn lengths(self: &Arc<Self>, objects: Vec<ObjectId>) -> Result<Vec<u64>, ErrorDetail> {
        self.on_disk(move |server| {
            let length = |object| Ok(server.store.stat(object).map_err(logged)?.map_or(0, |status| status.length));
            objects.into_iter().map(length).collect()
        })
        .await
    }

    /// Space and objects of the store.
    pub async fn space(self: &Arc<Self>) -> Result<SpaceReport, ErrorDetail> {
        self.on_disk(|server| Ok(server.store.space().map_err(logged)?)).await
    }

    /// Runs something that blocks.
    pub(crate) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&FileServer) -> Result<T, ErrorDetail> + Send + 'static,
    ) -> Result<T, ErrorDetail> {
        let server = self.clone();
        tokio::task::spawn_blocking(move || work(&server)).await.map_err(|error| broken(&error))?
    }
}

/// Errors of the disk are for the operator too, not only for the client.
pub(crate) fn logged(error: StoreError) -> StoreError {
    match error.code() {
        ErrorCode::Internal | ErrorCode::DataLoss => tracing::error!(%error, "the disk failed"),
        ErrorCode::NoSpace => tracing::warn!(%error, "the disk is full"),
        _ => tracing::debug!(%error, "refused by the store"),
    }
    error
}

fn broken(error: &tokio::task::JoinError) -> ErrorDetail {
    tracing::error!(%error, "a task of the file server ended early");
    ErrorDetail::new(ErrorCode::Internal, format!("the file server broke off: {error}; see its log"))
}
