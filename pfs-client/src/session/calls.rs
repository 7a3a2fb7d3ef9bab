//! Calls of the metadata service that ride the token stream.
//!
//! Invariants: a call is kept until it is answered; its caller is told once. After a restart of the metadata server the
//! calls that were not answered go out again: reads do no harm, and changes carry the name under which they happen once.

use crate::error::{Error, ErrorKind};
use crate::links::{Answer, Method, Reply};
use pfs_core::ids::RequestId;
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
    /// A new call, to be sent. `next_request` gives it a number for tokens of what it opens, if it may get some with its answer.
    pub(super) fn begin(
        &mut self,
        method: Method,
        reply: Reply,
        mut next_request: impl FnMut() -> RequestId,
    ) -> v1::MetadataCall {
        self.last += 1;
        self.waiting.insert(self.last, Call { method: method.clone(), reply });
        wire_call(self.last, method, &mut next_request)
    }

    /// All calls that are not answered and still wanted, to be sent again.
    pub(super) fn again(&mut self, mut next_request: impl FnMut() -> RequestId) -> Vec<v1::MetadataCall> {
        self.waiting.retain(|_, call| call.reply.is_wanted());
        let again = |(id, call): (&u64, &Call)| wire_call(*id, call.method.clone(), &mut next_request);
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

fn wire_call(call_id: u64, method: Method, next_request: &mut impl FnMut() -> RequestId) -> v1::MetadataCall {
    let open = match &method {
        Method::CreateFile(create) => create.open.as_ref(),
        Method::OpenFile(open) => open.open.as_ref(),
        _ => None,
    };
    // Members of a group get grants together, by requests of their own kind.
    let is_for_one = open.is_some_and(|open| open.group_members.len() <= 1);
    let token_request = if is_for_one { next_request().get() } else { 0 };
    v1::MetadataCall { call_id, method: Some(method), token_request }
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
        let none = || unreachable!("nothing is opened");
        assert_eq!(calls.begin(list(), Reply::Waiting(first), none).call_id, 1);
        assert_eq!(calls.begin(list(), Reply::Waiting(second), none).call_id, 2);
        drop(second_answer);
        let again: Vec<u64> = calls.again(none).iter().map(|call| call.call_id).collect();
        assert_eq!(again, [1], "the other is not wanted");
        let result = || Some(Answer::Closed(v1::CloseFileReply {}));
        let reply = || v1::MetadataReply { call_id: 1, result: result(), grant: None };
        calls.answer(reply()).unwrap().tell();
        assert_eq!(first_answer.try_recv().unwrap().unwrap(), Answer::Closed(v1::CloseFileReply {}));
        assert!(calls.answer(reply()).is_none());
        assert!(calls.again(none).is_empty());
    }

    #[test]
    fn an_open_for_one_has_a_number_for_its_tokens_and_another_one_each_time() {
        let (mut calls, mut last) = (Calls::default(), 0);
        let mut next = || {
            last += 1;
            RequestId::new(last).unwrap()
        };
        let open = |members: &[u64]| {
            let open = Some(v1::OpenFor { group_members: members.to_vec(), access: 0 });
            Method::OpenFile(v1::OpenFileRequest { open, ..v1::OpenFileRequest::default() })
        };
        let mut begin = |calls: &mut Calls, members: &[u64]| {
            calls.begin(open(members), Reply::Then(Box::new(|_| ())), &mut next).token_request
        };
        assert_eq!([&[][..], &[7], &[7, 8]].map(|members| begin(&mut calls, members)), [1, 2, 0]);
        let again: Vec<u64> = calls.again(&mut next).iter().map(|call| call.token_request).collect();
        assert_eq!(again, [3, 4, 0]);
    }
}
