//! Comparing what is stored with its checksums, for the scrub.
//!
//! A unit is compared while it is shared, so no block is between its old and its new state, and while the checksum file is
//! not written, so what the file has is what it should have. Holes of bytes that are holes of checksums too are passed over.

use super::super::disk::{Disk, DiskFile};
use super::super::sum::{BLOCK, StoredSum};
use super::super::{Attempt, Damage, StoreError};
use super::blocks::CUT;
use super::object::OpenObject;
use super::segments::{Piece, Segment};
use super::table::{Sums, UNIT_BLOCKS, UNIT_BYTES, Unit, Wait};
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
use pfs_proto::data::ObjectExtent;
use std::io;
use std::ops::Range;

impl<D: Disk> OpenObject<D> {
    /// Damaged extents of these blocks, in order; neighbours with the same problem are one.
    pub(super) fn verify(&self, blocks: Range<u64>) -> Result<Vec<Damage>, StoreError> {
        let mut damages = Damages::default();
        let mut buffer = vec![0; UNIT_BYTES as usize];
        let mut at = blocks.start.saturating_mul(BLOCK_BYTES);
        let end = blocks.end.saturating_mul(BLOCK_BYTES);
        while at < end {
            let next = (at - at % UNIT_BYTES).saturating_add(UNIT_BYTES).min(end);
            match self.next_unit(at)? {
                Some(unit) if unit == at / UNIT_BYTES => {
                    self.verify_segment(Segment { start: at, end: next }, &mut buffer, &mut damages);
                    at = next;
                }
                Some(unit) => at = unit * UNIT_BYTES,
                None => break,
            }
        }
        self.relieve();
        Ok(damages.0)
    }

    /// The first unit from that of this byte on which may have something, in memory or on the disk.
    fn next_unit(&self, byte: u64) -> Result<Option<u64>, StoreError> {
        let unit = byte / UNIT_BYTES;
        let loaded = self.sums.next_unit(unit);
        let data = self.file.next_data(byte).map_err(|error| self.failed(Attempt::Verify, error))?;
        let sums = self.sidecar.next_unit(unit).map_err(|error| self.failed(Attempt::Checksums, error))?;
        let data = data.map(|byte| byte / UNIT_BYTES);
        Ok(data.into_iter().chain(sums).chain(loaded).min())
    }

    fn verify_segment(&self, segment: Segment, buffer: &mut [u8], damages: &mut Damages) {
        let _unchanged = self.sidecar.lock();
        let number = segment.unit();
        let unit = match self.sums.shared(number, Wait::Allowed, |sums| self.sidecar.load(number, sums, Wait::Allowed))
        {
            Ok(unit) => unit.expect("it may wait"),
            Err(error) => {
                let problem = self.without_sums(segment, error).to_string();
                return damages.add(segment.start, segment.end.min(self.length()), &problem);
            }
        };
        // Nobody makes the object longer or shorter in this unit now.
        let end = segment.end.min(self.length()).max(segment.start);
        if segment.start < end {
            self.verify_blocks(Segment { start: segment.start, end }, &unit, buffer, damages);
        }
        let past = Segment { start: end.next_multiple_of(BLOCK_BYTES), end: segment.end };
        let is_hole = |piece: &Piece| unit.sums()[piece.index()] == StoredSum::HOLE;
        if past.start < past.end {
            past.pieces().filter(|piece| !is_hole(piece)).for_each(|piece| damages.add(piece.start, piece.end, CUT));
        }
    }

    /// Blocks before the object's end.
    fn verify_blocks(&self, segment: Segment, unit: &Unit, buffer: &mut [u8], damages: &mut Damages) {
        let number = segment.unit();
        let in_file = match unit.is_dirty() {
            true => Ok(None),
            false => self.sidecar.read(number).map(Some),
        };
        let bytes = &mut buffer[..segment.bytes()];
        let is_read = self.read_for_verifying(bytes, segment.start).is_ok();
        for piece in segment.pieces() {
            let at = usize::try_from(piece.start - segment.start).expect("inside a unit");
            let block = &mut bytes[at..at + piece.in_block().len()];
            let read = if is_read { Ok(()) } else { self.read_for_verifying(block, piece.start) };
            let problem = self.problem(block, read, unit.sums()[piece.index()], piece.index(), &in_file);
            if let Some(problem) = problem {
                damages.add(piece.start, piece.end, &problem);
            }
        }
    }

    fn read_for_verifying(&self, into: &mut [u8], start: u64) -> io::Result<()> {
        let read = self.file.read_to_end(into, start)?;
        into[read..].fill(0);
        Ok(())
    }

    /// What is wrong with a block, if anything.
    fn problem(
        &self,
        block: &[u8],
        read: io::Result<()>,
        sum: StoredSum,
        index: usize,
        in_file: &io::Result<Option<Box<Sums>>>,
    ) -> Option<String> {
        debug_assert!(block.len() <= BLOCK && index < UNIT_BLOCKS);
        let path = || self.sidecar.path();
        if let Err(error) = read {
            return Some(format!("they cannot be read: {error}"));
        }
        if StoredSum::of(block) != sum {
            return Some("they differ from their checksum".into());
        }
        match in_file {
            Ok(Some(sums)) if sums[index] != sum => {
                Some(format!("their checksum in {} has changed since it was read", path().display()))
            }
            Err(error) => Some(format!("their checksum in {} cannot be read: {error}", path().display())),
            Ok(_) => None,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Damages(Vec<Damage>);

impl Damages {
    fn add(&mut self, start: u64, end: u64, problem: &str) {
        if let Some(last) = self.0.last_mut()
            && last.extent.end().0 == start
            && last.problem == problem
        {
            let (from, length) = (last.extent.offset(), end - last.extent.offset().0);
            last.extent = ObjectExtent::new(from, length).expect("a part of an object");
            return;
        }
        if let Some(extent) = ObjectExtent::new(ObjectOffset(start), end.saturating_sub(start)) {
            self.0.push(Damage { extent, problem: problem.to_owned() });
        }
    }
}
