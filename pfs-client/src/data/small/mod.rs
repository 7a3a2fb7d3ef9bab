//! Small requests to one server: they share one long-lived stream.
//!
//! A request is encoded with its bytes straight into the stream's outbox by whoever makes it; the transport takes what has
//! collected there as one frame. Answers come in any order, each with the id of its request; all that come in one frame are
//! given out together.
//!
//! The bytes are copied once, on the thread that has them in its cache anyway: below the bound of a small request that
//! costs less than a frame and a system call for each.
//!
//! Who was answered often has a next request. So after answers a frame waits until as many requests are there as were
//! answered, but never for longer than [`LOOKS_MAX`] looks, some ten microseconds: without that the first of them would go
//! out alone, and wake a server and all that is in between for itself.
//!
//! To wake a thread costs more than all else of a small request, and one thread often waits for several answers: it would run
//! as soon as it is woken for the first of them, and sleep again before the second. So who is woken first wakes the others
//! that the stream has not come to: for those that wait on its own thread, that costs next to nothing.
//!
//! Invariants:
//! * a request is outstanding from before the transport can see it until it is answered, its stream has ended, or nobody
//!   waits for it; when the stream ends, all that are outstanding fail with [`ErrorKind::Unavailable`], and what was not
//!   sent is forgotten;
//! * a request that is not answered in time fails alone; the stream and the others go on;
//! * a stream begins with the first request after the last one ended, so a server that comes back is found again;
//! * nobody is woken under the lock.
//!
//! Order: requests are sent in the order in which they are made, and done by the server in any order. Whoever needs one after
//! the other waits for the answer of the first; overlapping accesses of one client wait for each other by their pins.

mod outstanding;

use crate::data::memory::source::{Source, checksums};
use crate::data::plan::DataRequest;
use crate::data::wire::rpc::{Answer, RawChannel};
use crate::data::wire::write_body::{WriteName, message_bytes, put_head, put_prefix};
use crate::error::{Error, ErrorKind};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Frame;
use outstanding::Outstanding;
use parking_lot::Mutex;
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tonic::Status;
use tonic::body::Body;

const PATH: &str = "/pfs.v1.Data/Small";
/// Field numbers of `SmallRequest`.
const ID: u32 = 1;
const WRITE: u32 = 14;
const READ: u32 = 15;
/// Bytes of one frame; as many as fit one of the transport's.
const FRAME_BYTES_MAX: usize = 256 << 10;
/// How often a frame's sender looks for more requests before it sends those that are there.
const LOOKS_MAX: u32 = 32;
/// So often it lets other threads have its core in between.
const LOOKS_PER_YIELD: u32 = 8;

/// The stream to one server, whether it is open at the moment or not. Clones are the same stream.
#[derive(Clone, Debug)]
pub(crate) struct SmallLink {
    channel: RawChannel,
    /// Where the stream is driven.
    io: Handle,
    /// How long an answer may take.
    timeout: Duration,
    desk: Arc<Desk>,
}

/// What those who ask and the stream have in common.
#[derive(Debug, Default)]
struct Desk {
    /// Requests in the outbox. Changed under the lock, and looked at without it: who looks often would hold up those who put
    /// requests in.
    posted: AtomicU32,
    /// Answers since the last frame: as many requests may be on their way. As above.
    answered: AtomicU32,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Counts the streams; the current one, if it is open.
    stream: u64,
    open: bool,
    /// Encoded requests that the transport has not taken.
    outbox: BytesMut,
    /// The task that sends.
    sender: Option<Waker>,
    outstanding: Outstanding,
    /// Of those whose answers have come.
    to_wake: Vec<Waker>,
}

impl Desk {
    /// Whether requests are there, and more are worth to be waited for.
    fn may_get_company(&self) -> bool {
        let posted = self.posted.load(Ordering::Relaxed);
        posted > 0 && posted < self.answered.load(Ordering::Relaxed)
    }

    /// What goes out as one frame; nothing if nothing is there.
    fn take_frame(&self, shared: &mut Shared) -> Option<Bytes> {
        if shared.outbox.is_empty() {
            return None;
        }
        self.posted.store(0, Ordering::Relaxed);
        self.answered.store(0, Ordering::Relaxed);
        let length = shared.outbox.len().min(FRAME_BYTES_MAX);
        Some(shared.outbox.split_to(length).freeze())
    }
}

impl SmallLink {
    pub(crate) fn new(channel: RawChannel, io: Handle, timeout: Duration) -> Self {
        SmallLink { channel, io, timeout, desk: Arc::default() }
    }

    /// Writes the bytes that `source` has of a request.
    pub(crate) async fn write(
        &self,
        name: WriteName,
        request: &DataRequest,
        source: &Source,
    ) -> Result<v1::WriteReply, Error> {
        let posted = source.with_slices(request, |slices| {
            let head = name.head(request, checksums(request, slices));
            self.post(WRITE, message_bytes(&head, request.bytes), |buffer| {
                put_head(buffer, &head, request.bytes);
                slices.iter().for_each(|slice| buffer.put_slice(slice));
            })
        })?;
        match answered(posted).await? {
            Outcome::Write(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Reads.
    pub(crate) async fn read(&self, message: &v1::ReadRequest) -> Result<v1::ReadReply, Error> {
        let posted = self.post(READ, message.encoded_len(), |buffer| message.encode_raw(buffer));
        match answered(posted).await? {
            Outcome::Read(reply) => Ok(reply),
            _ => Err(unexpected()),
        }
    }

    /// Puts a request into the outbox, `bytes` that `encode` appends.
    fn post(&self, field: u32, bytes: usize, encode: impl FnOnce(&mut BytesMut)) -> Posted<'_> {
        let now = Instant::now();
        let (id, sender) = {
            let mut shared = self.desk.shared.lock();
            let id = shared.outstanding.enter(now);
            let length = 1 + encoded_len_varint(id) + 1 + encoded_len_varint(bytes as u64) + bytes;
            let outbox = &mut shared.outbox;
            outbox.reserve(PREFIX_BYTES + length);
            put_prefix(outbox, length);
            encode_key(ID, WireType::Varint, outbox);
            encode_varint(id, outbox);
            encode_key(field, WireType::LengthDelimited, outbox);
            encode_varint(bytes as u64, outbox);
            encode(outbox);
            self.desk.posted.fetch_add(1, Ordering::Relaxed);
            if !shared.open {
                self.begin(&mut shared);
            }
            (id, shared.sender.take())
        };
        if let Some(sender) = sender {
            sender.wake();
        }
        Posted { desk: &self.desk, id: Some(id) }
    }

    fn begin(&self, shared: &mut Shared) {
        shared.stream += 1;
        shared.open = true;
        let stream = shared.stream;
        let requests = Requests { desk: self.desk.clone(), stream, looks: 0 };
        let (channel, desk, timeout) = (self.channel.clone(), self.desk.clone(), self.timeout);
        self.io.spawn(async move {
            let ended = End { desk, stream, why: None };
            run(channel, requests, ended, timeout).await;
        });
    }
}

/// A request that somebody waits for; its answer, as a future.
struct Posted<'a> {
    desk: &'a Desk,
    /// Nothing when it was answered.
    id: Option<u64>,
}

impl Future for Posted<'_> {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = self.id.expect("it is not polled after its end");
        let (answer, others) = {
            let mut shared = self.desk.shared.lock();
            (ready!(shared.outstanding.poll(id, cx)), std::mem::take(&mut shared.to_wake))
        };
        self.id = None;
        others.into_iter().for_each(Waker::wake);
        Poll::Ready(answer)
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.desk.shared.lock().outstanding.leave(id);
        }
    }
}

/// The answer, or the error that it is.
async fn answered(posted: Posted<'_>) -> Result<Outcome, Error> {
    match posted.await? {
        Outcome::Error(detail) => Err(pfs_proto::status::ErrorDetail::from(detail).into()),
        outcome => Ok(outcome),
    }
}

/// What a stream leaves behind, however it ends.
struct End {
    desk: Arc<Desk>,
    stream: u64,
    why: Option<Error>,
}

impl Drop for End {
    fn drop(&mut self) {
        let gone = || Error::new(ErrorKind::Unavailable, "the stream of small requests has ended");
        let why = self.why.take().unwrap_or_else(gone);
        let (woken, sender) = {
            let mut shared = self.desk.shared.lock();
            debug_assert_eq!(shared.stream, self.stream, "one stream at a time");
            shared.open = false;
            shared.outbox.clear();
            self.desk.posted.store(0, Ordering::Relaxed);
            (shared.outstanding.fail(&why), shared.sender.take())
        };
        // The sender sees that its stream is over.
        woken.into_iter().chain(sender).for_each(Waker::wake);
    }
}

/// Drives one stream to its end.
async fn run(channel: RawChannel, requests: Requests, mut end: End, timeout: Duration) {
    let desk = end.desk.clone();
    let reading = async {
        let mut answer = channel.call(PATH, Body::new(requests)).await?;
        read(&mut answer, &desk).await
    };
    let mut reading = std::pin::pin!(reading);
    let mut timer = std::pin::pin!(tokio::time::sleep(timeout));
    end.why = loop {
        tokio::select! {
            outcome = &mut reading => break outcome.err().map(passing),
            () = &mut timer => timer.as_mut().reset(expire(&desk.shared, timeout).into()),
        }
    };
}

/// Ends the wait for answers that are overdue; returns when to look again. The other requests go on.
fn expire(shared: &Mutex<Shared>, timeout: Duration) -> Instant {
    let error = Error::new(ErrorKind::TimedOut, format!("no answer within {timeout:?}"));
    let (woken, next) = shared.lock().outstanding.expire(Instant::now(), timeout, &error);
    woken.into_iter().for_each(Waker::wake);
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

async fn read(answer: &mut Answer, desk: &Desk) -> Result<(), Error> {
    let mut rest = BytesMut::new();
    let mut answers = Vec::new();
    while let Some(mut data) = answer.next().await? {
        // The message that lies over the edge of two frames is put together, the others stay where they are.
        while !rest.is_empty() && !data.is_empty() {
            rest.extend_from_slice(&data.split_to(missing(&rest)?.min(data.len())));
            if missing(&rest)? == 0 {
                take_all(&mut rest.split().freeze(), &mut answers)?;
            }
        }
        take_all(&mut data, &mut answers)?;
        rest.extend_from_slice(&data);
        give_out(&mut answers, desk);
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

/// Takes all messages that are whole.
fn take_all(data: &mut Bytes, answers: &mut Vec<(u64, Outcome)>) -> Result<(), Error> {
    while missing(data)? == 0 {
        data.advance(1);
        let length = data.get_u32() as usize;
        let reply = v1::SmallReply::decode(data.split_to(length));
        let reply = reply.map_err(|error| Error::malformed("an answer to a small request", error))?;
        answers.push((reply.id, reply.outcome.ok_or_else(|| malformed("an answer says nothing"))?));
    }
    Ok(())
}

/// Gives answers to those who wait for them.
fn give_out(answers: &mut Vec<(u64, Outcome)>, desk: &Desk) {
    {
        let mut shared = desk.shared.lock();
        let Shared { outstanding, to_wake, .. } = &mut *shared;
        // Nobody waits any more for one that came too late.
        let mut give = |(id, outcome)| u32::from(outstanding.answer(id, Ok(outcome), to_wake));
        let taken: u32 = answers.drain(..).map(&mut give).sum();
        desk.answered.fetch_add(taken, Ordering::Relaxed);
    }
    loop {
        let next = desk.shared.lock().to_wake.pop();
        match next {
            Some(waker) => waker.wake(),
            None => return,
        }
    }
}

fn malformed(why: &str) -> Error {
    super::wire::rpc::malformed(why)
}

fn unexpected() -> Error {
    malformed("an answer is of another kind than its request")
}

/// The requests of one stream, as the transport takes them.
struct Requests {
    desk: Arc<Desk>,
    stream: u64,
    /// How often it has looked for more requests of the next frame.
    looks: u32,
}

impl http_body::Body for Requests {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.looks < LOOKS_MAX && self.desk.may_get_company() {
            self.looks += 1;
            if self.looks.is_multiple_of(LOOKS_PER_YIELD) {
                std::thread::yield_now();
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.looks = 0;
        let mut shared = self.desk.shared.lock();
        if shared.stream != self.stream || !shared.open {
            return Poll::Ready(None);
        }
        match self.desk.take_frame(&mut shared) {
            Some(frame) => Poll::Ready(Some(Ok(Frame::data(frame)))),
            None => {
                shared.sender = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
