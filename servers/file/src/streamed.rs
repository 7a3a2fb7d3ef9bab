//! Writes as they arrive: each piece of a payload goes from the transport to the object, and no usual request is ever
//! whole in memory.
//!
//! [`Streamed`] lies around the generated service and takes the path of `Write` for itself. A request that is not of the
//! usual shape (see [`pfs_proto::payload`]) goes on to the generated service, from its first byte; it is valid too, and
//! decoded whole.
//!
//! Invariants:
//! * everything of a request but its bytes is checked before the first of them is written;
//! * a share of the budget is held from before bytes are taken from the transport until they are in the object, and
//!   only while bytes are there: nobody waits for a client with a share, so no client can keep others waiting;
//! * a request whose body ended early, or was cut, is never answered with success.

use crate::metered::{Budget, Share, hold_until_sent};
use crate::server::{FileServer, Pieces};
use crate::service::{check_stamp, epoch_of};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body as _, Frame};
use pfs_proto::data::WriteHead;
use pfs_proto::payload::{PREFIX_BYTES, Scan, scan};
use pfs_proto::status::{ErrorCode, ErrorDetail, error_detail};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use pfs_server_runtime::ConnectionEpoch;
use prost::Message;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::server::NamedService;
use tonic::{Code, Status};

const WRITE_PATH: &str = "/pfs.v1.Data/Write";
/// Most bytes of a request's head that are looked at before it counts as irregular. The most extents take half of it.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes that are written at once; frames are gathered up to it as long as there are any.
const BATCH_BYTES: usize = 256 * 1024;
/// A batch's share: the last frame that is gathered may pass the batch by its own length.
const BATCH_SHARE_BYTES: u64 = 2 * BATCH_BYTES as u64;

/// The service around the generated one.
#[derive(Clone)]
pub struct Streamed<S> {
    inner: S,
    server: Arc<FileServer>,
}

impl<S> Streamed<S> {
    /// Takes the writes of `inner` for `server`, within its budget of writes.
    pub fn new(inner: S, server: Arc<FileServer>) -> Self {
        Streamed { inner, server }
    }
}

impl<S: NamedService> NamedService for Streamed<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Streamed<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != WRITE_PATH {
            let answer = self.inner.call(request);
            return Box::pin(async move { answer.await.map(hold_until_sent) });
        }
        // The one that was polled ready is used; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let server = self.server.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            match open(body).await {
                Opened::Regular { head, payload_bytes, rest } => {
                    let payload = Payload { left: payload_bytes, rest, budget: server.writes.clone() };
                    let epoch = epoch_of(parts.extensions.get());
                    let written = write(&server, head, epoch, payload).await;
                    Ok(answer(written.map(|()| server.instance.get())))
                }
                Opened::Irregular(body) => inner.call(http::Request::from_parts(parts, body)).await,
            }
        })
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
enum Opened {
    Regular { head: v1::WriteRequest, payload_bytes: usize, rest: Rest },
    Irregular(Body),
}

/// The unread part of a body: bytes that were taken already, then the body itself.
struct Rest {
    taken: Bytes,
    body: Body,
}

/// Reads a request up to its payload.
async fn open(body: Body) -> Opened {
    let mut rest = Rest { taken: Bytes::new(), body };
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
            Some(Err(_)) | None => return rest.irregular(taken.freeze()),
        }
        if taken.len() > HEAD_BYTES_MAX {
            return rest.irregular(taken.freeze());
        }
    }
}

/// Cuts the first bytes of a request into head and payload; nothing if there are too few of them.
fn split(first: Bytes, rest: &mut Rest) -> Option<Opened> {
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
        Scan::Irregular | Scan::Payload { head_bytes: HEAD_BYTES_MAX.., .. } => Some(rest.take().irregular(first)),
        Scan::Payload { head_bytes, start, length } => match v1::WriteRequest::decode(message.slice(..head_bytes)) {
            Ok(head) => {
                rest.taken = message.slice(start..);
                Some(Opened::Regular { head, payload_bytes: length, rest: rest.take() })
            }
            Err(_) => Some(rest.take().irregular(first)),
        },
    }
}

impl Rest {
    fn take(&mut self) -> Rest {
        std::mem::replace(self, Rest { taken: Bytes::new(), body: Body::empty() })
    }

    fn irregular(mut self, taken: Bytes) -> Opened {
        self.taken = taken;
        Opened::Irregular(Body::new(self))
    }

    async fn next_data(&mut self) -> Option<Result<Bytes, Status>> {
        poll_fn(|cx| self.poll_data(cx)).await
    }

    /// The next bytes; nothing at the end, or when trailers come.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
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

impl http_body::Body for Rest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
    }
}

/// A payload that arrives.
struct Payload {
    /// Bytes that are to come.
    left: usize,
    rest: Rest,
    budget: Budget,
}

impl Pieces for Payload {
    async fn next(&mut self) -> Result<Option<(Vec<Bytes>, Share)>, ErrorDetail> {
        if self.left == 0 {
            return self.end().await.map(|()| None);
        }
        loop {
            let share = self.budget.claim(BATCH_SHARE_BYTES).await;
            let batch = poll_fn(|cx| Poll::Ready(self.gather(cx))).await?;
            if !batch.is_empty() {
                return Ok(Some((batch, share)));
            }
            drop(share);
            woken().await;
        }
    }
}

impl Payload {
    /// Takes what is there, up to a batch; nothing if nothing is there, and then the task is woken when there is.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<Vec<Bytes>, ErrorDetail> {
        let mut batch = Vec::new();
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
        Ok(batch)
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
fn answer(instance: Result<u64, Status>) -> http::Response<Body> {
    match instance {
        Ok(instance) => {
            let message = v1::WriteReply { instance }.encode_to_vec();
            let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).expect("the reply is a few bytes"));
            framed.put_slice(&message);
            let mut response = http::Response::new(Body::new(Success(Some(framed.freeze()), false)));
            response.headers_mut().insert(http::header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
            response
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
        let mut trailers = http::HeaderMap::new();
        trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from(Code::Ok as i32));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
#[path = "streamed_tests.rs"]
mod tests;
