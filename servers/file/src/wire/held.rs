//! A share that a unary reply holds until it is sent.

use crate::replies::ReplyShare;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

/// Put into a response's extensions: the share that the reply holds until it is sent.
#[derive(Clone, Debug)]
pub struct Held(#[expect(dead_code, reason = "it is held, and given back when it is dropped")] Arc<ReplyShare>);

impl Held {
    /// Holds a share.
    pub fn new(share: ReplyShare) -> Self {
        Held(Arc::new(share))
    }
}

/// Hands the share in a response's extensions to the pieces of its body.
pub fn hold_until_sent(mut response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions_mut().remove::<Held>() {
        Some(share) => response.map(|inner| Body::new(ReplyBody { inner, share })),
        None => response,
    }
}

/// A reply whose pieces hold its share.
struct ReplyBody {
    inner: Body,
    share: Held,
}

/// A piece of a reply: the transport drops it when it is sent.
struct Piece {
    bytes: Bytes,
    _share: Held,
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
    use crate::replies::tests::{client, peer, replies};
    use crate::wire::fed_body::fed;
    use http_body::Body as _;

    #[tokio::test]
    async fn a_reply_holds_its_share_until_its_last_piece_is_gone() {
        let replies = replies(100, 100);
        let mut response = http::Response::new(fed(["ab", "cd", "e"], false));
        response.extensions_mut().insert(Held::new(replies.claim(client(1), &peer().await, 60).await));
        let mut body = hold_until_sent(response).into_body();
        let mut pieces = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        drop(body);
        assert_eq!(pieces.concat(), b"abcde");
        let last = pieces.pop();
        drop(pieces);
        assert_eq!(replies.free_bytes(), 40);
        drop(last);
        assert_eq!(replies.free_bytes(), 100);
    }
}
