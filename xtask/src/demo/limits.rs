//! What this machine can do at best: copying memory, and bytes over a loopback TCP connection.
//!
//! Measured in the same run as the demo's throughput, because figures of different runs on a shared machine say little
//! about each other. Each is the best of several short rounds.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

const ROUNDS: usize = 3;
const COPY_BYTES: usize = 256 << 20;
const TCP_BYTES: usize = 512 << 20;
/// The size of one write, as large as the bulk data path's messages.
const TCP_CHUNK_BYTES: usize = 1 << 20;
/// How long the disk is asked to sync.
const SYNC_TIME: Duration = Duration::from_secs(1);
/// What is written before each sync: the least that a commit of a store writes.
const SYNC_BYTES: usize = 4096;
const MIB: f64 = 1_048_576.0;

/// The machine's limits in MiB per second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// One thread copying a block far larger than the caches, both sides already in memory.
    pub memory_copy_mib_per_second: f64,
    /// One loopback TCP connection, 1 MiB writes, nothing done with the bytes.
    pub loopback_tcp_mib_per_second: f64,
}

impl Limits {
    /// Measures both, in a few seconds.
    pub fn measure() -> Result<Self> {
        Ok(Self { memory_copy_mib_per_second: memory_copy(), loopback_tcp_mib_per_second: loopback_tcp()? })
    }
}

/// How often a second the disk of this directory makes a block durable that is written over and over: no file grows, so
/// each sync is of the block alone.
pub fn syncs_per_second(directory: &Path) -> Result<f64> {
    let file = tempfile::tempfile_in(directory).context("making a file to sync")?;
    let write_and_sync = || -> Result<()> {
        file.write_all_at(&[1; SYNC_BYTES], 0).context("writing a block")?;
        file.sync_data().context("syncing a block")
    };
    write_and_sync()?;
    let (started, mut count) = (Instant::now(), 0u32);
    while started.elapsed() < SYNC_TIME {
        write_and_sync()?;
        count += 1;
    }
    Ok(f64::from(count) / started.elapsed().as_secs_f64())
}

fn memory_copy() -> f64 {
    let source = vec![1u8; COPY_BYTES];
    let mut target = vec![2u8; COPY_BYTES];
    let best = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        target.copy_from_slice(&source);
        std::hint::black_box(&target);
        started.elapsed()
    });
    rate(COPY_BYTES, best.min().unwrap_or_default())
}

fn loopback_tcp() -> Result<f64> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        best = best.min(transfer().context("measuring loopback TCP")?);
    }
    Ok(rate(TCP_BYTES, best))
}

fn transfer() -> Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        let chunk = vec![3u8; TCP_CHUNK_BYTES];
        for _ in 0..TCP_BYTES / TCP_CHUNK_BYTES {
            stream.write_all(&chunk)?;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let started = Instant::now();
    let mut buffer = vec![0u8; TCP_CHUNK_BYTES];
    let mut received = 0;
    while received < TCP_BYTES {
        match stream.read(&mut buffer)? {
            0 => anyhow::bail!("the sender stopped after {received} bytes"),
            count => received += count,
        }
    }
    let elapsed = started.elapsed();
    sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    Ok(elapsed)
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people, of counts far below 2^53")]
fn rate(bytes: usize, elapsed: Duration) -> f64 {
    bytes as f64 / MIB / elapsed.as_secs_f64().max(1e-9)
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, tcp) = (self.memory_copy_mib_per_second, self.loopback_tcp_mib_per_second);
        write!(f, "limits: memory copy {memory:.0} MiB/s, loopback TCP {tcp:.0} MiB/s")
    }
}
