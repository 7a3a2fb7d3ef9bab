//! Raw TCP: see [`crate::raw`].

use super::Contender;
use crate::raw::RawClient;
use crate::work::{BLOCK, Job, LIST_PIECES, Material};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Payload bytes of one request, as many as the file system's own requests have.
const REQUEST_BYTES: usize = 1 << 20;

/// A server process. It ends when this is dropped, and when this process ends in whatever way: its standard input ends.
pub struct RawServer {
    child: Child,
    address: SocketAddr,
}

impl RawServer {
    /// Starts `program`, which is `pfs-raw`, with a store in `directory` for at most `bytes_max` bytes.
    pub fn start(program: &Path, directory: &Path, bytes_max: u64) -> Result<Self> {
        Self::start_as(Command::new(program), directory, bytes_max, IpAddr::from([127, 0, 0, 1]))
    }

    /// The same by a command that is, or becomes, `pfs-raw`, on an address of the place where it runs.
    pub fn start_as(mut command: Command, directory: &Path, bytes_max: u64, listen: IpAddr) -> Result<Self> {
        command
            .arg("serve")
            .args(["--listen", &listen.to_string()])
            .arg("--dir")
            .arg(directory)
            .args(["--bytes-max", &bytes_max.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let mut server = RawServer { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let mut line = String::new();
        let output = server.child.stdout.take().context("the raw server has no output")?;
        BufReader::new(output).read_line(&mut line).context("wait for the raw server")?;
        server.address = line.trim().parse().with_context(|| format!("the raw server said {line:?}"))?;
        Ok(server)
    }

    /// Its process.
    pub fn process(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if let Err(error) = self.child.wait() {
            eprintln!("the raw server did not end: {error}");
        }
    }
}

/// One connection to a raw server.
pub struct RawTcp {
    client: RawClient,
    servers: [i32; 1],
    buffer: Vec<u8>,
}

impl RawTcp {
    /// Connects; `buffer_bytes` is the largest call.
    pub fn connect(server: &RawServer, buffer_bytes: usize) -> Result<Self> {
        let servers = [server.process()?];
        Ok(RawTcp { client: RawClient::connect(server.address)?, servers, buffer: vec![0; buffer_bytes] })
    }
}

impl Contender for RawTcp {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn servers(&self) -> &[i32] {
        &self.servers
    }

    fn empty(&mut self) -> Result<()> {
        self.client.empty()
    }

    fn run(&mut self, job: Job, material: &Material) -> Result<()> {
        match job {
            Job::Write { call_bytes } => {
                let mut calls = material.calls(call_bytes);
                calls.try_for_each(|(offset, bytes)| self.client.write_at(offset, bytes, REQUEST_BYTES))?;
            }
            Job::Read { call_bytes } => {
                let buffer = &mut self.buffer[..call_bytes];
                let mut offsets = (0..material.large_bytes).step_by(call_bytes);
                offsets.try_for_each(|offset| self.client.read_at(offset, buffer, REQUEST_BYTES))?;
            }
            Job::WriteBlocks { depth } => self.client.write_blocks(&material.blocks(), depth)?,
            Job::ReadBlocks { depth } => self.client.read_blocks(&material.offsets, &mut self.buffer, depth)?,
            Job::WriteLists => {
                for (list, payload) in material.lists.iter().zip(&material.payloads) {
                    self.client.write_list(list, payload)?;
                }
            }
            Job::ReadLists => {
                let buffer = &mut self.buffer[..LIST_PIECES * BLOCK];
                material.lists.iter().try_for_each(|list| self.client.read_list(list, buffer))?;
            }
        }
        if job.reads() { Ok(()) } else { self.client.sync() }
    }

    fn beside(&mut self, job: Job, material: &Material, work: &mut dyn FnMut()) -> Result<()> {
        std::thread::scope(|scope| {
            let transfer = scope.spawn(|| self.run(job, material));
            work();
            transfer.join().expect("no panic in a transfer")
        })
    }

    fn check(&self, job: Job, material: &Material) -> Result<()> {
        match job {
            Job::Read { call_bytes } => {
                material.check(material.large_bytes - call_bytes as u64, &self.buffer[..call_bytes])
            }
            Job::ReadBlocks { .. } => {
                let last = material.offsets.len() - 1;
                let at = last % (self.buffer.len() / BLOCK) * BLOCK;
                material.check(material.offsets[last], &self.buffer[at..at + BLOCK])
            }
            Job::ReadLists => material.check_list(&self.buffer),
            _ => Ok(()),
        }
    }
}
