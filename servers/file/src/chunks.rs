//! Cuts a request into chunks: what is done to an object between two questions to the gate.
//!
//! A chunk has many small extents or a part of a large one, and never more than [`CHUNK_BYTES_MAX`]. So a fence waits
//! for no more than that much work of the disk.

use pfs_core::extent::ObjectOffset;
use pfs_proto::data::ObjectExtent;
use std::collections::VecDeque;

/// Most bytes of one chunk.
pub const CHUNK_BYTES_MAX: u64 = 1 << 20;

/// The chunks of a request, in its order; their bytes follow each other in the payload.
pub fn chunks(extents: &[ObjectExtent]) -> impl Iterator<Item = Vec<ObjectExtent>> + '_ {
    let mut next = extents.iter().copied();
    let mut rest: Option<ObjectExtent> = None;
    std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        let mut room = CHUNK_BYTES_MAX;
        while room > 0 {
            let Some(extent) = rest.take().or_else(|| next.next()) else { break };
            let (head, tail) = cut(extent, room);
            chunk.push(head);
            room -= head.length();
            rest = tail;
        }
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// The first `length` bytes of an extent, and what is left.
fn cut(extent: ObjectExtent, length: u64) -> (ObjectExtent, Option<ObjectExtent>) {
    let length = length.min(extent.length());
    let head = ObjectExtent::new(extent.offset(), length).expect("a part that is not empty");
    (head, ObjectExtent::new(ObjectOffset(extent.offset().0 + length), extent.length() - length))
}

/// Where the bytes of a payload go that arrive piece by piece.
#[derive(Debug)]
pub struct Targets {
    rest: VecDeque<ObjectExtent>,
}

impl Targets {
    /// The whole payload goes to these extents, in their order.
    pub fn new(extents: Vec<ObjectExtent>) -> Self {
        Targets { rest: extents.into() }
    }

    /// The extents of the next `length` bytes.
    ///
    /// # Panics
    /// When there are not that many bytes left.
    pub fn take(&mut self, length: usize) -> Vec<ObjectExtent> {
        let mut taken = Vec::new();
        let mut length = length as u64;
        while length > 0 {
            let extent = self.rest.pop_front().expect("a payload is as long as its extents");
            let (head, tail) = cut(extent, length);
            taken.push(head);
            length -= head.length();
            if let Some(tail) = tail {
                self.rest.push_front(tail);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u64) -> ObjectExtent {
        ObjectExtent::new(ObjectOffset(offset), length).unwrap()
    }

    #[test]
    fn small_extents_share_a_chunk_and_large_ones_are_cut() {
        let half = CHUNK_BYTES_MAX / 2;
        let extents = [extent(0, 10), extent(100, half), extent(9000, CHUNK_BYTES_MAX), extent(5, 1)];
        let cut: Vec<_> = chunks(&extents).collect();
        assert_eq!(
            cut,
            [
                vec![extent(0, 10), extent(100, half), extent(9000, half - 10)],
                vec![extent(9000 + half - 10, half + 10), extent(5, 1)],
            ]
        );
        assert_eq!(chunks(&[]).count(), 0);
        assert_eq!(chunks(&[extent(0, CHUNK_BYTES_MAX)]).count(), 1);
    }

    #[test]
    fn pieces_find_their_extents() {
        let mut targets = Targets::new(vec![extent(10, 4), extent(50, 1), extent(20, 6)]);
        assert_eq!(targets.take(0), []);
        assert_eq!(targets.take(3), [extent(10, 3)]);
        assert_eq!(targets.take(4), [extent(13, 1), extent(50, 1), extent(20, 2)]);
        assert_eq!(targets.take(4), [extent(22, 4)]);
    }

    proptest::proptest! {
        /// Byte by byte the chunks are the request, and none is empty or too large.
        #[test]
        fn chunks_are_the_request(lengths in proptest::collection::vec(1..3 * CHUNK_BYTES_MAX, 0..6)) {
            let extents: Vec<_> = (0u64..).zip(lengths).map(|(i, length)| extent(i << 32, length)).collect();
            let mut joined: Vec<ObjectExtent> = Vec::new();
            for chunk in chunks(&extents) {
                let bytes: u64 = chunk.iter().map(|extent| extent.length()).sum();
                proptest::prop_assert!(bytes > 0 && bytes <= CHUNK_BYTES_MAX);
                for part in chunk {
                    match joined.last_mut().filter(|last| last.end() == part.offset()) {
                        Some(last) => *last = extent(last.offset().0, last.length() + part.length()),
                        None => joined.push(part),
                    }
                }
            }
            proptest::prop_assert_eq!(joined, extents);
        }
    }
}
