//! For tests: a request or reply body that is fed by hand.

use bytes::Bytes;
use http_body::Frame;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

struct Fed {
    frames: VecDeque<Bytes>,
    hangs: bool,
}

/// A body of these frames, which then ends, or hangs for ever.
pub fn fed(frames: impl IntoIterator<Item = impl Into<Bytes>>, hangs: bool) -> Body {
    Body::new(Fed { frames: frames.into_iter().map(Into::into).collect(), hangs })
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.frames.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.hangs => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}
