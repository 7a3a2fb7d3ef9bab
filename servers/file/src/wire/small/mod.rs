//! Many small requests over one stream, answered as they end.
//!
//! A frame of the transport has many requests; each is done where it lies, on the thread that took the frame, and the
//! answers are collected in one buffer that goes out when no more requests are there, or when it is full. A request that
//! has to wait – for a disk, for the metadata server, for memory – goes on in a task of its own, with a copy of its
//! payload, and the others pass it.
//!
//! Invariants:
//! * requests are taken only while the transport takes answers, and while fewer than [`WAITING_MAX`] of the stream's
//!   requests, with fewer than [`WAITING_BYTES_MAX`] bytes, wait: so a client that sends and does not read is held up
//!   by its own windows, and a stream's memory is bounded;
//! * a request that is refused, or has failed, is answered with an error of its own. Only bytes that are no requests end
//!   the stream, with a status that says why;
//! * every request that was taken is answered before a stream ends with success.

mod answers;
pub mod request;

use super::grpc::{Messages, response, trailers};
use super::reply::{ReadFrame, Reply};
use super::write::Whole;
use crate::server::FileServer;
use crate::service::peer_of;
use answers::Answers;
use bytes::Bytes;
use http_body::Frame;
use pfs_core::checksum::Checksum;
use pfs_proto::data::{Read, WriteHead, total_bytes};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::transport::SMALL_MESSAGE_BYTES_MAX;
use pfs_server_runtime::{CancellationToken, Peer};
use request::{Operation, Request};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;

/// Most requests of a stream that wait for something.
const WAITING_MAX: usize = 64;
/// Bytes of waiting requests from which on no more are taken.
const WAITING_BYTES_MAX: u64 = 1 << 20;
/// Requests that are done at most before their answers go out.
const REQUESTS_PER_FRAME_MAX: usize = 256;

/// Answers a `Small`.
pub fn answer(
    server: Arc<FileServer>,
    request: http::Request<Body>,
    shutdown: CancellationToken,
) -> http::Response<Body> {
    let peer = match peer_of(request.extensions().get()) {
        Ok(peer) => peer,
        Err(status) => return status.into_http(),
    };
    response(Body::new(Small {
        peer,
        requests: Messages::new(request.into_body(), SMALL_MESSAGE_BYTES_MAX),
        answers: Answers::new(server.clone()),
        waiting: JoinSet::new(),
        waiting_bytes: 0,
        taken: 0,
        phase: Phase::Open,
        checksums: Vec::new(),
        shutdown: Box::pin(shutdown.cancelled_owned()),
        server,
    }))
}

/// The body of a response, which does the requests' work.
struct Small {
    server: Arc<FileServer>,
    peer: Peer,
    requests: Messages,
    answers: Answers,
    waiting: JoinSet<Ended>,
    waiting_bytes: u64,
    /// Requests since the last frame.
    taken: usize,
    phase: Phase,
    /// Used again and again.
    checksums: Vec<Checksum>,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
}

enum Phase {
    Open,
    /// No more requests come; it ends like this when all are answered.
    Ending(Result<(), Status>),
    Over,
}

/// A request that had to wait.
struct Ended {
    id: u64,
    bytes: u64,
    outcome: Result<Done, ErrorDetail>,
}

enum Done {
    Written,
    /// The answer as it is sent.
    Read(Bytes),
}

impl http_body::Body for Small {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        this.heed_shutdown(cx);
        loop {
            this.take_ended(cx);
            if this.taken >= REQUESTS_PER_FRAME_MAX {
                this.answers.flush();
            }
            if let Some(frame) = this.next_frame() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if this.take_request(cx) {
                continue;
            }
            this.answers.flush();
            return match this.next_frame() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => this.poll_end(),
            };
        }
    }
}

impl Small {
    fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.answers.next_full()?;
        self.taken = 0;
        Some(Frame::data(frame))
    }

    /// Answers what had to wait and has ended.
    fn take_ended(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.waiting.poll_join_next(cx) {
            match ended {
                Ok(Ended { id, bytes, outcome }) => {
                    self.waiting_bytes -= bytes;
                    match outcome {
                        Ok(Done::Written) => self.answers.written(id),
                        Ok(Done::Read(reply)) => self.answers.whole(reply),
                        Err(error) => self.answers.failed(id, error),
                    }
                }
                // Its id is lost with it, so its client would wait for ever.
                Err(error) => {
                    tracing::error!(%error, "a small request broke off");
                    let text = "the file server broke off in the middle of a request; see its log";
                    self.phase = Phase::Ending(Err(ErrorDetail::new(ErrorCode::Internal, text).into()));
                }
            }
        }
    }

    fn heed_shutdown(&mut self, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Open) && self.shutdown.as_mut().poll(cx).is_ready() {
            let text = "the file server is being stopped; send the requests again that were not answered";
            self.phase = Phase::Ending(Err(ErrorDetail::new(ErrorCode::Unavailable, text).into()));
        }
    }

    /// Does one request if there is one and there is room for it; whether it is worth to ask again.
    fn take_request(&mut self, cx: &mut Context<'_>) -> bool {
        if !matches!(self.phase, Phase::Open) {
            return false;
        }
        if self.waiting.len() >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX {
            return false;
        }
        match self.requests.poll_next(cx) {
            Poll::Pending => return false,
            Poll::Ready(None) => self.phase = Phase::Ending(Ok(())),
            Poll::Ready(Some(Err(error))) => self.phase = Phase::Ending(Err(error.into())),
            Poll::Ready(Some(Ok(message))) => match Request::decode(message) {
                Ok(request) => self.perform(request),
                Err(error) => self.phase = Phase::Ending(Err(error.into())),
            },
        }
        true
    }

    fn perform(&mut self, request: Request) {
        self.taken += 1;
        let Request { id, operation } = request;
        match operation {
            Ok(Operation::Write(head, payload)) => self.write(id, head, &payload),
            Ok(Operation::Read(read)) => self.read(id, read),
            Err(error) => self.answers.failed(id, error),
        }
    }

    fn write(&mut self, id: u64, mut head: WriteHead, payload: &[u8]) {
        match self.server.write_now(&mut head, self.peer.epoch, payload) {
            Some(Ok(())) => self.answers.written(id),
            Some(Err(error)) => self.answers.failed(id, error),
            None => {
                let (server, epoch) = (self.server.clone(), self.peer.epoch);
                // The frame that it lies in is not kept for it.
                let payload = Bytes::copy_from_slice(payload);
                self.wait_for(id, payload.len() as u64, async move {
                    let share = server.writes.claim(payload.len() as u64).await;
                    server.write(head, epoch, Whole::new(payload, share)).await?;
                    Ok(Done::Written)
                });
            }
        }
    }

    fn read(&mut self, id: u64, read: Read) {
        match self.read_now(id, &read) {
            Ok(true) => self.answers.keep(),
            Ok(false) => {
                let (server, peer) = (self.server.clone(), self.peer.clone());
                self.wait_for(id, total_bytes(&read.extents), async move {
                    let mut reading = server.begin_read(read, peer)?;
                    // A request that comes by this way is no longer than a chunk.
                    let extents = reading.next(u64::MAX).expect("a read has an extent");
                    let mut reply = Reply::new(&server, &reading, Some(id), extents).await;
                    let read = move |server: &FileServer| {
                        reply.read(server, &reading)?;
                        reading.finish(server)?;
                        Ok(reply)
                    };
                    Ok(Done::Read(server.on_disk(read).await?.done()))
                });
            }
            Err(error) => self.answers.failed(id, error),
        }
    }

    /// Reads to where the answer is sent from; false: it has to wait.
    fn read_now(&mut self, id: u64, read: &Read) -> Result<bool, ErrorDetail> {
        let frame = ReadFrame::new(&self.server, Some(id), &read.extents);
        let head = frame.head_bytes();
        let client = read.stamp.incarnation;
        let Some(space) = self.answers.space(client, &self.peer, head + frame.payload_bytes) else { return Ok(false) };
        self.checksums.clear();
        let (head, payload) = space.split_at_mut(head);
        if !self.server.read_single_now(read, payload, &mut self.checksums)? {
            return Ok(false);
        }
        frame.encode(&self.checksums, head);
        Ok(true)
    }

    fn wait_for(
        &mut self,
        id: u64,
        bytes: u64,
        work: impl Future<Output = Result<Done, ErrorDetail>> + Send + 'static,
    ) {
        self.waiting_bytes += bytes;
        self.waiting.spawn(async move { Ended { id, bytes, outcome: work.await } });
    }

    /// Ends the stream when all that can be answered is.
    fn poll_end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.phase {
            Phase::Open => Poll::Pending,
            Phase::Ending(Ok(())) if !self.waiting.is_empty() => Poll::Pending,
            Phase::Ending(outcome) => {
                let outcome = std::mem::replace(outcome, Ok(()));
                self.phase = Phase::Over;
                Poll::Ready(Some(Ok(Frame::trailers(trailers(outcome)))))
            }
            Phase::Over => Poll::Ready(None),
        }
    }
}
