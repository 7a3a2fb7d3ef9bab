//! The body of a `Small`: many requests one after the other, in frames that know nothing of them.
//!
//! Input: one byte of how it is cut ([`Cuts`]), one byte of choices, then the body. Choice 1 breaks the connection at the end,
//! choice 2 makes one message of the rest.
//!
//! What holds: the requests are those of the messages one by one, however the body is cut; a request that is refused
//! does not end the stream; bytes that are no message do, after all requests before them.

use crate::bounded::bounded;
use crate::frames::{Cuts, End, body, split, with_prefix};
use futures::executor::block_on;
use pfs_file_server::fuzzing::{SmallRequest, parse_small};
use pfs_proto::data::{Read, Write, total_bytes};
use pfs_proto::transport::{SMALL_MESSAGE_BYTES_MAX, SMALL_REQUEST_BYTES_MAX};
use pfs_proto::v1;
use pfs_proto::v1::small_request::Operation;
use prost::Message;

const BROKEN: u8 = 1;
const ONE_MESSAGE: u8 = 2;

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [cuts, choices, rest @ ..] = input else { return };
    let bytes = if choices & ONE_MESSAGE != 0 { with_prefix(rest) } else { rest.to_vec() };
    let end = if choices & BROKEN != 0 { End::Broken } else { End::Whole };
    let (expected, ends_well) = one_by_one(&bytes);
    for cuts in [0, *cuts] {
        let parse = || block_on(parse_small(body(&bytes, Cuts::new(cuts), end)));
        let (requests, outcome) = bounded(bytes.len(), parse);
        let is_same = |((id, found), (expected_id, expected)): (&(u64, SmallRequest), &(u64, Option<Operation>))| {
            id == expected_id && is_request(found, expected)
        };
        assert_eq!(requests.len(), expected.len(), "{requests:?} instead of {expected:?}");
        assert!(requests.iter().zip(&expected).all(is_same), "{requests:?} instead of {expected:?}");
        assert_eq!(outcome.is_ok(), ends_well && end == End::Whole, "{outcome:?} after {bytes:x?}");
    }
}

/// The requests of all messages up to the first that is none, and whether there is no such one.
fn one_by_one(mut bytes: &[u8]) -> (Vec<(u64, Option<Operation>)>, bool) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let Some((message, rest)) = split(bytes, SMALL_MESSAGE_BYTES_MAX) else { return (requests, false) };
        let Ok(v1::SmallRequest { id, operation }) = v1::SmallRequest::decode(message) else {
            return (requests, false);
        };
        requests.push((id, operation));
        bytes = rest;
    }
    (requests, true)
}

fn is_request(found: &SmallRequest, sent: &Option<Operation>) -> bool {
    let fits = |extents: &[_]| total_bytes(extents) <= SMALL_REQUEST_BYTES_MAX as u64;
    let write = |request: &v1::WriteRequest| Write::try_from(request.clone()).ok().filter(|w| fits(&w.extents));
    let read = |request: &v1::ReadRequest| Read::try_from(request.clone()).ok().filter(|r| fits(&r.extents));
    match (found, sent) {
        (SmallRequest::Write(found), Some(Operation::Write(sent))) => write(sent).as_ref() == Some(found),
        (SmallRequest::Read(found), Some(Operation::Read(sent))) => read(sent).as_ref() == Some(found),
        (SmallRequest::Refused(_), Some(Operation::Write(sent))) => write(sent).is_none(),
        (SmallRequest::Refused(_), Some(Operation::Read(sent))) => read(sent).is_none(),
        (SmallRequest::Refused(_), None) => true,
        _ => false,
    }
}
