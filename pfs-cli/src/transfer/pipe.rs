//! File to pipe and pipe to file: one thread at the pipe, in order, several at the file.
//!
//! ```text
//! pipe → [read] → jobs → [write block] × n        [read block i] × n → lane i mod n → [write] → pipe
//!          ↑── emptied buffers ──┘                      ↑── emptied buffers ──────────┘
//! ```
//!
//! The number of buffers is fixed, so the faster side waits for the slower one.

use super::progress::Progress;
use super::{Shape, Source, Target, TransferError, fill, read_whole, write_whole};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

/// A block on its way from the pipe to the file.
struct Job {
    buffer: Vec<u8>,
    length: usize,
    offset: u64,
}

/// Copies a stream until its end, or until a block cannot be written; returns the number of bytes.
pub fn copy_in(
    stream: &mut dyn Read,
    target: &dyn Target,
    shape: Shape,
    progress: &Progress,
) -> Result<u64, TransferError> {
    let failed = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (job_sender, job_receiver) = sync_channel(shape.threads);
        let (empty_sender, empty_receiver) = channel();
        let jobs = Arc::new(Mutex::new(job_receiver));
        for _ in 0..=shape.threads {
            let _ = empty_sender.send(Vec::new());
        }
        let writers: Vec<_> = (0..shape.threads)
            .map(|_| {
                let (jobs, empties) = (Arc::clone(&jobs), empty_sender.clone());
                scope.spawn(move || {
                    let written = write_jobs(&jobs, &empties, target, progress);
                    failed.fetch_or(written.is_err(), Ordering::Relaxed);
                    written
                })
            })
            .collect();
        // Only the writers keep these: when the last one fails, the reader notices.
        drop((jobs, empty_sender));
        let read = read_stream(stream, shape.block_bytes, &empty_receiver, &job_sender, failed);
        drop(job_sender);
        join_all(writers)?;
        read
    })
}

fn read_stream(
    stream: &mut dyn Read,
    block_bytes: usize,
    empties: &Receiver<Vec<u8>>,
    jobs: &SyncSender<Job>,
    failed: &AtomicBool,
) -> Result<u64, TransferError> {
    let mut offset = 0;
    while let Ok(mut buffer) = empties.recv() {
        if failed.load(Ordering::Relaxed) {
            break;
        }
        buffer.resize(block_bytes, 0);
        let length = fill(stream, &mut buffer).map_err(|error| TransferError::Read { offset, cause: error.into() })?;
        let ended = length < block_bytes;
        if length > 0 && jobs.send(Job { buffer, length, offset }).is_err() {
            break;
        }
        offset += length as u64;
        if ended {
            break;
        }
    }
    Ok(offset)
}

/// Writes blocks until the reader has no more.
fn write_jobs(
    jobs: &Mutex<Receiver<Job>>,
    empties: &Sender<Vec<u8>>,
    target: &dyn Target,
    progress: &Progress,
) -> Result<(), TransferError> {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { buffer, length, offset }) = job else { return Ok(()) };
        write_whole(target, &buffer[..length], offset, progress)?;
        if empties.send(buffer).is_err() {
            return Ok(());
        }
    }
}

/// Copies the first `bytes` bytes of the source, in order.
pub fn copy_out(
    source: &dyn Source,
    bytes: u64,
    stream: &mut dyn Write,
    shape: Shape,
    progress: &Progress,
) -> Result<(), TransferError> {
    let shape = shape.for_file(bytes);
    thread::scope(|scope| {
        let (lanes, readers): (Vec<_>, Vec<_>) = (0..shape.threads as u64)
            .map(|first| {
                let (full_sender, full_receiver) = sync_channel(1);
                let (empty_sender, empty_receiver) = channel();
                for _ in 0..2 {
                    let _ = empty_sender.send(Vec::new());
                }
                let reader = scope.spawn(move || {
                    let blocks = (first..).step_by(shape.threads);
                    read_blocks(source, bytes, shape.block_bytes, blocks, &empty_receiver, &full_sender)
                });
                (Lane { full: full_receiver, empties: empty_sender }, reader)
            })
            .unzip();
        let written = write_stream(stream, bytes, shape.block_bytes, &lanes, progress);
        drop(lanes);
        let read = join_all(readers);
        written.and(read)
    })
}

/// The blocks of one reader, in order, and the way back of their buffers.
struct Lane {
    full: Receiver<Vec<u8>>,
    empties: Sender<Vec<u8>>,
}

fn read_blocks(
    source: &dyn Source,
    bytes: u64,
    block_bytes: usize,
    blocks: impl Iterator<Item = u64>,
    empties: &Receiver<Vec<u8>>,
    full: &SyncSender<Vec<u8>>,
) -> Result<(), TransferError> {
    for offset in blocks.map(|block| block.saturating_mul(block_bytes as u64)) {
        if offset >= bytes {
            break;
        }
        let Ok(mut buffer) = empties.recv() else { break };
        buffer.resize(usize::try_from(bytes - offset).map_or(block_bytes, |left| left.min(block_bytes)), 0);
        read_whole(source, &mut buffer, offset, bytes)?;
        if full.send(buffer).is_err() {
            break;
        }
    }
    Ok(())
}

/// Ends without an error of its own when a reader has ended early; the reader knows why.
fn write_stream(
    stream: &mut dyn Write,
    bytes: u64,
    block_bytes: usize,
    lanes: &[Lane],
    progress: &Progress,
) -> Result<(), TransferError> {
    let mut offset = 0;
    let failed = |offset, error: std::io::Error| TransferError::Write { offset, cause: error.into() };
    for lane in lanes.iter().cycle() {
        if offset >= bytes {
            break;
        }
        let Ok(buffer) = lane.full.recv() else { return Ok(()) };
        stream.write_all(&buffer).map_err(|error| failed(offset, error))?;
        progress.moved(buffer.len())?;
        offset += buffer.len() as u64;
        debug_assert!(offset == bytes || buffer.len() == block_bytes);
        // A reader that has read its last block takes no buffers back.
        let _ = lane.empties.send(buffer);
    }
    stream.flush().map_err(|error| failed(offset, error))
}

fn join_all(threads: Vec<ScopedJoinHandle<'_, Result<(), TransferError>>>) -> Result<(), TransferError> {
    let results: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a copying thread panicked")).collect();
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::Cause;
    use crate::transfer::interrupt::Interrupt;
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 % 251) as u8).collect()
    }

    const SHAPE: Shape = Shape { block_bytes: 64, threads: 3 };
    const LENGTHS: [usize; 8] = [0, 1, 63, 64, 65, 192, 64 * 20, 64 * 20 + 5];

    /// A pipe gives what it has, not what is asked for.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(buffer.len()).min(13);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn a_stream_arrives_whole() {
        for length in LENGTHS {
            let bytes = pattern(length);
            let target = tempfile::tempfile().unwrap();
            let copied =
                copy_in(&mut Dribble(&bytes), &target, SHAPE, &Progress::hidden(Interrupt::default())).unwrap();
            let mut content = vec![0; length + 1];
            assert_eq!(copied, length as u64);
            assert_eq!(target.read_at(&mut content, 0).unwrap(), length);
            assert_eq!(content[..length], bytes);
        }
    }

    #[test]
    fn a_file_leaves_in_order() {
        for length in LENGTHS {
            let bytes = pattern(length);
            let source = tempfile::tempfile().unwrap();
            source.write_all_at(&bytes, 0).unwrap();
            let mut out = Vec::new();
            copy_out(&source, length as u64, &mut out, SHAPE, &Progress::hidden(Interrupt::default())).unwrap();
            assert_eq!(out, bytes);
        }
    }

    struct Broken;

    impl Source for Broken {
        fn read_block(&self, buffer: &mut [u8], offset: u64) -> Result<usize, Cause> {
            if offset >= 640 { Err("gone".into()) } else { Ok(buffer.len()) }
        }
    }

    impl Target for Broken {
        fn write_block(&self, _buffer: &[u8], offset: u64) -> Result<(), Cause> {
            if offset >= 640 { Err("gone".into()) } else { Ok(()) }
        }
    }

    impl Write for Broken {
        fn write(&mut self, _buffer: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn failures_of_every_side_end_the_transfer() {
        let progress = Progress::hidden(Interrupt::default());
        let endless = copy_in(&mut io::repeat(1), &Broken, SHAPE, &progress).unwrap_err();
        assert!(matches!(endless, TransferError::Write { .. }), "{endless}");
        let unreadable = copy_out(&Broken, 64 * 100, &mut io::sink(), SHAPE, &progress).unwrap_err();
        assert!(matches!(unreadable, TransferError::Read { offset, .. } if offset >= 640), "{unreadable}");
        let source: File = tempfile::tempfile().unwrap();
        source.write_all_at(&pattern(64 * 100), 0).unwrap();
        let closed = copy_out(&source, 64 * 100, &mut Broken, SHAPE, &progress).unwrap_err();
        assert!(matches!(closed, TransferError::Write { offset: 0, .. }), "{closed}");
        let cut = copy_out(&source, 64 * 101, &mut io::sink(), SHAPE, &progress).unwrap_err();
        assert!(matches!(cut, TransferError::SourceCut { end: 6400, expected: 6464 }), "{cut}");
    }
}
