//! Bytes and checksums of an object, changed and read together.
//!
//! A whole block takes the checksum that came with it, and gives it away again: whoever uses the bytes compares. Of a block that
//! is written or read in part, all is read here and compared with its checksum first, so that damage is never summed as
//! if it were right, and never passed on.

use super::super::disk::{Disk, DiskFile};
use super::super::sum::{BLOCK, StoredSum};
use super::super::{Attempt, StoreError};
use super::fetch;
use super::object::OpenObject;
use super::segments::{Parts, Payload, Piece, Segment, copy_from, empty_block, io_slices, segments};
use super::table::{Unit, Wait};
use pfs_core::checksum::{BLOCK_BYTES, Checksum};
use pfs_core::extent::Extent;
use pfs_proto::data::ObjectExtent;
use smallvec::SmallVec;
use std::sync::atomic::Ordering;

/// The new checksums of the first and the last block of a segment, as far as they are not written whole.
type EdgeSums = SmallVec<[(usize, StoredSum); 2]>;

/// What a block is read for of which a part is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
}

const DIFFERS: &str = "they differ from their checksum";
/// Of blocks past the object's end that have a checksum.
pub(super) const CUT: &str = "they are gone: the object ends before them";

impl<D: Disk> OpenObject<D> {
    /// Writes all extents; false if that would have to wait.
    pub(super) fn write_segments(
        &self,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        mut checksums: &[Checksum],
        wait: Wait,
    ) -> Result<bool, StoreError> {
        let mut payload = Payload::new(payload);
        for segment in segments(extents) {
            let (own, after) = checksums.split_at(segment.pieces().len());
            if !self.write_segment(segment, &payload.take(segment.bytes()), own, wait)? {
                return Ok(false);
            }
            checksums = after;
        }
        Ok(true)
    }

    fn write_segment(
        &self,
        segment: Segment,
        bytes: &Parts<'_>,
        checksums: &[Checksum],
        wait: Wait,
    ) -> Result<bool, StoreError> {
        let number = segment.unit();
        // Nothing of a unit that is written whole is needed.
        let loaded = self.sums.exclusive(number, wait, |sums| match segment.is_whole_unit() {
            true => Ok(true),
            false => self.sidecar.load(number, sums, wait),
        });
        let Some(mut unit) = loaded.map_err(|error| self.without_sums(segment, error))? else { return Ok(false) };
        if !unit.has_space() {
            self.sidecar.reserve(number).map_err(|error| self.without_sums(segment, error))?;
            unit.set_space();
        }
        let Some(edges) = self.edge_sums(&unit, segment, bytes, wait)? else { return Ok(false) };
        if let Err(error) = self.file.write_all_parts(&mut io_slices(bytes), segment.start) {
            self.sum_again(&mut unit, segment);
            return Err(self.failed(Attempt::Write(segment.extent()), error));
        }
        self.length.fetch_max(segment.end, Ordering::Relaxed);
        let sums = unit.change();
        for (piece, checksum) in segment.pieces().zip(checksums).filter(|(piece, _)| piece.is_whole()) {
            sums[piece.index()] = (*checksum).into();
        }
        edges.into_iter().for_each(|(index, sum)| sums[index] = sum);
        Ok(true)
    }

    /// What the blocks that are written in part will have; nothing if that would have to wait.
    fn edge_sums(
        &self,
        unit: &Unit,
        segment: Segment,
        bytes: &Parts<'_>,
        wait: Wait,
    ) -> Result<Option<EdgeSums>, StoreError> {
        let mut edges = EdgeSums::new();
        let pieces = segment.pieces();
        let last = pieces.len() - 1;
        for piece in pieces.enumerate().filter(|(i, piece)| (*i == 0 || *i == last) && !piece.is_whole()) {
            let piece = piece.1;
            let mut block = empty_block();
            if !self.old_block(unit, piece, &mut block, Purpose::Write, wait)? {
                return Ok(None);
            }
            let at = usize::try_from(piece.start - segment.start).expect("inside a unit");
            copy_from(bytes, at, &mut block[piece.in_block()]);
            edges.push((piece.index(), StoredSum::of(&block)));
        }
        Ok(Some(edges))
    }

    /// The block of a piece, compared with its checksum; false if that would have to wait. `into` is zeros before.
    fn old_block(
        &self,
        unit: &Unit,
        piece: Piece,
        into: &mut [u8; BLOCK],
        purpose: Purpose,
        wait: Wait,
    ) -> Result<bool, StoreError> {
        let start = piece.block();
        if start >= self.length() {
            // A checksum past the end is that of a block that was there: somebody else has cut the file.
            return match unit.sums()[piece.index()] {
                StoredSum::HOLE => Ok(true),
                _ => Err(self.damaged(Self::block_extent(start, BLOCK_BYTES), CUT.into())),
            };
        }
        let read = fetch(&self.file, into, start, self.shared.is_in_memory, wait)
            .map_err(|error| self.failed(Attempt::Read(Self::block_extent(start, BLOCK_BYTES)), error))?;
        if read.is_none() {
            return Ok(false);
        }
        if StoredSum::of(into) != unit.sums()[piece.index()] {
            let lost = || Extent::new(start, start + BLOCK_BYTES).is_some_and(|block| self.ledger.has_lost(block));
            // What a failed sync has lost may be there or not, and whoever wrote it has to be able to write it again.
            if purpose == Purpose::Read || !lost() {
                let extent = Self::block_extent(start, BLOCK_BYTES.min(self.length() - start));
                return Err(self.damaged(extent, DIFFERS.into()));
            }
        }
        Ok(true)
    }

    /// Sums what a failed write has left: any of its bytes may have been written.
    fn sum_again(&self, unit: &mut Unit, segment: Segment) {
        for piece in segment.pieces() {
            let mut block = empty_block();
            match self.file.read_to_end(&mut block, piece.block()) {
                Ok(_) => unit.change()[piece.index()] = StoredSum::of(&block),
                Err(error) => {
                    let error = self.failed(Attempt::Read(Self::block_extent(piece.block(), BLOCK_BYTES)), error);
                    tracing::error!(%error, "a block cannot be summed after a failed write; it counts as damaged");
                    unit.change()[piece.index()] = unit.sums()[piece.index()].spoiled();
                }
            }
        }
        if let Ok(status) = self.file.status() {
            self.length.fetch_max(status.length, Ordering::Relaxed);
        }
    }

    /// Reads all extents; false if that would have to wait.
    pub(super) fn read_segments(
        &self,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
        wait: Wait,
    ) -> Result<bool, StoreError> {
        let mut rest = into;
        for segment in segments(extents) {
            let (bytes, after) = rest.split_at_mut(segment.bytes());
            if !self.read_segment(segment, bytes, checksums, wait)? {
                return Ok(false);
            }
            rest = after;
        }
        assert!(rest.is_empty(), "a buffer is as long as its extents");
        Ok(true)
    }

    fn read_segment(
        &self,
        segment: Segment,
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
        wait: Wait,
    ) -> Result<bool, StoreError> {
        let number = segment.unit();
        let loaded = self.sums.shared(number, wait, |sums| self.sidecar.load(number, sums, wait));
        let Some(unit) = loaded.map_err(|error| self.without_sums(segment, error))? else { return Ok(false) };
        let (start, end) = segment.whole_blocks();
        let at = |byte: u64| usize::try_from(byte - segment.start).expect("inside a unit");
        if start < end && !self.read_whole_blocks(&mut into[at(start)..at(end)], segment, start, wait)? {
            return Ok(false);
        }
        for piece in segment.pieces() {
            if piece.is_whole() {
                checksums.push(unit.sums()[piece.index()].into());
                continue;
            }
            let mut block = empty_block();
            if !self.old_block(&unit, piece, &mut block, Purpose::Read, wait)? {
                return Ok(false);
            }
            let part = &block[piece.in_block()];
            into[at(piece.start)..at(piece.end)].copy_from_slice(part);
            checksums.push(Checksum::of(part));
        }
        Ok(true)
    }

    fn read_whole_blocks(&self, into: &mut [u8], segment: Segment, start: u64, wait: Wait) -> Result<bool, StoreError> {
        let read = match start < self.length() {
            true => fetch(&self.file, into, start, self.shared.is_in_memory, wait)
                .map_err(|error| self.failed(Attempt::Read(segment.extent()), error))?,
            false => Some(0),
        };
        if let Some(read) = read {
            into[read..].fill(0);
        }
        Ok(read.is_some())
    }
}
