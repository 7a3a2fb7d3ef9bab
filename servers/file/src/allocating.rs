//! Space that is reserved, and holes that are made: let in, drained and fenced like writes.
//!
//! Invariant: a range of any length is done in at most [`PARTS_MAX`] chunks of the gate, so a fence waits for a part of
//! it, and nobody waits for the request for ever.

use crate::server::{FileServer, logged};
use crate::store::StoreError;
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
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
        self.on_disk(move |server| {
            for part in parts(extent) {
                let _chunk = work.chunk()?;
                match allocation {
                    Allocation::Reserve => server.store.allocate(object, part).map_err(logged)?,
                    Allocation::Punch => match server.store.punch(object, part) {
                        Err(StoreError::Missing { .. }) => {}
                        other => other.map_err(logged)?,
                    },
                }
            }
            Ok(())
        })
        .await?;
        let running = Arc::into_inner(running).expect("the disk is done with the request");
        Ok(running.finish()?)
    }
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
