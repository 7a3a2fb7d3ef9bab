//! The ways in which a transport may cut a message: frames of any length, and pauses between them.

use bytes::Bytes;
use http_body::Frame;
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// How a body is cut. The same seed always makes the same cuts.
#[derive(Clone, Copy, Debug)]
pub struct Cuts(u8);

impl Cuts {
    /// Seed 0 cuts nothing, 1 cuts at every byte; any other makes frames of all lengths with pauses in between.
    pub fn new(seed: u8) -> Self {
        Cuts(seed)
    }

    /// The bytes as frames; none is what the transport has when it must wait.
    pub fn of(self, bytes: &[u8]) -> VecDeque<Option<Bytes>> {
        let mut state = u32::from(self.0).wrapping_mul(0x9e37_79b9);
        let mut rest = bytes;
        let mut frames = VecDeque::new();
        while !rest.is_empty() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = match self.0 {
                0 => rest.len(),
                1 => 1,
                // Short and long ones, and empty ones too: the length's own length is drawn first.
                _ => ((state >> 8) as usize) & ((1 << (state >> 28)) - 1),
            };
            let (frame, after) = rest.split_at(length.min(rest.len()));
            if self.0 > 1 && state & 0x40 != 0 {
                frames.push_back(None);
            }
            frames.push_back(Some(Bytes::copy_from_slice(frame)));
            rest = after;
        }
        frames
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should.
    Whole,
    /// The connection broke.
    Broken,
}

/// A request's or reply's body of these bytes.
pub fn body(bytes: &[u8], cuts: Cuts, end: End) -> Body {
    Body::new(CutBody { frames: cuts.of(bytes), end })
}

struct CutBody {
    frames: VecDeque<Option<Bytes>>,
    end: End,
}

impl http_body::Body for CutBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(Some(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None if std::mem::replace(&mut self.end, End::Whole) == End::Broken => {
                Poll::Ready(Some(Err(Status::unavailable("the connection broke"))))
            }
            None => Poll::Ready(None),
        }
    }
}

/// A gRPC message with its prefix: one byte of flags and four of length.
pub fn with_prefix(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).expect("an input is small").to_be_bytes());
    bytes.extend(message);
    bytes
}

/// The first message of a body and what follows it; nothing if that is no whole plain message of at most so many bytes.
pub fn split(body: &[u8], message_bytes_max: usize) -> Option<(&[u8], &[u8])> {
    let (prefix, rest) = body.split_first_chunk::<PREFIX_BYTES>()?;
    let [0, length @ ..] = *prefix else { return None };
    let length = u32::from_be_bytes(length) as usize;
    rest.split_at_checked(length).filter(|_| length <= message_bytes_max)
}

/// The message of a body that has one and nothing else.
pub fn single(body: &[u8]) -> Option<&[u8]> {
    split(body, MESSAGE_BYTES_MAX).filter(|(_, rest)| rest.is_empty()).map(|(message, _)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lose_nothing_and_are_of_all_kinds() {
        let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let (mut empty, mut long, mut pauses) = (0, 0, 0);
        for seed in 0..=255 {
            let frames = Cuts::new(seed).of(&bytes);
            let joined: Vec<u8> = frames.iter().flatten().flatten().copied().collect();
            assert!(joined == bytes, "seed {seed}");
            match seed {
                0 => assert_eq!(frames.len(), 1),
                1 => assert_eq!(frames.len(), bytes.len()),
                _ => {
                    empty += frames.iter().flatten().filter(|frame| frame.is_empty()).count();
                    long += frames.iter().flatten().filter(|frame| frame.len() > 1000).count();
                    pauses += frames.iter().filter(|frame| frame.is_none()).count();
                }
            }
        }
        assert!(empty > 250 && long > 250 && pauses > 250, "{empty} {long} {pauses}");
    }
}
