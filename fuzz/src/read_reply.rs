//! The answer to a bulk read, as it arrives: messages whose payloads go to where they belong before the next one is there.
//!
//! Input: one byte of how it is cut ([`Cuts`]), one byte of choices, then the answer. Choice 1 makes one message of the rest,
//! choice 2 gives each message the checksums that its payload has.
//!
//! What holds: what is accepted is what the messages have when they are decoded as a whole, and every piece of it has its
//! checksum; whatever is refused is refused however it is cut.

use crate::bounded::bounded;
use crate::frames::{Cuts, split, with_prefix};
use pfs_client::fuzzing::receive;
use pfs_core::checksum::Checksum;
use pfs_core::extent::{Extent, ObjectOffset};
use pfs_core::ids::ServerId;
use pfs_core::layout::Recipe;
use pfs_proto::data::{ObjectExtent, pieces};
use pfs_proto::transport::MESSAGE_BYTES_MAX;
use pfs_proto::v1;
use prost::Message;

const ONE_MESSAGE: u8 = 1;
const RIGHT_CHECKSUMS: u8 = 2;

/// What was asked for: parts of blocks, whole ones, and a gap.
pub const EXTENTS: [(u64, u64); 3] = [(10, 40), (4090, 4100), (8192, 12_290)];
const STRIPE_UNIT: u64 = 1 << 20;

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [cuts, choices, rest @ ..] = input else { return };
    let bytes = if choices & ONE_MESSAGE != 0 { with_prefix(rest) } else { rest.to_vec() };
    let bytes = if choices & RIGHT_CHECKSUMS != 0 { with_checksums(&bytes) } else { bytes };
    let expected = as_a_whole(&bytes);
    let extents = EXTENTS.map(|(start, end)| Extent::new(start, end).expect("it is not empty"));
    let server = ServerId::new(1).expect("it is not zero");
    let recipe = Recipe::new(STRIPE_UNIT, vec![[server].into_iter().collect()]).expect("it is valid");
    for cuts in [0, *cuts] {
        let frames = Cuts::new(cuts).of(&bytes).into_iter().flatten();
        let received = bounded(bytes.len(), || receive(&recipe, &extents, frames));
        match (&received, &expected) {
            (Ok(received), Some(expected)) => assert!(received == expected, "other bytes of {bytes:x?}"),
            (Err(_), None) => {}
            _ => panic!("{received:?} instead of {expected:?}, cut by {cuts}, of {bytes:x?}"),
        }
    }
}

/// The lengths of the pieces of all that was asked for. The first bytes of a file are those of its first object.
fn lengths() -> Vec<usize> {
    let extent = |(start, end): (u64, u64)| ObjectExtent::new(ObjectOffset(start), end - start).expect("it is valid");
    pieces(&EXTENTS.map(extent)).map(|piece| piece.length).collect()
}

/// The payload of all messages, if that is what was asked for.
fn as_a_whole(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut lengths = lengths().into_iter();
    let mut payload = Vec::new();
    while !bytes.is_empty() {
        let (message, rest) = split(bytes, MESSAGE_BYTES_MAX)?;
        let reply = v1::ReadReply::decode(message).ok()?;
        let mut left = &reply.payload[..];
        for checksum in reply.checksums {
            let piece = left.split_off(..lengths.next()?)?;
            (Checksum::of(piece).0 == checksum).then_some(())?;
        }
        left.is_empty().then_some(())?;
        payload.extend_from_slice(&reply.payload);
        bytes = rest;
    }
    lengths.next().is_none().then_some(payload)
}

/// The same messages, as far as they are some, with the checksums that would be right.
fn with_checksums(mut bytes: &[u8]) -> Vec<u8> {
    let mut lengths = lengths().into_iter();
    let mut changed = Vec::new();
    while let Some((message, rest)) = split(bytes, MESSAGE_BYTES_MAX)
        && let Ok(mut reply) = v1::ReadReply::decode(message)
    {
        let mut left = &reply.payload[..];
        reply.checksums.clear();
        while !left.is_empty()
            && let Some(piece) = lengths.next().and_then(|length| left.split_off(..length))
        {
            reply.checksums.push(Checksum::of(piece).0);
        }
        changed.extend(with_prefix(&reply.encode_to_vec()));
        bytes = rest;
    }
    changed.extend_from_slice(bytes);
    changed
}
