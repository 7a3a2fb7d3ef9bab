//! Answers in every shape in which they may arrive.

use super::*;
use crate::data::memory::destination::Destination;
use crate::data::plan::{DataRequest, plan};
use pfs_core::checksum::Checksum;
use pfs_core::extent::Extent;
use pfs_core::ids::ServerId;
use pfs_core::layout::Recipe;
use pfs_proto::data::pieces;
use proptest::prelude::*;

const BYTES: usize = 30_000;

fn extents() -> [Extent; 3] {
    [(10, 5000), (5000, 8192), (20_000, 42_000 - 192)].map(|(start, end)| Extent::new(start, end).unwrap())
}

fn request() -> DataRequest {
    let recipe = Recipe::new(1 << 20, vec![[ServerId::new(1).unwrap()].into_iter().collect()]).unwrap();
    plan(&recipe, &extents(), 1 << 20).remove(0)
}

fn payload() -> Vec<u8> {
    let length: u64 = extents().iter().map(|extent| extent.len()).sum();
    (0..length).map(|byte| (byte / 3) as u8).collect()
}

/// The answer, in messages of `per_message` pieces each.
fn answer(request: &DataRequest, payload: &[u8], per_message: usize, payload_first: bool) -> Vec<u8> {
    let pieces: Vec<_> = pieces(&request.extents).collect();
    let (mut rest, mut encoded) = (payload, Vec::new());
    for group in pieces.chunks(per_message) {
        let (mut checksums, mut bytes) = (Vec::new(), Vec::new());
        for piece in group {
            let part = rest.split_off(..piece.length).unwrap();
            checksums.push(Checksum::of(part).0);
            bytes.extend_from_slice(part);
        }
        let mut message = Vec::new();
        if payload_first {
            v1::ReadReply { payload: bytes.into(), ..Default::default() }.encode(&mut message).unwrap();
            v1::ReadReply { instance: 7, checksums, ..Default::default() }.encode(&mut message).unwrap();
        } else {
            v1::ReadReply { instance: 7, checksums, payload: bytes.into() }.encode(&mut message).unwrap();
        }
        encoded.push(0);
        encoded.extend((message.len() as u32).to_be_bytes());
        encoded.extend(message);
    }
    encoded
}

/// Gives the answer in chunks that end at `cuts`, and returns what the destination has then.
fn receive(request: &DataRequest, answer: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Unusable> {
    let destination = Destination::owned(&extents());
    let mut reply = StreamReply::new(Scatter::new(request, &destination));
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (answer.len() + 1)).collect();
    cuts.extend([0, answer.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        reply.push(Bytes::copy_from_slice(&answer[pair[0]..pair[1]]))?;
    }
    reply.end()?;
    Ok(destination.take().concat())
}

proptest! {
    #[test]
    fn bytes_arrive_however_they_are_cut(
        cuts in prop::collection::vec(0usize..BYTES * 2, 0..40),
        per_message in 1usize..12,
        payload_first: bool,
    ) {
        let (request, payload) = (request(), payload());
        let answer = answer(&request, &payload, per_message, payload_first);
        prop_assert!(receive(&request, &answer, &cuts).unwrap() == payload);
    }

    /// One flipped bit is never taken for the bytes that were asked for.
    #[test]
    fn a_flipped_bit_is_seen(at in 0usize..BYTES, bit in 0u8..8) {
        let (request, payload) = (request(), payload());
        let mut answer = answer(&request, &payload, 4, false);
        let at = at % answer.len();
        answer[at] ^= 1 << bit;
        // A flip may hit what carries no meaning, as the instance.
        if let Ok(bytes) = receive(&request, &answer, &[]) {
            prop_assert!(bytes == payload);
        }
    }

    #[test]
    fn nonsense_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(receive(&request(), &bytes, &[]).is_err());
    }
}

#[test]
fn damage_is_named_and_short_or_long_answers_are_refused() {
    let (request, payload) = (request(), payload());
    let good = answer(&request, &payload, 100, false);
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    match receive(&request, &damaged, &[]) {
        Err(Unusable::Damaged(extent)) => assert_eq!(extent.end().0, 42_000 - 192),
        other => panic!("{other:?}"),
    }
    for wrong in [&good[..good.len() - 1], &[&good[..], &good[..]].concat(), &[]] {
        assert!(matches!(receive(&request, wrong, &[]), Err(Unusable::Malformed(_))), "{}", wrong.len());
    }
}
