//! Writes as they arrive: each piece of a payload goes from the transport to the object, and no usual request is ever
//! whole in memory.
//!
//! A request that is not of the usual shape (see [`pfs_proto::payload`]) goes on to the generated service, from
//! its first byte; it is valid too, and decoded whole.
//!
//! Invariants:
//! * everything of a request but its bytes, and what comes with these in sections, is checked before the first of them is
//!   written;
//! * a request whose body ended early, or was cut, is never answered with success.

use super::grpc::{Incoming, prefix, response, trailers};
use super::payload::{BATCH_BYTES, Payload};
use crate::metered::{Budget, Share};
use crate::server::FileServer;
use crate::service::{check_stamp, peer_of};
use crate::writing::{Batch, Pieces};
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use pfs_proto::data::WriteHead;
use pfs_proto::payload::{PREFIX_BYTES, Scan, WriteScan, scan_write};
use pfs_proto::status::ErrorDetail;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use prost::Message;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

/// Most bytes of a request's head that are looked at before it counts as irregular. The most extents take half of it.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// Answers a `Write`; `inner` takes what is not of the usual shape.
pub async fn answer<S>(
    mut inner: S,
    server: Arc<FileServer>,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Infallible>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    let (parts, body) = request.into_parts();
    match open(body).await {
        Opened::Regular(opening) => {
            let written = write(&server, *opening, &parts.extensions).await;
            Ok(told(written.map(|()| server.instance.get())))
        }
        Opened::Irregular(body) => inner.call(http::Request::from_parts(parts, body)).await,
    }
}

async fn write(server: &Arc<FileServer>, opening: Opening, extensions: &http::Extensions) -> Result<(), Status> {
    check_stamp(opening.head.stamp.as_ref())?;
    let (head, payload) = opening.expect(server.writes.clone())?;
    let epoch = peer_of(extensions.get())?.epoch;
    Ok(server.write(head, epoch, payload).await?)
}

/// What the beginning of a request has shown.
pub enum Opened {
    Regular(Box<Opening>),
    Irregular(Body),
}

/// A request up to its payload.
pub struct Opening {
    /// All but the payload.
    pub head: v1::WriteRequest,
    /// Bytes of the message that are to come: those of the payload, or sections.
    pub left: usize,
    /// Whether they are sections.
    pub in_sections: bool,
    /// Where they come from.
    pub rest: Incoming,
}

impl Opening {
    /// Checks the head, and what it says of the payload.
    pub fn expect(self, budget: Budget) -> Result<(WriteHead, Payload), ErrorDetail> {
        let Opening { head, left, in_sections, rest } = self;
        if in_sections {
            let (head, rule) = WriteHead::with_sections(head)?;
            Ok((head, Payload::in_sections(left, rule, rest, budget)))
        } else {
            Ok((WriteHead::new(head, left as u64)?, Payload::plain(left, rest, budget)))
        }
    }
}

/// Reads a request up to its payload.
pub async fn open(body: Body) -> Opened {
    let mut rest = Incoming::new(body);
    let mut taken = BytesMut::new();
    loop {
        match rest.next_data().await {
            Some(Ok(data)) if taken.is_empty() && rest.taken.is_empty() => {
                // Most requests: all of the head is in the first frame, which is not copied.
                if let Some(opened) = split(data.clone(), &mut rest) {
                    return opened;
                }
                taken.put(data);
            }
            Some(Ok(data)) => {
                taken.put(data);
                if taken.len() <= HEAD_BYTES_MAX
                    && let Some(opened) = split(Bytes::copy_from_slice(&taken), &mut rest)
                {
                    return opened;
                }
            }
            // A body that ends or breaks here is judged by who decodes it.
            Some(Err(_)) | None => return irregular(rest, taken.freeze()),
        }
        if taken.len() > HEAD_BYTES_MAX {
            return irregular(rest, taken.freeze());
        }
    }
}

/// Cuts the first bytes of a request into head and payload; nothing if there are too few of them.
fn split(first: Bytes, rest: &mut Incoming) -> Option<Opened> {
    let prefix: [u8; PREFIX_BYTES] = first.get(..PREFIX_BYTES)?.try_into().ok()?;
    let [compressed, length @ ..] = prefix;
    let message_bytes = u32::from_be_bytes(length) as usize;
    let message = first.slice(PREFIX_BYTES..);
    let found = match (compressed, message_bytes) {
        (0, 0..=MESSAGE_BYTES_MAX) => scan_write(&message, message_bytes),
        _ => WriteScan::Plain(Scan::Irregular),
    };
    let (head_bytes, start, in_sections) = match found {
        WriteScan::Plain(Scan::Short) => return None,
        WriteScan::Plain(Scan::Payload { head_bytes: head_bytes @ ..HEAD_BYTES_MAX, start, .. }) => {
            (head_bytes, start, false)
        }
        WriteScan::Sections { head_bytes: head_bytes @ ..HEAD_BYTES_MAX } => (head_bytes, head_bytes, true),
        WriteScan::Plain(Scan::Irregular | Scan::Payload { .. }) | WriteScan::Sections { .. } => {
            return Some(irregular(take(rest), first));
        }
    };
    let Ok(head) = v1::WriteRequest::decode(message.slice(..head_bytes)) else {
        return Some(irregular(take(rest), first));
    };
    rest.taken = message.slice(start..);
    let rest = take(rest);
    Some(Opened::Regular(Box::new(Opening { head, left: message_bytes - start, in_sections, rest })))
}

fn irregular(mut rest: Incoming, taken: Bytes) -> Opened {
    rest.taken = taken;
    Opened::Irregular(Body::new(rest))
}

fn take(rest: &mut Incoming) -> Incoming {
    std::mem::replace(rest, Incoming::new(Body::empty()))
}

/// A gRPC response: one message and status 0 behind it, or the error in the headers.
fn told(instance: Result<u64, Status>) -> http::Response<Body> {
    match instance {
        Ok(instance) => {
            let message = v1::WriteReply { instance };
            let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
            framed.put_slice(&prefix(message.encoded_len()));
            message.encode(&mut framed).expect("there is room for all of it");
            response(Body::new(Success(Some(framed.freeze()), false)))
        }
        Err(status) => status.into_http(),
    }
}

/// The message, then the trailers.
struct Success(Option<Bytes>, bool);

impl http_body::Body for Success {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(message) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(message))));
        }
        if std::mem::replace(&mut self.1, true) {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers(Ok(()))))))
    }
}

/// A payload that is all there, for requests of an unusual shape.
pub struct Whole {
    left: Bytes,
    _share: Share,
}

impl Whole {
    /// This payload, with its share of the budget.
    pub fn new(payload: Bytes, share: Share) -> Self {
        Whole { left: payload, _share: share }
    }
}

impl Pieces for Whole {
    async fn next(&mut self, batch: &mut Batch) -> Result<bool, ErrorDetail> {
        batch.clear();
        let part = self.left.split_to(BATCH_BYTES.min(self.left.len()));
        batch.parts.extend((!part.is_empty()).then_some(part));
        Ok(!batch.parts.is_empty())
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
pub(crate) mod tests;
