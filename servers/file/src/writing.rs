//! Writes: the gate, the check of every piece, the store.
//!
//! Bytes go to the page cache on the thread that took them from the transport: that takes less time than a change of
//! threads, and finds them in the processor's cache.

use crate::arriving::{Arriving, Slices, WrongChecksum, check_whole};
use crate::gate::{Denied, Running};
use crate::server::{FileServer, logged};
use crate::traffic::Operation;
use bytes::Bytes;
use pfs_core::checksum::Checksum;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::{ObjectExtent, WriteHead, total_bytes};
use pfs_proto::metadata::VouchFile;
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::v1;
use pfs_server_runtime::ConnectionEpoch;
use std::sync::Arc;
use std::time::Duration;

/// How long the metadata server may take to vouch for a file, at each of its addresses.
const VOUCH_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of a write that are handled at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The bytes.
    pub parts: Vec<Bytes>,
    /// Checksums that came with them: of the next pieces that had none yet.
    pub checksums: Vec<Checksum>,
}

impl Batch {
    /// Makes it empty.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.checksums.clear();
    }
}

/// The bytes of a write.
pub trait Pieces: Send {
    /// Replaces `batch` by the next bytes, at most a chunk of the gate less a block; false at the end. All together are
    /// as long as was announced, and no byte comes before its piece's checksum. What they take of a budget is given back
    /// with the next call.
    fn next(&mut self, batch: &mut Batch) -> impl Future<Output = Result<bool, ErrorDetail>> + Send;
}

/// Whole pieces: where they go, their bytes, their checksums.
type Ready<'a> = (&'a [ObjectExtent], Slices<'a>, &'a [Checksum]);

impl FileServer {
    /// Writes a payload as it arrives; all bytes are in the store, or an error says why not.
    pub async fn write(
        self: &Arc<Self>,
        head: WriteHead,
        epoch: ConnectionEpoch,
        payload: impl Pieces,
    ) -> Result<(), ErrorDetail> {
        let (file, bytes) = (head.object.file, total_bytes(&head.extents));
        let outcome = self.write_all(head, epoch, payload).await;
        self.count_write(file, bytes, &outcome);
        outcome
    }

    fn count_write(&self, file: FileId, bytes: u64, outcome: &Result<(), ErrorDetail>) {
        match outcome {
            Ok(()) => self.traffic.written(file, bytes),
            Err(error) => self.traffic.failed(Operation::Write, error.code),
        }
    }

    async fn write_all(
        self: &Arc<Self>,
        head: WriteHead,
        epoch: ConnectionEpoch,
        mut payload: impl Pieces,
    ) -> Result<(), ErrorDetail> {
        let WriteHead { stamp, sequence, object, extents, checksums } = head;
        let running = Arc::new(self.gate.begin_write(stamp, sequence, object.file, epoch)?);
        self.ensure(object, &running).await?;
        let mut arriving = Arriving::new(extents, checksums);
        let mut batch = Batch::default();
        while payload.next(&mut batch).await? {
            arriving.expect(&batch.checksums);
            let parts = &batch.parts;
            let whole = arriving.check(parts).map_err(|wrong| self.changed(object, wrong))?;
            if whole > 0 && !self.write_batch_now(&running, object, arriving.ready(parts, whole))? {
                self.write_batch(&running, object, arriving.ready(parts, whole)).await?;
            }
            arriving.settle(parts, whole);
        }
        let running = Arc::into_inner(running).expect("the disk is done with the request");
        Ok(running.finish()?)
    }

    fn write_batch_now(&self, running: &Running, object: ObjectId, ready: Ready<'_>) -> Result<bool, ErrorDetail> {
        let (extents, bytes, checksums) = ready;
        let _chunk = running.chunk()?;
        Ok(self.store.write_now(object, extents, &bytes, checksums).map_err(logged)?)
    }

    /// Writes a batch that has to wait for a disk, in a thread of its own.
    async fn write_batch(
        self: &Arc<Self>,
        running: &Arc<Running>,
        object: ObjectId,
        ready: Ready<'_>,
    ) -> Result<(), ErrorDetail> {
        let (extents, bytes, checksums) = (ready.0.to_vec(), ready.1.concat(), ready.2.to_vec());
        let running = running.clone();
        self.on_disk(move |server| {
            let _chunk = running.chunk()?;
            Ok(server.store.write(object, &extents, &[&bytes], &checksums).map_err(logged)?)
        })
        .await
    }

    /// Writes a payload that is all there and no longer than a chunk, if that takes no waiting. Nothing: it has to be
    /// written by [`write`](Self::write); until then a part of it may be.
    pub fn write_now(
        &self,
        head: &mut WriteHead,
        epoch: ConnectionEpoch,
        payload: &[u8],
    ) -> Option<Result<(), ErrorDetail>> {
        let outcome = self.try_write(head, epoch, payload).transpose()?;
        self.count_write(head.object.file, payload.len() as u64, &outcome);
        Some(outcome)
    }

    fn try_write(
        &self,
        head: &mut WriteHead,
        epoch: ConnectionEpoch,
        payload: &[u8],
    ) -> Result<Option<()>, ErrorDetail> {
        let object = head.object;
        if !self.store.is_at_hand(object) {
            return Ok(None);
        }
        check_whole(&head.extents, &mut head.checksums, payload).map_err(|wrong| self.changed(object, wrong))?;
        let single = self.gate.begin_single(head.stamp, head.sequence, object.file, Some(epoch))?;
        if !self.store.write_now(object, &head.extents, &[payload], &head.checksums).map_err(logged)? {
            return Ok(None);
        }
        Ok(Some(single.finish()?))
    }

    fn changed(&self, object: ObjectId, wrong: WrongChecksum) -> ErrorDetail {
        let text = format!(
            "bytes for the object of {object} were changed on their way to {}: {wrong}; they were not written, send them again",
            self.name
        );
        tracing::warn!(%object, "{text}");
        ErrorDetail::new(ErrorCode::Unavailable, text)
    }

    /// Sees to it that an object exists.
    pub(crate) async fn ensure(self: &Arc<Self>, object: ObjectId, running: &Arc<Running>) -> Result<(), ErrorDetail> {
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
}
