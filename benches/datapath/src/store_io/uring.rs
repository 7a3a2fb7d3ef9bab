//! io_uring: one ring, registered buffers and a registered file, submitted and reaped by the thread that has the requests.

use super::{Buffer, Load, Method};
use anyhow::{Context, Result, ensure};
use io_uring::{IoUring, opcode, squeue, types};
use std::os::fd::AsRawFd;

/// Entries of the ring: more than any load has requests at a time.
const ENTRIES: u32 = 64;

/// A ring with the buffers of the last load.
pub struct Uring {
    ring: IoUring,
    buffers: Vec<Buffer>,
}

impl Uring {
    /// An error if the kernel has none or refuses.
    pub fn new() -> Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(ENTRIES);
        Ok(Uring { ring: ring.context("make an io_uring")?, buffers: Vec::new() })
    }

    /// Has the kernel pin as many buffers as there are requests at a time.
    fn register(&mut self, load: &Load) -> Result<()> {
        if self.buffers.len() == load.depth && self.buffers[0].len() == load.bytes {
            return Ok(());
        }
        if !self.buffers.is_empty() {
            self.ring.submitter().unregister_buffers().context("let go of buffers")?;
        }
        self.buffers = (0..load.depth).map(|_| Buffer::new(load.bytes)).collect();
        let vectors: Vec<libc::iovec> = self
            .buffers
            .iter_mut()
            .map(|buffer| buffer.bytes_mut())
            .map(|bytes| libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() })
            .collect();
        // SAFETY: the buffers live, unmoved, in `self` until they are let go of above or the ring is gone.
        unsafe { self.ring.submitter().register_buffers(&vectors) }.context("register buffers")
    }

    fn entry(&mut self, load: &Load, slot: usize, offset: u64) -> Result<squeue::Entry> {
        let bytes = self.buffers[slot].bytes_mut();
        let (at, length, index) = (bytes.as_mut_ptr(), u32::try_from(bytes.len())?, u16::try_from(slot)?);
        let entry = match load.reads {
            true => opcode::ReadFixed::new(types::Fixed(0), at, length, index).offset(offset).build(),
            false => opcode::WriteFixed::new(types::Fixed(0), at, length, index).offset(offset).build(),
        };
        Ok(entry.user_data(slot as u64))
    }

    fn pump(&mut self, load: &Load) -> Result<()> {
        let mut idle: Vec<usize> = (0..load.depth).collect();
        let mut offsets = load.offsets.iter();
        let mut done = 0;
        while done < load.offsets.len() {
            while !idle.is_empty() {
                let Some(offset) = offsets.next() else { break };
                let slot = idle.pop().context("an idle buffer")?;
                let entry = self.entry(load, slot, *offset)?;
                // SAFETY: the buffer is registered and in `self`, and nobody touches it before the answer is here.
                unsafe { self.ring.submission().push(&entry) }.context("the ring is full")?;
            }
            self.ring.submit_and_wait(1).context("submit")?;
            for answer in self.ring.completion() {
                let moved = answer.result();
                ensure!(moved == i32::try_from(load.bytes)?, "a request moved {moved} of {} bytes", load.bytes);
                idle.push(usize::try_from(answer.user_data())?);
                done += 1;
            }
        }
        Ok(())
    }
}

impl Method for Uring {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn run(&mut self, load: &Load) -> Result<()> {
        self.register(load)?;
        self.ring.submitter().register_files(&[load.file.as_raw_fd()]).context("register the file")?;
        let pumped = self.pump(load);
        self.ring.submitter().unregister_files().context("let go of the file")?;
        pumped
    }
}
