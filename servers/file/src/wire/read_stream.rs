//! Large reads: each reply is read into a buffer behind the room for its head, and sent from there without a copy.
//!
//! Invariants:
//! * one reply is made at a time, when the transport asks for it: a client that does not read gets no further ones made;
//! * a reply holds its share of the budget from before it is read until it is sent;
//! * the stream ends with success only if the read was not refused up to its last byte.

use super::grpc::{only_message, response, trailers};
use super::reply::Reply;
use crate::reading::Reading;
use crate::server::FileServer;
use crate::service::{check_stamp, peer_of};
use bytes::Bytes;
use http_body::Frame;
use pfs_core::checksum::BLOCK_BYTES;
use pfs_proto::data::{ObjectExtent, Read};
use pfs_proto::status::{ErrorCode, ErrorDetail, status};
use pfs_proto::transport::{FRAME_BYTES_MAX, MESSAGE_BYTES_MAX};
use pfs_proto::v1;
use prost::Message;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

/// Most payload bytes of one reply: whole blocks which, with their head, are one frame of the transport, and few enough to be
/// sent while they are in the processor's cache.
const REPLY_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 - BLOCK_BYTES;

/// Answers a `ReadStream`.
pub async fn answer(server: Arc<FileServer>, request: http::Request<Body>) -> http::Response<Body> {
    match begin(&server, request).await {
        Ok(reading) => response(Body::new(Replies { server, state: State::Ready(reading) })),
        Err(status) => status.into_http(),
    }
}

async fn begin(server: &FileServer, request: http::Request<Body>) -> Result<Reading, Status> {
    let peer = peer_of(request.extensions().get())?;
    let message = only_message(request.into_body(), MESSAGE_BYTES_MAX).await?;
    let request = v1::ReadRequest::decode(message)
        .map_err(|error| status(ErrorCode::InvalidArgument, format!("this is no read request: {error}")))?;
    check_stamp(request.stamp.as_ref())?;
    Ok(server.begin_read(Read::try_from(request)?, peer)?)
}

/// The body of a response.
struct Replies {
    server: Arc<FileServer>,
    state: State,
}

type Making = Pin<Box<dyn Future<Output = Result<(Reading, Bytes), ErrorDetail>> + Send>>;

enum State {
    Ready(Reading),
    Making(Making),
    Over,
}

impl http_body::Body for Replies {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            match std::mem::replace(&mut this.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Ready(mut reading) => match reading.next(REPLY_BYTES_MAX) {
                    Some(extents) => this.state = State::Making(Box::pin(make(this.server.clone(), reading, extents))),
                    None => return Poll::Ready(Some(Ok(end(reading.finish(&this.server))))),
                },
                State::Making(mut making) => {
                    let Poll::Ready(made) = making.as_mut().poll(cx) else {
                        this.state = State::Making(making);
                        return Poll::Pending;
                    };
                    return Poll::Ready(Some(Ok(match made {
                        Ok((reading, reply)) => {
                            this.state = State::Ready(reading);
                            Frame::data(reply)
                        }
                        Err(error) => end(Err(error)),
                    })));
                }
            }
        }
    }
}

fn end(outcome: Result<(), ErrorDetail>) -> Frame<Bytes> {
    Frame::trailers(trailers(outcome.map_err(Status::from)))
}

/// Makes the reply for the extents.
async fn make(
    server: Arc<FileServer>,
    reading: Reading,
    extents: Vec<ObjectExtent>,
) -> Result<(Reading, Bytes), ErrorDetail> {
    let mut reply = Reply::new(&server, &reading, None, extents).await;
    if !reply.read_now(&server, &reading)? {
        let read = move |server: &FileServer| {
            reply.read(server, &reading)?;
            Ok((reading, reply))
        };
        let (reading, reply) = server.on_disk(read).await?;
        return Ok((reading, reply.done()));
    }
    Ok((reading, reply.done()))
}
