//! The request of a bulk write: everything but the bytes, and then the bytes from where they are.
//!
//! ```text
//! 0 length length length length    the prefix of a gRPC message
//! stamp, sequence, object, extents
//! 0x82 0x01 length                 a section's key
//!   0x0a length checksums
//!   0x7a length bytes              large slices as they are, small neighbours copied together
//! 0x82 0x01 length …               the next section
//! ```
//!
//! The checksums of a section are made when the transport has taken all before it: its bytes are still in the processor's
//! cache when they are sent, and the server works on one section while the next one is summed.

use crate::data::memory::source::{Cargo, sums_of};
use crate::data::plan::DataRequest;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use pfs_core::ids::{ObjectId, Stamp};
use pfs_proto::data::pieces;
use pfs_proto::payload::{PAYLOAD_KEY, PREFIX_BYTES, SECTION_KEY};
use pfs_proto::v1;
use prost::Message;
use prost::encoding::fixed32::encode_packed;
use prost::encoding::{encode_varint, encoded_len_varint};
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;

/// Slices of so many bytes and more are sent as they are: each is a frame and a system call of its own, so a copy of
/// fewer bytes costs less.
const UNCOPIED_BYTES_MIN: usize = 16 << 10;
/// Bytes of one frame of copied slices.
const COPIED_BYTES_MAX: usize = 256 << 10;
/// A section ends with the piece that makes it so long: a frame of the transport, and few enough for the processor's cache.
const SECTION_BYTES: usize = 256 << 10;
/// The checksums of a section.
const SUMS_FIELD: u32 = 1;

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
            sections: Vec::new(),
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
    /// Bytes of each piece of the request.
    pieces: Vec<usize>,
    /// Sections that are not begun.
    sections: VecDeque<Section>,
    /// The bytes of these.
    later: VecDeque<Bytes>,
    /// Bytes of the present section that were not asked for yet.
    slices: VecDeque<Bytes>,
    copied: BytesMut,
    /// The transport was asked to send first, and to come for the next section then.
    paused: bool,
}

/// A section of a payload.
#[derive(Clone, Debug)]
struct Section {
    /// Among all of the request.
    pieces: Range<usize>,
    bytes: usize,
}

impl Section {
    /// Bytes of its message.
    fn message_bytes(&self) -> usize {
        let sums = self.pieces.len() * size_of::<u32>();
        [sums, self.bytes].map(|bytes| 1 + encoded_len_varint(bytes as u64) + bytes).iter().sum()
    }

    /// The same with its key and length, as a field of the request.
    fn field_bytes(&self) -> usize {
        let message = self.message_bytes();
        encoded_len_varint(SECTION_KEY) + encoded_len_varint(message as u64) + message
    }
}

/// Cuts a request's pieces, which have so many bytes, into sections.
fn sections(pieces: &[usize]) -> VecDeque<Section> {
    let mut sections = VecDeque::new();
    let mut section = Section { pieces: 0..0, bytes: 0 };
    for bytes in pieces {
        section.pieces.end += 1;
        section.bytes += bytes;
        if section.bytes >= SECTION_BYTES {
            let next = Section { pieces: section.pieces.end..section.pieces.end, bytes: 0 };
            sections.push_back(std::mem::replace(&mut section, next));
        }
    }
    sections.extend((section.bytes > 0).then_some(section));
    sections
}

impl WriteBody {
    pub(crate) fn new(name: WriteName, request: Arc<DataRequest>, cargo: Cargo) -> Self {
        WriteBody {
            unsent: Some((name, request, cargo)),
            pieces: Vec::new(),
            sections: VecDeque::new(),
            later: VecDeque::new(),
            slices: VecDeque::new(),
            copied: BytesMut::new(),
            paused: false,
        }
    }

    /// Writes what comes before the first section.
    fn begin(&mut self) {
        let Some((name, request, cargo)) = self.unsent.take() else { return };
        self.later = cargo.slices(&request).into();
        self.pieces = pieces(&request.extents).map(|piece| piece.length).collect();
        self.sections = sections(&self.pieces);
        let head = name.head(&request, Vec::new());
        let message = head.encoded_len() + self.sections.iter().map(Section::field_bytes).sum::<usize>();
        self.copied.reserve(PREFIX_BYTES + head.encoded_len());
        put_prefix(&mut self.copied, message);
        head.encode_raw(&mut self.copied);
    }

    /// Sums the next section, and writes what comes before its bytes.
    fn begin_section(&mut self) {
        let Some(section) = self.sections.pop_front() else { return };
        let mut left = section.bytes;
        while left > 0 {
            let mut slice = self.later.pop_front().expect("the slices have all bytes of the sections");
            if slice.len() > left {
                self.later.push_front(slice.split_off(left));
            }
            left -= slice.len();
            self.slices.push_back(slice);
        }
        let pieces = self.pieces[section.pieces.clone()].iter().copied();
        let sums = sums_of(pieces, &*self.slices.make_contiguous());
        let copied: usize = self.slices.iter().map(Bytes::len).filter(|length| *length < UNCOPIED_BYTES_MIN).sum();
        self.copied.reserve(section.field_bytes() - section.bytes + copied.min(COPIED_BYTES_MAX));
        encode_varint(SECTION_KEY, &mut self.copied);
        encode_varint(section.message_bytes() as u64, &mut self.copied);
        encode_packed(SUMS_FIELD, &sums, &mut self.copied);
        encode_varint(PAYLOAD_KEY, &mut self.copied);
        encode_varint(section.bytes as u64, &mut self.copied);
    }

    fn next(&mut self) -> Option<Bytes> {
        self.begin();
        if self.slices.is_empty() {
            self.begin_section();
        }
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

    /// Whether all sections that were begun have been asked for, and others are to come.
    fn is_between_sections(&self) -> bool {
        self.unsent.is_none() && self.slices.is_empty() && !self.sections.is_empty()
    }
}

impl http_body::Body for WriteBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let body = self.get_mut();
        if body.is_between_sections() && !std::mem::replace(&mut body.paused, true) {
            // The transport sends what it has, and the server works on it while the next section is summed.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        body.paused = false;
        Poll::Ready(body.next().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_none() && self.sections.is_empty() && self.slices.is_empty() && self.copied.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::memory::source::Source;
    use crate::data::plan::plan;
    use http_body::Body;
    use pfs_core::checksum::Checksum;
    use pfs_core::extent::Extent;
    use pfs_core::ids::{Boot, ClientId, FileId, Holder, ServerId};
    use pfs_core::layout::Recipe;
    use pfs_proto::data::Write;
    use pfs_proto::kill_switch::KillSwitch;
    use std::task::Waker;

    fn name() -> WriteName {
        let client = ClientId::new(300).unwrap();
        WriteName {
            stamp: Stamp { boot: Boot::new(3).unwrap(), holder: Holder::Client(client), incarnation: client },
            sequence: 1 << 40,
            object: ObjectId { file: FileId::new(9).unwrap(), slot: 0 },
        }
    }

    fn sent(body: WriteBody) -> Vec<Bytes> {
        let mut body = std::pin::pin!(body);
        let mut cx = Context::from_waker(Waker::noop());
        let (mut frames, mut pauses) = (Vec::new(), 0);
        while !body.is_end_stream() {
            match body.as_mut().poll_frame(&mut cx) {
                Poll::Ready(frame) => frames.push(frame.unwrap().unwrap().into_data().unwrap()),
                Poll::Pending => pauses += 1,
            }
        }
        assert!(matches!(body.as_mut().poll_frame(&mut cx), Poll::Ready(None)));
        let message = v1::WriteRequest::decode(&frames.concat()[PREFIX_BYTES..]).unwrap();
        assert_eq!(pauses, message.sections.len() - 1, "between sections");
        frames
    }

    /// What is sent is the message that a standard encoder makes, large slices are where they were, and only the last frame
    /// ends the stream.
    #[test]
    fn the_frames_are_the_message_and_large_slices_are_not_copied() {
        let recipe = Recipe::new(1 << 20, vec![[ServerId::new(1).unwrap()].into_iter().collect()]).unwrap();
        let lengths = [5, 4096, 20_000, 300_000, 16_384, 16_383, 1, 500_000];
        let (mut at, mut parts) = (77u64, Vec::new());
        for (number, length) in lengths.into_iter().enumerate() {
            let extent = Extent::new(at, at + length).unwrap();
            parts.push((extent, Bytes::from(vec![number as u8; length as usize])));
            at = extent.end() + (number as u64 % 2) * 10;
        }
        let extents: Vec<Extent> = parts.iter().map(|(extent, _)| *extent).collect();
        let request = Arc::new(plan(&recipe, &extents, 1 << 20).remove(0));
        let (cargo, _release) = Source::owned(parts.clone()).ship(&KillSwitch::default()).unwrap();
        let frames = sent(WriteBody::new(name(), request.clone(), cargo));
        let is_uncopied = |frame: &Bytes| parts.iter().any(|(_, bytes)| bytes.as_ptr_range().contains(&frame.as_ptr()));
        let uncopied: usize = frames.iter().filter(|frame| is_uncopied(frame)).map(Bytes::len).sum();
        let large = parts.iter().map(|(_, bytes)| bytes.len()).filter(|length| *length >= UNCOPIED_BYTES_MIN);
        assert!(uncopied + 2 * UNCOPIED_BYTES_MIN > large.sum(), "but what a section leaves of a slice, perhaps");
        let sent = frames.concat();
        let message = v1::WriteRequest::decode(&sent[PREFIX_BYTES..]).unwrap();
        assert_eq!(sent[..PREFIX_BYTES], [&[0][..], &(message.encoded_len() as u32).to_be_bytes()].concat());
        assert!(message.encode_to_vec() == sent[PREFIX_BYTES..]);
        let bytes: Vec<usize> = message.sections.iter().map(|section| section.payload.len()).collect();
        let [full @ .., last] = &bytes[..] else { panic!("there are sections") };
        assert!(full.len() == 3 && full.iter().all(|bytes| (SECTION_BYTES..SECTION_BYTES + 4096).contains(bytes)));
        assert!((1..SECTION_BYTES).contains(last));
        let write = Write::try_from(message).unwrap();
        assert!(write.payload == parts.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat());
        assert_eq!(write.extents, request.extents);
        let mut rest = write.payload;
        for (piece, sum) in pieces(&write.extents).zip(write.checksums) {
            assert_eq!(Checksum::of(&rest.split_to(piece.length)), sum);
        }
        assert!(rest.is_empty());
    }
}
