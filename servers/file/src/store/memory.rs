//! Objects in memory: for tests of what lies above a store. Nothing is durable, and nothing fails but what a test has
//! damaged: checksums are kept and compared as on a disk.

use super::generations::Generations;
use super::sum::{BLOCK, StoredSum};
use super::{Damage, ObjectStatus, ObjectStore, StoreError};
use parking_lot::Mutex;
use pfs_core::checksum::{BLOCK_BYTES, Checksum, Piece};
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::{ObjectExtent, pieces};
use pfs_proto::metadata::SpaceReport;
use std::collections::BTreeMap;
use std::ops::Range;

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// Flips a bit of a byte that was written, and not of its checksum.
    ///
    /// # Panics
    /// When its block was never written.
    pub fn damage(&self, object: ObjectId, offset: u64) {
        let mut state = self.state.lock();
        let found = state.objects.get_mut(&object).expect("an object");
        let block = found.blocks.get_mut(&(offset / BLOCK_BYTES)).expect("a block that was written");
        block.bytes[(offset % BLOCK_BYTES) as usize] ^= 1;
    }
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectId, MemoryObject>,
    generations: Generations,
}

#[derive(Debug, Default)]
struct MemoryObject {
    length: u64,
    /// Blocks that were never written are not here.
    blocks: BTreeMap<u64, Block>,
}

#[derive(Debug)]
struct Block {
    bytes: Box<[u8; BLOCK]>,
    sum: StoredSum,
}

impl Default for Block {
    fn default() -> Self {
        Block { bytes: Box::new([0; BLOCK]), sum: StoredSum::HOLE }
    }
}

impl Block {
    fn is_damaged(&self) -> bool {
        StoredSum::of(&self.bytes[..]) != self.sum
    }
}

/// The bytes of a piece in its block.
fn in_block(piece: Piece) -> Range<usize> {
    let start = (piece.offset.0 % BLOCK_BYTES) as usize;
    start..start + piece.length
}

impl MemoryObject {
    /// Fails with the block's extent if that is damaged.
    fn write(&mut self, piece: Piece, bytes: &[u8], checksum: Checksum) -> Result<(), ObjectExtent> {
        let extent = self.block_extent(piece.block());
        let block = self.blocks.entry(piece.block()).or_default();
        if !piece.is_whole() && block.is_damaged() {
            return Err(extent);
        }
        block.bytes[in_block(piece)].copy_from_slice(bytes);
        block.sum = if piece.is_whole() { checksum.into() } else { StoredSum::of(&block.bytes[..]) };
        self.length = self.length.max(piece.offset.0 + piece.length as u64);
        Ok(())
    }

    fn read(&self, piece: Piece, into: &mut [u8]) -> Result<Checksum, ObjectExtent> {
        let Some(block) = self.blocks.get(&piece.block()) else {
            into.fill(0);
            return Ok(Checksum::of(into));
        };
        into.copy_from_slice(&block.bytes[in_block(piece)]);
        match piece.is_whole() {
            true => Ok(block.sum.into()),
            false if block.is_damaged() => Err(self.block_extent(piece.block())),
            false => Ok(Checksum::of(into)),
        }
    }

    /// What an object has of a block, or all of it if it lies past the end.
    fn block_extent(&self, block: u64) -> ObjectExtent {
        let start = block * BLOCK_BYTES;
        let length = if self.length > start { (self.length - start).min(BLOCK_BYTES) } else { BLOCK_BYTES };
        ObjectExtent::new(ObjectOffset(start), length).expect("a block of an object")
    }

    fn truncate(&mut self, length: u64) {
        self.blocks.split_off(&length.div_ceil(BLOCK_BYTES));
        if let Some(last) = self.blocks.get_mut(&(length / BLOCK_BYTES)) {
            let was_damaged = last.is_damaged();
            last.bytes[(length % BLOCK_BYTES) as usize..].fill(0);
            let sum = StoredSum::of(&last.bytes[..]);
            last.sum = if was_damaged { sum.spoiled() } else { sum };
        }
        self.length = length;
    }

    fn punch(&mut self, extent: ObjectExtent) -> Result<(), ObjectExtent> {
        let end = extent.end().0.min(self.length.next_multiple_of(BLOCK_BYTES));
        let Some(inside) = ObjectExtent::new(extent.offset(), end.saturating_sub(extent.offset().0)) else {
            return Ok(());
        };
        let length = self.length;
        for piece in pieces(&[inside]) {
            match piece.is_whole() {
                true => drop(self.blocks.remove(&piece.block())),
                false => self.write(piece, &vec![0; piece.length], Checksum(0))?,
            }
        }
        self.length = length;
        Ok(())
    }
}

impl State {
    fn object(&mut self, object: ObjectId) -> Result<&mut MemoryObject, StoreError> {
        self.objects.get_mut(&object).ok_or(StoreError::Missing { object })
    }
}

fn damaged(object: ObjectId, extent: ObjectExtent) -> StoreError {
    StoreError::Damaged { object, path: "memory".into(), extent, problem: DIFFERS.into() }
}

const DIFFERS: &str = "they differ from their checksum";

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
        checksums: &[Checksum],
    ) -> Result<(), StoreError> {
        let payload = payload.concat();
        let mut rest = &payload[..];
        let mut state = self.state.lock();
        let found = state.object(object)?;
        for (piece, checksum) in pieces(extents).zip(checksums) {
            let (bytes, after) = rest.split_at(piece.length);
            found.write(piece, bytes, *checksum).map_err(|extent| damaged(object, extent))?;
            rest = after;
        }
        assert!(rest.is_empty(), "a payload is as long as its extents, with a checksum for each piece");
        Ok(())
    }

    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        let found = state.object(object)?;
        let before = checksums.len();
        let mut rest = into;
        for piece in pieces(extents) {
            let (bytes, after) = rest.split_at_mut(piece.length);
            match found.read(piece, bytes) {
                Ok(checksum) => checksums.push(checksum),
                Err(extent) => {
                    checksums.truncate(before);
                    return Err(damaged(object, extent));
                }
            }
            rest = after;
        }
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
        self.state.lock().object(object).map(|_| ())
    }

    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError> {
        self.state.lock().object(object)?.punch(extent).map_err(|extent| damaged(object, extent))
    }

    fn verify(&self, object: ObjectId, blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        let mut state = self.state.lock();
        let found = state.object(object)?;
        let bad = found.blocks.range(blocks).filter(|(_, block)| block.is_damaged());
        Ok(bad.map(|(&number, _)| Damage { extent: found.block_extent(number), problem: DIFFERS.into() }).collect())
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
