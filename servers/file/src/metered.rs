//! Bounds the memory of writes and replies under way, whatever the number of clients.
//!
//! A share of a [`Budget`] is held by who works with bytes in memory, and never by who waits for a client: a write
//! claims it when bytes of its payload are there to be taken from the transport (see [`Wire`](crate::wire::Wire)), a read
//! when it is to read, and each piece of a reply keeps it until the transport has sent it.
//!
//! What the transport holds besides is bounded by the windows of its connections.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

/// A budget of bytes.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// A part of a budget; dropping it gives it back.
pub type Share = OwnedSemaphorePermit;

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: u32) -> Self {
        Budget { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    /// Waits for a share of this many bytes, or of the whole budget if that is less. First come, first served.
    pub async fn claim(&self, bytes: u64) -> Share {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        self.free.clone().acquire_many_owned(bytes).await.expect("a budget is never closed")
    }

    /// A share of this many bytes, if they are free and nobody waits for them.
    pub fn try_claim(&self, bytes: u64) -> Option<Share> {
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= self.bytes)?;
        self.free.clone().try_acquire_many_owned(bytes).ok()
    }

    /// Bytes that nobody holds.
    #[cfg(test)]
    pub fn free_bytes(&self) -> usize {
        self.free.available_permits()
    }
}

/// Put into a response's extensions: the share that the reply holds until it is sent.
#[derive(Clone, Debug)]
pub struct ReplyShare(#[expect(dead_code, reason = "it is held, and given back when it is dropped")] Arc<Share>);

impl ReplyShare {
    /// Holds a share.
    pub fn new(share: Share) -> Self {
        ReplyShare(Arc::new(share))
    }
}

/// Hands the share in a response's extensions to the pieces of its body.
pub fn hold_until_sent(mut response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions_mut().remove::<ReplyShare>() {
        Some(share) => response.map(|inner| Body::new(ReplyBody { inner, share })),
        None => response,
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
mod tests {
    use super::*;
    use crate::wire::fed_body::fed;
    use http_body::Body as _;

    #[tokio::test]
    async fn a_claim_waits_for_its_share() {
        let budget = Budget::new(100);
        let first = budget.claim(80).await;
        let mut second = std::pin::pin!(budget.claim(30));
        let waits = std::future::poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "20 bytes are left");
        drop(first);
        drop(second.await);
        assert_eq!(budget.claim(1 << 40).await.num_permits(), 100, "more than all is all");
        assert_eq!(budget.free_bytes(), 100);
    }

    #[tokio::test]
    async fn a_reply_holds_its_share_until_its_last_piece_is_gone() {
        let budget = Budget::new(100);
        let mut response = http::Response::new(fed(["ab", "cd", "e"], false));
        response.extensions_mut().insert(ReplyShare::new(budget.claim(60).await));
        let mut body = hold_until_sent(response).into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        drop(body);
        assert_eq!(pieces.concat(), b"abcde");
        let last = pieces.pop();
        drop(pieces);
        assert_eq!(budget.free_bytes(), 40);
        drop(last);
        assert_eq!(budget.free_bytes(), 100);
    }
}
