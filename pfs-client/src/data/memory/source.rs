//! Where the bytes of a write are: one piece of memory for each range of the file.

use super::loan::{LentSlice, Recall, Recalled, Shipment, lend};
use crate::data::plan::DataRequest;
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use pfs_core::checksum::{Checksum, Checksummer};
use pfs_core::extent::Extent;
use pfs_proto::data::pieces;
use pfs_proto::kill_switch::KillSwitch;
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The bytes of a write. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Disjoint, in order of the file.
    parts: Arc<[(Extent, Memory)]>,
    /// Bytes of several parts, one after the other.
    gathered: Bytes,
}

#[derive(Clone, Debug)]
enum Memory {
    Owned(Bytes),
    /// Where it begins in the bytes of several.
    Gathered(usize),
    Lent(LentSlice),
}

impl Source {
    /// Bytes that the transfer shares.
    pub(crate) fn owned(parts: impl IntoIterator<Item = (Extent, Bytes)>) -> Source {
        let parts = parts.into_iter().map(|(extent, bytes)| {
            assert_eq!(extent.len(), bytes.len() as u64);
            (extent, Memory::Owned(bytes))
        });
        Source { parts: parts.collect(), gathered: Bytes::new() }
    }

    /// The same, with the bytes of all extents one after the other: those of neighbours in a request are sent as one.
    pub(crate) fn gathered(extents: &[Extent], bytes: Bytes) -> Source {
        let mut at = 0;
        let parts = extents.iter().map(|extent| {
            let from = at;
            at += index_in(extent.end(), extent);
            (*extent, Memory::Gathered(from))
        });
        let parts = parts.collect();
        assert_eq!(at, bytes.len());
        Source { parts, gathered: bytes }
    }

    /// Borrowed bytes, which nobody has any more when the guard is dropped.
    ///
    /// # Safety
    /// The guard is dropped before the borrow of any of the slices ends.
    pub(crate) unsafe fn lend(extents: &[Extent], slices: &[&[u8]]) -> (Source, Recall) {
        // SAFETY: the caller's promise.
        let (lent, recall) = unsafe { lend(slices) };
        let parts = extents.iter().zip(lent).map(|(extent, slice)| {
            assert_eq!(extent.len(), slice.len() as u64);
            (*extent, Memory::Lent(slice))
        });
        (Source { parts: parts.collect(), gathered: Bytes::new() }, recall)
    }

    /// Begins one attempt to send bytes on a connection with this switch.
    pub(crate) fn ship(&self, switch: &KillSwitch) -> Result<(Cargo, Release), Error> {
        let (shipment, released) = match self.lent().map(|slice| slice.ship(switch)).transpose() {
            Ok(shipped) => shipped.unzip(),
            Err(Recalled) => return Err(recalled()),
        };
        let release = Release { released, switch: switch.clone() };
        Ok((Cargo { source: self.clone(), shipment }, release))
    }

    /// Calls `look` with the payload of a request, uncopied, in its order. The call that lent it can not end meanwhile.
    pub(crate) fn with_slices<R>(&self, request: &DataRequest, look: impl FnOnce(&[&[u8]]) -> R) -> Result<R, Error> {
        let held = self.lent().map(LentSlice::hold).transpose().map_err(|Recalled| recalled())?;
        let mut slices: SmallVec<[&[u8]; 8]> = SmallVec::with_capacity(request.pieces.len());
        self.each_part(request, |memory, range| {
            slices.push(match (memory, &held) {
                (Memory::Owned(bytes), _) => &bytes[range],
                (Memory::Gathered(at), _) => &self.gathered[at + range.start..at + range.end],
                (Memory::Lent(slice), Some(held)) => held.bytes(slice, range),
                (Memory::Lent(_), None) => unreachable!("lent bytes are held"),
            });
        });
        Ok(look(&slices))
    }

    /// Any of the lent slices; all are of one call.
    fn lent(&self) -> Option<&LentSlice> {
        self.parts.iter().find_map(|(_, memory)| match memory {
            Memory::Lent(slice) => Some(slice),
            Memory::Owned(_) | Memory::Gathered(_) => None,
        })
    }

    /// The parts of memory that are the payload of a request, in its order.
    fn each_part<'a>(&'a self, request: &DataRequest, mut each: impl FnMut(&'a Memory, Range<usize>)) {
        for piece in &request.pieces {
            let (mut at, end) = (piece.file_offset, piece.file_offset + piece.length);
            let mut index = self.index_of(at);
            while at < end {
                let (extent, memory) = &self.parts[index];
                let until = end.min(extent.end());
                each(memory, index_in(at, extent)..index_in(until, extent));
                (at, index) = (until, index + 1);
            }
        }
    }

    fn index_of(&self, offset: u64) -> usize {
        self.parts.partition_point(|(extent, _)| extent.end() <= offset)
    }
}

/// The bytes of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Cargo {
    source: Source,
    shipment: Option<Arc<Shipment>>,
}

impl Cargo {
    /// The payload of a request, uncopied, in its order.
    pub(crate) fn slices(&self, request: &DataRequest) -> Vec<Bytes> {
        let mut slices = Vec::with_capacity(request.pieces.len());
        let gathered = &self.source.gathered;
        // Of gathered bytes, what was not put into `slices` yet.
        let mut run = 0..0;
        self.source.each_part(request, |memory, range| {
            let slice = match (memory, &self.shipment) {
                (Memory::Gathered(at), _) => {
                    let (from, to) = (at + range.start, at + range.end);
                    if run.end != from {
                        slices.extend((!run.is_empty()).then(|| gathered.slice(run.clone())));
                        run.start = from;
                    }
                    run.end = to;
                    return;
                }
                (Memory::Owned(bytes), _) => bytes.slice(range),
                (Memory::Lent(slice), Some(shipment)) => shipment.bytes(slice, range),
                (Memory::Lent(_), None) => unreachable!("lent bytes have a shipment"),
            };
            slices.push(slice);
        });
        slices.extend((!run.is_empty()).then(|| gathered.slice(run)));
        slices
    }
}

fn index_in(offset: u64, extent: &Extent) -> usize {
    usize::try_from(offset - extent.start()).expect("inside of a buffer")
}

/// What an attempt waits for at its end: that nobody has its bytes any more.
#[derive(Debug)]
pub(crate) struct Release {
    released: Option<oneshot::Receiver<()>>,
    switch: KillSwitch,
}

impl Release {
    /// Waits; the connection is killed if it still holds bytes after `patience`, and again if need be. Needs the timers of
    /// an event loop.
    pub(crate) async fn wait(self, patience: std::time::Duration) {
        let Some(mut released) = self.released else { return };
        let mut pause = patience;
        while tokio::time::timeout(pause, &mut released).await.is_err() {
            self.switch.kill();
            pause = super::loan::KILL_PAUSE;
        }
    }
}

/// The checksum of each piece of a request, whose payload is in these slices.
pub(crate) fn checksums(request: &DataRequest, slices: &[impl AsRef<[u8]>]) -> Vec<u32> {
    sums_of(pieces(&request.extents).map(|piece| piece.length), slices)
}

/// The checksums of pieces of so many bytes, which lie one after the other in these slices.
pub(crate) fn sums_of(pieces: impl Iterator<Item = usize>, slices: &[impl AsRef<[u8]>]) -> Vec<u32> {
    let mut slices = slices.iter().map(AsRef::as_ref);
    let mut slice: &[u8] = &[];
    let sum_of = |length: usize| {
        if let Some((bytes, rest)) = slice.split_at_checked(length) {
            slice = rest;
            return Checksum::of(bytes).0;
        }
        let (mut sum, mut left) = (Checksummer::new(), length);
        while left > 0 {
            let (bytes, rest) = slice.split_at(left.min(slice.len()));
            sum.update(bytes);
            left -= bytes.len();
            slice = if left > 0 { slices.next().expect("the slices have all bytes of the pieces") } else { rest };
        }
        sum.finish().0
    };
    pieces.map(sum_of).collect()
}

fn recalled() -> Error {
    Error::new(ErrorKind::Internal, "the call that lent these bytes has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plan::plan;
    use pfs_core::ids::ServerId;
    use pfs_core::layout::Recipe;

    fn range(start: u64, end: u64) -> Extent {
        Extent::new(start, end).unwrap()
    }

    /// Two neighbouring buffers and a third, over two servers: every byte comes from its buffer, every piece has the sum
    /// of its bytes, also one that two buffers share.
    #[test]
    fn bytes_and_sums_come_from_where_they_are() {
        let slots = [1, 2].map(|id| [ServerId::new(id).unwrap()].into_iter().collect());
        let recipe = Recipe::new(8192, slots.to_vec()).unwrap();
        let file: Vec<u8> = (0..100_000u32).map(|byte| (byte / 7) as u8).collect();
        let extents = [range(100, 5000), range(5000, 60_000), range(70_001, 70_002)];
        let buffers: Vec<&[u8]> = extents.iter().map(|e| &file[e.start() as usize..e.end() as usize]).collect();
        let mut bytes_seen = 0;
        let mut check = |source: Source| {
            for request in plan(&recipe, &extents, 20_000) {
                let (cargo, _release) = source.ship(&KillSwitch::default()).unwrap();
                let slices = cargo.slices(&request);
                let payload = slices.concat();
                let expected: Vec<u8> = request
                    .pieces
                    .iter()
                    .flat_map(|piece| &file[piece.file_offset as usize..(piece.file_offset + piece.length) as usize])
                    .copied()
                    .collect();
                assert!(payload == expected);
                let mut rest = &payload[..];
                let sums: Vec<u32> = pieces(&request.extents)
                    .map(|piece| Checksum::of(rest.split_off(..piece.length).unwrap()).0)
                    .collect();
                assert_eq!(checksums(&request, &slices), sums);
                bytes_seen += payload.len();
            }
        };
        // SAFETY: the guard is dropped here.
        let (source, recall) = unsafe { Source::lend(&extents, &buffers) };
        check(source);
        drop(recall);
        check(Source::owned(extents.into_iter().zip(buffers.iter().map(|buffer| Bytes::copy_from_slice(buffer)))));
        check(Source::gathered(&extents, buffers.concat().into()));
        assert_eq!(bytes_seen, 3 * 59_901);
    }

    #[test]
    fn gathered_neighbours_are_one_slice() {
        let slots = [1, 2].map(|id| [ServerId::new(id).unwrap()].into_iter().collect());
        let recipe = Recipe::new(8192, slots.to_vec()).unwrap();
        // Of the first server all but the last part, which lies behind what the second one gets.
        let extents = [range(0, 100), range(200, 300), range(8000, 9000), range(16_384, 16_400)];
        let bytes: Vec<u8> = (0..1216u32).map(|byte| byte as u8).collect();
        let source = Source::gathered(&extents, bytes.clone().into());
        let slices: Vec<Vec<Bytes>> = plan(&recipe, &extents, 1 << 20)
            .iter()
            .map(|request| source.ship(&KillSwitch::default()).unwrap().0.slices(request))
            .collect();
        assert_eq!(slices, [vec![&bytes[..392], &bytes[1200..]], vec![&bytes[392..1200]]]);
    }
}
