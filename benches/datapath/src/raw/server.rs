//! The server: one thread for each connection.
//!
//! Answers are collected as long as there is a whole request in the buffer, and go out in one write.

use anyhow::{Context, Result, bail, ensure};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use super::store::Store;
use super::wire::{
    CHUNK_BYTES, EXTENT_BYTES, Head, Incoming, Operation, REPLY_BYTES, REQUEST_BYTES, Range, checksum_bytes,
};
use super::{BLOCK, first_wrong};

/// A server that listens and does not serve yet.
pub struct Server {
    listener: TcpListener,
    store: Arc<Store>,
}

impl Server {
    /// Makes an empty store for at most `bytes_max` bytes and listens on a free port of an address of this machine.
    pub fn open(directory: &Path, bytes_max: u64, address: IpAddr) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).with_context(|| format!("listen on {address}"))?;
        Ok(Server { listener, store: Arc::new(Store::create(directory, bytes_max)?) })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("tell the address")
    }

    /// Serves until the process ends. An error of a connection ends that connection and is told.
    pub fn serve(&self) -> Result<()> {
        loop {
            let (stream, peer) = self.listener.accept().context("accept a connection")?;
            let store = self.store.clone();
            std::thread::spawn(move || {
                if let Err(error) = Connection::new(stream, store).and_then(|mut connection| connection.run()) {
                    eprintln!("pfs-raw: connection of {peer}: {error:#}");
                }
            });
        }
    }
}

struct Connection {
    incoming: Incoming<TcpStream>,
    outgoing: Outgoing,
    store: Arc<Store>,
    extents: Vec<Range>,
}

impl Connection {
    fn new(stream: TcpStream, store: Arc<Store>) -> Result<Self> {
        stream.set_nodelay(true)?;
        let incoming = Incoming::new(stream.try_clone()?);
        Ok(Connection { incoming, outgoing: Outgoing::new(stream), store, extents: Vec::new() })
    }

    fn run(&mut self) -> Result<()> {
        loop {
            if self.incoming.available() < REQUEST_BYTES {
                self.outgoing.flush()?;
            }
            let head = match self.incoming.take(REQUEST_BYTES) {
                Ok(bytes) => Head::get(bytes)?,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.extents.clear();
            for extent in self.incoming.take(head.extents * EXTENT_BYTES)?.chunks_exact(EXTENT_BYTES) {
                let whole = self.extents.last().is_none_or(|before| before.length.is_multiple_of(BLOCK));
                ensure!(whole, "a part of a block is not at the end of a request");
                self.extents.push(Range::get(extent)?);
            }
            match head.operation {
                Operation::Write => self.write(head.bytes)?,
                Operation::Read => self.read(head.bytes)?,
                Operation::Sync => self.store.sync()?,
                Operation::Empty => self.store.empty()?,
            }
            if head.operation != Operation::Read {
                self.outgoing.put(&(head.bytes as u64).to_le_bytes())?;
            }
        }
    }

    fn write(&mut self, bytes: usize) -> Result<()> {
        let mut targets = Targets::new(&self.extents, bytes)?;
        while targets.rest > 0 {
            let now = targets.rest.min(CHUNK_BYTES);
            let sums_length = checksum_bytes(now);
            if self.incoming.available() < sums_length + now {
                // Whoever waits for an earlier answer does not wait for this payload.
                self.outgoing.flush()?;
            }
            let chunk = self.incoming.take(sums_length + now).context("a payload broke off")?;
            let (mut sums, mut payload) = chunk.split_at(sums_length);
            if let Some(block) = first_wrong(payload, sums) {
                bail!("block {block} of a chunk has a wrong checksum");
            }
            while !payload.is_empty() {
                let part = targets.next(payload.len());
                self.store.write(part.offset, &payload[..part.length], &sums[..checksum_bytes(part.length)])?;
                (payload, sums) = (&payload[part.length..], &sums[checksum_bytes(part.length)..]);
            }
        }
        Ok(())
    }

    fn read(&mut self, bytes: usize) -> Result<()> {
        let mut targets = Targets::new(&self.extents, bytes)?;
        self.outgoing.put(&(bytes as u64).to_le_bytes())?;
        while targets.rest > 0 {
            let now = targets.rest.min(CHUNK_BYTES);
            let (mut sums, mut payload) =
                self.outgoing.room(checksum_bytes(now) + now)?.split_at_mut(checksum_bytes(now));
            while !payload.is_empty() {
                let part = targets.next(payload.len());
                let (these_sums, rest_sums) = sums.split_at_mut(checksum_bytes(part.length));
                let (these, rest) = payload.split_at_mut(part.length);
                self.store.checksums(part, these_sums)?;
                self.store.read(part.offset, these)?;
                (sums, payload) = (rest_sums, rest);
            }
        }
        Ok(())
    }
}

/// Where the next bytes of a payload belong.
struct Targets<'a> {
    extents: &'a [Range],
    /// What was taken of the first extent.
    taken: usize,
    /// Bytes that were not taken.
    rest: usize,
}

impl<'a> Targets<'a> {
    fn new(extents: &'a [Range], bytes: usize) -> Result<Self> {
        let named: usize = extents.iter().map(|extent| extent.length).sum();
        ensure!(named == bytes, "the extents name {named} bytes, the payload has {bytes}");
        Ok(Targets { extents, taken: 0, rest: bytes })
    }

    /// A part of one extent, at most `most` bytes. There is one as long as `rest` is not 0.
    fn next(&mut self, most: usize) -> Range {
        while self.taken == self.extents[0].length {
            (self.extents, self.taken) = (&self.extents[1..], 0);
        }
        let first = self.extents[0];
        let length = most.min(first.length - self.taken);
        let part = Range { offset: first.offset + self.taken as u64, length };
        self.taken += length;
        self.rest -= length;
        part
    }
}

/// Answers on their way.
struct Outgoing {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Outgoing {
    fn new(stream: TcpStream) -> Self {
        let room = CHUNK_BYTES + checksum_bytes(CHUNK_BYTES) + REPLY_BYTES + BLOCK;
        Outgoing { stream, buffer: vec![0; room], filled: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.room(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// The next `length` bytes of the answers. What is in them is not defined before they are filled.
    fn room(&mut self, length: usize) -> Result<&mut [u8]> {
        if self.filled + length > self.buffer.len() {
            self.flush()?;
        }
        let start = self.filled;
        self.filled += length;
        Ok(&mut self.buffer[start..self.filled])
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.buffer[..self.filled]).context("answer")?;
        self.filled = 0;
        Ok(())
    }
}
