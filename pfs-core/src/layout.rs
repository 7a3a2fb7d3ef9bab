//! Round-robin striping: which server has which byte.
//!
//! ```text
//! file     | unit 0 | unit 1 | unit 2 | unit 3 | unit 4 | …        stripe_count = 3
//! slot 0   | unit 0 | unit 3 | …
//! slot 1   | unit 1 | unit 4 | …
//! slot 2   | unit 2 | unit 5 | …
//! ```
//!
//! Invariants: a file offset belongs to exactly one (slot, object offset), and back. A contiguous file range
//! touches, in each slot, one contiguous object range.

use crate::extent::{Extent, FileOffset, ObjectOffset};
use crate::ids::ServerId;
use smallvec::SmallVec;

/// Smallest stripe unit and granule of all of them, in bytes.
pub const STRIPE_UNIT_BYTES_MIN: u64 = 4096;
/// Largest stripe unit in bytes.
pub const STRIPE_UNIT_BYTES_MAX: u64 = 1 << 30;
/// Most slots of one file.
pub const STRIPE_COUNT_MAX: usize = 4096;

/// Why a recipe was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The stripe unit is 0, not a multiple of the granule, or out of bounds.
    #[error(
        "a stripe unit of {0} bytes is not possible; it must be a multiple of {STRIPE_UNIT_BYTES_MIN} and at most {STRIPE_UNIT_BYTES_MAX}"
    )]
    StripeUnit(u64),
    /// No slots, or too many.
    #[error("a stripe count of {0} is not possible; it must be between 1 and {STRIPE_COUNT_MAX}")]
    StripeCount(usize),
    /// A slot without a server.
    #[error("slot {0} of the recipe names no server")]
    EmptySlot(usize),
}

/// The servers that store one slot, in order of preference.
pub type StripeSlot = SmallVec<[ServerId; 2]>;

/// A file's layout: the stripe unit and the ordered slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    stripe_unit: u64,
    slots: Vec<StripeSlot>,
}

/// A contiguous piece of a file on one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StripePiece {
    /// Position in the recipe.
    pub slot: u32,
    /// First byte in the slot's object.
    pub object_offset: ObjectOffset,
    /// First byte in the file.
    pub file_offset: FileOffset,
    /// Bytes; never crosses a stripe unit's edge.
    pub length: u64,
}

impl Recipe {
    /// Checks and makes a recipe.
    pub fn new(stripe_unit: u64, slots: Vec<StripeSlot>) -> Result<Self, RecipeError> {
        check_stripe_unit(stripe_unit)?;
        if slots.is_empty() || slots.len() > STRIPE_COUNT_MAX {
            return Err(RecipeError::StripeCount(slots.len()));
        }
        if let Some(slot) = slots.iter().position(|servers| servers.is_empty()) {
            return Err(RecipeError::EmptySlot(slot));
        }
        Ok(Recipe { stripe_unit, slots })
    }

    /// Bytes that go to one server before the next one's turn.
    pub fn stripe_unit(&self) -> u64 {
        self.stripe_unit
    }

    /// Number of slots.
    pub fn stripe_count(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("bounded by STRIPE_COUNT_MAX")
    }

    /// Bytes of one turn over all slots.
    pub fn stripe_width(&self) -> u64 {
        self.stripe_unit * u64::from(self.stripe_count())
    }

    /// All slots in order.
    pub fn slots(&self) -> &[StripeSlot] {
        &self.slots
    }

    /// The server that is asked first for a slot.
    pub fn primary(&self, slot: u32) -> ServerId {
        self.slots[slot as usize][0]
    }

    /// Where a file offset lies.
    pub fn locate(&self, at: FileOffset) -> (u32, ObjectOffset) {
        let count = u64::from(self.stripe_count());
        let unit = at.0 / self.stripe_unit;
        let slot = u32::try_from(unit % count).expect("less than the stripe count");
        (slot, ObjectOffset(unit / count * self.stripe_unit + at.0 % self.stripe_unit))
    }

    /// The file offset of a byte of an object.
    pub fn file_offset(&self, slot: u32, at: ObjectOffset) -> FileOffset {
        let count = u64::from(self.stripe_count());
        let turn = at.0 / self.stripe_unit;
        FileOffset((turn * count + u64::from(slot)) * self.stripe_unit + at.0 % self.stripe_unit)
    }

    /// Cuts a file range at the edges of stripe units, in file order. `range` must be finite.
    pub fn split(&self, range: Extent) -> impl Iterator<Item = StripePiece> + '_ {
        let mut at = range.start();
        std::iter::from_fn(move || {
            if at >= range.end() {
                return None;
            }
            let (slot, object_offset) = self.locate(FileOffset(at));
            let left_in_unit = self.stripe_unit - at % self.stripe_unit;
            let length = left_in_unit.min(range.end() - at);
            let piece = StripePiece { slot, object_offset, file_offset: FileOffset(at), length };
            at += length;
            Some(piece)
        })
    }

    /// The length of a slot's object in a file of `file_bytes` bytes without holes at its end.
    pub fn object_length(&self, slot: u32, file_bytes: u64) -> u64 {
        let width = self.stripe_width();
        let rest = file_bytes % width;
        let before = u64::from(slot) * self.stripe_unit;
        file_bytes / width * self.stripe_unit + rest.saturating_sub(before).min(self.stripe_unit)
    }

    /// The smallest file size that explains an object of this length; 0 for an empty object.
    pub fn file_bytes_for(&self, slot: u32, object_length: u64) -> u64 {
        match object_length.checked_sub(1) {
            Some(last) => self.file_offset(slot, ObjectOffset(last)).0 + 1,
            None => 0,
        }
    }

    /// The largest multiple of the stripe unit that is not above `at`.
    pub fn align_down(&self, at: u64) -> u64 {
        at - at % self.stripe_unit
    }

    /// The smallest multiple of the stripe unit that is not below `at`.
    pub fn align_up(&self, at: u64) -> u64 {
        at.checked_next_multiple_of(self.stripe_unit).unwrap_or(u64::MAX)
    }
}

/// Whether a stripe unit is one that files may have.
pub fn check_stripe_unit(stripe_unit: u64) -> Result<(), RecipeError> {
    if stripe_unit == 0 || stripe_unit > STRIPE_UNIT_BYTES_MAX || !stripe_unit.is_multiple_of(STRIPE_UNIT_BYTES_MIN) {
        return Err(RecipeError::StripeUnit(stripe_unit));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smallvec::smallvec;

    fn recipe(unit: u64, count: u32) -> Recipe {
        let slots = (1..=count).map(|id| smallvec![ServerId::new(id).unwrap()]).collect();
        Recipe::new(unit, slots).unwrap()
    }

    proptest! {
        #[test]
        fn locate_and_file_offset_are_inverse(
            units in 1u64..9, count in 1u32..9, at in 0u64..1 << 40,
        ) {
            let recipe = recipe(units * 4096, count);
            let (slot, object_offset) = recipe.locate(FileOffset(at));
            prop_assert!(slot < count);
            prop_assert_eq!(recipe.file_offset(slot, object_offset), FileOffset(at));
        }

        #[test]
        fn the_pieces_of_a_range_are_that_range(
            units in 1u64..4, count in 1u32..6, start in 0u64..200_000, length in 1u64..200_000,
        ) {
            let recipe = recipe(units * 4096, count);
            let range = Extent::new(start, start + length).unwrap();
            let mut at = start;
            let mut per_slot = vec![None::<u64>; count as usize];
            for piece in recipe.split(range) {
                prop_assert_eq!(piece.file_offset.0, at);
                prop_assert_eq!(recipe.locate(piece.file_offset), (piece.slot, piece.object_offset));
                prop_assert!(piece.length > 0);
                let next = &mut per_slot[piece.slot as usize];
                prop_assert!(next.is_none_or(|next| next == piece.object_offset.0), "a slot's range is not contiguous");
                *next = Some(piece.object_offset.0 + piece.length);
                at += piece.length;
            }
            prop_assert_eq!(at, range.end());
        }

        #[test]
        fn object_lengths_add_up_and_lead_back(units in 1u64..4, count in 1u32..6, bytes in 0u64..200_000) {
            let recipe = recipe(units * 4096, count);
            let lengths: Vec<u64> = (0..count).map(|slot| recipe.object_length(slot, bytes)).collect();
            prop_assert_eq!(lengths.iter().sum::<u64>(), bytes);
            let size = (0..count).map(|slot| recipe.file_bytes_for(slot, lengths[slot as usize])).max();
            prop_assert_eq!(size, Some(bytes));
        }
    }

    /// Two servers, 4 KiB units, the range [6000, 15000):
    ///
    /// ```text
    /// 0      4096     8192    12288    16384
    /// | s0    | s1     | s0     | s1     |
    ///            ^6000                ^15000
    /// ```
    #[test]
    fn a_range_is_cut_at_unit_edges() {
        let recipe = recipe(4096, 2);
        let pieces: Vec<_> = recipe
            .split(Extent::new(6000, 15000).unwrap())
            .map(|p| (p.slot, p.object_offset.0, p.file_offset.0, p.length))
            .collect();
        assert_eq!(pieces, [(1, 1904, 6000, 2192), (0, 4096, 8192, 4096), (1, 4096, 12288, 2712)]);
    }

    #[test]
    fn impossible_recipes_are_refused() {
        let slot: StripeSlot = smallvec![ServerId::new(1).unwrap()];
        assert_eq!(Recipe::new(0, vec![slot.clone()]), Err(RecipeError::StripeUnit(0)));
        assert_eq!(Recipe::new(5000, vec![slot.clone()]), Err(RecipeError::StripeUnit(5000)));
        assert_eq!(Recipe::new(1 << 31, vec![slot.clone()]), Err(RecipeError::StripeUnit(1 << 31)));
        assert_eq!(Recipe::new(4096, vec![]), Err(RecipeError::StripeCount(0)));
        assert_eq!(Recipe::new(4096, vec![slot, smallvec![]]), Err(RecipeError::EmptySlot(1)));
    }
}
