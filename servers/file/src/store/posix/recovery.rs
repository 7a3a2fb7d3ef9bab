//! What has to be done before a store is used that was not shut down in order.
//!
//! Checksums on the disk may be behind then: for objects that were never committed, which have no checksum file, and for
//! blocks in regions with an open mark. Those blocks, and no others, are summed again; so recovery takes as long as what was
//! open is large, and not as the store is. A block that differs was being written when the store ended: it is counted and
//! logged, and has whatever of that write is there. Bytes beside that write are as they were, as disks write whole sectors.
//!
//! Order: what was summed again is durable before its mark is gone. So a recovery that is cut off is done again.

use super::super::disk::{Disk, DiskFile};
use super::super::sum::{SUM_BYTES, StoredSum};
use super::super::{Attempt, StoreError};
use super::bucket::{Bucket, Kind};
use super::marks::Mark;
use super::regions::Region;
use super::segments::Segment;
use super::sidecar::{decode, encode};
use super::table::{Sums, UNIT_BLOCKS, UNIT_BYTES, UNIT_SUM_BYTES};
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::ids::ObjectId;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

/// What a recovery has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Objects that were never committed; all of them is summed.
    pub uncommitted_objects: u64,
    /// Regions of other objects that were being written.
    pub open_regions: u64,
    /// Blocks in those regions that differed from their checksum.
    pub torn_blocks: u64,
    /// Checksum files of objects that do not exist.
    pub stray_files: u64,
}

impl Recovered {
    fn add(&mut self, other: Recovered) {
        self.uncommitted_objects += other.uncommitted_objects;
        self.open_regions += other.open_regions;
        self.torn_blocks += other.torn_blocks;
        self.stray_files += other.stray_files;
    }
}

/// Recovers a whole store; `marks` are those of the last run.
pub(super) fn recover<'a, D: Disk>(
    buckets: impl Iterator<Item = &'a Bucket<D>>,
    bucket_of: impl Fn(ObjectId) -> &'a Bucket<D>,
    marks: &[Mark],
) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    for bucket in buckets {
        recovered.add(names(bucket)?);
    }
    let mut regions: BTreeMap<ObjectId, BTreeSet<Region>> = BTreeMap::new();
    for mark in marks {
        regions.entry(mark.object).or_default().insert(mark.region);
    }
    for (object, regions) in regions {
        recovered.open_regions += regions.len() as u64;
        recovered.torn_blocks += open_regions(bucket_of(object), object, regions)?;
    }
    Ok(recovered)
}

/// Removes checksums without an object, and makes those of objects that have none.
fn names<D: Disk>(bucket: &Bucket<D>) -> Result<Recovered, StoreError> {
    let mut recovered = Recovered::default();
    let names = bucket.names_here()?;
    let all_of = |kind| names.iter().filter(move |name| name.1 == kind).map(|name| name.0);
    let objects: BTreeSet<ObjectId> = all_of(Kind::Bytes).collect();
    let mut uncommitted = objects.clone();
    for object in all_of(Kind::Sums) {
        if !uncommitted.remove(&object) {
            bucket.unlink_one(object, Kind::Sums)?;
            recovered.stray_files += 1;
        }
    }
    for object in all_of(Kind::EarlySums).filter(|object| !uncommitted.contains(object)) {
        bucket.unlink_one(object, Kind::EarlySums)?;
        recovered.stray_files += 1;
    }
    for &object in &uncommitted {
        sum_all(bucket, object)?;
        recovered.uncommitted_objects += 1;
    }
    // What the last run has named or unlinked may not be durable either; checksums that go must not come back beside
    // another object's bytes.
    bucket.sync_names()?;
    Ok(recovered)
}

/// Makes the checksums of an object that was never committed.
fn sum_all<D: Disk>(bucket: &Bucket<D>, object: ObjectId) -> Result<(), StoreError> {
    let failed = |error| StoreError::of_object(object, Attempt::Checksums, &bucket.path(object), error);
    let Some(file) = bucket.open(object)? else { return Ok(()) };
    let sums = bucket.create_early_sums(object).map_err(failed)?;
    let mut again = Again { file: &file, sums: &sums, length: file.status().map_err(failed)?.length, torn: Vec::new() };
    again.sum(0, u64::MAX).and_then(|()| again.finish()).map_err(failed)?;
    bucket.name_sums(object).map_err(failed)
}

/// Sums the open regions of an object again, and tells how many blocks differed.
fn open_regions<D: Disk>(bucket: &Bucket<D>, object: ObjectId, regions: BTreeSet<Region>) -> Result<u64, StoreError> {
    let path = bucket.sums_path(object);
    let failed = |error| StoreError::of_object(object, Attempt::Checksums, &path, error);
    let Some(file) = bucket.open(object)? else { return Ok(0) };
    let sums = match bucket.open_sums(object) {
        // An object that lost its checksums a moment ago, with its first commit: they are all new.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        other => other.map_err(failed)?,
    };
    let length = file.status().map_err(failed)?.length;
    let mut again = Again { file: &file, sums: &sums, length, torn: Vec::new() };
    for region in regions {
        let (start, end) = region.bytes();
        again.sum(start, end).map_err(failed)?;
    }
    again.finish().map_err(failed)?;
    for &(start, end) in &again.torn {
        let path = bucket.path(object);
        tracing::warn!(%object, path = %path.display(), start, end, "these bytes were being written when the store ended");
    }
    Ok(again.torn.iter().map(|(start, end)| (end - start) / BLOCK_BYTES).sum())
}

/// Sums blocks of one object again.
struct Again<'a, F: DiskFile> {
    file: &'a F,
    sums: &'a F,
    /// The object's length.
    length: u64,
    /// Ranges of blocks that differed, in order, neighbours joined.
    torn: Vec<(u64, u64)>,
}

impl<F: DiskFile> Again<'_, F> {
    /// Sums all blocks in this range of bytes, which begins and ends with a unit.
    fn sum(&mut self, start: u64, end: u64) -> io::Result<()> {
        let mut unit = start / UNIT_BYTES;
        let mut buffer = vec![0; UNIT_BYTES as usize];
        while let Some(next) = self.next_unit(unit)?
            && next.saturating_mul(UNIT_BYTES) < end
        {
            self.sum_unit(next, &mut buffer)?;
            unit = next + 1;
        }
        Ok(())
    }

    /// The first unit from this one on that has bytes or checksums.
    fn next_unit(&self, unit: u64) -> io::Result<Option<u64>> {
        let start = unit.saturating_mul(UNIT_BYTES);
        let bytes = if start < self.length { self.file.next_data(start)? } else { None };
        let sums = self.sums.next_data(unit.saturating_mul(UNIT_SUM_BYTES))?;
        let units = bytes.map(|byte| byte / UNIT_BYTES).into_iter().chain(sums.map(|byte| byte / UNIT_SUM_BYTES));
        Ok(units.min().map(|found| found.max(unit)))
    }

    fn sum_unit(&mut self, unit: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut old: Box<Sums> = Box::new([StoredSum::HOLE; UNIT_BLOCKS]);
        let mut bytes = [0; UNIT_SUM_BYTES as usize];
        self.sums.read_to_end(&mut bytes, unit * UNIT_SUM_BYTES)?;
        decode(&bytes, &mut old);
        let mut new = old.clone();
        let start = unit * UNIT_BYTES;
        let is_read = self.read(buffer, start).is_ok();
        let whole = Segment { start, end: start + UNIT_BYTES };
        for (piece, block) in whole.pieces().zip(buffer.chunks_exact_mut(BLOCK_BYTES as usize)) {
            if !is_read && let Err(error) = self.read(block, piece.start) {
                tracing::error!(%error, start = piece.start, "a block that was being written cannot be read");
                continue;
            }
            new[piece.index()] = StoredSum::of(block);
            if new[piece.index()] != old[piece.index()] {
                self.note(piece.start, piece.end);
            }
        }
        if new != old {
            self.sums.write_all(&encode(&new).collect::<Vec<_>>(), unit * UNIT_SUM_BYTES)?;
        }
        Ok(())
    }

    fn read(&self, into: &mut [u8], start: u64) -> io::Result<()> {
        let read = self.file.read_to_end(into, start)?;
        into[read..].fill(0);
        Ok(())
    }

    fn note(&mut self, start: u64, end: u64) {
        match self.torn.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            Some(last) if (last.0..last.1).contains(&start) => {}
            _ => self.torn.push((start, end)),
        }
    }

    /// Cuts off checksums past the object's end, and makes bytes and checksums durable.
    fn finish(&self) -> io::Result<()> {
        let needed = self.length.div_ceil(BLOCK_BYTES) * SUM_BYTES;
        if self.sums.status()?.length > needed {
            self.sums.set_len(needed)?;
        }
        self.file.sync_data()?;
        self.sums.sync_data()
    }
}
