//! Encodes answers around bytes that are read straight to where they are sent from.
//!
//! ```text
//! ReadReply    0x08 instance   0x12 length checksum…   0x7a length payload…
//! SmallReply   0x08 id         0x7a length ReadReply
//! ```
//!
//! How long everything before the payload is follows from the number of pieces, so it can be written after the bytes
//! were read.

use super::grpc::prefix;
use crate::buffers::PooledBuffer;
use crate::reading::{Reading, bytes_of};
use crate::replies::ReplyShare;
use crate::server::FileServer;
use bytes::Bytes;
use pfs_core::checksum::Checksum;
use pfs_proto::data::{ObjectExtent, piece_count};
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::status::ErrorDetail;
use prost::encoding::{encode_varint, encoded_len_varint};

/// Payloads begin at multiples of it in their buffers.
const ALIGNMENT: usize = 64;

const INSTANCE_KEY: u8 = 1 << 3;
const CHECKSUMS_KEY: u8 = 2 << 3 | 2;
const PAYLOAD_KEY: u8 = 15 << 3 | 2;
const ID_KEY: u8 = 1 << 3;
const READ_KEY: u8 = 15 << 3 | 2;

/// A `ReadReply` with a prefix, or a `SmallReply` with it.
#[derive(Clone, Copy, Debug)]
pub struct ReadFrame {
    /// The request's id, for a `SmallReply`.
    pub id: Option<u64>,
    /// The server's instance.
    pub instance: u64,
    /// Number of checksums.
    pub pieces: usize,
    /// Bytes of the payload.
    pub payload_bytes: usize,
}

impl ReadFrame {
    /// The answer with the bytes of `extents`.
    pub fn new(server: &FileServer, id: Option<u64>, extents: &[ObjectExtent]) -> Self {
        let instance = server.instance.get();
        ReadFrame { id, instance, pieces: piece_count(extents), payload_bytes: bytes_of(extents) }
    }

    /// Bytes before the payload.
    pub fn head_bytes(&self) -> usize {
        PREFIX_BYTES + self.envelope_bytes() + self.reply_bytes() - self.payload_bytes
    }

    /// Bytes of the `ReadReply`.
    fn reply_bytes(&self) -> usize {
        let sums = 4 * self.pieces;
        let instance = number_bytes(self.instance);
        instance + field_bytes(sums) + field_bytes(self.payload_bytes)
    }

    /// Bytes of what is around it.
    fn envelope_bytes(&self) -> usize {
        match self.id {
            None => 0,
            Some(id) => number_bytes(id) + 1 + encoded_len_varint(self.reply_bytes() as u64),
        }
    }

    /// Writes everything before the payload into `head`, which is [`head_bytes`](Self::head_bytes) long.
    pub fn encode(&self, checksums: &[Checksum], mut head: &mut [u8]) {
        debug_assert_eq!((head.len(), checksums.len()), (self.head_bytes(), self.pieces));
        let out = &mut head;
        put(out, &prefix(self.envelope_bytes() + self.reply_bytes()));
        if let Some(id) = self.id {
            put_number(out, ID_KEY, id);
            put(out, &[READ_KEY]);
            encode_varint(self.reply_bytes() as u64, out);
        }
        put_number(out, INSTANCE_KEY, self.instance);
        if !checksums.is_empty() {
            put(out, &[CHECKSUMS_KEY]);
            encode_varint(4 * checksums.len() as u64, out);
            for checksum in checksums {
                put(out, &checksum.0.to_le_bytes());
            }
        }
        put(out, &[PAYLOAD_KEY]);
        encode_varint(self.payload_bytes as u64, out);
        debug_assert!(out.is_empty());
    }
}

/// Bytes of a number's field; 0 is not sent.
fn number_bytes(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + encoded_len_varint(value) }
}

/// Bytes of a field of bytes; an empty one is not sent.
fn field_bytes(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { 1 + encoded_len_varint(bytes as u64) + bytes }
}

fn put_number(out: &mut &mut [u8], key: u8, value: u64) {
    if value != 0 {
        put(out, &[key]);
        encode_varint(value, out);
    }
}

fn put(out: &mut &mut [u8], bytes: &[u8]) {
    let (here, rest) = std::mem::take(out).split_at_mut(bytes.len());
    here.copy_from_slice(bytes);
    *out = rest;
}

/// A whole answer in a buffer of its own.
#[derive(Debug)]
pub struct Reply {
    buffer: PooledBuffer,
    /// Where the payload begins; it ends with the buffer.
    payload: usize,
    extents: Vec<ObjectExtent>,
    checksums: Vec<Checksum>,
    frame: ReadFrame,
    share: ReplyShare,
}

impl Reply {
    /// Room for the bytes of `extents`, once the budget has it.
    pub async fn new(server: &FileServer, reading: &Reading, id: Option<u64>, extents: Vec<ObjectExtent>) -> Self {
        let frame = ReadFrame::new(server, id, &extents);
        let payload = frame.head_bytes().next_multiple_of(ALIGNMENT);
        let bytes = payload + frame.payload_bytes;
        let share = server.replies.claim(reading.client(), reading.peer(), bytes as u64).await;
        let buffer = server.buffers.take(bytes);
        Reply { buffer, payload, extents, checksums: Vec::with_capacity(frame.pieces), frame, share }
    }

    /// Reads the bytes; may block.
    pub fn read(&mut self, server: &FileServer, reading: &Reading) -> Result<(), ErrorDetail> {
        let into = &mut self.buffer.as_mut()[self.payload..];
        server.read_chunk(reading, &self.extents, into, &mut self.checksums)
    }

    /// The same if it takes no waiting for a disk; false: call [`read`](Self::read).
    pub fn read_now(&mut self, server: &FileServer, reading: &Reading) -> Result<bool, ErrorDetail> {
        let into = &mut self.buffer.as_mut()[self.payload..];
        server.read_chunk_now(reading, &self.extents, into, &mut self.checksums)
    }

    /// The answer, as the transport sends it; the buffer and the share go back when it has.
    pub fn done(mut self) -> Bytes {
        let start = self.payload - self.frame.head_bytes();
        self.frame.encode(&self.checksums, &mut self.buffer.as_mut()[start..self.payload]);
        Bytes::from_owner(Filled { buffer: self.buffer, start, _share: self.share })
    }
}

struct Filled {
    buffer: PooledBuffer,
    start: usize,
    _share: ReplyShare,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.as_ref()[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_proto::v1;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        /// Byte for byte what the generated code makes.
        #[test]
        fn the_head_is_that_of_the_message(
            id in prop::option::of(any::<u64>()),
            instance in any::<u64>(),
            sums in prop::collection::vec(any::<u32>(), 0..300),
            payload_bytes in prop_oneof![1..300usize, 1..70_000usize],
        ) {
            let payload = vec![7; payload_bytes];
            let reply = v1::ReadReply { instance, checksums: sums.clone(), payload: payload.clone().into() };
            let message = match id {
                Some(id) => v1::SmallReply { id, outcome: Some(v1::small_reply::Outcome::Read(reply)) }.encode_to_vec(),
                None => reply.encode_to_vec(),
            };
            let frame = ReadFrame { id, instance, pieces: sums.len(), payload_bytes };
            let mut made = vec![0; frame.head_bytes()];
            let sums: Vec<_> = sums.into_iter().map(Checksum).collect();
            frame.encode(&sums, &mut made);
            made.extend(payload);
            prop_assert_eq!(made, [&prefix(message.len())[..], &message].concat());
        }
    }
}
