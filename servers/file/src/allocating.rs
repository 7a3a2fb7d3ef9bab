//! Space that is reserved, and holes that are made: let in, drained and fenced like writes.
//!
//! Invariant: a range of any length is done in at most [`PARTS_MAX`] chunks of the gate, so a fence waits for a part of
//! it, and nobody waits for the request for ever.

use crate::gate::Running;
use crate::server::{FileServer, logged};
use crate::store::StoreError;
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::ObjectId;
use pfs_proto::data::{Allocate, Allocation, ObjectExtent};
use pfs_proto::status::ErrorDetail;
use pfs_server_runtime::ConnectionEpoch;
use std::sync::Arc;

/// Bytes of one chunk, unless there would be too many of them.
const PART_BYTES: u64 = 1 << 30;
/// Most chunks of one request.
const PARTS_MAX: u64 = 1024;

impl FileServer {
    /// Reserves the space of a range, and makes the object if it is not there; or makes a hole of the range, which an
    /// object that is not there is already.
    pub async fn allocate(self: &Arc<Self>, allocate: Allocate, epoch: ConnectionEpoch) -> Result<(), ErrorDetail> {
        let Allocate { stamp, sequence, object, extent, allocation } = allocate;
        let running = Arc::new(self.gate.begin_write(stamp, sequence, object.file, epoch)?);
        if allocation == Allocation::Reserve {
            self.ensure(object, &running).await?;
        }
        let work = running.clone();
        self.on_disk(move |server| match allocation {
            Allocation::Reserve => server.reserve(&work, object, extent),
            Allocation::Punch => server.punch(&work, object, extent),
        })
        .await?;
        let running = Arc::into_inner(running).expect("the disk is done with the request");
        Ok(running.finish()?)
    }

    fn reserve(&self, running: &Running, object: ObjectId, extent: ObjectExtent) -> Result<(), ErrorDetail> {
        for part in parts(extent) {
            let _chunk = running.chunk()?;
            self.store.allocate(object, part).map_err(logged)?;
        }
        Ok(())
    }

    fn punch(&self, running: &Running, object: ObjectId, extent: ObjectExtent) -> Result<(), ErrorDetail> {
        let status = {
            let _chunk = running.chunk()?;
            self.store.stat(object).map_err(logged)?
        };
        let Some(status) = status else { return Ok(()) };
        let (inside, past) = split(extent, status.length);
        for part in inside.into_iter().flat_map(parts) {
            let _chunk = running.chunk()?;
            self.store.punch(object, part).map_err(logged)?;
        }
        let Some(past) = past else { return Ok(()) };
        let _chunk = running.chunk()?;
        match self.store.punch(object, past) {
            // No byte can be there.
            Err(StoreError::TooLarge { .. }) => Ok(()),
            other => Ok(other.map_err(logged)?),
        }
    }
}

/// What lies before and after an object's end.
fn split(extent: ObjectExtent, length: u64) -> (Option<ObjectExtent>, Option<ObjectExtent>) {
    let (start, end) = (extent.offset().0, extent.end().0);
    let between = |from: u64, to: u64| ObjectExtent::new(ObjectOffset(from), to.checked_sub(from)?);
    let length = length.next_multiple_of(BLOCK_BYTES);
    (between(start, end.min(length)), between(start.max(length), end))
}

/// The range in whole blocks, but for its ends.
fn parts(extent: ObjectExtent) -> impl Iterator<Item = ObjectExtent> {
    let (start, end) = (extent.offset().0, extent.end().0);
    let bytes = extent.length().div_ceil(PARTS_MAX - 1).next_multiple_of(BLOCK_BYTES).max(PART_BYTES);
    let mut at = start;
    std::iter::from_fn(move || {
        let next = (at - at % BLOCK_BYTES).saturating_add(bytes).min(end);
        let part = ObjectExtent::new(ObjectOffset(at), next.saturating_sub(at))?;
        at = next;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::extent::MAX_FILE_BYTES;

    #[test]
    fn a_range_is_split_at_the_objects_end() {
        let extent = |offset, length| ObjectExtent::new(ObjectOffset(offset), length);
        assert_eq!(split(extent(10, 90).unwrap(), 50), (extent(10, 90), None));
        assert_eq!(split(extent(10, 9000).unwrap(), 50), (extent(10, 4086), extent(4096, 4914)));
        assert_eq!(split(extent(9000, 10).unwrap(), 4096), (None, extent(9000, 10)));
        assert_eq!(split(extent(0, 10).unwrap(), 0), (None, extent(0, 10)));
    }

    #[test]
    fn parts_are_the_range() {
        for (start, length) in
            [(0, 1), (4095, 2), (7, 3 * PART_BYTES), (1, MAX_FILE_BYTES - 1), (MAX_FILE_BYTES - 1, 1)]
        {
            let extent = ObjectExtent::new(ObjectOffset(start), length).unwrap();
            let mut at = extent.offset();
            let mut count = 0;
            for part in parts(extent) {
                assert_eq!(part.offset(), at);
                assert!(part.end() == extent.end() || part.end().0 % BLOCK_BYTES == 0);
                (at, count) = (part.end(), count + 1);
            }
            assert!(at == extent.end() && count <= PARTS_MAX, "{count} parts");
        }
    }
}
