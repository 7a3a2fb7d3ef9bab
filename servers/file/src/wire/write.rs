//! Writes as they arrive: each piece of a payload goes from the transport to the object, and no usual request is ever
//! whole in memory.
//!
//! A request that is not of the usual shape (see [`pfs_proto::payload`]) goes on to the generated service, from
//! its first byte; it is valid too, and decoded whole.
//!
//! Invariants:
//! * everything of a request but its bytes is checked before the first of them is written;
//! * a share of the budget is held from before bytes are taken from the transport until they are in the object, and
//!   only while bytes are there: nobody waits for a client with a share, so no client can keep others waiting;
//! * a request whose body ended early, or was cut, is never answered with success.

use super::grpc::{Incoming, prefix, response, trailers};
use crate::metered::{Budget, Share};
use crate::server::FileServer;
use crate::service::{check_stamp, peer_of};
use crate::writing::Pieces;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::Frame;
use pfs_proto::data::WriteHead;
use pfs_proto::payload::{PREFIX_BYTES, Scan, scan};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use pfs_server_runtime::ConnectionEpoch;
use prost::Message;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};

/// Most bytes of a request's head that are looked at before it counts as irregular. The most extents take half of it.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are written at once; frames are gathered up to it as long as there are any.
const BATCH_BYTES: usize = 256 * 1024;
/// A batch's share: the last frame that is gathered may pass the batch by its own length.
const BATCH_SHARE_BYTES: u64 = 2 * BATCH_BYTES as u64;

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
        Opened::Regular { head, payload_bytes, rest } => {
            let payload = Payload { left: payload_bytes, rest, budget: server.writes.clone(), share: None };
            let epoch = peer_of(parts.extensions.get()).map(|peer| peer.epoch);
            let written = write(&server, head, epoch, payload).await;
            Ok(told(written.map(|()| server.instance.get())))
        }
        Opened::Irregular(body) => inner.call(http::Request::from_parts(parts, body)).await,
    }
}

async fn write(
    server: &Arc<FileServer>,
    head: v1::WriteRequest,
    epoch: Result<ConnectionEpoch, Status>,
    payload: Payload,
) -> Result<(), Status> {
    check_stamp(head.stamp.as_ref())?;
    let head = WriteHead::new(head, payload.left as u64)?;
    Ok(server.write(head, epoch?, payload).await?)
}

/// What the beginning of a request has shown.
pub enum Opened {
    Regular { head: v1::WriteRequest, payload_bytes: usize, rest: Incoming },
    Irregular(Body),
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
        (0, 0..=MESSAGE_BYTES_MAX) => scan(&message, message_bytes),
        _ => Scan::Irregular,
    };
    match found {
        Scan::Short => None,
        Scan::Irregular | Scan::Payload { head_bytes: HEAD_BYTES_MAX.., .. } => Some(irregular(take(rest), first)),
        Scan::Payload { head_bytes, start, length } => match v1::WriteRequest::decode(message.slice(..head_bytes)) {
            Ok(head) => {
                rest.taken = message.slice(start..);
                Some(Opened::Regular { head, payload_bytes: length, rest: take(rest) })
            }
            Err(_) => Some(irregular(take(rest), first)),
        },
    }
}

fn irregular(mut rest: Incoming, taken: Bytes) -> Opened {
    rest.taken = taken;
    Opened::Irregular(Body::new(rest))
}

fn take(rest: &mut Incoming) -> Incoming {
    std::mem::replace(rest, Incoming::new(Body::empty()))
}

/// A payload that arrives.
pub struct Payload {
    /// Bytes that are to come.
    pub left: usize,
    /// Where they come from.
    pub rest: Incoming,
    /// What a batch has a share of.
    pub budget: Budget,
    /// Of the present batch.
    pub share: Option<Share>,
}

impl Pieces for Payload {
    async fn next(&mut self, batch: &mut Vec<Bytes>) -> Result<bool, ErrorDetail> {
        batch.clear();
        self.share = None;
        if self.left == 0 {
            return self.end().await.map(|()| false);
        }
        loop {
            let share = self.budget.claim(BATCH_SHARE_BYTES).await;
            poll_fn(|cx| Poll::Ready(self.gather(cx, batch))).await?;
            if !batch.is_empty() {
                self.share = Some(share);
                return Ok(true);
            }
            drop(share);
            woken().await;
        }
    }
}

impl Payload {
    /// Takes what is there, up to a batch; nothing if nothing is there, and then the task is woken when there is.
    fn gather(&mut self, cx: &mut Context<'_>, batch: &mut Vec<Bytes>) -> Result<(), ErrorDetail> {
        let mut bytes = 0;
        while bytes < BATCH_BYTES && self.left > 0 {
            let data = match self.rest.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(data))) => data,
                Poll::Ready(Some(Err(status))) => return Err(error_detail(&status)),
                Poll::Ready(None) => return Err(self.cut_short()),
            };
            if data.len() > self.left {
                return Err(too_long());
            }
            self.left -= data.len();
            bytes += data.len();
            batch.extend((!data.is_empty()).then_some(data));
        }
        Ok(())
    }

    /// The request must end with its payload.
    async fn end(&mut self) -> Result<(), ErrorDetail> {
        loop {
            match self.rest.next_data().await {
                None => return Ok(()),
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(_)) => return Err(too_long()),
                Some(Err(status)) => return Err(error_detail(&status)),
            }
        }
    }

    fn cut_short(&self) -> ErrorDetail {
        let text =
            format!("the write ended {} bytes before its end; a part of it may be written, send it again", self.left);
        ErrorDetail::new(ErrorCode::Unavailable, text)
    }
}

fn too_long() -> ErrorDetail {
    ErrorDetail::new(ErrorCode::InvalidArgument, "a write is one message, but more bytes follow it")
}

/// Waits until the task is woken, whatever for.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
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
    async fn next(&mut self, batch: &mut Vec<Bytes>) -> Result<bool, ErrorDetail> {
        batch.clear();
        batch.push(self.left.split_to(BATCH_BYTES.min(self.left.len())));
        Ok(batch.iter().any(|part| !part.is_empty()))
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
