//! What is done to a store, from a seed.

use crate::random::Random;
use pfs_core::extent::ObjectOffset;
use pfs_core::ids::{FileId, ObjectId};
use pfs_file_server::store::{ObjectStore, StoreError, checksums_of};
use pfs_proto::data::ObjectExtent;

/// Files; each has [`SLOTS`] objects.
pub const FILES: u64 = 4;
const SLOTS: u64 = 2;
/// Where in an object the bytes lie: near its start, over the end of a part that is marked as one, far away.
const AREAS: [u64; 3] = [0, 1 << 20, 5 << 20];
/// Bytes of an area that are used.
const AREA_BYTES: u64 = 20_000;
use pfs_core::checksum::BLOCK_BYTES;

/// One call of a store.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes an object.
    Create(ObjectId),
    /// Writes bytes that follow from the number.
    Write(ObjectId, Vec<ObjectExtent>, u64),
    /// Makes a hole.
    Punch(ObjectId, ObjectExtent),
    /// Takes space.
    Allocate(ObjectId, ObjectExtent),
    /// Sets the length; the number counts truncations.
    Truncate(ObjectId, u64, u64),
    /// Makes durable.
    Commit(ObjectId),
    /// Removes all objects of a file.
    Remove(FileId),
}

/// All objects that any step is about.
pub fn objects() -> impl Iterator<Item = ObjectId> {
    (1..=FILES).flat_map(|file| (0..SLOTS).map(move |slot| object(file, slot)))
}

fn object(file: u64, slot: u64) -> ObjectId {
    let file = FileId::new(file).expect("files count from 1");
    ObjectId { file, slot: u32::try_from(slot).expect("few slots") }
}

/// The bytes of a write: never zero, and of two writes hardly ever the same at one place.
pub fn payload(number: u64, extents: &[ObjectExtent]) -> Vec<u8> {
    let mut random = Random::new(number);
    let count: u64 = extents.iter().map(|extent| extent.length()).sum();
    (0..count).map(|_| (random.below(255) + 1) as u8).collect()
}

/// Makes up steps about the files that are `first` more than a multiple of `every`.
#[derive(Debug)]
pub struct Steps {
    random: Random,
    files: Vec<u64>,
    truncations: u64,
}

impl Steps {
    /// The steps of a seed about these files.
    pub fn new(seed: u64, files: Vec<u64>) -> Self {
        Steps { random: Random::new(seed), files, truncations: 0 }
    }

    /// The next step.
    pub fn next(&mut self) -> Step {
        let file = self.files[self.random.below(self.files.len() as u64) as usize];
        let id = object(file, self.random.below(SLOTS));
        match self.random.below(40) {
            0..2 => Step::Create(id),
            2..22 => Step::Write(id, self.extents(), self.random.next()),
            22..24 => Step::Punch(id, self.extent()),
            24 => Step::Allocate(id, self.extent()),
            25..28 => {
                self.truncations += 1;
                Step::Truncate(id, self.extent().offset().0, self.truncations)
            }
            28 => Step::Remove(id.file),
            _ => Step::Commit(id),
        }
    }

    /// Extents that do not overlap: the order of overlapping ones is not what is tested here.
    fn extents(&mut self) -> Vec<ObjectExtent> {
        let mut extents: Vec<ObjectExtent> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let new = self.extent();
            if extents.iter().all(|old| new.end() <= old.offset() || old.end() <= new.offset()) {
                extents.push(new);
            }
        }
        extents
    }

    /// Whole blocks, or a few bytes, or anything; never over the end of an area.
    fn extent(&mut self) -> ObjectExtent {
        let area = AREAS[self.random.below(4).min(2) as usize * usize::from(self.random.once_in(3))];
        let start = self.random.below(AREA_BYTES);
        let (start, length) = match self.random.below(3) {
            0 => (start / BLOCK_BYTES * BLOCK_BYTES, BLOCK_BYTES * self.random.within(1..4)),
            1 => (start, self.random.within(1..700)),
            _ => (start, self.random.within(1..10_000)),
        };
        // The second area lies around the end of a part, not behind it.
        let offset =
            if area == AREAS[1] { area - AREA_BYTES / 2 / BLOCK_BYTES * BLOCK_BYTES + start } else { area + start };
        ObjectExtent::new(ObjectOffset(offset), length).expect("a small extent")
    }
}

/// Does a step, and reads nothing but what the store itself reads. Objects are made when they are written, as by clients.
pub fn perform(store: &impl ObjectStore, step: &Step) -> Result<(), StoreError> {
    let forgiving = |outcome: Result<(), StoreError>| match outcome {
        Err(StoreError::Missing { .. }) => Ok(()),
        other => other,
    };
    match step {
        Step::Create(object) => store.create(*object),
        Step::Write(object, extents, number) => {
            let bytes = payload(*number, extents);
            store.create(*object)?;
            store.write(*object, extents, &[&bytes], &checksums_of(extents, &bytes).collect::<Vec<_>>())
        }
        Step::Punch(object, extent) => forgiving(store.punch(*object, *extent)),
        Step::Allocate(object, extent) => forgiving(store.allocate(*object, *extent)),
        Step::Truncate(object, length, generation) => store.truncate(*object, *length, *generation),
        Step::Commit(object) => store.commit(*object).map(|_| ()),
        Step::Remove(file) => store.remove_file(*file).map(|_| ()),
    }
}
