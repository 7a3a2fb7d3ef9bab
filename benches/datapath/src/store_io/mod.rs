//! Which way a server should ask the kernel for bytes of a file: on the thread that has the request, on a pool of threads
//! that may block, or through io_uring.
//!
//! The load is that of a server: so many requests at a time, the next one as soon as one is done, one thread that answers
//! them all. What counts is CPU time of the process for a request, and beside it the time on the wall.

mod buffer;
mod methods;
mod uring;

pub use buffer::Buffer;
pub use methods::{Direct, Pool};
pub use uring::Uring;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::usage::Usage;

/// Requests of one size and direction on one file.
#[derive(Clone, Debug)]
pub struct Load {
    /// The file, full.
    pub file: Arc<File>,
    /// Reads; else writes.
    pub reads: bool,
    /// Bytes of one request.
    pub bytes: usize,
    /// Requests at a time.
    pub depth: usize,
    /// Where each request goes, in this order.
    pub offsets: Vec<u64>,
}

/// A way to ask.
pub trait Method {
    /// How the figures call it.
    fn name(&self) -> &'static str;

    /// Does all requests.
    fn run(&mut self, load: &Load) -> Result<()>;
}

/// What one run took.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Where the file is and how it was opened.
    pub place: &'static str,
    /// `read` or `write`.
    pub direction: &'static str,
    /// Bytes of one request.
    pub bytes: usize,
    /// Requests at a time.
    pub depth: usize,
    /// The way.
    pub method: &'static str,
    /// CPU time of a request.
    pub cpu_us: f64,
    /// Time of a request on the wall; with several at a time, less than each one waited.
    pub wall_us: f64,
}

/// Runs a load once.
pub fn once(method: &mut dyn Method, place: &'static str, load: &Load) -> Result<Sample> {
    let (before, started) = (Usage::own()?, Instant::now());
    method.run(load).with_context(|| format!("{} on {place}", method.name()))?;
    let (wall, used) = (started.elapsed(), Usage::own()? - before);
    let per_request = 1e6 / load.offsets.len() as f64;
    Ok(Sample {
        place,
        direction: if load.reads { "read" } else { "write" },
        bytes: load.bytes,
        depth: load.depth,
        method: method.name(),
        cpu_us: used.cpu.as_secs_f64() * per_request,
        wall_us: wall.as_secs_f64() * per_request,
    })
}

/// Makes a file of so many bytes, all of them written, and opens it again, with or without the page cache.
pub fn make_file(path: &Path, bytes: usize, direct: bool) -> Result<Arc<File>> {
    let full = || -> Result<File> {
        let file = File::options().write(true).create(true).truncate(true).open(path)?;
        let buffer = Buffer::new(1 << 20);
        (0..bytes).step_by(buffer.len()).try_for_each(|at| buffer.write(&file, at as u64))?;
        file.sync_all()?;
        let flags = if direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
        Ok(File::options().read(true).write(true).custom_flags(flags).open(path)?)
    };
    Ok(Arc::new(full().with_context(|| format!("make {}", path.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// Every way writes where it is told, and reads at all depths to the end.
    #[test]
    fn all_ways_write_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mut ways: Vec<Box<dyn Method>> =
            vec![Box::new(Direct::new()), Box::new(Pool::new().unwrap()), Box::new(Uring::new().unwrap())];
        for way in &mut ways {
            let path = directory.path().join(way.name());
            let file = make_file(&path, 1 << 20, false).unwrap();
            file.set_len(0).unwrap();
            file.set_len(1 << 20).unwrap();
            let offsets: Vec<u64> = (0..100).map(|block| block * 8192).collect();
            for (depth, reads) in [(16, false), (1, false), (16, true), (1, true)] {
                let load = Load { file: file.clone(), reads, bytes: 4096, depth, offsets: offsets.clone() };
                once(way.as_mut(), "temporary", &load).unwrap();
            }
            let mut bytes = vec![0; 16384];
            file.read_exact_at(&mut bytes, 98 * 8192).unwrap();
            let written: Vec<bool> = bytes.chunks(4096).map(|block| block.iter().any(|byte| *byte != 0)).collect();
            assert_eq!(written, [true, false, true, false], "{}", way.name());
        }
    }
}
