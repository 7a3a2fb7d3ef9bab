//! Accesses of many ranks, to plan.

use pfs_core::collective::{Access, CollectivePlan, Direction, Method};
use pfs_core::datatype::{Datatype, View};
use pfs_core::hints::{Hints, Switch};
use pfs_core::ids::ServerId;
use pfs_core::layout::{Recipe, StripeSlot};
use std::sync::Arc;

/// Bytes of a piece: those of one element of the IO500's `ior-hard`.
pub const PIECE_BYTES: u64 = 47_008;

/// How the ranks' pieces lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Pieces in turn.
    Cyclic,
    /// Pieces of irregular length in irregular order, of each rank its own list: no two ranks have a byte in common, and no
    /// short description tells.
    Irregular,
    /// A sub-box of a 3-D array for each rank: rows of a plane of rows.
    Nested,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Pattern; 3] = [Pattern::Cyclic, Pattern::Irregular, Pattern::Nested];

    /// A name for figures.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Cyclic => "cyclic",
            Pattern::Irregular => "irregular",
            Pattern::Nested => "nested",
        }
    }

    /// What each of so many ranks accesses, with so many pieces each.
    pub fn accesses(self, ranks: u64, pieces: u64) -> Vec<Access> {
        (0..ranks).map(|rank| self.access(rank, ranks, pieces)).collect()
    }

    fn access(self, rank: u64, ranks: u64, pieces: u64) -> Access {
        let piece = Datatype::elementary(PIECE_BYTES).expect("small");
        let filetype = match self {
            Pattern::Cyclic => piece.resized(0, signed(ranks * PIECE_BYTES)).expect("small"),
            Pattern::Irregular => {
                let byte = Datatype::elementary(1).expect("small");
                let blocks = (0..pieces).map(|turn| {
                    let place = turn * ranks + mixed(turn, rank, ranks);
                    (signed(place * PIECE_BYTES), PIECE_BYTES - place % 7)
                });
                Datatype::hindexed(&blocks.collect::<Vec<_>>(), &byte).expect("inside a file")
            }
            Pattern::Nested => {
                let rows = pieces.isqrt().max(1);
                let plane = Datatype::hvector(rows, 1, signed(ranks * PIECE_BYTES), &piece).expect("small");
                plane.resized(0, signed(2 * rows * ranks * PIECE_BYTES)).expect("inside a file")
            }
        };
        let displacement = if self == Pattern::Irregular { 0 } else { rank * PIECE_BYTES };
        let bytes = if self == Pattern::Irregular { filetype.size() } else { pieces * PIECE_BYTES };
        let byte = Datatype::elementary(1).expect("small");
        let view = View::new(displacement, &byte, &filetype).expect("displacements grow");
        Access::new(Arc::new(view), 0, bytes).expect("inside a file")
    }
}

/// Another place for each rank in each turn.
fn mixed(turn: u64, rank: u64, ranks: u64) -> u64 {
    (rank + turn * 2_654_435_761 % ranks) % ranks
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("inside a file")
}

/// A file on 16 servers in units of 1 MiB.
pub fn recipe() -> Recipe {
    let slots = (1..=16).map(|id| StripeSlot::from_iter(ServerId::new(id))).collect();
    Recipe::new(1 << 20, slots).expect("a possible recipe")
}

/// Plans a write and walks through what rank 0, an aggregator, does. Returns how many pieces it writes and how many
/// messages it gets.
pub fn plan_and_walk(accesses: Vec<Access>, recipe: &Recipe, way: Switch) -> (usize, usize) {
    let hints = Hints { cb_write: way, ..Hints::default() };
    let plan = CollectivePlan::new(Direction::Write, accesses, recipe, &hints);
    std::hint::black_box(plan.needs(0));
    match plan.method() {
        Method::Direct => (plan.direct(0).len(), 0),
        Method::Exchange(_) => plan.rounds(0).fold((0, 0), |(pieces, messages), round| {
            (pieces + round.io.len(), messages + round.served.len() + round.own.len())
        }),
    }
}
