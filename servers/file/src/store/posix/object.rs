//! One open object: its file, its checksums, and what of them is not durable.
//!
//! A sync makes the bytes durable first, then the checksums, and then clears the open marks of what it has covered. What is
//! written while it runs stays marked (`regions.rs`), so the order in which those bytes and checksums reach the disk does not
//! matter.

use super::super::disk::{Disk, DiskFile};
use super::super::sync_ledger::{Loss, Standing, SyncFailure, SyncLedger};
use super::super::{Attempt, ObjectStatus, StoreError};
use super::Shared;
use super::bucket::Bucket;
use super::regions::{Entered, OpenRegions, RegionList, regions_of};
use super::segments::Segment;
use super::sidecar::Sidecar;
use super::table::{SumTable, Wait};
use pfs_core::checksum::Checksum;
use pfs_core::extent::{Extent, MAX_FILE_BYTES, ObjectOffset};
use pfs_core::ids::ObjectId;
use pfs_proto::data::ObjectExtent;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most separate pieces of bytes that are not durable, in all objects of a store together: about 16 MiB of memory.
/// Past it an object is synced when it is written, unless it has next to none itself.
const PIECES_MAX: usize = 262_144;
const PIECES_KEPT_PER_OBJECT: usize = 64;
/// Most units of checksums in memory, in all objects of a store together: 64 MiB of memory, for 64 GiB of bytes. Past it
/// an object that has loaded some drops its own, unless it has next to none.
const UNITS_MAX: usize = 65_536;
const UNITS_KEPT_PER_OBJECT: usize = 16;

/// One open object.
#[derive(Debug)]
pub(super) struct OpenObject<D: Disk> {
    id: ObjectId,
    path: PathBuf,
    pub(super) file: D::File,
    /// The file's length.
    pub(super) length: AtomicU64,
    pub(super) ledger: SyncLedger,
    pub(super) sums: SumTable,
    pub(super) sidecar: Sidecar<D>,
    regions: OpenRegions,
    pub(super) shared: Arc<Shared<D>>,
}

impl<D: Disk> OpenObject<D> {
    /// An object that was made just now, with its checksum file. The caller holds the bucket's names.
    pub(super) fn made(
        id: ObjectId,
        file: D::File,
        sums: D::File,
        bucket: &Arc<Bucket<D>>,
        shared: &Arc<Shared<D>>,
    ) -> Self {
        let sidecar = Sidecar::early(id, sums, bucket.clone(), shared.clone());
        Self::new(id, file, 0, bucket, sidecar, shared)
    }

    /// An object that was committed. The caller holds the bucket's names.
    pub(super) fn found(
        id: ObjectId,
        file: D::File,
        bucket: &Arc<Bucket<D>>,
        shared: &Arc<Shared<D>>,
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::of_object(id, Attempt::Open, &bucket.path(id), error);
        let length = file.status().map_err(failed)?.length;
        let sidecar = Sidecar::open(id, bucket.clone(), shared.clone()).map_err(failed)?;
        Ok(Self::new(id, file, length, bucket, sidecar, shared))
    }

    fn new(
        id: ObjectId,
        file: D::File,
        length: u64,
        bucket: &Arc<Bucket<D>>,
        sidecar: Sidecar<D>,
        shared: &Arc<Shared<D>>,
    ) -> Self {
        OpenObject {
            id,
            path: bucket.path(id),
            file,
            length: AtomicU64::new(length),
            ledger: SyncLedger::new(shared.pieces.clone()),
            sums: SumTable::new(shared.units.clone()),
            regions: OpenRegions::new(id, sidecar.is_named()),
            sidecar,
            shared: shared.clone(),
        }
    }

    pub(super) fn id(&self) -> ObjectId {
        self.id
    }

    /// To be called when its files are unlinked.
    pub(super) fn remove(&self) {
        self.sidecar.remove();
    }

    /// To be called when that is durable, and not before: until then a loss of power may bring it back.
    pub(super) fn is_gone(&self) {
        self.regions.close(&self.shared.marks);
    }

    /// Whether it may be closed.
    pub(super) fn standing(&self) -> Standing {
        match self.ledger.standing() {
            Standing::Settled if self.regions.any_open() || !self.sidecar.is_named() => Standing::Uncommitted,
            other => other,
        }
    }

    /// Writes; false if that would have to wait. The payload is as long as the extents, with a checksum for each piece.
    pub(super) fn write(
        &self,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
        wait: Wait,
    ) -> Result<bool, StoreError> {
        if wait == Wait::Never && self.is_pressed() {
            return Ok(false);
        }
        let Some(entered) = self.enter(regions_of(extents), wait)? else { return Ok(false) };
        let ranges = || extents.iter().filter_map(|extent| Extent::new(extent.offset().0, extent.end().0));
        let ticket = self.ledger.begin_write(ranges());
        let written = self.write_segments(extents, payload, checksums, wait);
        self.ledger.end_write(ticket, ranges(), matches!(written, Ok(true)));
        self.leave(entered);
        if wait == Wait::Allowed {
            self.relieve();
        }
        written
    }

    /// Reads; false if that would have to wait.
    pub(super) fn read(
        &self,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
        wait: Wait,
    ) -> Result<bool, StoreError> {
        if wait == Wait::Never && self.is_pressed() {
            return Ok(false);
        }
        let before = checksums.len();
        let read = self.read_segments(extents, into, checksums, wait);
        if !matches!(read, Ok(true)) {
            checksums.truncate(before);
        }
        if wait == Wait::Allowed {
            self.relieve();
        }
        read
    }

    /// To be called before bytes of these regions change; nothing if that would have to wait.
    pub(super) fn enter(&self, regions: RegionList, wait: Wait) -> Result<Option<Entered>, StoreError> {
        let marks = &self.shared.marks;
        self.regions
            .enter(regions, marks, wait)
            .map_err(|error| StoreError::of_object(self.id, Attempt::Mark, marks.path(), error))
    }

    pub(super) fn leave(&self, entered: Entered) {
        self.regions.leave(entered, &self.shared.marks);
    }

    pub(super) fn commit(&self) -> Result<(), StoreError> {
        self.ledger.commit_in_steps(|| self.make_durable()).map_err(|loss| match loss {
            Loss { bytes: 0, source, .. } => self.failed(Attempt::Commit, source),
            Loss { start, bytes, source } => {
                StoreError::Lost { object: self.id, path: self.path.clone(), start, bytes, source }
            }
        })
    }

    /// Makes everything durable. To be called by the ledger: one at a time. Checksums that could not be made durable are
    /// still in memory, so nothing is lost with them.
    pub(super) fn make_durable(&self) -> Result<(), SyncFailure> {
        let marks = &self.shared.marks;
        self.regions.begin_sync();
        let before_naming = || self.regions.need_marks(marks);
        let sums = || self.sidecar.sync(&self.sums, before_naming).map_err(SyncFailure::Unfinished);
        let outcome = self.file.sync_data().map_err(SyncFailure::Lost).and_then(|()| sums());
        let is_durable = outcome.is_ok() && self.ledger.standing() != Standing::Lost;
        self.regions.end_sync(is_durable, marks);
        outcome
    }

    /// Makes what was written durable ahead of its commit. A failure is kept for that.
    pub(super) fn settle(&self) {
        if let Err(error) = self.commit() {
            tracing::error!(%error, "an early sync failed; the next commit of the object will");
        }
    }

    /// Whether it has so much in memory that it has to be settled.
    fn is_pressed(&self) -> bool {
        let pieces = || self.ledger.pieces() > PIECES_KEPT_PER_OBJECT;
        let units = || self.sums.len() > UNITS_KEPT_PER_OBJECT;
        (self.shared.pieces.get() > PIECES_MAX && pieces()) || (self.shared.units.get() > UNITS_MAX && units())
    }

    /// Takes less memory, if there is need.
    pub(super) fn relieve(&self) {
        if self.is_pressed() {
            self.settle();
            self.sidecar.drop_clean(&self.sums);
        }
    }

    pub(super) fn status(&self) -> Result<ObjectStatus, StoreError> {
        let status = self.file.status().map_err(|error| self.failed(Attempt::Stat, error))?;
        Ok(ObjectStatus { length: status.length, allocated_bytes: status.allocated_bytes })
    }

    /// The length as it is now.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self, attempt: Attempt, error: io::Error) -> StoreError {
        StoreError::of_object(self.id, attempt, &self.path, error)
    }

    /// The error of a segment whose checksums could not be read.
    pub(super) fn without_sums(&self, segment: Segment, error: io::Error) -> StoreError {
        let path = self.sidecar.path();
        match self.sidecar.is_missing() {
            true => self.damaged(segment.extent(), format!("the checksum file {} is missing", path.display())),
            false => StoreError::of_object(self.id, Attempt::Checksums, &path, error),
        }
    }

    /// The error of bytes that differ from their checksum.
    pub(super) fn damaged(&self, extent: ObjectExtent, problem: String) -> StoreError {
        StoreError::Damaged { object: self.id, path: self.path.clone(), extent, problem }
    }

    /// The bytes of a block, up to the largest file's end.
    pub(super) fn block_extent(start: u64, length: u64) -> ObjectExtent {
        let length = length.min(MAX_FILE_BYTES - start);
        ObjectExtent::new(ObjectOffset(start), length).expect("a block that an object has")
    }
}
