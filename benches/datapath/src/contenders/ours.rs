//! The file system, through the client library: large calls by [`pfs_client::blocking`], many small ones at a time by the
//! `async` calls of the same open file, polled by the one thread that also is the raw program's.

use super::Contender;
use crate::work::{BLOCK, Job, LIST_PIECES, Material};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::FutureExt;
use futures::executor::block_on;
use futures::stream::{self, StreamExt, TryStreamExt};
use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, Error, FileDescriptor, LayoutRequest, OpenOptions};
use pfs_core::extent::{Extent, FileOffset};
use pfs_core::path::PfsPath;
use pfs_core::token::message::Mode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

/// Bytes that go to one server before the next one's turn.
const STRIPE_UNIT: u64 = 1 << 20;

/// A session with a running cluster, past the client's cache.
pub struct Servers {
    client: Client,
    processes: Vec<i32>,
}

impl Servers {
    /// Connects to the cluster of the environment, whose servers are `processes`.
    pub fn connect(processes: Vec<i32>) -> Result<Self> {
        let config = ClientConfig { cache_bytes: 0, ..ClientConfig::from_env()? };
        Ok(Servers { client: Client::connect(config)?, processes })
    }
}

/// An open file.
pub struct Ours {
    name: &'static str,
    client: Client,
    file: File,
    descriptor: Arc<FileDescriptor>,
    servers: Vec<i32>,
    buffer: Vec<u8>,
    /// What was read last, and from where.
    last_block: (u64, Bytes),
    /// The source as owned bytes, for calls that take such.
    blocks: Vec<(u64, Bytes)>,
}

impl Ours {
    /// Makes a file on `stripe_count` file servers; `buffer_bytes` is the largest call.
    pub fn create(
        servers: &Servers,
        name: &'static str,
        stripe_count: u32,
        buffer_bytes: usize,
        material: &Material,
    ) -> Result<Self> {
        let path = PfsPath::parse(&format!("/{name}")).context("a file name")?;
        let layout = LayoutRequest {
            stripe_unit: Some(STRIPE_UNIT),
            stripe_count: Some(stripe_count),
            ..LayoutRequest::default()
        };
        let options = OpenOptions { layout, ..OpenOptions::create() };
        let file = servers.client.open(&path, &options)?;
        let again = OpenOptions { create: false, truncate: false, ..options };
        let descriptor = block_on(servers.client.as_async().open(&path, &again))?;
        let block = |(offset, bytes): (u64, &[u8])| (offset, Bytes::copy_from_slice(bytes));
        let blocks = material.blocks().into_iter().map(block).collect();
        let (client, servers) = (servers.client.clone(), servers.processes.clone());
        Ok(Ours {
            name,
            client,
            file,
            descriptor: Arc::new(descriptor),
            servers,
            buffer: vec![0; buffer_bytes],
            last_block: (0, Bytes::new()),
            blocks,
        })
    }

    fn write_blocks(&self, blocks: impl Iterator<Item = (u64, Bytes)>, depth: usize) -> Result<()> {
        let writes = blocks.map(|(offset, bytes)| self.descriptor.write_at(offset, bytes));
        Ok(block_on(stream::iter(writes).buffer_unordered(depth).try_for_each(|()| async { Ok(()) }))?)
    }

    /// Begins a transfer on the client's own thread, as a nonblocking call does. What is sent at its end is what was read last.
    fn start(&self, job: Job, material: &Material) -> Result<Receiver<Result<Bytes, Error>>> {
        let (send, receive) = mpsc::sync_channel(1);
        let descriptor = self.descriptor.clone();
        let offsets = |call_bytes: usize| (0..material.large_bytes).step_by(call_bytes);
        let client = self.client.as_async();
        match job {
            Job::Write { call_bytes } => {
                let calls: Vec<_> =
                    offsets(call_bytes).map(|offset| (offset, material.shared_at(offset, call_bytes))).collect();
                let write = async move {
                    for (offset, bytes) in calls {
                        descriptor.write_at(offset, bytes).await?;
                    }
                    descriptor.sync().await.map(|()| Bytes::new())
                };
                client.spawn(write.map(move |done| drop(send.send(done))));
            }
            Job::Read { call_bytes } => {
                let calls: Vec<u64> = offsets(call_bytes).collect();
                let read = async move {
                    let mut last = Bytes::new();
                    for offset in calls {
                        last = descriptor.read_at(offset, call_bytes).await?;
                    }
                    Ok(last)
                };
                client.spawn(read.map(move |done| drop(send.send(done))));
            }
            _ => bail!("only large operations go on in the background"),
        }
        Ok(receive)
    }

    fn read_blocks(&mut self, offsets: &[u64], depth: usize) -> Result<()> {
        let descriptor = &self.descriptor;
        let read = |offset: u64| async move { Ok::<_, Error>((offset, descriptor.read_at(offset, BLOCK).await?)) };
        let reads = stream::iter(offsets.iter().copied().map(read)).buffer_unordered(depth);
        self.last_block = block_on(reads.try_fold((0, Bytes::new()), |_, block| async { Ok(block) }))?;
        Ok(())
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn servers(&self) -> &[i32] {
        &self.servers
    }

    fn empty(&mut self) -> Result<()> {
        Ok(self.file.set_size(0)?)
    }

    fn run(&mut self, job: Job, material: &Material) -> Result<()> {
        match job {
            Job::Write { call_bytes } => {
                let mut calls = material.calls(call_bytes);
                calls.try_for_each(|(offset, bytes)| self.file.write_at(bytes, offset))?;
            }
            Job::Read { call_bytes } => {
                let buffer = &mut self.buffer[..call_bytes];
                let mut offsets = (0..material.large_bytes).step_by(call_bytes);
                offsets.try_for_each(|offset| self.file.read_at(buffer, offset).map(drop))?;
            }
            Job::WriteBlocks { depth } => self.write_blocks(self.blocks.iter().cloned(), depth)?,
            Job::ReadBlocks { depth } => self.read_blocks(&material.offsets, depth)?,
            Job::WriteLists => {
                let all = Extent::new(0, material.lists_end()).context("the lists are empty")?;
                let token = Arc::new(self.file.acquire(Mode::Exclusive, &[all])?);
                for (list, payload) in material.lists.iter().zip(&material.payloads) {
                    let pieces: Vec<&[u8]> = payload.chunks(BLOCK).collect();
                    self.file.write_list_under(&token, &extents(list)?, &pieces)?;
                }
            }
            Job::ReadLists => {
                let all = Extent::new(0, material.lists_end()).context("the lists are empty")?;
                let token = Arc::new(self.file.acquire(Mode::Shared, &[all])?);
                for list in &material.lists {
                    let buffer = &mut self.buffer[..LIST_PIECES * BLOCK];
                    let mut pieces: Vec<&mut [u8]> = buffer.chunks_mut(BLOCK).collect();
                    self.file.read_list_under(&token, &extents(list)?, &mut pieces)?;
                }
            }
        }
        if job.reads() { Ok(()) } else { Ok(self.file.sync()?) }
    }

    fn beside(&mut self, job: Job, material: &Material, work: &mut dyn FnMut()) -> Result<()> {
        let transfer = self.start(job, material)?;
        work();
        let last = transfer.recv().context("the client's thread has ended")??;
        self.buffer[..last.len()].copy_from_slice(&last);
        Ok(())
    }

    fn check(&self, job: Job, material: &Material) -> Result<()> {
        match job {
            Job::Read { call_bytes } => {
                material.check(material.large_bytes - call_bytes as u64, &self.buffer[..call_bytes])
            }
            Job::ReadLists => material.check_list(&self.buffer),
            Job::ReadBlocks { .. } => {
                let (offset, block) = &self.last_block;
                ensure!(block.len() == BLOCK, "a block of {} bytes was read", block.len());
                material.check(*offset, block)
            }
            _ => Ok(()),
        }
    }
}

fn extents(list: &[u64]) -> Result<Vec<Extent>> {
    let block = |offset: &u64| Extent::with_length(FileOffset(*offset), BLOCK as u64);
    list.iter().map(block).collect::<Option<_>>().context("a list ends past the largest offset")
}
