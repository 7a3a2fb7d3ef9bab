//! The file of a store's open marks, with anything in it.
//!
//! Input: one byte of choices, then the bytes of the file. Choice 1 puts a header before them that is right, choice 2 gives
//! every mark the checksum that it should have.
//!
//! What holds: the store opens, and then the object is there with all its bytes, whatever is marked; or it is refused with
//! a reason, and nothing was changed: with the right file it opens.

use crate::store::{Ended, Ending, blocks, is_whole, object};
use pfs_core::checksum::Checksum;
use pfs_file_server::store::ObjectStore;

const HEADER: u8 = 1;
const RIGHT_CHECKSUMS: u8 = 2;

/// The file's first bytes, in which there are no marks.
pub const HEADER_BYTES: usize = 512;
/// Bytes of a mark.
pub const MARK_BYTES: usize = 32;
const SUMMED_BYTES: usize = 28;

/// Checks one input.
///
/// # Panics
/// If something is wrong.
pub fn check(input: &[u8]) {
    let [choices, file @ ..] = input else { return };
    let ended = Ended::new(Ending::Killed);
    let right = ended.file(&ended.marks_path());
    let mut file = file.to_vec();
    if choices & HEADER != 0 {
        file.splice(..0, right[..HEADER_BYTES].iter().copied());
    }
    if choices & RIGHT_CHECKSUMS != 0 {
        file.get_mut(HEADER_BYTES..).unwrap_or_default().chunks_exact_mut(MARK_BYTES).for_each(seal);
    }
    ended.replace(&ended.marks_path(), &file);
    if let Err(error) = ended.open() {
        assert!(choices & HEADER == 0, "a good header is refused: {error}");
        assert!(error.to_string().contains("marks"), "{error}");
        ended.replace(&ended.marks_path(), &right);
    }
    for _ in 0..2 {
        let store = ended.open().expect("it opens");
        assert_eq!(store.list().expect("the disk is good"), [object()]);
        assert!((0..blocks()).all(|block| is_whole(&store, block, &ended.bytes)), "a block is damaged");
    }
}

fn seal(mark: &mut [u8]) {
    let sum = Checksum::of(&mark[..SUMMED_BYTES]);
    mark[SUMMED_BYTES..].copy_from_slice(&sum.0.to_le_bytes());
}
