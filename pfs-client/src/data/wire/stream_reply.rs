//! The answer to a bulk read, as it arrives: each chunk of the transport goes from its buffer to where it belongs.
//!
//! An answer is one or several `ReadReply` messages. Their payload is the last field, if the server is one of ours; a
//! message of any other order is collected and decoded whole.

use super::scatter::{Scatter, Unusable};
use bytes::{Buf, Bytes, BytesMut};
use pfs_proto::payload::{PREFIX_BYTES, Scan, scan};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use prost::Message;

/// Takes an answer apart.
pub(crate) struct StreamReply<'a> {
    scatter: Scatter<'a>,
    state: State,
}

enum State {
    /// The beginning of a message, up to its payload.
    Head(BytesMut),
    /// Bytes of a payload that are to come.
    Payload(usize),
}

impl<'a> StreamReply<'a> {
    pub(crate) fn new(scatter: Scatter<'a>) -> Self {
        StreamReply { scatter, state: State::Head(BytesMut::new()) }
    }

    /// The next bytes of the answer.
    pub(crate) fn push(&mut self, mut data: Bytes) -> Result<(), Unusable> {
        while !data.is_empty() {
            match &mut self.state {
                State::Payload(left) => {
                    let now = data.split_to(data.len().min(*left));
                    *left -= now.len();
                    let ended = *left == 0;
                    self.scatter.put(&now)?;
                    if ended {
                        self.end_of_message()?;
                    }
                }
                State::Head(taken) if taken.is_empty() => {
                    // Most heads are in one chunk, and not copied.
                    match self.head(&data)? {
                        Some(used) => data.advance(used),
                        None => self.keep(std::mem::take(&mut data)),
                    }
                }
                State::Head(taken) => {
                    let before = taken.len();
                    taken.extend_from_slice(&data);
                    let taken = std::mem::take(taken).freeze();
                    match self.head(&taken)? {
                        Some(used) => data.advance(used - before),
                        None => {
                            self.keep(taken);
                            data.clear();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The answer has ended with success.
    pub(crate) fn end(&self) -> Result<(), Unusable> {
        match &self.state {
            State::Head(taken) if taken.is_empty() => self.scatter.end(),
            _ => Err(Unusable::Malformed("a message is cut")),
        }
    }

    fn keep(&mut self, taken: Bytes) {
        self.state = State::Head(BytesMut::from(taken));
    }

    fn end_of_message(&mut self) -> Result<(), Unusable> {
        self.state = State::Head(BytesMut::new());
        self.scatter.end_of_payload()
    }

    /// Reads the beginning of a message; returns how many bytes of it were used, or nothing if more are needed.
    fn head(&mut self, first: &Bytes) -> Result<Option<usize>, Unusable> {
        let Some((prefix, message)) = first.split_first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        let message_bytes = u32::from_be_bytes(length) as usize;
        if compressed != 0 || message_bytes > MESSAGE_BYTES_MAX {
            return Err(Unusable::Malformed("a message is compressed or too long"));
        }
        let decoded = |bytes: Bytes| v1::ReadReply::decode(bytes).map_err(|_| Unusable::Malformed("no ReadReply"));
        match scan(&message[..message.len().min(message_bytes)], message_bytes) {
            Scan::Payload { head_bytes, start, length } => {
                let head = decoded(first.slice(PREFIX_BYTES..PREFIX_BYTES + head_bytes))?;
                self.scatter.expect(head.checksums);
                self.state = State::Payload(length);
                if length == 0 {
                    self.end_of_message()?;
                }
                Ok(Some(PREFIX_BYTES + start))
            }
            Scan::Irregular if message.len() >= message_bytes => {
                let reply = decoded(first.slice(PREFIX_BYTES..PREFIX_BYTES + message_bytes))?;
                self.scatter.expect(reply.checksums);
                self.scatter.put(&reply.payload)?;
                self.end_of_message()?;
                Ok(Some(PREFIX_BYTES + message_bytes))
            }
            Scan::Irregular | Scan::Short => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "stream_reply_tests.rs"]
mod tests;
