//! Payloads cut in every way, with right and with wrong checksums.

use super::*;
use pfs_core::extent::ObjectOffset;
use pfs_proto::data::total_bytes;
use proptest::prelude::*;

fn extent(offset: u64, length: u64) -> ObjectExtent {
    ObjectExtent::new(ObjectOffset(offset), length).unwrap()
}

fn payload(extents: &[ObjectExtent]) -> Vec<u8> {
    let byte = |i: u64| u8::try_from(i % 251).unwrap();
    (0..total_bytes(extents)).map(byte).collect()
}

fn checksums(extents: &[ObjectExtent], bytes: &[u8]) -> Vec<Checksum> {
    crate::store::checksums_of(extents, bytes).collect()
}

/// What was written: for each call the extents, the bytes and the checksums.
type Calls = Vec<(Vec<ObjectExtent>, Vec<u8>, Vec<Checksum>)>;

fn feed(arriving: &mut Arriving, parts: &[Bytes], calls: &mut Calls) -> Result<(), WrongChecksum> {
    let whole = arriving.check(parts)?;
    let (extents, slices, checksums) = arriving.ready(parts, whole);
    let call = (extents.to_vec(), slices.concat(), checksums.to_vec());
    drop(slices);
    calls.extend((whole > 0).then_some(call));
    arriving.settle(parts, whole);
    Ok(())
}

proptest! {
    /// However a payload is cut into batches and parts, whole pieces with their checksums go on, in order, until all
    /// are there; a call has nothing else.
    #[test]
    fn every_cut_gives_the_same(
        ranges in prop::collection::vec((0..40_000u64, 1..20_000u64), 1..6),
        cuts in prop::collection::vec((1..9000usize, any::<bool>()), 1..200),
        with_checksums in any::<bool>(),
    ) {
        let extents: Vec<_> = ranges.into_iter().map(|(offset, length)| extent(offset, length)).collect();
        let bytes = payload(&extents);
        let sums = checksums(&extents, &bytes);
        let mut arriving = Arriving::new(extents.clone(), if with_checksums { sums.clone() } else { Vec::new() });
        let (mut rest, mut batch, mut calls) = (Bytes::from(bytes.clone()), Vec::new(), Calls::new());
        for (length, ends) in cuts.into_iter().cycle() {
            batch.push(rest.split_to(length.min(rest.len())));
            if ends || rest.is_empty() {
                feed(&mut arriving, &batch, &mut calls).unwrap();
                prop_assert!((arriving.held.len() as u64) < BLOCK_BYTES);
                batch.clear();
            }
            if rest.is_empty() {
                break;
            }
        }
        let written: Vec<u8> = calls.iter().flat_map(|call| call.1.clone()).collect();
        let gone_on: Vec<Checksum> = calls.iter().flat_map(|call| call.2.clone()).collect();
        prop_assert!(written == bytes && gone_on == sums);
        for (extents, bytes, sums) in calls {
            prop_assert_eq!(total_bytes(&extents), bytes.len() as u64);
            prop_assert_eq!(checksums(&extents, &bytes), sums);
        }
    }

    /// One flipped bit ends the write at its piece, and nothing of the piece goes on.
    #[test]
    fn a_flipped_bit_is_found(cut in 1..9000usize, flipped in 0..20_000usize) {
        let extents = vec![extent(100, 20_000)];
        let mut bytes = payload(&extents);
        let sums = checksums(&extents, &bytes);
        bytes[flipped] ^= 4;
        prop_assert!(check_whole(&extents, &mut sums.clone(), &bytes).is_err());
        let mut arriving = Arriving::new(extents.clone(), sums);
        let mut calls = Calls::new();
        let parts: Vec<_> = bytes.chunks(cut).map(Bytes::copy_from_slice).collect();
        let wrong = parts.iter().find_map(|part| feed(&mut arriving, std::slice::from_ref(part), &mut calls).err());
        let piece = wrong.expect("it is found").piece;
        let range = piece.offset.0..piece.offset.0 + piece.length as u64;
        prop_assert!(range.contains(&(100 + flipped as u64)));
        let written: usize = calls.iter().map(|call| call.1.len()).sum();
        prop_assert!(100 + written as u64 <= range.start);
    }
}

#[test]
fn checksums_are_made_where_none_are_given() {
    let extents = [extent(4000, 5000), extent(0, 1)];
    let bytes = payload(&extents);
    let mut made = Vec::new();
    check_whole(&extents, &mut made, &bytes).unwrap();
    assert_eq!(made, checksums(&extents, &bytes));
    check_whole(&extents, &mut made, &bytes).unwrap();
}
