//! The client: one connection, used by one thread.

use anyhow::{Context, Result, bail, ensure};
use std::io::{IoSlice, Write};
use std::net::{SocketAddr, TcpStream};

use super::wire::{CHUNK_BYTES, Head, Incoming, Operation, REPLY_BYTES, Range, checksum_bytes, number};
use super::{BLOCK, first_wrong, put_checksums};

/// A connection to a raw server.
pub struct RawClient {
    stream: TcpStream,
    incoming: Incoming<TcpStream>,
    outgoing: Vec<u8>,
    sums: Vec<u8>,
}

impl RawClient {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let incoming = Incoming::new(stream.try_clone()?);
        Ok(RawClient { stream, incoming, outgoing: Vec::new(), sums: vec![0; checksum_bytes(CHUNK_BYTES)] })
    }

    /// Writes in requests of `request_bytes`, all sent before the first answer is waited for.
    pub fn write_at(&mut self, offset: u64, buffer: &[u8], request_bytes: usize) -> Result<()> {
        for (index, payload) in buffer.chunks(request_bytes).enumerate() {
            let extent = Range { offset: offset + (index * request_bytes) as u64, length: payload.len() };
            self.send_write(std::iter::once(extent), payload)?;
        }
        buffer.chunks(request_bytes).try_for_each(|payload| self.answered(payload.len()))
    }

    /// Reads in requests of `request_bytes`, all sent before the first answer is waited for.
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8], request_bytes: usize) -> Result<()> {
        self.outgoing.clear();
        for (index, payload) in buffer.chunks(request_bytes).enumerate() {
            let extent = Range { offset: offset + (index * request_bytes) as u64, length: payload.len() };
            Head::put(Operation::Read, std::iter::once(extent), &mut self.outgoing);
        }
        self.stream.write_all(&self.outgoing).context("ask")?;
        buffer.chunks_mut(request_bytes).try_for_each(|payload| self.receive(payload))
    }

    /// Writes the payload to these blocks, in one request.
    pub fn write_list(&mut self, offsets: &[u64], payload: &[u8]) -> Result<()> {
        self.send_write(offsets.iter().map(|offset| Range { offset: *offset, length: BLOCK }), payload)?;
        self.answered(payload.len())
    }

    /// Reads these blocks, in one request.
    pub fn read_list(&mut self, offsets: &[u64], payload: &mut [u8]) -> Result<()> {
        self.outgoing.clear();
        let extents = offsets.iter().map(|offset| Range { offset: *offset, length: BLOCK });
        Head::put(Operation::Read, extents, &mut self.outgoing);
        self.stream.write_all(&self.outgoing).context("ask")?;
        self.receive(payload)
    }

    /// Writes one block to each of the offsets, with `depth` requests under way.
    pub fn write_blocks(&mut self, blocks: &[(u64, &[u8])], depth: usize) -> Result<()> {
        let (total, mut blocks) = (blocks.len(), blocks.iter());
        self.pipeline(
            total,
            depth,
            |client, count| {
                client.outgoing.clear();
                for (offset, block) in blocks.by_ref().take(count) {
                    let extent = std::iter::once(Range { offset: *offset, length: BLOCK });
                    Head::put(Operation::Write, extent, &mut client.outgoing);
                    put_checksums(block, &mut client.outgoing);
                    client.outgoing.extend_from_slice(block);
                }
                client.stream.write_all(&client.outgoing).context("send")
            },
            |client, _| client.answered(BLOCK),
        )
    }

    /// Reads one block from each of `offsets`, to `buffer` in turn, with `depth` requests under way.
    pub fn read_blocks(&mut self, offsets: &[u64], buffer: &mut [u8], depth: usize) -> Result<()> {
        let mut wanted = offsets.iter();
        let places = buffer.len() / BLOCK;
        self.pipeline(
            offsets.len(),
            depth,
            |client, count| {
                client.outgoing.clear();
                for offset in wanted.by_ref().take(count) {
                    let extent = std::iter::once(Range { offset: *offset, length: BLOCK });
                    Head::put(Operation::Read, extent, &mut client.outgoing);
                }
                client.stream.write_all(&client.outgoing).context("ask")
            },
            |client, index| {
                let at = index % places * BLOCK;
                client.receive(&mut buffer[at..at + BLOCK])
            },
        )
    }

    /// Has the server store the checksums and make all of it last.
    pub fn sync(&mut self) -> Result<()> {
        self.ask(Operation::Sync)
    }

    /// Has the server forget everything.
    pub fn empty(&mut self) -> Result<()> {
        self.ask(Operation::Empty)
    }

    fn ask(&mut self, operation: Operation) -> Result<()> {
        self.outgoing.clear();
        Head::put(operation, std::iter::empty(), &mut self.outgoing);
        self.stream.write_all(&self.outgoing).context("ask")?;
        self.answered(0)
    }

    /// Keeps `depth` requests under way: whenever answers have arrived, as many requests go out together.
    fn pipeline(
        &mut self,
        total: usize,
        depth: usize,
        mut send: impl FnMut(&mut Self, usize) -> Result<()>,
        mut receive: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let (mut sent, mut received) = (0, 0);
        while received < total {
            let more = (depth - (sent - received)).min(total - sent);
            if more > 0 {
                send(self, more)?;
                sent += more;
            }
            receive(self, received)?;
            received += 1;
            while received < sent && self.incoming.available() >= REPLY_BYTES {
                receive(self, received)?;
                received += 1;
            }
        }
        Ok(())
    }

    fn send_write(&mut self, extents: impl Iterator<Item = Range>, payload: &[u8]) -> Result<()> {
        self.outgoing.clear();
        Head::put(Operation::Write, extents, &mut self.outgoing);
        for chunk in payload.chunks(CHUNK_BYTES) {
            put_checksums(chunk, &mut self.outgoing);
            write_both(&mut self.stream, &self.outgoing, chunk).context("send")?;
            self.outgoing.clear();
        }
        Ok(())
    }

    fn answered(&mut self, bytes: usize) -> Result<()> {
        check_answer(number(self.incoming.take(REPLY_BYTES).context("an answer broke off")?), bytes)
    }

    fn receive(&mut self, payload: &mut [u8]) -> Result<()> {
        if payload.len() < CHUNK_BYTES {
            self.answered(payload.len())?;
        } else {
            // Nothing is received ahead, so that the payload needs no copy.
            let mut said = [0; REPLY_BYTES];
            self.incoming.fill(&mut said).context("an answer broke off")?;
            check_answer(number(&said), payload.len())?;
        }
        for chunk in payload.chunks_mut(CHUNK_BYTES) {
            let sums = &mut self.sums[..checksum_bytes(chunk.len())];
            self.incoming.fill(sums).context("checksums broke off")?;
            self.incoming.fill(chunk).context("a payload broke off")?;
            if let Some(block) = first_wrong(chunk, sums) {
                bail!("block {block} of a chunk has a wrong checksum");
            }
        }
        Ok(())
    }
}

fn check_answer(said: u64, bytes: usize) -> Result<()> {
    ensure!(said == bytes as u64, "the answer is of {said} bytes, not of {bytes}");
    Ok(())
}

/// Writes one after the other, together as far as the socket takes them.
fn write_both(stream: &mut TcpStream, mut first: &[u8], mut second: &[u8]) -> std::io::Result<()> {
    while !first.is_empty() {
        let written = stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?;
        let of_first = written.min(first.len());
        (first, second) = (&first[of_first..], &second[written - of_first..]);
    }
    stream.write_all(second)
}
