//! Objects in memory: for tests of what lies above a store. Nothing is durable, and nothing fails.

use super::generations::Generations;
use super::{Damage, ObjectStatus, ObjectStore, StoreError};
use parking_lot::Mutex;
use pfs_core::checksum::Checksum;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::ObjectExtent;
use pfs_proto::metadata::SpaceReport;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a block; blocks that were never written are not kept.
const BLOCK_BYTES: u64 = 4096;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectId, MemoryObject>,
    generations: Generations,
}

#[derive(Debug, Default)]
struct MemoryObject {
    length: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

/// The blocks of an extent: number, range inside the block, range inside the buffer.
fn blocks_of(extent: ObjectExtent) -> impl Iterator<Item = (u64, std::ops::Range<usize>, std::ops::Range<usize>)> {
    let (start, end) = (extent.offset().0, extent.end().0);
    let small = |bytes: u64| usize::try_from(bytes).expect("an extent of a buffer in memory");
    (start / BLOCK_BYTES..=(end - 1) / BLOCK_BYTES).map(move |number| {
        let base = number * BLOCK_BYTES;
        let (from, to) = (start.max(base), end.min(base + BLOCK_BYTES));
        (number, small(from - base)..small(to - base), small(from - start)..small(to - start))
    })
}

impl MemoryObject {
    fn write(&mut self, extent: ObjectExtent, bytes: &[u8]) {
        for (number, in_block, in_bytes) in blocks_of(extent) {
            let block = self.blocks.entry(number).or_insert_with(|| vec![0; BLOCK_BYTES as usize].into());
            block[in_block].copy_from_slice(&bytes[in_bytes]);
        }
        self.length = self.length.max(extent.end().0);
    }

    fn read(&self, extent: ObjectExtent, bytes: &mut [u8]) {
        for (number, in_block, in_bytes) in blocks_of(extent) {
            match self.blocks.get(&number) {
                Some(block) => bytes[in_bytes].copy_from_slice(&block[in_block]),
                None => bytes[in_bytes].fill(0),
            }
        }
    }

    fn truncate(&mut self, length: u64) {
        self.blocks.split_off(&length.div_ceil(BLOCK_BYTES));
        if let Some(last) = self.blocks.get_mut(&(length / BLOCK_BYTES)) {
            let kept = usize::try_from(length % BLOCK_BYTES).expect("less than a block");
            last[kept..].fill(0);
        }
        self.length = length;
    }
}

fn split(extents: &[ObjectExtent]) -> impl Iterator<Item = (ObjectExtent, std::ops::Range<usize>)> + '_ {
    extents.iter().scan(0, |at, &extent| {
        let start = *at;
        *at += usize::try_from(extent.length()).expect("an extent of a buffer in memory");
        Some((extent, start..*at))
    })
}

impl ObjectStore for MemoryStore {
    fn create(&self, object: ObjectId) -> Result<(), StoreError> {
        self.state.lock().objects.entry(object).or_default();
        Ok(())
    }

    fn is_at_hand(&self, object: ObjectId) -> bool {
        self.state.lock().objects.contains_key(&object)
    }

    fn write(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        _checksums: &[Checksum],
    ) -> Result<(), StoreError> {
        let payload = payload.concat();
        let mut state = self.state.lock();
        let found = state.objects.get_mut(&object).ok_or(StoreError::Missing { object })?;
        split(extents).for_each(|(extent, range)| found.write(extent, &payload[range]));
        Ok(())
    }

    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError> {
        let state = self.state.lock();
        let found = state.objects.get(&object).ok_or(StoreError::Missing { object })?;
        split(extents).for_each(|(extent, range)| found.read(extent, &mut into[range]));
        checksums.extend(super::checksums_of(extents, into));
        Ok(())
    }

    fn write_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<bool, StoreError> {
        self.write(object, extents, payload, checksums).map(|()| true)
    }

    fn read_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, StoreError> {
        self.read(object, extents, into, checksums).map(|()| true)
    }

    fn allocate(&self, object: ObjectId, _extent: ObjectExtent) -> Result<(), StoreError> {
        self.stat(object)?.ok_or(StoreError::Missing { object }).map(|_| ())
    }

    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let found = state.objects.get_mut(&object).ok_or(StoreError::Missing { object })?;
        let length = extent.end().0.min(found.length).saturating_sub(extent.offset().0);
        if let Some(inside) = ObjectExtent::new(extent.offset(), length) {
            found.write(inside, &vec![0; usize::try_from(length).expect("bytes that are in memory")]);
        }
        Ok(())
    }

    fn verify(&self, object: ObjectId, _blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        self.stat(object)?.ok_or(StoreError::Missing { object }).map(|_| Vec::new())
    }

    fn commit(&self, object: ObjectId) -> Result<Option<u64>, StoreError> {
        Ok(self.state.lock().objects.get(&object).map(|object| object.length))
    }

    fn truncate(&self, object: ObjectId, length: u64, generation: u64) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if !state.generations.covers(object, generation) {
            if let Some(found) = state.objects.get_mut(&object) {
                found.truncate(length);
            }
            state.generations.note(object, generation);
        }
        Ok(())
    }

    fn remove_file(&self, file: FileId) -> Result<u64, StoreError> {
        let mut state = self.state.lock();
        let before = state.objects.len();
        state.objects.retain(|object, _| object.file != file);
        state.generations.forget(file);
        Ok((before - state.objects.len()) as u64)
    }

    fn stat(&self, object: ObjectId) -> Result<Option<ObjectStatus>, StoreError> {
        let state = self.state.lock();
        Ok(state.objects.get(&object).map(|object| ObjectStatus {
            length: object.length,
            allocated_bytes: object.blocks.len() as u64 * BLOCK_BYTES,
        }))
    }

    fn list(&self) -> Result<Vec<ObjectId>, StoreError> {
        Ok(self.state.lock().objects.keys().copied().collect())
    }

    /// Memory is not bounded here: always a GiB free.
    fn space(&self) -> Result<SpaceReport, StoreError> {
        let state = self.state.lock();
        let used: u64 = state.objects.values().map(|object| object.blocks.len() as u64 * BLOCK_BYTES).sum();
        let free_bytes = 1 << 30;
        Ok(SpaceReport { total_bytes: used + free_bytes, free_bytes, objects: state.objects.len() as u64 })
    }
}
