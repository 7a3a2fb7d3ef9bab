//! Direct calls, and a pool of threads.

use super::{Buffer, Load, Method};
use anyhow::{Context, Result};
use std::fs::File;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The thread that has the request makes the call and waits in it.
pub struct Direct {
    buffer: Buffer,
}

impl Direct {
    /// With a buffer of its own.
    #[allow(clippy::new_without_default, reason = "a buffer is made")]
    pub fn new() -> Self {
        Direct { buffer: Buffer::new(0) }
    }
}

impl Method for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn run(&mut self, load: &Load) -> Result<()> {
        if self.buffer.len() != load.bytes {
            self.buffer = Buffer::new(load.bytes);
        }
        load.offsets.iter().try_for_each(|offset| call(load.reads, &load.file, *offset, &mut self.buffer))
    }
}

/// A current-thread runtime hands every request to tokio's pool for blocking calls.
pub struct Pool {
    runtime: Runtime,
    buffers: Vec<Buffer>,
}

impl Pool {
    /// With a runtime of its own.
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("start a runtime")?;
        Ok(Pool { runtime, buffers: Vec::new() })
    }
}

impl Method for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn run(&mut self, load: &Load) -> Result<()> {
        if self.buffers.len() < load.depth || self.buffers[0].len() != load.bytes {
            self.buffers = (0..load.depth).map(|_| Buffer::new(load.bytes)).collect();
        }
        let mut idle = std::mem::take(&mut self.buffers);
        self.runtime.block_on(async {
            let mut running = JoinSet::new();
            for offset in load.offsets.iter().copied() {
                if running.len() == load.depth {
                    idle.push(finished(running.join_next().await)?);
                }
                let (mut buffer, file, reads) = (idle.pop().expect("one each"), load.file.clone(), load.reads);
                running.spawn_blocking(move || call(reads, &file, offset, &mut buffer).map(|()| buffer));
            }
            while !running.is_empty() {
                idle.push(finished(running.join_next().await)?);
            }
            anyhow::Ok(())
        })?;
        self.buffers = idle;
        Ok(())
    }
}

fn finished(done: Option<Result<Result<Buffer>, tokio::task::JoinError>>) -> Result<Buffer> {
    done.context("nothing runs")?.context("a call panicked")?
}

fn call(reads: bool, file: &File, offset: u64, buffer: &mut Buffer) -> Result<()> {
    if reads { buffer.read(file, offset) } else { buffer.write(file, offset) }
}
