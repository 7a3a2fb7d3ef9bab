//! gRPC over HTTP/2 as far as the data methods need it: messages in request bodies, and the ends of responses.
//!
//! ```text
//! 0 length length length length message …      0: not compressed; the length has the highest byte first
//! ```

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status};

/// Most bytes that are reserved for a message on its own word; past that it gets memory as it arrives.
const RESERVE_BYTES_MAX: usize = 16 * 1024;

/// The bytes before a message of this length.
pub fn prefix(message_bytes: usize) -> [u8; PREFIX_BYTES] {
    let length = u32::try_from(message_bytes).expect("messages are bounded");
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

/// The length of the message behind a prefix, if it is one of this service.
pub fn message_bytes(prefix: [u8; PREFIX_BYTES], bytes_max: usize) -> Result<usize, ErrorDetail> {
    let [compressed, length @ ..] = prefix;
    if compressed != 0 {
        return Err(ErrorDetail::new(ErrorCode::InvalidArgument, "compressed messages are not taken; send them plain"));
    }
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > bytes_max {
        let text = format!("a message of {bytes} bytes is too large; this method takes at most {bytes_max}");
        return Err(ErrorDetail::new(ErrorCode::TooLarge, text));
    }
    Ok(bytes)
}

/// The unread part of a request's body: bytes that were taken already, then the body itself.
pub struct Incoming {
    /// Bytes that come before those of the body.
    pub taken: Bytes,
    /// Where the others come from.
    pub body: Body,
}

impl Incoming {
    /// All of a body.
    pub fn new(body: Body) -> Self {
        Incoming { taken: Bytes::new(), body }
    }

    /// The next bytes; nothing at the end, or when trailers come.
    pub async fn next_data(&mut self) -> Option<Result<Bytes, Status>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// The same as a poll.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.taken.has_remaining() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.taken))));
        }
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| match frame?.map(Frame::into_data) {
            Ok(Ok(data)) => Some(Ok(data)),
            Ok(Err(_trailers)) => None,
            Err(status) => Some(Err(status)),
        })
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
    }
}

/// The messages of a request's body. A message that is all in one frame is not copied.
pub struct Messages {
    incoming: Incoming,
    /// What is left of the present frame.
    frame: Bytes,
    /// The beginning of a message, or of its prefix, that goes on in another frame.
    begun: BytesMut,
    message_bytes_max: usize,
}

impl Messages {
    /// Messages of at most this many bytes.
    pub fn new(body: Body, message_bytes_max: usize) -> Self {
        Messages { incoming: Incoming::new(body), frame: Bytes::new(), begun: BytesMut::new(), message_bytes_max }
    }

    /// The next message; nothing at the end of the body. After an error there is no other.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ErrorDetail>>> {
        loop {
            match self.cut() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(refused) => return Poll::Ready(Some(Err(refused))),
            }
            match ready!(self.incoming.poll_data(cx)) {
                Some(Ok(data)) => self.frame = data,
                Some(Err(status)) => return Poll::Ready(Some(Err(error_detail(&status)))),
                None if self.begun.is_empty() => return Poll::Ready(None),
                None => {
                    let text = "the request ended in the middle of a message; send it again";
                    return Poll::Ready(Some(Err(ErrorDetail::new(ErrorCode::Unavailable, text))));
                }
            }
        }
    }

    /// The next message of the present frame, or its first part is put aside.
    fn cut(&mut self) -> Result<Option<Bytes>, ErrorDetail> {
        if self.begun.is_empty() {
            if let Some(prefix) = self.frame.first_chunk() {
                let end = PREFIX_BYTES + message_bytes(*prefix, self.message_bytes_max)?;
                if end <= self.frame.len() {
                    return Ok(Some(self.frame.split_to(end).split_off(PREFIX_BYTES)));
                }
                self.begun.reserve(end.min(RESERVE_BYTES_MAX));
            }
            // Its own memory, so that the frame is not kept.
            self.begun.extend_from_slice(&std::mem::take(&mut self.frame));
            return Ok(None);
        }
        self.fill(PREFIX_BYTES);
        let Some(prefix) = self.begun.first_chunk() else { return Ok(None) };
        let end = PREFIX_BYTES + message_bytes(*prefix, self.message_bytes_max)?;
        self.begun.reserve((end - self.begun.len()).min(RESERVE_BYTES_MAX));
        self.fill(end);
        if self.begun.len() < end {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.begun).freeze().split_off(PREFIX_BYTES)))
    }

    /// Moves bytes of the frame to what was begun, until that has `length`.
    fn fill(&mut self, length: usize) {
        let missing = length.saturating_sub(self.begun.len()).min(self.frame.len());
        self.begun.extend_from_slice(&self.frame.split_to(missing));
    }
}

/// The only message of a request.
pub async fn only_message(body: Body, bytes_max: usize) -> Result<Bytes, ErrorDetail> {
    let one = |text| ErrorDetail::new(ErrorCode::InvalidArgument, text);
    let mut messages = Messages::new(body, bytes_max);
    let mut next = async || poll_fn(|cx| messages.poll_next(cx)).await.transpose();
    let message = next().await?.ok_or_else(|| one("a request of this method is one message, and none came"))?;
    match next().await? {
        None => Ok(message),
        Some(_) => Err(one("a request of this method is one message, but more follow it")),
    }
}

/// A response with this body.
pub fn response(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}

/// The end of a response.
pub fn trailers(outcome: Result<(), Status>) -> http::HeaderMap {
    let mut trailers = http::HeaderMap::new();
    let status = outcome.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
    if let Err(status) = status.add_header(&mut trailers) {
        // A text that is no header; the code says enough.
        tracing::warn!(%status, "a status cannot be sent as it is");
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from(status.code() as i32));
    }
    trailers
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
