//! What a file server does with checked requests: the gate first, then the store.
//!
//! Invariants:
//! * every access of a client to an object lies inside a chunk of the gate; the gate is never held over the network;
//! * a new object is made only after the metadata server has vouched for it, and inside a chunk of the operation that
//!   asked, so that a deletion in between stops it;
//! * the disk is used in threads of its own; a client that goes away ends its operation, not the work of the disk.

use crate::buffers::{BufferPool, PooledBuffer};
use crate::chunks::{Targets, chunks};
use crate::fence_file::FenceFile;
use crate::gate::{Denied, Gate, Running};
use crate::metadata_link::MetadataLink;
use crate::metered::{Budget, ReplyShare, Share};
use crate::store::{ObjectStatus, ObjectStore, StoreError, checksums_of};
use bytes::Bytes;
use pfs_core::fence::Fences;
use pfs_core::ids::{FileId, Instance, ObjectId};
use pfs_proto::data::{Commit, ObjectExtent, Read, Stat, Truncate, WriteHead, total_bytes};
use pfs_proto::metadata::{Label, SpaceReport, VouchFile};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::v1;
use pfs_server_runtime::{ConnectionEpoch, DirectoryLock};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the metadata server may take to vouch for a file, at each of its addresses.
const VOUCH_TIME_MAX: Duration = Duration::from_secs(5);
/// Objects of one commit that are made durable at the same time.
const COMMITS_AT_ONCE: usize = 8;

/// A read's bytes, and the budget that they hold.
pub struct ReadAnswer {
    /// The bytes.
    pub payload: PooledBuffer,
    /// Their share of the memory for replies.
    pub share: ReplyShare,
}

/// The bytes of a write.
pub trait Pieces: Send {
    /// The next bytes and the share that they hold; nothing at the end. All together are as long as was announced.
    fn next(&mut self) -> impl Future<Output = Result<Option<(Vec<Bytes>, Share)>, ErrorDetail>> + Send;
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
    pub(crate) replies: Budget,
    pub(crate) writes: Budget,
    /// Dropped after the store, and before `_gone` tells it.
    pub(crate) _lock: DirectoryLock,
    /// Closed when nobody uses this server any more.
    pub(crate) _gone: mpsc::Sender<()>,
}

impl FileServer {
    /// Writes a payload as it arrives; all bytes are in the store, or an error says why not.
    pub async fn write(
        self: &Arc<Self>,
        head: WriteHead,
        epoch: ConnectionEpoch,
        mut payload: impl Pieces,
    ) -> Result<(), ErrorDetail> {
        let WriteHead { stamp, sequence, object, extents, checksums: _ } = head;
        let running = Arc::new(self.gate.begin_write(stamp, sequence, object.file, epoch)?);
        self.ensure(object, &running).await?;
        let mut targets = Targets::new(extents);
        while let Some((batch, share)) = payload.next().await? {
            let length = batch.iter().map(Bytes::len).sum();
            let extents = targets.take(length);
            // Here and not on another thread: bytes go to the page cache, which takes less time than a change of threads.
            self.write_batch(&running, object, extents, &batch)?;
            drop((batch, share));
        }
        let running = Arc::into_inner(running).expect("the disk is done with the request");
        Ok(running.finish()?)
    }

    fn write_batch(
        &self,
        running: &Running,
        object: ObjectId,
        extents: Vec<ObjectExtent>,
        batch: &[Bytes],
    ) -> Result<(), ErrorDetail> {
        let mut targets = Targets::new(extents);
        for piece in batch {
            let mut rest = &piece[..];
            for chunk in chunks(&targets.take(piece.len())) {
                let (bytes, after) = rest.split_at(bytes_of(&chunk));
                let _chunk = running.chunk()?;
                let checksums: Vec<_> = checksums_of(&chunk, bytes).collect();
                self.store.write(object, &chunk, &[bytes], &checksums).map_err(logged)?;
                rest = after;
            }
        }
        Ok(())
    }

    /// Sees to it that an object exists.
    async fn ensure(self: &Arc<Self>, object: ObjectId, running: &Arc<Running>) -> Result<(), ErrorDetail> {
        if self.store.is_at_hand(object) {
            return Ok(());
        }
        let known = running.clone();
        let exists = self.on_disk(move |server| {
            let _chunk = known.chunk()?;
            Ok(server.store.stat(object).map_err(logged)?.is_some())
        });
        if exists.await? {
            return Ok(());
        }
        self.vouch(object).await?;
        let running = running.clone();
        self.on_disk(move |server| {
            let _chunk = running.chunk()?;
            Ok(server.store.create(object).map_err(logged)?)
        })
        .await
    }

    /// Asks whether an object may be made.
    async fn vouch(&self, object: ObjectId) -> Result<(), ErrorDetail> {
        let label = self.label.get().ok_or(Denied::NoLease)?;
        let question = VouchFile { server: label.server, object };
        let ask = |mut client: v1::metadata_client::MetadataClient<_>| async move {
            client.vouch_file(v1::VouchFileRequest::from(question)).await
        };
        let answer = self.metadata.ask(VOUCH_TIME_MAX, ask).await.map_err(|error| {
            let text = format!("cannot ask whether an object of {object} may be made on {}: {error}", self.name);
            ErrorDetail::new(error.code, text)
        })?;
        if answer.exists {
            return Ok(());
        }
        let text = format!(
            "{} makes no object of {object}: the metadata server knows no such file or slot on this server, or it was deleted",
            self.name
        );
        Err(ErrorDetail::new(ErrorCode::Deleted, text))
    }

    /// Reads; holes, bytes past the end, and objects that need not exist are zeros.
    pub async fn read(self: &Arc<Self>, read: Read) -> Result<ReadAnswer, ErrorDetail> {
        let running = self.gate.begin(read.stamp, Some(read.sequence), read.object.file)?;
        let total = total_bytes(&read.extents);
        let share = ReplyShare::new(self.replies.claim(total).await);
        let length = usize::try_from(total).expect("bounded by the largest request");
        let payload = self.buffers.take(length);
        let payload = self.on_disk(move |server| server.read_chunks(running, &read, payload)).await?;
        Ok(ReadAnswer { payload, share })
    }

    fn read_chunks(
        &self,
        running: Running,
        read: &Read,
        mut payload: PooledBuffer,
    ) -> Result<PooledBuffer, ErrorDetail> {
        let mut rest = payload.as_mut();
        for chunk in chunks(&read.extents) {
            let (bytes, after) = rest.split_at_mut(bytes_of(&chunk));
            let _chunk = running.chunk()?;
            match self.store.read(read.object, &chunk, bytes, &mut Vec::new()) {
                Err(StoreError::Missing { .. }) if read.must_exist => return Err(self.lost(read.object)),
                Err(StoreError::Missing { .. }) => bytes.fill(0),
                other => other.map_err(logged)?,
            }
            rest = after;
        }
        running.finish()?;
        Ok(payload)
    }

    fn lost(&self, object: ObjectId) -> ErrorDetail {
        let text = format!(
            "the object of {object} was made durable on {} and is gone from its store {}; restore the store, or remove the file",
            self.name,
            self.directory.display()
        );
        tracing::error!(%object, "{text}");
        ErrorDetail::new(ErrorCode::DataLoss, text)
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

    /// Refuses a file from now on and removes its objects, for the metadata server. Tells how many there were.
    pub async fn remove(self: &Arc<Self>, file: FileId) -> Result<u64, ErrorDetail> {
        self.gate.remove_file(file).await;
        self.on_disk(move |server| Ok(server.store.remove_file(file).map_err(logged)?)).await
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
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&FileServer) -> Result<T, ErrorDetail> + Send + 'static,
    ) -> Result<T, ErrorDetail> {
        let server = self.clone();
        tokio::task::spawn_blocking(move || work(&server)).await.map_err(|error| broken(&error))?
    }
}

fn bytes_of(extents: &[ObjectExtent]) -> usize {
    usize::try_from(total_bytes(extents)).expect("a chunk is small")
}

/// Errors of the disk are for the operator too, not only for the client.
fn logged(error: StoreError) -> StoreError {
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
