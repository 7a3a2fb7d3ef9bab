//! Calls of the metadata service that ride the token stream.
//!
//! Invariants: a call is kept until it is answered; its caller is told once. After a restart of the metadata server the
//! calls that were not answered go out again: reads do no harm, and changes carry the name under which they happen once.

use crate::error::{Error, ErrorKind};
use crate::links::{Answer, Method, Reply};
use pfs_proto::status::ErrorDetail;
use pfs_proto::v1;
use std::collections::BTreeMap;

struct Call {
    method: Method,
    reply: Reply,
}

/// The calls that are not answered.
#[derive(Default)]
pub(super) struct Calls {
    last: u64,
    waiting: BTreeMap<u64, Call>,
}

impl Calls {
    /// A new call, to be sent.
    pub(super) fn begin(&mut self, method: Method, reply: Reply) -> v1::MetadataCall {
        self.last += 1;
        self.waiting.insert(self.last, Call { method: method.clone(), reply });
        v1::MetadataCall { call_id: self.last, method: Some(method) }
    }

    /// All calls that are not answered and still wanted, to be sent again.
    pub(super) fn again(&mut self) -> Vec<v1::MetadataCall> {
        self.waiting.retain(|_, call| call.reply.is_wanted());
        let again = |(id, call): (&u64, &Call)| v1::MetadataCall { call_id: *id, method: Some(call.method.clone()) };
        self.waiting.iter().map(again).collect()
    }

    /// An answer has come. Returns what it answers, and tells the caller when it is dropped.
    pub(super) fn answer(&mut self, reply: v1::MetadataReply) -> Option<Answered> {
        let Some(call) = self.waiting.remove(&reply.call_id) else {
            tracing::debug!(call = reply.call_id, "an answer that nobody waits for");
            return None;
        };
        let answer = match reply.result {
            Some(Answer::Error(error)) => Err(ErrorDetail::from(error).into()),
            Some(answer) => Ok(answer),
            None => Err(Error::new(ErrorKind::Internal, "the metadata server's answer to a call is empty")),
        };
        Some(Answered { method: call.method, answer, reply: call.reply })
    }
}

/// A call with its answer.
pub(super) struct Answered {
    pub(super) method: Method,
    pub(super) answer: Result<Answer, Error>,
    reply: Reply,
}

impl Answered {
    /// Tells the caller.
    pub(super) fn tell(self) {
        self.reply.tell(self.answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn list() -> Method {
        Method::ListDirectory(v1::ListDirectoryRequest::default())
    }

    #[test]
    fn a_call_is_answered_once_and_goes_out_again_until_then() {
        let mut calls = Calls::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, second_answer) = oneshot::channel();
        assert_eq!(calls.begin(list(), Reply::Waiting(first)).call_id, 1);
        assert_eq!(calls.begin(list(), Reply::Waiting(second)).call_id, 2);
        drop(second_answer);
        assert_eq!(calls.again().iter().map(|call| call.call_id).collect::<Vec<_>>(), [1], "the other is not wanted");
        let reply = || v1::MetadataReply { call_id: 1, result: Some(Answer::Closed(v1::CloseFileReply {})) };
        calls.answer(reply()).unwrap().tell();
        assert_eq!(first_answer.try_recv().unwrap().unwrap(), Answer::Closed(v1::CloseFileReply {}));
        assert!(calls.answer(reply()).is_none());
        assert!(calls.again().is_empty());
    }
}
