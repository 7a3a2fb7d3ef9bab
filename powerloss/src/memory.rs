//! What may be in the objects of a store after a loss of power.
//!
//! Invariant: for every byte there is what it was at the last commit, and everything that was written over it since; both are
//! right after a loss of power, and nothing else is. A byte that nobody wrote is zero.

use super::steps::{Step, payload};
use pfs_core::ids::ObjectId;
use pfs_file_server::store::disk::SECTOR_BYTES;
use pfs_proto::data::ObjectExtent;
use std::collections::BTreeMap;
use std::sync::Arc;

const SECTOR: usize = SECTOR_BYTES as usize;

/// What is known of an object's being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Existence {
    /// It is not there.
    #[default]
    No,
    /// It is there or not.
    Maybe,
    /// It is there.
    Yes,
}

/// What may be in one object.
#[derive(Clone, Debug, Default)]
pub struct ObjectMemory {
    existence: Existence,
    sectors: BTreeMap<u64, Vec<Arc<[u8; SECTOR]>>>,
    /// Each from and to, both included; the newest last.
    lengths: Vec<(u64, u64)>,
}

/// What may be in all objects.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    objects: BTreeMap<ObjectId, ObjectMemory>,
}

impl Memory {
    /// What may be in an object.
    pub fn object(&self, id: ObjectId) -> ObjectMemory {
        self.objects.get(&id).cloned().unwrap_or_default()
    }

    /// What was found in an object after a loss of power: from now on only that is right.
    pub fn found(&mut self, id: ObjectId, found: ObjectMemory) {
        self.objects.insert(id, found);
    }

    /// A step may have begun: what it does may be there, or a part of it.
    pub fn begin(&mut self, step: &Step) {
        match step {
            Step::Create(id) => self.of(*id).make(),
            Step::Write(id, extents, number) => {
                let object = self.of(*id);
                object.make();
                let bytes = payload(*number, extents);
                let mut rest = &bytes[..];
                for extent in extents {
                    let (these, after) = rest.split_at(extent.length() as usize);
                    object.write(extent.offset().0, these);
                    rest = after;
                }
            }
            Step::Punch(id, extent) => self.of(*id).punch(*extent),
            Step::Truncate(id, length, _) => self.of(*id).begin_truncation(*length),
            Step::Remove(file) => self.of_file(file.get()).for_each(ObjectMemory::begin_removal),
            Step::Allocate(..) | Step::Commit(_) => {}
        }
    }

    /// A step that has begun has ended.
    pub fn end(&mut self, step: &Step) {
        match step {
            Step::Truncate(id, length, _) => self.of(*id).end_truncation(*length),
            Step::Commit(id) => self.of(*id).commit(),
            Step::Remove(file) => self.of_file(file.get()).for_each(|object| *object = ObjectMemory::default()),
            Step::Create(_) | Step::Write(..) | Step::Punch(..) | Step::Allocate(..) => {}
        }
    }

    fn of(&mut self, id: ObjectId) -> &mut ObjectMemory {
        self.objects.entry(id).or_default()
    }

    fn of_file(&mut self, file: u64) -> impl Iterator<Item = &mut ObjectMemory> {
        self.objects.iter_mut().filter(move |(id, _)| id.file.get() == file).map(|(_, object)| object)
    }
}

impl ObjectMemory {
    /// An object that was found like this.
    pub fn found(length: u64, sectors: impl Iterator<Item = (u64, [u8; SECTOR])>) -> Self {
        let sectors = sectors.map(|(number, bytes)| (number, vec![Arc::new(bytes)])).collect();
        ObjectMemory { existence: Existence::Yes, sectors, lengths: vec![(length, length)] }
    }

    /// Whether it must be there.
    pub fn existence(&self) -> Existence {
        self.existence
    }

    /// Whether it may have this length.
    pub fn may_be_of(&self, length: u64) -> bool {
        self.lengths.iter().any(|&(from, to)| (from..=to).contains(&length))
    }

    /// For people: the lengths that it may have.
    pub fn lengths(&self) -> String {
        let one = |&(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from} to {to}") };
        self.lengths.iter().map(one).collect::<Vec<_>>().join(" or ")
    }

    /// The sectors that were ever written, by number.
    pub fn sectors(&self) -> impl Iterator<Item = u64> + '_ {
        self.sectors.keys().copied()
    }

    /// The first byte of a sector that is neither what was committed nor what was written since.
    pub fn first_wrong(&self, number: u64, bytes: &[u8; SECTOR]) -> Option<usize> {
        let versions = match self.sectors.get(&number) {
            None => return (*bytes != [0; SECTOR]).then(|| bytes.iter().position(|byte| *byte != 0)).flatten(),
            Some(versions) => versions,
        };
        if versions.iter().any(|version| **version == *bytes) {
            return None;
        }
        (0..SECTOR).find(|&at| versions.iter().all(|version| version[at] != bytes[at]))
    }

    fn make(&mut self) {
        if self.existence == Existence::No {
            *self = ObjectMemory { existence: Existence::Maybe, lengths: vec![(0, 0)], ..Self::default() };
        }
    }

    fn newest_length(&self) -> u64 {
        self.lengths.last().map_or(0, |last| last.1)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        for number in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let base = number * SECTOR_BYTES;
            let (from, to) = (offset.max(base), end.min(base + SECTOR_BYTES));
            let versions = self.sectors.entry(number).or_insert_with(|| vec![Arc::new([0; SECTOR])]);
            let mut newest = **versions.last().expect("a sector has a version");
            newest[(from - base) as usize..(to - base) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
            versions.push(Arc::new(newest));
        }
        let before = self.newest_length();
        if end > before {
            self.lengths.push((before, end));
        }
    }

    fn punch(&mut self, extent: ObjectExtent) {
        let end = extent.end().0.min(self.newest_length());
        if self.existence != Existence::No && end > extent.offset().0 {
            self.write(extent.offset().0, &vec![0; (end - extent.offset().0) as usize]);
        }
    }

    fn begin_truncation(&mut self, length: u64) {
        if self.existence == Existence::No {
            return;
        }
        for (number, versions) in self.sectors.range_mut(length / SECTOR_BYTES..) {
            let newest = versions.last().expect("a sector has a version");
            let cut = cut(newest, *number, length);
            versions.push(cut);
        }
        self.lengths.push((length, length));
    }

    fn end_truncation(&mut self, length: u64) {
        if self.existence == Existence::No {
            return;
        }
        self.sectors.split_off(&length.div_ceil(SECTOR_BYTES));
        if let Some(versions) = self.sectors.get_mut(&(length / SECTOR_BYTES)) {
            versions.iter_mut().for_each(|version| *version = cut(version, length / SECTOR_BYTES, length));
        }
        self.lengths = vec![(length, length)];
    }

    fn commit(&mut self) {
        if self.existence == Existence::No {
            return;
        }
        self.existence = Existence::Yes;
        self.sectors.values_mut().for_each(|versions| drop(versions.drain(..versions.len() - 1)));
        let length = self.newest_length();
        self.lengths = vec![(length, length)];
    }

    fn begin_removal(&mut self) {
        if self.existence == Existence::Yes {
            self.existence = Existence::Maybe;
        }
    }
}

fn cut(sector: &[u8; SECTOR], number: u64, length: u64) -> Arc<[u8; SECTOR]> {
    let kept = length.saturating_sub(number * SECTOR_BYTES).min(SECTOR_BYTES) as usize;
    let mut cut = *sector;
    cut[kept..].fill(0);
    Arc::new(cut)
}
