//! Collects answers in buffers, which go out as they are.

use crate::buffers::PooledBuffer;
use crate::replies::ReplyShare;
use crate::server::FileServer;
use crate::wire::grpc::prefix;
use bytes::Bytes;
use pfs_core::ids::ClientId;
use pfs_proto::payload::PREFIX_BYTES;
use pfs_proto::status::ErrorDetail;
use pfs_proto::v1;
use pfs_proto::v1::small_reply::Outcome;
use pfs_server_runtime::Peer;
use prost::Message;
use std::collections::VecDeque;
use std::sync::Arc;

/// Capacity of a buffer that has no bytes of objects.
const SHORT_BYTES: usize = 4096;
/// Capacity of one that has.
const LONG_BYTES: usize = 128 * 1024;

/// Answers on their way out.
pub struct Answers {
    server: Arc<FileServer>,
    full: VecDeque<Bytes>,
    /// Answers that may get company.
    open: Option<Open>,
}

struct Open {
    buffer: PooledBuffer,
    filled: usize,
    /// Bytes behind them that were given away by [`Answers::space`].
    given: usize,
    /// Held for buffers with bytes of objects.
    share: Option<ReplyShare>,
}

/// A buffer that is sent.
struct Sent {
    buffer: PooledBuffer,
    length: usize,
    _share: Option<ReplyShare>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer.as_ref()[..self.length]
    }
}

impl Answers {
    /// No answers yet.
    pub fn new(server: Arc<FileServer>) -> Self {
        Answers { server, full: VecDeque::new(), open: None }
    }

    /// A write has succeeded.
    pub fn written(&mut self, id: u64) {
        let instance = self.server.instance.get();
        self.put(&v1::SmallReply { id, outcome: Some(Outcome::Write(v1::WriteReply { instance })) });
    }

    /// A request has failed.
    pub fn failed(&mut self, id: u64, error: ErrorDetail) {
        self.put(&v1::SmallReply { id, outcome: Some(Outcome::Error(error.into())) });
    }

    /// An answer in a buffer of its own.
    pub fn whole(&mut self, answer: Bytes) {
        self.flush();
        self.full.push_back(answer);
    }

    /// Room for an answer with bytes of objects, behind the others; it is one when [`keep`](Self::keep) has been called.
    /// Nothing if the budget has no room at once.
    pub fn space(&mut self, client: ClientId, peer: &Peer, length: usize) -> Option<&mut [u8]> {
        let fits = self.open.as_ref().is_some_and(|open| open.share.is_some() && open.room() >= length);
        if !fits {
            let capacity = LONG_BYTES.max(length);
            let share = self.server.replies.try_claim(client, peer, capacity as u64)?;
            self.begin(capacity, Some(share));
        }
        let open = self.open.as_mut()?;
        open.given = length;
        Some(&mut open.buffer.as_mut()[open.filled..open.filled + length])
    }

    /// What was written to the last [`space`](Self::space) is an answer.
    pub fn keep(&mut self) {
        if let Some(open) = &mut self.open {
            open.filled += std::mem::take(&mut open.given);
        }
    }

    fn put(&mut self, answer: &v1::SmallReply) {
        let message = answer.encoded_len();
        let length = PREFIX_BYTES + message;
        if self.open.as_ref().is_none_or(|open| open.room() < length) {
            self.begin(SHORT_BYTES.max(length), None);
        }
        let Some(open) = &mut self.open else { return };
        let space = &mut open.buffer.as_mut()[open.filled..open.filled + length];
        let (head, mut body) = space.split_at_mut(PREFIX_BYTES);
        head.copy_from_slice(&prefix(message));
        answer.encode(&mut body).expect("there is room for all of it");
        open.filled += length;
    }

    fn begin(&mut self, capacity: usize, share: Option<ReplyShare>) {
        self.flush();
        let buffer = self.server.buffers.take(capacity);
        self.open = Some(Open { buffer, filled: 0, given: 0, share });
    }

    /// What there is goes out.
    pub fn flush(&mut self) {
        match self.open.take() {
            Some(Open { buffer, filled, share, .. }) if filled > 0 => {
                self.full.push_back(Bytes::from_owner(Sent { buffer, length: filled, _share: share }));
            }
            _ => {}
        }
    }

    /// The next buffer that is to be sent.
    pub fn next_full(&mut self) -> Option<Bytes> {
        self.full.pop_front()
    }
}

impl Open {
    fn room(&self) -> usize {
        self.buffer.as_ref().len() - self.filled
    }
}
