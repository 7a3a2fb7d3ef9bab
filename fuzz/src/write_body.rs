//! The body of a `Write`, which the file server parses, checks and stores as it arrives.
//!
//! Input: one byte of how it is cut ([`Cuts`]), one byte of choices, then the message, or with choice 1 the body itself.
//! Choice 2 breaks the connection at the end, choice 4 puts the right checksums into the message, if it is a write.
//!
//! What holds:
//! * a write that is accepted as it arrives is the one that is decoded whole, in every byte, and its checksums are right;
//! * one that is refused is refused when it is decoded whole too, or has other fields after or in its sections than its own
//!   encoding has; and what went on to be stored before has right checksums and is its beginning;
//! * one that is left to the whole decoder is passed on unchanged.

use crate::bounded::bounded;
use crate::frames::{Cuts, End, body, single, with_prefix};
use futures::executor::block_on;
use pfs_core::checksum::Checksum;
use pfs_file_server::fuzzing::{Arrived, Parsed, parse_write};
use pfs_file_server::store::checksums_of;
use pfs_proto::data::{ObjectExtent, Write, WriteHead, pieces, total_bytes, wire_checksums};
use pfs_proto::v1;
use prost::Message;

/// The input has the body itself, not only the message.
const RAW: u8 = 1;
/// The connection breaks at the end of the body.
const BROKEN: u8 = 2;
/// The checksums are made right.
const SUMMED: u8 = 4;

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [cuts, choices, rest @ ..] = input else { return };
    let message = if choices & SUMMED != 0 { summed(rest) } else { None };
    let message = message.as_deref().unwrap_or(rest);
    let bytes = if choices & RAW != 0 { message.to_vec() } else { with_prefix(message) };
    let end = if choices & BROKEN != 0 { End::Broken } else { End::Whole };
    let whole = single(&bytes).and_then(write).filter(|_| end == End::Whole);
    for cuts in [0, *cuts] {
        match (bounded(bytes.len(), || block_on(parse_write(body(&bytes, Cuts::new(cuts), end)))), &whole) {
            (Parsed::Whole(arrived), Some(write)) => same(&arrived, write),
            (Parsed::Whole(arrived), None) => panic!("{arrived:?} was accepted, but it is no write: {bytes:x?}"),
            (Parsed::Refused(_, error), Some(write)) if !single(&bytes).is_some_and(has_unusual_sections) => {
                panic!("refused, {error}: {write:?}")
            }
            (Parsed::Refused(arrived, _), Some(_)) => consistent(&arrived),
            (Parsed::Refused(arrived, _), None) => consistent(&arrived),
            (Parsed::Replayed(replayed), _) => {
                assert!(replayed == bytes, "left to the whole decoder, but not as it came: {bytes:x?}");
            }
        }
    }
}

/// The write that a message is, if it is one, with right checksums or none.
fn write(message: &[u8]) -> Option<Write> {
    let write = Write::try_from(v1::WriteRequest::decode(message).ok()?).ok()?;
    (write.checksums.is_empty() || write.checksums == sums(&write.extents, &write.payload)).then_some(write)
}

/// Whether a write has sections that are not as an encoder writes them.
fn has_unusual_sections(message: &[u8]) -> bool {
    let request = v1::WriteRequest::decode(message).unwrap_or_default();
    !request.sections.is_empty() && request.encode_to_vec() != message
}

/// The message with right checksums, if it is a write but for those.
fn summed(message: &[u8]) -> Option<Vec<u8>> {
    let mut request = v1::WriteRequest { checksums: Vec::new(), ..v1::WriteRequest::decode(message).ok()? };
    let write = Write::try_from(request.clone()).ok()?;
    let mut checksums = wire_checksums(&sums(&write.extents, &write.payload));
    for section in &mut request.sections {
        let others = checksums.split_off(section.checksums.len());
        section.checksums = std::mem::replace(&mut checksums, others);
    }
    Some(v1::WriteRequest { checksums, ..request }.encode_to_vec())
}

fn sums(extents: &[ObjectExtent], bytes: &[u8]) -> Vec<Checksum> {
    checksums_of(extents, bytes).collect()
}

/// What went on to be stored is consistent, and a beginning of what was announced.
fn consistent(arrived: &Arrived) {
    let Arrived { head, extents, bytes, checksums } = arrived;
    assert_eq!(total_bytes(extents), bytes.len() as u64);
    assert_eq!(*checksums, sums(extents, bytes));
    let announced = head.iter().flat_map(|head| pieces(&head.extents));
    assert!(pieces(extents).eq(announced.take(checksums.len())), "{extents:?} are no beginning of {head:?}");
    if let Some(head) = head {
        assert!(head.checksums.is_empty() || head.checksums.starts_with(checksums));
    }
}

fn same(arrived: &Arrived, write: &Write) {
    consistent(arrived);
    let Write { stamp, sequence, object, extents, checksums, payload } = write.clone();
    // Those of sections are not in the head.
    let in_head = arrived.head.as_ref().map(|head| head.checksums.clone()).unwrap_or_default();
    assert!(in_head.is_empty() || in_head == checksums);
    assert!(checksums.is_empty() || arrived.checksums == checksums);
    assert_eq!(arrived.head, Some(WriteHead { stamp, sequence, object, extents, checksums: in_head }));
    assert_eq!(arrived.bytes, payload);
}
