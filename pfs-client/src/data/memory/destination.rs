//! Where the bytes of a read go: one buffer for each range of the file.

use super::loan::{LentBuffers, RecallBuffers, Recalled, lend_mut};
use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use pfs_core::extent::Extent;
use std::sync::Arc;

/// The buffers of a read. Whoever still has it when the call is over can do no harm.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// Disjoint, in order of the file.
    extents: Arc<[Extent]>,
    memory: Memory,
}

#[derive(Clone, Debug)]
enum Memory {
    Owned(Arc<Mutex<Vec<Vec<u8>>>>),
    Lent(Arc<LentBuffers>),
}

impl Destination {
    /// Buffers of its own; [`take`](Self::take) gets them.
    pub(crate) fn owned(extents: &[Extent]) -> Destination {
        let buffers = extents.iter().map(|extent| vec![0; index_in(extent.end(), extent)]).collect();
        Destination { extents: extents.into(), memory: Memory::Owned(Arc::new(Mutex::new(buffers))) }
    }

    /// Borrowed buffers, which nobody fills any more when the guard is dropped.
    ///
    /// # Safety
    /// The guard is dropped before the borrow of any of the buffers ends.
    pub(crate) unsafe fn lend(extents: &[Extent], buffers: &mut [&mut [u8]]) -> (Destination, RecallBuffers) {
        assert_eq!(extents.len(), buffers.len());
        assert!(extents.iter().zip(&*buffers).all(|(extent, buffer)| extent.len() == buffer.len() as u64));
        // SAFETY: the caller's promise.
        let (lent, recall) = unsafe { lend_mut(buffers) };
        (Destination { extents: extents.into(), memory: Memory::Lent(lent) }, recall)
    }

    /// Its own buffers, after the read.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        match &self.memory {
            Memory::Owned(buffers) => std::mem::take(&mut *buffers.lock()),
            Memory::Lent(_) => Vec::new(),
        }
    }

    /// Calls `fill` with the memory of a range, part by part: all parts together are the range.
    pub(crate) fn fill(&self, offset: u64, length: usize, mut fill: impl FnMut(&mut [u8])) -> Result<(), Error> {
        let (mut at, end) = (offset, offset + length as u64);
        let mut index = self.extents.partition_point(|extent| extent.end() <= offset);
        while at < end {
            let extent = &self.extents[index];
            let until = end.min(extent.end());
            let range = index_in(at, extent)..index_in(until, extent);
            match &self.memory {
                Memory::Owned(buffers) => {
                    // Nothing, once they were taken.
                    let mut buffers = buffers.lock();
                    fill(buffers.get_mut(index).ok_or_else(|| refused(Recalled))?.get_mut(range).expect("as long"));
                }
                Memory::Lent(lent) => lent.with(index, range, &mut fill).map_err(refused)?,
            }
            (at, index) = (until, index + 1);
        }
        Ok(())
    }
}

fn refused(_: Recalled) -> Error {
    Error::new(ErrorKind::Internal, "the call that asked for these bytes has ended")
}

fn index_in(offset: u64, extent: &Extent) -> usize {
    usize::try_from(offset - extent.start()).expect("inside of a buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_find_their_buffers() {
        let range = |start, end| Extent::new(start, end).unwrap();
        let extents = [range(10, 14), range(14, 20), range(30, 31)];
        let put = |destination: &Destination, offset: u64, bytes: &[u8]| {
            let mut rest = bytes;
            destination.fill(offset, bytes.len(), |part| {
                part.copy_from_slice(rest.split_off(..part.len()).unwrap());
            })
        };
        let (mut a, mut b, mut c) = ([0; 4], [0; 6], [0; 1]);
        // SAFETY: the guard is dropped before the buffers are used again.
        let (kept, recall) = unsafe { Destination::lend(&extents, &mut [&mut a, &mut b, &mut c]) };
        put(&kept, 12, &[1, 2, 3, 4]).unwrap();
        put(&kept, 30, &[9]).unwrap();
        drop(recall);
        assert_eq!((a, b, c), ([0, 0, 1, 2], [3, 4, 0, 0, 0, 0], [9]));
        assert!(put(&kept, 12, &[1]).is_err());
        let owned = Destination::owned(&extents);
        put(&owned, 13, &[7, 8]).unwrap();
        assert_eq!(owned.take(), [vec![0, 0, 0, 7], vec![8, 0, 0, 0, 0, 0], vec![0]]);
        assert!(put(&owned, 13, &[7]).is_err(), "what was taken is the caller's");
    }
}
