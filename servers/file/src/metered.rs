//! Bounds the memory of requests and replies under way, whatever the number of clients.
//!
//! A [`Metered`] service lies around the generated one:
//! * a write waits for its share of the request budget when its length is known, that is after its first bytes, and
//!   keeps the share until it is answered. Only writes wait: no fence, drain or truncation stands behind a client;
//! * a read takes its share of the reply budget before it reads (see [`ReplyShare`]), and each piece of the reply keeps
//!   the share until the transport has sent it.
//!
//! A client that stops in the middle of a write, or whose other writes fill the window of its connection, could keep
//! its share for ever. So while somebody waits, a share whose bytes stop coming for [`STALL_MAX`] is taken back: that
//! write is answered with `UNAVAILABLE`, and nothing of it was written.

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use pfs_proto::status::{ErrorCode, status};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Status, codegen::http};

/// How long the bytes of a write may stop coming while others wait for their share.
pub const STALL_MAX: Duration = Duration::from_secs(2);

const WRITE_PATH: &str = "/pfs.v1.Data/Write";
/// A gRPC message begins with one byte of flags and four of length.
const PREFIX_BYTES: usize = 5;

/// A budget of bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
    waiting: Arc<AtomicUsize>,
}

type Share = OwnedSemaphorePermit;
type Claim = Pin<Box<dyn Future<Output = Share> + Send>>;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: u32) -> Self {
        Budget { free: Arc::new(Semaphore::new(bytes as usize)), bytes, waiting: Arc::default() }
    }

    /// Waits for a share of this many bytes, or of the whole budget if that is less.
    pub async fn claim(&self, bytes: u64) -> Share {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        let _waiting = Waiting::enter(&self.waiting);
        self.free.clone().acquire_many_owned(bytes).await.expect("a budget is never closed")
    }

    fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

/// Counts who waits, also when they give up.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Put into a response's extensions: the budget that the reply holds until it is sent.
#[derive(Clone, Debug)]
pub struct ReplyShare(#[expect(dead_code, reason = "it is held, and given back when it is dropped")] Arc<Share>);

impl ReplyShare {
    /// Holds a share.
    pub fn new(share: Share) -> Self {
        ReplyShare(Arc::new(share))
    }
}

/// The service with its budget of requests.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    requests: Budget,
}

impl<S> Metered<S> {
    /// Puts a request budget before a service.
    pub fn new(inner: S, requests: Budget) -> Self {
        Metered { inner, requests }
    }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let held = Held::default();
        let request = match request.uri().path() {
            WRITE_PATH => request.map(|body| Body::new(RequestBody::new(body, self.requests.clone(), held.clone()))),
            _ => request,
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            drop(held);
            Ok(match response.extensions_mut().remove::<ReplyShare>() {
                Some(share) => response.map(|body| Body::new(ReplyBody { inner: body, share })),
                None => response,
            })
        })
    }
}

/// A request's share, from the body that claims it to the answer that gives it back.
type Held = Arc<Mutex<Option<Share>>>;

enum Stage {
    /// The message's length is not known yet: its first bytes.
    Prefix(Vec<u8>),
    /// Waits for its share; the frame that told the length is kept.
    Claiming(Claim, Option<Frame<Bytes>>),
    /// Has its share; watched for a stall.
    Flowing(Pin<Box<Sleep>>),
}

struct RequestBody {
    inner: Body,
    budget: Budget,
    held: Held,
    stage: Stage,
}

impl RequestBody {
    fn new(inner: Body, budget: Budget, held: Held) -> Self {
        RequestBody { inner, budget, held, stage: Stage::Prefix(Vec::with_capacity(PREFIX_BYTES)) }
    }

    /// The first frames, until they tell the length.
    fn poll_prefix(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)?) else { return Poll::Ready(None) };
        let Stage::Prefix(prefix) = &mut self.stage else { return Poll::Ready(Some(Ok(frame))) };
        if let Some(data) = frame.data_ref() {
            prefix.extend(data.iter().take(PREFIX_BYTES - prefix.len()));
        }
        let Ok([_, length @ ..]) = <[u8; PREFIX_BYTES]>::try_from(prefix.as_slice()) else {
            return Poll::Ready(Some(Ok(frame)));
        };
        // A longer message is refused by who decodes it, before any memory is taken for it.
        let bytes = u64::from(u32::from_be_bytes(length)).min(MESSAGE_BYTES_MAX as u64);
        let budget = self.budget.clone();
        let claim = Box::pin(async move { budget.claim(bytes).await });
        self.stage = Stage::Claiming(claim, Some(frame));
        self.poll_claim(cx)
    }

    fn poll_claim(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Stage::Claiming(claim, frame) = &mut self.stage else { return Poll::Pending };
        let share = ready!(claim.as_mut().poll(cx));
        let frame = frame.take();
        *self.held.lock() = Some(share);
        self.stage = Stage::Flowing(Box::pin(tokio::time::sleep(STALL_MAX)));
        Poll::Ready(frame.map(Ok))
    }

    fn poll_flow(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Stage::Flowing(stall) = &mut self.stage else { return Poll::Pending };
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            stall.as_mut().reset(Instant::now() + STALL_MAX);
            return Poll::Ready(frame);
        }
        while stall.as_mut().poll(cx).is_ready() {
            if self.budget.is_waited_for() {
                self.held.lock().take();
                let text = format!(
                    "the bytes of a write stopped coming for {STALL_MAX:?} while other writes waited for the memory that it holds; nothing of it was written, try again"
                );
                return Poll::Ready(Some(Err(status(ErrorCode::Unavailable, text))));
            }
            stall.as_mut().reset(Instant::now() + STALL_MAX);
        }
        Poll::Pending
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match this.stage {
            Stage::Prefix(_) => this.poll_prefix(cx),
            Stage::Claiming(..) => this.poll_claim(cx),
            Stage::Flowing(_) => this.poll_flow(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        !matches!(self.stage, Stage::Claiming(..)) && self.inner.is_end_stream()
    }
}

/// A reply whose pieces hold its share.
struct ReplyBody {
    inner: Body,
    share: ReplyShare,
}

/// A piece of a reply: the transport drops it when it is sent.
struct Piece {
    bytes: Bytes,
    _share: ReplyShare,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        let hold = |bytes| Bytes::from_owner(Piece { bytes, _share: this.share.clone() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(hold))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[path = "metered_tests.rs"]
mod tests;
