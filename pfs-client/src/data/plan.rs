//! Which requests go to which servers for an access.
//!
//! Invariants: every byte of the access is in exactly one piece of one request; a request names one slot, at most
//! `bytes_max` bytes and at most the wire's number of extents; requests come in the order in which they fill up along the
//! file, so that all servers get work from the start.

use pfs_core::extent::{Extent, ObjectOffset};
use pfs_core::layout::{Recipe, StripePiece};
use pfs_proto::data::ObjectExtent;
use pfs_proto::transport::EXTENTS_PER_REQUEST_MAX;
use std::collections::BTreeMap;

/// A part of the access's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it starts in the file.
    pub(crate) file_offset: u64,
    /// Bytes.
    pub(crate) length: u64,
}

/// One request to one slot's server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DataRequest {
    pub(crate) slot: u32,
    /// Where the payload lies in the object.
    pub(crate) extents: Vec<ObjectExtent>,
    /// Where the payload lies in the file, in the payload's order.
    pub(crate) pieces: Vec<Piece>,
    /// Bytes of the payload.
    pub(crate) bytes: u64,
}

impl DataRequest {
    fn push(&mut self, piece: StripePiece) {
        self.slot = piece.slot;
        self.bytes += piece.length;
        match self.pieces.last_mut() {
            Some(last) if last.file_offset + last.length == piece.file_offset.0 => last.length += piece.length,
            _ => self.pieces.push(Piece { file_offset: piece.file_offset.0, length: piece.length }),
        }
        let added = object_extent(piece.object_offset, piece.length);
        match self.extents.last_mut() {
            Some(last) if last.end() == piece.object_offset => {
                *last = object_extent(last.offset(), last.length() + piece.length);
            }
            _ => self.extents.push(added),
        }
    }

    fn is_full(&self, bytes_max: u64) -> bool {
        self.bytes >= bytes_max || self.extents.len() >= EXTENTS_PER_REQUEST_MAX
    }
}

/// The requests for `extents`, which are disjoint, in order and below the largest file offset.
pub(crate) fn plan(recipe: &Recipe, extents: &[Extent], bytes_max: u64) -> Vec<DataRequest> {
    if let [extent] = extents
        && extent.len() <= bytes_max
        && let Some(whole) = only(recipe.split(*extent))
    {
        let mut request = DataRequest::default();
        request.push(whole);
        return vec![request];
    }
    let mut requests = Vec::new();
    let mut open: BTreeMap<u32, DataRequest> = BTreeMap::new();
    for piece in extents.iter().flat_map(|extent| recipe.split(*extent)) {
        let mut rest = piece;
        while rest.length > 0 {
            let request = open.entry(rest.slot).or_default();
            let now = rest.length.min(bytes_max - request.bytes);
            request.push(StripePiece { length: now, ..rest });
            rest.object_offset.0 += now;
            rest.file_offset.0 += now;
            rest.length -= now;
            if request.is_full(bytes_max) {
                requests.extend(open.remove(&piece.slot));
            }
        }
    }
    requests.extend(open.into_values());
    requests
}

/// The only one, if there is one only.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

fn object_extent(offset: ObjectOffset, length: u64) -> ObjectExtent {
    ObjectExtent::new(offset, length).expect("a piece of a valid extent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::ids::ServerId;

    fn recipe(stripe_unit: u64, stripe_count: u32) -> Recipe {
        let slots = (1..=stripe_count).map(|id| [ServerId::new(id).unwrap()].into_iter().collect()).collect();
        Recipe::new(stripe_unit, slots).unwrap()
    }

    /// 2 servers, units of 4 KiB, the range [2 KiB, 22 KiB), requests of at most 8 KiB:
    ///
    /// ```text
    /// file  | s0      | s1      | s0      | s1      | s0      | s1
    ///            ^2K                                       ^22K
    /// s0: 2K..4K 8K..12K 16K..18K are 8 KiB: full, then 18K..20K; s1: 4K..8K 12K..16K: full, then 20K..22K
    /// ```
    #[test]
    fn requests_fill_up_along_the_file() {
        let range = Extent::new(2 << 10, 22 << 10).unwrap();
        let lines: Vec<String> = plan(&recipe(4096, 2), &[range], 8 << 10)
            .iter()
            .map(|r| {
                let extents: Vec<_> = r.extents.iter().map(|e| (e.offset().0 >> 10, e.length() >> 10)).collect();
                let pieces: Vec<_> = r.pieces.iter().map(|p| (p.file_offset >> 10, p.length >> 10)).collect();
                format!("slot {} object {extents:?} file {pieces:?}", r.slot)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "slot 1 object [(0, 8)] file [(4, 4), (12, 4)]",
                "slot 0 object [(2, 8)] file [(2, 2), (8, 4), (16, 2)]",
                "slot 0 object [(10, 2)] file [(18, 2)]",
                "slot 1 object [(8, 2)] file [(20, 2)]",
            ]
        );
    }

    /// Random lists of extents: every byte is in one request, at the place the layout says.
    #[test]
    fn every_byte_is_in_one_request_where_the_layout_says() {
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..300 {
            let recipe = recipe(4096 * (1 + random(3)), 1 + u32::try_from(random(5)).unwrap());
            let bytes_max = 1 + random(20_000);
            let (mut at, mut extents) = (random(10_000), Vec::new());
            for _ in 0..1 + random(4) {
                let end = at + 1 + random(40_000);
                extents.push(Extent::new(at, end).unwrap());
                at = end + 1 + random(10_000);
            }
            let mut seen = pfs_core::extent::ExtentSet::new();
            for request in plan(&recipe, &extents, bytes_max) {
                assert!(request.bytes <= bytes_max);
                let mut object = request.extents.iter().flat_map(|e| e.offset().0..e.end().0);
                for piece in &request.pieces {
                    let range = Extent::new(piece.file_offset, piece.file_offset + piece.length).unwrap();
                    assert!(seen.overlapping(range).next().is_none(), "{range} is in two requests");
                    seen.insert(range, ());
                    for byte in range.start()..range.end() {
                        let (slot, offset) = recipe.locate(pfs_core::extent::FileOffset(byte));
                        assert_eq!((slot, Some(offset.0)), (request.slot, object.next()));
                    }
                }
                assert_eq!(object.next(), None);
            }
            assert_eq!(seen.extents().collect::<Vec<_>>(), extents);
        }
    }
}
