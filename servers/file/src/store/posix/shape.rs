//! Changes of an object's length, of its holes, and of the space that it has.

use super::super::disk::{Disk, DiskFile};
use super::super::sum::{BLOCK, StoredSum};
use super::super::{Attempt, StoreError};
use super::object::OpenObject;
use super::regions::{Region, RegionList, regions_of};
use super::segments::{Segment, empty_block, index, segments};
use super::table::{UNIT_BYTES, Wait, WholeTable};
use pfs_core::checksum::{BLOCK_BYTES, Checksum};
use pfs_core::extent::{Extent, ObjectOffset};
use pfs_proto::data::{ObjectExtent, pieces};
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;

/// Bytes of whole blocks of which a hole is made under one lock.
const PUNCH_BYTES: u64 = 256 * UNIT_BYTES;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

impl<D: Disk> OpenObject<D> {
    /// Cuts or extends the object, durably.
    pub(super) fn truncate(&self, length: u64) -> Result<(), StoreError> {
        // What a cut takes away may come back with a crash, and its checksums may not: all of it is marked.
        let regions = RegionList::from_slice(&[Region::from_byte(length)]);
        let entered = self.enter(regions, Wait::Allowed)?.expect("it may wait");
        let outcome = self.set_length(length);
        self.leave(entered);
        outcome?;
        self.ledger.cut(length);
        // A change of length is one of the things that fdatasync makes durable.
        self.ledger.sync_in_steps(|| self.make_durable()).map_err(|error| self.failed(Attempt::Truncate(length), error))
    }

    fn set_length(&self, length: u64) -> Result<(), StoreError> {
        let failed = |error| self.failed(Attempt::Truncate(length), error);
        let mut sidecar = self.sidecar.lock();
        let mut table = self.sums.whole();
        if length >= self.length() {
            // A last block that the object grows over has the checksum of what it is then: zeros follow.
            self.file.set_len(length).map_err(failed)?;
            self.length.store(length, Ordering::Relaxed);
            return Ok(());
        }
        let (unit, first_cut) = (length / UNIT_BYTES, index(length.next_multiple_of(BLOCK_BYTES)));
        let is_in_block = !length.is_multiple_of(BLOCK_BYTES);
        let last = match is_in_block {
            true => Some(self.sum_of_cut_block(&mut table, length)?),
            false => None,
        };
        self.file.set_len(length).map_err(failed)?;
        self.length.store(length, Ordering::Relaxed);
        let blocks = length.div_ceil(BLOCK_BYTES);
        self.sidecar.cut(&mut sidecar, blocks);
        table.cut(unit + 1);
        if table.has(unit) {
            let sums = table.unit(unit, |_| Ok(true)).map_err(failed)?.change();
            if let Some(sum) = last {
                sums[index(length)] = sum;
            }
            // The unit ends with its last block: nothing of it is cut off then.
            let first_cut = if is_in_block && first_cut == 0 { sums.len() } else { first_cut };
            sums[first_cut..].fill(StoredSum::HOLE);
        }
        Ok(())
    }

    /// What the block of the new end will have. A damaged block stays one.
    fn sum_of_cut_block(&self, table: &mut WholeTable<'_>, length: u64) -> Result<StoredSum, StoreError> {
        let start = length - length % BLOCK_BYTES;
        let segment = Segment { start, end: length };
        let number = segment.unit();
        let unit = table
            .unit(number, |sums| self.sidecar.load(number, sums, Wait::Allowed))
            .map_err(|error| self.without_sums(segment, error))?;
        let mut block = empty_block();
        self.file
            .read_to_end(&mut block, start)
            .map_err(|error| self.failed(Attempt::Read(segment.extent()), error))?;
        let new = StoredSum::of(&block[..segment.bytes()]);
        if StoredSum::of(&block) == unit.sums()[index(start)] {
            return Ok(new);
        }
        let error = self.damaged(segment.extent(), "their block is cut, and differs from its checksum".into());
        tracing::error!(%error, "a damaged block was cut; what is left of it stays damaged");
        Ok(new.spoiled())
    }

    /// Takes space; file systems that cannot do that do without.
    pub(super) fn allocate(&self, extent: ObjectExtent) -> Result<(), StoreError> {
        let taken = self
            .file
            .allocate(extent.offset().0, extent.length())
            .and_then(|()| self.sidecar.allocate(extent.end().0.div_ceil(BLOCK_BYTES)));
        match taken {
            Err(error) if is_unsupported(&error) => Ok(()),
            other => other.map_err(|error| self.failed(Attempt::Allocate(extent), error)),
        }
    }

    /// Makes a hole.
    pub(super) fn punch(&self, extent: ObjectExtent) -> Result<(), StoreError> {
        let entered = self.enter(regions_of(&[extent]), Wait::Allowed)?.expect("it may wait");
        let range = || Extent::new(extent.offset().0, extent.end().0).into_iter();
        let ticket = self.ledger.begin_write(range());
        let punched = self.punch_parts(extent);
        self.ledger.end_write(ticket, range(), punched.is_ok());
        self.leave(entered);
        self.relieve();
        punched
    }

    fn punch_parts(&self, extent: ObjectExtent) -> Result<(), StoreError> {
        let (from, to) = (extent.offset().0, extent.end().0);
        let (start, end) = (from.next_multiple_of(BLOCK_BYTES), to - to % BLOCK_BYTES);
        if start >= end {
            return self.write_zeros(from, to);
        }
        self.write_zeros(from, start)?;
        self.punch_blocks(extent, start, end)?;
        self.write_zeros(end, to)
    }

    /// Writes zeros, but none past the end: the length stays.
    fn write_zeros(&self, start: u64, end: u64) -> Result<(), StoreError> {
        let length = end.min(self.length()).saturating_sub(start);
        let Some(extent) = ObjectExtent::new(ObjectOffset(start), length) else { return Ok(()) };
        let extents = [extent];
        for segment in segments(&extents) {
            let payload: Vec<&[u8]> = segment.pieces().map(|piece| &ZEROS[piece.in_block()]).collect();
            let extents = [segment.extent()];
            let checksums: Vec<_> = pieces(&extents).map(|piece| Checksum::of(&ZEROS[..piece.length])).collect();
            self.write_segments(&extents, &payload, &checksums, Wait::Allowed)?;
        }
        Ok(())
    }

    fn punch_blocks(&self, extent: ObjectExtent, start: u64, end: u64) -> Result<(), StoreError> {
        let failed = |error| self.failed(Attempt::Punch(extent), error);
        // What lies past the end has no checksums, but it may have space.
        let inside = end.min(self.length().next_multiple_of(BLOCK_BYTES)).max(start);
        let mut at = start;
        while at < inside {
            let next = (at + PUNCH_BYTES).min(inside);
            match self.punch_some(at, next) {
                Err(error) if is_unsupported(&error) => return self.write_zeros(at, end),
                other => other.map_err(failed)?,
            }
            at = next;
            self.relieve();
        }
        match inside < end {
            true => self.file.punch(inside, end - inside).or_else(|error| match is_unsupported(&error) {
                true => Ok(()),
                false => Err(failed(error)),
            }),
            false => Ok(()),
        }
    }

    fn punch_some(&self, start: u64, end: u64) -> io::Result<()> {
        let mut table = self.sums.whole();
        let units = || start / UNIT_BYTES..=(end - 1) / UNIT_BYTES;
        for number in units() {
            table.unit(number, |sums| self.sidecar.load(number, sums, Wait::Allowed))?;
        }
        self.file.punch(start, end - start)?;
        for number in units() {
            let (first, after) = (number * UNIT_BYTES, (number + 1) * UNIT_BYTES);
            let unit = table.unit(number, |_| Ok(true))?;
            let from = index(start.max(first));
            let to = if end >= after { unit.sums().len() } else { index(end) };
            if unit.sums()[from..to].iter().any(|sum| *sum != StoredSum::HOLE) {
                unit.change()[from..to].fill(StoredSum::HOLE);
            }
        }
        Ok(())
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == ErrorKind::Unsupported
}
