//! The checksum file of an object, with anything in it.
//!
//! Input: one byte of choices, then the bytes of the file. Choices by the remainder of 3: how the store has ended
//! ([`Ending`]).
//!
//! What holds: the store opens; a block reads as it was written if the file has its checksum, and else every read of it, of
//! a part of it too, is an error, and the scrub names it, and no other; what was open when the store was killed is summed
//! again; a block that is written anew is whole again.

use crate::store::{BLOCK_BYTES, Ended, Ending, blocks, is_whole, object};
use pfs_core::checksum::Checksum;
use pfs_core::extent::ObjectOffset;
use pfs_file_server::store::ObjectStore;
use pfs_proto::data::ObjectExtent;

const SUM_BYTES: usize = 4;
const ENDINGS: [Ending; 3] = [Ending::ShutDown, Ending::Killed, Ending::KilledWhileOpen];

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [choices, file @ ..] = input else { return };
    let ending = ENDINGS[usize::from(*choices) % ENDINGS.len()];
    let ended = Ended::new(ending);
    ended.replace(&ended.sums_path(), file);
    let store = ended.open().expect("checksums do not keep a store from opening");
    for block in 0..blocks() {
        let expected = ending == Ending::KilledWhileOpen || sum_in(file, block) == sum_of(&ended.bytes, block);
        assert_eq!(is_whole(&store, block, &ended.bytes), expected, "block {block} of {ending:?}");
    }
    let new = [7; BLOCK_BYTES as usize];
    let extent = ObjectExtent::new(ObjectOffset(0), BLOCK_BYTES).expect("it is in range");
    store.write(object(), &[extent], &[&new], &[Checksum::of(&new)]).expect("a whole block can be written");
    let mut bytes = ended.bytes.clone();
    bytes[..new.len()].copy_from_slice(&new);
    assert!(is_whole(&store, 0, &bytes), "a block that is written anew is whole");
}

/// What the file has for a block; what is missing is zeros.
fn sum_in(file: &[u8], block: u64) -> u32 {
    let mut sum = [0; SUM_BYTES];
    let bytes = file.iter().skip(block as usize * SUM_BYTES);
    sum.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u32::from_le_bytes(sum)
}

/// What the file should have: zeros for a block of zeros.
fn sum_of(bytes: &[u8], block: u64) -> u32 {
    let mut whole = [0; BLOCK_BYTES as usize];
    let of_zeros = Checksum::of(&whole).0;
    let rest = bytes.iter().skip((block * BLOCK_BYTES) as usize);
    whole.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    Checksum::of(&whole).0 ^ of_zeros
}
