//! Memory of batches that were written back, for the next ones: new memory of some MiB costs a page fault for every page.

use super::WRITE_BACKS_MAX;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Buffers that nobody uses: at most as many as there are batches at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Recycled(Arc<Mutex<Vec<Vec<u8>>>>);

impl Recycled {
    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_default()
    }

    /// A buffer that is not needed any more.
    pub(super) fn put_back(&self, mut buffer: Vec<u8>) {
        let mut idle = self.0.lock();
        if buffer.capacity() > 0 && idle.len() < WRITE_BACKS_MAX {
            buffer.clear();
            idle.push(buffer);
        }
    }

    /// Bytes to be shared; the buffer comes back when the last part of them is gone.
    pub(super) fn share(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { buffer, home: self.clone() })
    }
}

struct Shared {
    buffer: Vec<u8>,
    home: Recycled,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.home.put_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_part_is_gone() {
        let recycled = Recycled::default();
        let bytes = recycled.share(Vec::from([7; 100]));
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(recycled.take().capacity(), 0, "it is in use");
        assert_eq!(part, [7; 10][..]);
        drop(part);
        let again = recycled.take();
        assert!(again.is_empty() && again.capacity() >= 100);
        for _ in 0..2 * WRITE_BACKS_MAX {
            recycled.put_back(Vec::with_capacity(1));
        }
        assert_eq!(recycled.0.lock().len(), WRITE_BACKS_MAX);
    }
}
