//! File to file: every thread takes the next block, reads it, writes it.

use super::progress::Progress;
use super::{Shape, Source, Target, TransferError, read_whole, write_whole};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Copies the first `bytes` bytes of the source.
pub fn copy(
    source: &dyn Source,
    target: &dyn Target,
    bytes: u64,
    shape: Shape,
    progress: &Progress,
) -> Result<(), TransferError> {
    let shape = shape.for_file(bytes);
    let work =
        Work { source, target, bytes, shape, progress, next_block: AtomicU64::new(0), failed: AtomicBool::new(false) };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..shape.threads).map(|_| scope.spawn(|| work.run())).collect();
        let results: Vec<_> =
            workers.into_iter().map(|worker| worker.join().expect("a copying thread panicked")).collect();
        results.into_iter().collect()
    })
}

struct Work<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    bytes: u64,
    shape: Shape,
    progress: &'a Progress,
    next_block: AtomicU64,
    failed: AtomicBool,
}

impl Work<'_> {
    fn run(&self) -> Result<(), TransferError> {
        let mut buffer = vec![0; self.shape.block_bytes];
        while !self.failed.load(Ordering::Relaxed) {
            let block = self.next_block.fetch_add(1, Ordering::Relaxed);
            let offset = block.saturating_mul(buffer.len() as u64);
            if offset >= self.bytes {
                break;
            }
            let length = usize::try_from(self.bytes - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
            let moved = self.move_block(&mut buffer[..length], offset);
            if moved.is_err() {
                self.failed.store(true, Ordering::Relaxed);
                return moved;
            }
        }
        Ok(())
    }

    fn move_block(&self, block: &mut [u8], offset: u64) -> Result<(), TransferError> {
        read_whole(self.source, block, offset, self.bytes)?;
        write_whole(self.target, block, offset, self.progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Cause;
    use crate::transfer::interrupt::Interrupt;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn file_with(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 % 251) as u8).collect()
    }

    #[test]
    fn every_length_arrives_whole() {
        for length in [0, 1, 63, 64, 65, 64 * 9, 64 * 9 + 1] {
            let bytes = pattern(length);
            let (source, target) = (file_with(&bytes), tempfile::tempfile().unwrap());
            let shape = Shape { block_bytes: 64, threads: 3 };
            copy(&source, &target, length as u64, shape, &Progress::hidden(Interrupt::default())).unwrap();
            let mut copied = vec![0; length + 1];
            assert_eq!(target.read_at(&mut copied, 0).unwrap(), length);
            assert_eq!(copied[..length], bytes);
        }
    }

    #[test]
    fn a_source_that_shrank_is_an_error() {
        let (source, target) = (file_with(&pattern(100)), tempfile::tempfile().unwrap());
        let shape = Shape { block_bytes: 64, threads: 2 };
        let error = copy(&source, &target, 130, shape, &Progress::hidden(Interrupt::default())).unwrap_err();
        assert!(matches!(error, TransferError::SourceCut { end: 100, expected: 130 }), "{error}");
    }

    struct FullDisk;

    impl Target for FullDisk {
        fn write_block(&self, _buffer: &[u8], offset: u64) -> Result<(), Cause> {
            if offset >= 128 { Err("the disk is full".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn a_target_that_fails_ends_all_threads() {
        let source = file_with(&pattern(64 * 100));
        let shape = Shape { block_bytes: 64, threads: 4 };
        let error = copy(&source, &FullDisk, 64 * 100, shape, &Progress::hidden(Interrupt::default())).unwrap_err();
        assert!(matches!(error, TransferError::Write { offset, .. } if offset >= 128), "{error}");
    }
}
