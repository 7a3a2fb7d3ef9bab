//! The data methods as they are on the wire, without the copies of a generated service.
//!
//! [`Wire`] lies around the generated service and takes the paths of `Write`, `ReadStream` and `Small` for itself:
//!
//! * [`mod@write`]: a [`payload`] goes from the transport to the object piece by piece;
//! * [`read_stream`]: replies are read into buffers that the transport sends as they are;
//! * [`small`]: many requests and answers over one stream.
//!
//! All other methods are the generated ones.

pub mod grpc;
mod held;
pub mod payload;
mod read_stream;
mod reply;
pub mod small;
pub mod write;

#[cfg(test)]
pub mod fed_body;

pub use held::Held;
pub use write::Whole;

use crate::server::FileServer;
use pfs_server_runtime::CancellationToken;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

const WRITE_PATH: &str = "/pfs.v1.Data/Write";
const READ_STREAM_PATH: &str = "/pfs.v1.Data/ReadStream";
const SMALL_PATH: &str = "/pfs.v1.Data/Small";

/// The service around the generated one.
#[derive(Clone)]
pub struct Wire<S> {
    inner: S,
    server: Arc<FileServer>,
    shutdown: CancellationToken,
}

impl<S> Wire<S> {
    /// Takes the data methods of `inner` for `server`. Streams without an end of their own end with `shutdown`.
    pub fn new(inner: S, server: Arc<FileServer>, shutdown: CancellationToken) -> Self {
        Wire { inner, server, shutdown }
    }
}

impl<S: NamedService> NamedService for Wire<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Wire<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let server = self.server.clone();
        match request.uri().path() {
            WRITE_PATH => {
                // The one that was polled ready is used; its clone may not be ready.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                Box::pin(write::answer(inner, server, request))
            }
            READ_STREAM_PATH => Box::pin(async move { Ok(read_stream::answer(server, request).await) }),
            SMALL_PATH => {
                let answer = small::answer(server, request, self.shutdown.clone());
                Box::pin(async move { Ok(answer) })
            }
            _ => {
                let answer = self.inner.call(request);
                Box::pin(async move { answer.await.map(held::hold_until_sent) })
            }
        }
    }
}
