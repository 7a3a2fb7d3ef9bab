//! Small requests to one server: they share one long-lived stream.
//!
//! A request is encoded with its bytes straight into the stream's outbox by whoever makes it; the transport takes what has
//! collected there as one frame. So requests that come together go out together, without a wait for each other. Answers
//! come in any order, each with the id of its request.
//!
//! The bytes are copied once, on the thread that has them in its cache anyway: below the bound of a small request that
//! costs less than a frame and a system call for each.
//!
//! Invariants:
//! * an id is not used again;
//! * a request is pending from before the transport can see it until it is answered, its stream has ended, or nobody waits
//!   for it; when the stream ends, all that are pending fail with [`ErrorKind::Unavailable`], and what was not sent
//!   is forgotten;
//! * a request that is not answered in time fails alone; the stream and the others go on;
//! * a stream begins with the first request after the last one ended, so a server that comes back is found again.
//!
//! Order: requests are sent in the order in which they are made, and done by the server in any order. Whoever needs one after
//! the other waits for the answer of the first; overlapping accesses of one client wait for each other by their pins.

use crate::data::wire::rpc::{Answer, RawChannel};
use crate::data::wire::write_body::{message_bytes, put_head, put_prefix};
use crate::error::{Error, ErrorKind};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Frame;
use parking_lot::Mutex;
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;

const PATH: &str = "/pfs.v1.Data/Small";
/// Field numbers of `SmallRequest`.
const ID: u32 = 1;
const WRITE: u32 = 14;
const READ: u32 = 15;
/// Bytes of one frame; as many as fit one of the transport's.
const FRAME_BYTES_MAX: usize = 256 << 10;

/// The stream to one server, whether it is open at the moment or not. Clones are the same stream.
#[derive(Clone, Debug)]
pub(crate) struct SmallLink {
    channel: RawChannel,
    /// Where the stream is driven.
    io: Handle,
    /// How long an answer may take.
    timeout: Duration,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Counts the streams; the current one, if it is open.
    stream: u64,
    open: bool,
    last_id: u64,
    /// Encoded requests that the transport has not taken.
    outbox: BytesMut,
    /// The task that sends.
    sender: Option<Waker>,
    /// By id, so the oldest first.
    pending: BTreeMap<u64, Pending>,
}

#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Result<Outcome, Error>>,
    since: Instant,
}

impl SmallLink {
    pub(crate) fn new(channel: RawChannel, io: Handle, timeout: Duration) -> Self {
        SmallLink { channel, io, timeout, shared: Arc::default() }
    }

    /// Writes; `head` is the message without the payload.
    pub(crate) async fn write(&self, head: &v1::WriteRequest, payload: &[Bytes]) -> Result<v1::WriteReply, Error> {
        let payload_bytes = payload.iter().map(Bytes::len).sum::<usize>() as u64;
        let request = |buffer: &mut BytesMut| {
            put_head(buffer, head, payload_bytes);
            payload.iter().for_each(|slice| buffer.put_slice(slice));
        };
        match self.ask(WRITE, message_bytes(head, payload_bytes), request).await? {
            Outcome::Write(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Reads.
    pub(crate) async fn read(&self, message: &v1::ReadRequest) -> Result<v1::ReadReply, Error> {
        let request = |buffer: &mut BytesMut| message.encode_raw(buffer);
        match self.ask(READ, message.encoded_len(), request).await? {
            Outcome::Read(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    async fn ask(&self, field: u32, bytes: usize, request: impl FnOnce(&mut BytesMut)) -> Result<Outcome, Error> {
        let (answer, answered) = oneshot::channel();
        let (waiting, sender) = {
            let mut shared = self.shared.lock();
            shared.last_id += 1;
            let id = shared.last_id;
            let length = 1 + encoded_len_varint(id) + 1 + encoded_len_varint(bytes as u64) + bytes;
            shared.outbox.reserve(PREFIX_BYTES + length);
            put_prefix(&mut shared.outbox, length);
            encode_key(ID, WireType::Varint, &mut shared.outbox);
            encode_varint(id, &mut shared.outbox);
            encode_key(field, WireType::LengthDelimited, &mut shared.outbox);
            encode_varint(bytes as u64, &mut shared.outbox);
            request(&mut shared.outbox);
            shared.pending.insert(id, Pending { answer, since: Instant::now() });
            if !shared.open {
                self.begin(&mut shared);
            }
            (Waiting { shared: &self.shared, id }, shared.sender.take())
        };
        if let Some(sender) = sender {
            sender.wake();
        }
        let outcome = answered.await;
        drop(waiting);
        match outcome {
            Ok(Ok(Outcome::Error(detail))) => Err(pfs_proto::status::ErrorDetail::from(detail).into()),
            Ok(outcome) => outcome,
            // The event loop ended, and the stream with it.
            Err(_) => Err(Error::new(ErrorKind::NoSession, "the client was shut down during a transfer")),
        }
    }

    fn begin(&self, shared: &mut Shared) {
        shared.stream += 1;
        shared.open = true;
        let stream = shared.stream;
        let requests = Requests { shared: self.shared.clone(), stream };
        let (channel, shared, timeout) = (self.channel.clone(), self.shared.clone(), self.timeout);
        self.io.spawn(async move {
            let ended = End { shared, stream, why: None };
            run(channel, requests, ended, timeout).await;
        });
    }
}

/// A request that somebody waits for.
struct Waiting<'a> {
    shared: &'a Mutex<Shared>,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.lock().pending.remove(&self.id);
    }
}

/// What a stream leaves behind, however it ends.
struct End {
    shared: Arc<Mutex<Shared>>,
    stream: u64,
    why: Option<Error>,
}

impl Drop for End {
    fn drop(&mut self) {
        let (pending, sender) = {
            let mut shared = self.shared.lock();
            debug_assert_eq!(shared.stream, self.stream, "one stream at a time");
            shared.open = false;
            shared.outbox.clear();
            (std::mem::take(&mut shared.pending), shared.sender.take())
        };
        let gone = || Error::new(ErrorKind::Unavailable, "the stream of small requests has ended");
        let why = self.why.take().unwrap_or_else(gone);
        for (_, pending) in pending {
            // A receiver that is gone does not wait.
            let _ = pending.answer.send(Err(why.clone()));
        }
        // It sees that its stream is over.
        if let Some(sender) = sender {
            sender.wake();
        }
    }
}

/// Drives one stream to its end.
async fn run(channel: RawChannel, requests: Requests, mut end: End, timeout: Duration) {
    let shared = end.shared.clone();
    let reading = async {
        let mut answer = channel.call(PATH, Body::new(requests)).await?;
        read(&mut answer, &shared).await
    };
    let mut reading = std::pin::pin!(reading);
    let mut timer = std::pin::pin!(tokio::time::sleep(timeout));
    end.why = loop {
        tokio::select! {
            outcome = &mut reading => break outcome.err().map(passing),
            () = &mut timer => timer.as_mut().reset(expire(&shared, timeout).into()),
        }
    };
}

/// Ends the wait for answers that are overdue; returns when to look again. The other requests go on.
fn expire(shared: &Mutex<Shared>, timeout: Duration) -> Instant {
    let now = Instant::now();
    let mut overdue = Vec::new();
    let next = {
        let mut shared = shared.lock();
        loop {
            match shared.pending.first_entry() {
                Some(oldest) if oldest.get().since + timeout <= now => overdue.push(oldest.remove()),
                oldest => break oldest.map_or(now, |oldest| oldest.get().since) + timeout,
            }
        }
    };
    for pending in overdue {
        let message = format!("no answer within {timeout:?}");
        let _ = pending.answer.send(Err(Error::new(ErrorKind::TimedOut, message)));
    }
    next
}

/// Whatever ended the stream says nothing about the requests on it, but that they have no answer.
fn passing(error: Error) -> Error {
    match error.kind() {
        kind if kind.is_passing() => error,
        ErrorKind::Unauthenticated | ErrorKind::WrongCluster => error,
        _ => Error::new(ErrorKind::Unavailable, error.to_string()).with_source(error),
    }
}

async fn read(answer: &mut Answer, shared: &Mutex<Shared>) -> Result<(), Error> {
    let mut rest = BytesMut::new();
    while let Some(mut data) = answer.next().await? {
        // The message that lies over the edge of two frames is put together, the others stay where they are.
        while !rest.is_empty() && !data.is_empty() {
            rest.extend_from_slice(&data.split_to(missing(&rest)?.min(data.len())));
            if missing(&rest)? == 0 {
                take_all(&mut rest.split().freeze(), shared)?;
            }
        }
        take_all(&mut data, shared)?;
        rest.extend_from_slice(&data);
    }
    Ok(())
}

/// How many bytes the message has to get at least.
fn missing(begun: &[u8]) -> Result<usize, Error> {
    let Some((prefix, message)) = begun.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(PREFIX_BYTES - begun.len());
    };
    let [_, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    match length {
        0..=MESSAGE_BYTES_MAX => Ok(length.saturating_sub(message.len())),
        _ => Err(malformed("a message is too long")),
    }
}

/// Answers the requests of all messages that are whole.
fn take_all(data: &mut Bytes, shared: &Mutex<Shared>) -> Result<(), Error> {
    while missing(data)? == 0 {
        data.advance(1);
        let length = data.get_u32() as usize;
        let reply = v1::SmallReply::decode(data.split_to(length));
        let reply = reply.map_err(|error| Error::malformed("an answer to a small request", error))?;
        let outcome = reply.outcome.ok_or_else(|| malformed("an answer says nothing"))?;
        let pending = shared.lock().pending.remove(&reply.id);
        // Nobody waits any more for one that came too late.
        if let Some(pending) = pending {
            let _ = pending.answer.send(Ok(outcome));
        }
    }
    Ok(())
}

fn malformed(why: &str) -> Error {
    super::wire::rpc::malformed(why)
}

fn unexpected() -> Error {
    malformed("an answer is of another kind than its request")
}

/// The requests of one stream, as the transport takes them.
struct Requests {
    shared: Arc<Mutex<Shared>>,
    stream: u64,
}

impl http_body::Body for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut shared = self.shared.lock();
        if shared.stream != self.stream || !shared.open {
            return Poll::Ready(None);
        }
        if shared.outbox.is_empty() {
            shared.sender = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = shared.outbox.len().min(FRAME_BYTES_MAX);
        Poll::Ready(Some(Ok(Frame::data(shared.outbox.split_to(length).freeze()))))
    }
}

#[cfg(test)]
#[path = "small_tests.rs"]
mod tests;
