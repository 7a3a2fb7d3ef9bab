//! Buffers of read replies, used again and again: fresh pages cost more than the bytes that are read into them.
//!
//! Invariants: a buffer's capacity is one of few, at most an eighth more than was asked for, or a small one; what lies idle is bounded.

use parking_lot::Mutex;
use std::sync::Arc;

const CAPACITY_MIN: usize = 4096;

/// Idle buffers, the most recently used first.
#[derive(Clone, Debug)]
pub struct BufferPool {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Debug)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most this many bytes in idle buffers.
    pub fn new(idle_bytes_max: usize) -> Self {
        BufferPool { idle: Arc::new(Mutex::new(Idle { buffers: Vec::new(), bytes: 0, bytes_max: idle_bytes_max })) }
    }

    /// A buffer of `length` bytes with arbitrary content.
    pub fn take(&self, length: usize) -> PooledBuffer {
        let capacity = capacity_for(length);
        let found = self.idle.lock().take(capacity);
        let bytes = found.unwrap_or_else(|| vec![0; capacity]);
        PooledBuffer { bytes, length, idle: self.idle.clone() }
    }
}

/// Eight capacities between a power of two and the next one.
fn capacity_for(length: usize) -> usize {
    let step = length.next_power_of_two() / 16;
    length.next_multiple_of(step.max(CAPACITY_MIN))
}

impl Idle {
    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let index = self.buffers.iter().rposition(|buffer| buffer.len() == capacity)?;
        self.bytes -= capacity;
        Some(self.buffers.remove(index))
    }

    fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.len() > self.bytes_max {
            return;
        }
        self.bytes += buffer.len();
        self.buffers.push(buffer);
        while self.bytes > self.bytes_max {
            self.bytes -= self.buffers.remove(0).len();
        }
    }
}

/// A buffer that goes back to its pool when it is dropped.
#[derive(Debug)]
pub struct PooledBuffer {
    bytes: Vec<u8>,
    length: usize,
    idle: Arc<Mutex<Idle>>,
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl AsMut<[u8]> for PooledBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.idle.lock().give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_idle_bytes_are_bounded() {
        let pool = BufferPool::new(3 * 8192);
        let address = |buffer: &PooledBuffer| buffer.as_ref().as_ptr();
        let mut first = pool.take(5000);
        first.as_mut().fill(7);
        assert_eq!(first.as_ref().len(), 5000);
        let was_at = address(&first);
        drop(first);
        assert_eq!(
            [0, 1, 4097, 100_000, 1 << 20, (1 << 20) + 1].map(capacity_for),
            [0, 4096, 8192, 106_496, 1 << 20, (1 << 20) + (1 << 17)]
        );
        assert_eq!(address(&pool.take(8192)), was_at, "a buffer of the same capacity is used again");
        assert_ne!(address(&pool.take(4096)), was_at);
        let many: Vec<_> = (0..10).map(|_| pool.take(8192)).collect();
        drop(many);
        drop(pool.take(1 << 20));
        let idle = pool.idle.lock();
        assert_eq!(idle.bytes, idle.buffers.iter().map(Vec::len).sum::<usize>());
        assert!(idle.bytes <= 3 * 8192, "{}", idle.bytes);
    }
}
