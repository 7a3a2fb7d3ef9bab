//! The request of a bulk write: everything but the bytes, and then the bytes from where they are.
//!
//! ```text
//! 0 length length length length    the prefix of a gRPC message
//! stamp, sequence, object, extents, checksums
//! 0x7a length                      the payload's key
//! payload                          large slices as they are, small neighbours copied together
//! ```
//!
//! The checksums are made when the transport asks for the first frame: not before, since then the bytes would have left the
//! processor's cache again before they are sent, and requests that wait would be summed to no use.

use crate::data::memory::source::{Cargo, checksums};
use crate::data::plan::DataRequest;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use pfs_core::ids::{ObjectId, Stamp};
use pfs_proto::payload::{PAYLOAD_KEY, PREFIX_BYTES};
use pfs_proto::v1;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;

/// Slices of so many bytes and more are sent as they are: each is a frame and a system call of its own, so a copy of
/// fewer bytes costs less.
const UNCOPIED_BYTES_MIN: usize = 16 << 10;
/// Bytes of one frame of copied slices.
const COPIED_BYTES_MAX: usize = 256 << 10;

/// What a write says before its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteName {
    pub(crate) stamp: Stamp,
    pub(crate) sequence: u64,
    pub(crate) object: ObjectId,
}

impl WriteName {
    /// The message without its bytes.
    pub(crate) fn head(&self, request: &DataRequest, checksums: Vec<u32>) -> v1::WriteRequest {
        v1::WriteRequest {
            stamp: Some(self.stamp.into()),
            sequence: self.sequence,
            object: Some(self.object.into()),
            extents: request.extents.iter().copied().map(Into::into).collect(),
            checksums,
            payload: Bytes::new(),
        }
    }
}

/// Appends a message of which `payload_bytes` are to follow; no prefix.
pub(crate) fn put_head(buffer: &mut impl BufMut, head: &v1::WriteRequest, payload_bytes: u64) {
    head.encode_raw(buffer);
    encode_varint(PAYLOAD_KEY, buffer);
    encode_varint(payload_bytes, buffer);
}

/// Bytes of such a message with its payload.
pub(crate) fn message_bytes(head: &v1::WriteRequest, payload_bytes: u64) -> usize {
    let payload = usize::try_from(payload_bytes).expect("requests are a few MiB");
    head.encoded_len() + encoded_len_varint(PAYLOAD_KEY) + encoded_len_varint(payload_bytes) + payload
}

/// Appends the prefix of a gRPC message.
pub(crate) fn put_prefix(buffer: &mut impl BufMut, message_bytes: usize) {
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(message_bytes).expect("messages are a few MiB"));
}

/// The body.
pub(crate) struct WriteBody {
    /// What was not asked for yet; then nothing.
    unsent: Option<(WriteName, Arc<DataRequest>, Cargo)>,
    slices: VecDeque<Bytes>,
    copied: BytesMut,
}

impl WriteBody {
    pub(crate) fn new(name: WriteName, request: Arc<DataRequest>, cargo: Cargo) -> Self {
        WriteBody { unsent: Some((name, request, cargo)), slices: VecDeque::new(), copied: BytesMut::new() }
    }

    fn begin(&mut self) {
        let Some((name, request, cargo)) = self.unsent.take() else { return };
        let slices = cargo.slices(&request);
        let head = name.head(&request, checksums(&request, &slices));
        let message = message_bytes(&head, request.bytes);
        let copied: usize = slices.iter().map(Bytes::len).filter(|length| *length < UNCOPIED_BYTES_MIN).sum();
        self.copied.reserve(PREFIX_BYTES + message - local(request.bytes) + copied.min(COPIED_BYTES_MAX));
        put_prefix(&mut self.copied, message);
        put_head(&mut self.copied, &head, request.bytes);
        self.slices = slices.into();
    }

    fn next(&mut self) -> Option<Bytes> {
        self.begin();
        while let Some(slice) = self.slices.pop_front() {
            if slice.len() < UNCOPIED_BYTES_MIN {
                if self.copied.capacity() - self.copied.len() < slice.len() {
                    // At once for the whole frame: growing would copy all of it again and again.
                    let small = self.slices.iter().map(Bytes::len).take_while(|length| *length < UNCOPIED_BYTES_MIN);
                    let rest = small.sum::<usize>().min(COPIED_BYTES_MAX.saturating_sub(self.copied.len()));
                    self.copied.reserve(slice.len() + rest);
                }
                self.copied.extend_from_slice(&slice);
                if self.copied.len() < COPIED_BYTES_MAX {
                    continue;
                }
            } else if self.copied.is_empty() {
                return Some(slice);
            } else {
                self.slices.push_front(slice);
            }
            break;
        }
        (!self.copied.is_empty()).then(|| self.copied.split().freeze())
    }
}

impl http_body::Body for WriteBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.get_mut().next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_none() && self.slices.is_empty() && self.copied.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn local(bytes: u64) -> usize {
    usize::try_from(bytes).expect("requests are a few MiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::memory::source::Source;
    use crate::data::plan::plan;
    use pfs_core::extent::Extent;
    use pfs_core::ids::{Boot, ClientId, FileId, Holder, ServerId};
    use pfs_core::layout::Recipe;
    use pfs_proto::data::Write;
    use pfs_proto::kill_switch::KillSwitch;

    fn name() -> WriteName {
        let client = ClientId::new(300).unwrap();
        WriteName {
            stamp: Stamp { boot: Boot::new(3).unwrap(), holder: Holder::Client(client), incarnation: client },
            sequence: 1 << 40,
            object: ObjectId { file: FileId::new(9).unwrap(), slot: 0 },
        }
    }

    /// What is sent is the message that a standard encoder makes, large slices are where they were, and only the last frame
    /// ends the stream.
    #[test]
    fn the_frames_are_the_message_and_large_slices_are_not_copied() {
        let recipe = Recipe::new(1 << 20, vec![[ServerId::new(1).unwrap()].into_iter().collect()]).unwrap();
        let lengths = [5, 4096, 20_000, 300_000, 16_384, 16_383, 1];
        let (mut at, mut parts) = (77u64, Vec::new());
        for (number, length) in lengths.into_iter().enumerate() {
            let extent = Extent::new(at, at + length).unwrap();
            parts.push((extent, Bytes::from(vec![number as u8; length as usize])));
            at = extent.end() + (number as u64 % 2) * 10;
        }
        let extents: Vec<Extent> = parts.iter().map(|(extent, _)| *extent).collect();
        let request = Arc::new(plan(&recipe, &extents, 1 << 20).remove(0));
        let (cargo, _release) = Source::owned(parts.clone()).ship(&KillSwitch::default()).unwrap();
        let mut body = WriteBody::new(name(), request.clone(), cargo);
        let (mut sent, mut uncopied) = (Vec::new(), 0);
        while !http_body::Body::is_end_stream(&body) {
            let frame = body.next().unwrap();
            let large = parts.iter().filter(|(_, bytes)| bytes.len() >= UNCOPIED_BYTES_MIN);
            uncopied += large.filter(|(_, bytes)| bytes.as_ptr() == frame.as_ptr()).count();
            sent.extend_from_slice(&frame);
        }
        assert!(body.next().is_none());
        assert_eq!(uncopied, 3);
        let message = v1::WriteRequest::decode(&sent[PREFIX_BYTES..]).unwrap();
        assert_eq!(sent[..PREFIX_BYTES], [&[0][..], &(message.encoded_len() as u32).to_be_bytes()].concat());
        assert_eq!(message.encode_to_vec(), sent[PREFIX_BYTES..]);
        let write = Write::try_from(message).unwrap();
        assert_eq!(write.payload, parts.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat());
        assert_eq!(write.extents, request.extents);
        assert!(!write.checksums.is_empty());
    }
}
