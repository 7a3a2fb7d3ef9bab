//! Requests as the store does them: runs of neighbouring blocks, and payloads of several parts.

use super::super::sum::BLOCK;
use super::table::UNIT_BYTES;
use pfs_core::checksum::BLOCK_BYTES;
use pfs_core::extent::ObjectOffset;
use pfs_proto::data::ObjectExtent;
use smallvec::SmallVec;
use std::io::IoSlice;

/// A range of bytes in one unit. Its pieces are what its blocks have of it, one for each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// First byte.
    pub(super) start: u64,
    /// First byte after it.
    pub(super) end: u64,
}

impl Segment {
    pub(super) fn extent(self) -> ObjectExtent {
        ObjectExtent::new(ObjectOffset(self.start), self.end - self.start).expect("a part of an extent")
    }

    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.end - self.start).expect("at most a unit")
    }

    /// Which unit it is in.
    pub(super) fn unit(self) -> u64 {
        self.start / UNIT_BYTES
    }

    /// Whether it is all of its unit.
    pub(super) fn is_whole_unit(self) -> bool {
        self.end - self.start == UNIT_BYTES
    }

    /// Its pieces in order: the block's number in the unit, and the range of bytes.
    pub(super) fn pieces(self) -> impl ExactSizeIterator<Item = Piece> {
        let first = self.start / BLOCK_BYTES;
        let count = usize::try_from((self.end - 1) / BLOCK_BYTES - first + 1).expect("at most the blocks of a unit");
        (0..count).map(move |index| {
            let block = (first + index as u64) * BLOCK_BYTES;
            Piece { start: self.start.max(block), end: self.end.min(block + BLOCK_BYTES) }
        })
    }

    /// The whole blocks in it as (first byte, first byte after them); empty if there are none.
    pub(super) fn whole_blocks(self) -> (u64, u64) {
        let start = self.start.next_multiple_of(BLOCK_BYTES);
        (start, (self.end - self.end % BLOCK_BYTES).max(start))
    }
}

/// What a segment has of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Piece {
    pub(super) fn is_whole(self) -> bool {
        self.end - self.start == BLOCK_BYTES
    }

    /// Where its block is among those of the unit.
    pub(super) fn index(self) -> usize {
        index(self.start)
    }

    /// First byte of its block.
    pub(super) fn block(self) -> u64 {
        self.start - self.start % BLOCK_BYTES
    }

    /// Its bytes in its block.
    pub(super) fn in_block(self) -> std::ops::Range<usize> {
        let start = (self.start % BLOCK_BYTES) as usize;
        start..start + (self.end - self.start) as usize
    }
}

/// Where the block of a byte is among those of its unit.
pub(super) fn index(byte: u64) -> usize {
    (byte % UNIT_BYTES / BLOCK_BYTES) as usize
}

/// Cuts extents at the edges of units, and joins those that follow each other at the edge of a block.
pub(super) fn segments(extents: &[ObjectExtent]) -> impl Iterator<Item = Segment> + '_ {
    let mut extents = extents.iter().copied().peekable();
    let mut rest: Option<Segment> = None;
    std::iter::from_fn(move || {
        let mut run = match rest.take() {
            Some(rest) => rest,
            None => extents.next().map(|extent| Segment { start: extent.offset().0, end: extent.end().0 })?,
        };
        while run.end % BLOCK_BYTES == 0
            && let Some(next) = extents.next_if(|next| next.offset().0 == run.end)
        {
            run.end = next.end().0;
        }
        let edge = (run.start - run.start % UNIT_BYTES).saturating_add(UNIT_BYTES);
        if run.end > edge {
            rest = Some(Segment { start: edge, end: run.end });
            run.end = edge;
        }
        Some(run)
    })
}

/// A payload that is taken from its beginning on.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    parts: &'a [&'a [u8]],
    /// Bytes of the first part that were taken.
    taken: usize,
}

/// The bytes of a segment.
pub(super) type Parts<'a> = SmallVec<[&'a [u8]; 8]>;

impl<'a> Payload<'a> {
    pub(super) fn new(parts: &'a [&'a [u8]]) -> Self {
        Payload { parts, taken: 0 }
    }

    /// The next bytes.
    ///
    /// # Panics
    /// When there are not that many: a payload is as long as its extents.
    pub(super) fn take(&mut self, mut bytes: usize) -> Parts<'a> {
        let mut taken = Parts::new();
        while bytes > 0 {
            let part = &self.parts.first().expect("a payload is as long as its extents")[self.taken..];
            let length = part.len().min(bytes);
            if length > 0 {
                taken.push(&part[..length]);
            }
            bytes -= length;
            self.taken += length;
            if length == part.len() {
                (self.parts, self.taken) = (&self.parts[1..], 0);
            }
        }
        taken
    }
}

/// Parts for a system call.
pub(super) fn io_slices<'a>(parts: &Parts<'a>) -> SmallVec<[IoSlice<'a>; 8]> {
    parts.iter().map(|part| IoSlice::new(part)).collect()
}

/// Copies what lies at `start` in all parts together.
pub(super) fn copy_from(parts: &Parts<'_>, mut start: usize, mut into: &mut [u8]) {
    for part in parts {
        let skipped = start.min(part.len());
        start -= skipped;
        let length = into.len().min(part.len() - skipped);
        let (here, after) = into.split_at_mut(length);
        here.copy_from_slice(&part[skipped..skipped + length]);
        into = after;
    }
    assert!(into.is_empty(), "a piece lies in its segment");
}

/// A block of zeros to read into.
pub(super) fn empty_block() -> [u8; BLOCK] {
    [0; BLOCK]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(start: u64, end: u64) -> ObjectExtent {
        ObjectExtent::new(ObjectOffset(start), end - start).unwrap()
    }

    fn cut(extents: &[ObjectExtent]) -> Vec<(u64, u64)> {
        segments(extents).map(|segment| (segment.start, segment.end)).collect()
    }

    #[test]
    fn neighbours_are_joined_where_blocks_end() {
        let extents =
            [extent(0, 4096), extent(4096, 8192), extent(8192, 9000), extent(9000, 12288), extent(4096, 8192)];
        assert_eq!(cut(&extents), [(0, 9000), (9000, 12288), (4096, 8192)]);
    }

    #[test]
    fn units_have_segments_of_their_own() {
        let unit = UNIT_BYTES;
        assert_eq!(cut(&[extent(5, unit), extent(unit, unit + 1)]), [(5, unit), (unit, unit + 1)]);
        assert_eq!(
            cut(&[extent(unit - 1, 2 * unit + 1)]),
            [(unit - 1, unit), (unit, 2 * unit), (2 * unit, 2 * unit + 1)]
        );
        assert!(segments(&[extent(unit, 2 * unit)]).all(Segment::is_whole_unit));
    }

    #[test]
    fn pieces_are_those_of_the_wire() {
        let extents = [extent(100, 9000), extent(20_480, 24_576), extent(24_576, 24_577)];
        let ours: Vec<_> = segments(&extents).flat_map(|segment| segment.pieces().collect::<Vec<_>>()).collect();
        let theirs: Vec<_> = pfs_proto::data::pieces(&extents).collect();
        assert_eq!(ours.len(), theirs.len());
        for (our, their) in ours.iter().zip(theirs) {
            assert_eq!((our.start, our.in_block().len()), (their.offset.0, their.length));
        }
        assert_eq!(Segment { start: 100, end: 9000 }.whole_blocks(), (4096, 8192));
        assert_eq!(Segment { start: 100, end: 200 }.whole_blocks(), (4096, 4096));
    }

    #[test]
    fn payloads_are_taken_across_their_parts() {
        let parts: [&[u8]; 4] = [b"abc", b"", b"defg", b"h"];
        let mut payload = Payload::new(&parts);
        assert_eq!(payload.take(2).concat(), b"ab");
        let taken = payload.take(5);
        assert_eq!(taken.concat(), b"cdefg");
        let mut into = [0; 3];
        copy_from(&taken, 0, &mut into);
        assert_eq!(&into, b"cde");
        copy_from(&taken, 2, &mut into);
        assert_eq!(&into, b"efg");
        assert_eq!(payload.take(1).concat(), b"h");
    }
}
