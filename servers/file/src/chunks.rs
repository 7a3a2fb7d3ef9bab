//! Cuts a request into chunks of whole pieces: what is done to an object between two questions to the gate.
//!
//! A chunk has many small extents or a part of a large one, and never more than [`CHUNK_BYTES_MAX`]. So a fence waits
//! for no more than that much work of the disk. No chunk ends within a piece, so checksums never have to be made anew.

use pfs_core::checksum::{BLOCK_BYTES, Piece, pieces};
use pfs_core::extent::ObjectOffset;
use pfs_proto::data::ObjectExtent;

/// Most bytes of one chunk; at least a piece.
pub const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// A place in a request's extents: all before it is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    extent: usize,
    /// Bytes of that extent.
    done: u64,
}

impl Position {
    /// The next piece, which is stepped over; nothing at the end.
    pub fn next_piece(&mut self, extents: &[ObjectExtent]) -> Option<Piece> {
        let rest = self.rest(extents)?;
        let piece = pieces([(rest.offset(), rest.length())]).next()?;
        self.step(rest, piece.length as u64);
        Some(piece)
    }

    /// Appends the extents of the next `length` bytes to `into` and steps over them.
    ///
    /// # Panics
    /// When there are not that many bytes left.
    pub fn take(&mut self, extents: &[ObjectExtent], length: usize, into: &mut Vec<ObjectExtent>) {
        let mut length = length as u64;
        while length > 0 {
            let rest = self.rest(extents).expect("a payload is as long as its extents");
            let head = first(rest, length.min(rest.length()));
            self.step(rest, head.length());
            length -= head.length();
            into.push(head);
        }
    }

    /// The extents of as many whole pieces as fit into `bytes_max`, which is at least a block; steps over them. Nothing
    /// at the end.
    pub fn take_pieces(&mut self, extents: &[ObjectExtent], bytes_max: u64) -> Option<Vec<ObjectExtent>> {
        let mut taken = Vec::new();
        let mut room = bytes_max;
        while let Some(rest) = self.rest(extents) {
            let length = whole_pieces(rest, room);
            if length == 0 {
                break;
            }
            taken.push(first(rest, length));
            self.step(rest, length);
            room -= length;
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// What is left of the present extent.
    fn rest(&self, extents: &[ObjectExtent]) -> Option<ObjectExtent> {
        let extent = extents.get(self.extent)?;
        ObjectExtent::new(ObjectOffset(extent.offset().0 + self.done), extent.length() - self.done)
    }

    /// Steps over the first `length` bytes of `rest`, which is what was left.
    fn step(&mut self, rest: ObjectExtent, length: u64) {
        if length == rest.length() {
            *self = Position { extent: self.extent + 1, done: 0 };
        } else {
            self.done += length;
        }
    }
}

/// The first bytes of an extent, at least one of them.
fn first(extent: ObjectExtent, length: u64) -> ObjectExtent {
    ObjectExtent::new(extent.offset(), length).expect("a part that is not empty")
}

/// The bytes of the first pieces of an extent that fit into `room`.
fn whole_pieces(extent: ObjectExtent, room: u64) -> u64 {
    if extent.length() <= room {
        return extent.length();
    }
    let start = extent.offset().0;
    let end = start + room;
    (end - end % BLOCK_BYTES).saturating_sub(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_proto::data;

    fn extent(offset: u64, length: u64) -> ObjectExtent {
        ObjectExtent::new(ObjectOffset(offset), length).unwrap()
    }

    fn chunks(extents: &[ObjectExtent], bytes_max: u64) -> Vec<Vec<ObjectExtent>> {
        let mut position = Position::default();
        std::iter::from_fn(|| position.take_pieces(extents, bytes_max)).collect()
    }

    #[test]
    fn small_extents_share_a_chunk_and_large_ones_are_cut_between_pieces() {
        let extents = [extent(0, 10), extent(4096, 8192), extent(9000, 20_000), extent(5, 1)];
        assert_eq!(
            chunks(&extents, 16_384),
            [vec![extent(0, 10), extent(4096, 8192), extent(9000, 7384)], vec![extent(16_384, 12_616), extent(5, 1)],]
        );
        assert!(chunks(&[], 4096).is_empty());
        assert_eq!(chunks(&[extent(1, 8192)], 4096), [[extent(1, 4095)], [extent(4096, 4096)], [extent(8192, 1)]]);
    }

    #[test]
    fn bytes_find_their_extents() {
        let extents = [extent(10, 4), extent(50, 1), extent(20, 6)];
        let mut position = Position::default();
        let mut take = |length| {
            let mut taken = Vec::new();
            position.take(&extents, length, &mut taken);
            taken
        };
        assert_eq!(take(0), []);
        assert_eq!(take(3), [extent(10, 3)]);
        assert_eq!(take(4), [extent(13, 1), extent(50, 1), extent(20, 2)]);
        assert_eq!(take(4), [extent(22, 4)]);
    }

    proptest::proptest! {
        /// Piece by piece the chunks are the request, and none is empty or too large.
        #[test]
        fn chunks_are_the_request(
            parts in proptest::collection::vec((0..1u64 << 20, 1..100_000u64), 0..6),
            bytes_max in 4096..200_000u64,
        ) {
            let extents: Vec<_> = parts.into_iter().map(|(offset, length)| extent(offset, length)).collect();
            let all: Vec<_> = data::pieces(&extents).collect();
            let mut joined = Vec::new();
            for chunk in chunks(&extents, bytes_max) {
                let bytes: u64 = chunk.iter().map(|extent| extent.length()).sum();
                proptest::prop_assert!(bytes > 0 && bytes <= bytes_max);
                joined.extend(data::pieces(&chunk));
            }
            proptest::prop_assert_eq!(&joined, &all);
            let mut position = Position::default();
            let stepped: Vec<_> = std::iter::from_fn(|| position.next_piece(&extents)).collect();
            proptest::prop_assert_eq!(stepped, all);
        }
    }
}
