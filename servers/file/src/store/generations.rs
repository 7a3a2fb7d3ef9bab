//! Which truncations were applied, so that a late repetition does not cut bytes that were written after it.
//!
//! Invariant: a truncation is noted after it is durable, and while it runs no other one of the same object does.
//!
//! Only the newest [`GENERATIONS_MAX`] objects are remembered. A repetition can only do harm if it was sent, and then
//! waited in a socket of this process, while that many other objects were truncated.

use pfs_core::ids::{FileId, ObjectId};
use std::collections::{BTreeMap, VecDeque};

/// How many objects one table remembers.
pub(super) const GENERATIONS_MAX: usize = 1024;

/// The last applied truncation of each object.
#[derive(Debug, Default)]
pub(super) struct Generations {
    applied: BTreeMap<ObjectId, u64>,
    order: VecDeque<ObjectId>,
}

impl Generations {
    /// Whether a truncation of this generation, or a later one, was applied.
    pub(super) fn covers(&self, object: ObjectId, generation: u64) -> bool {
        self.applied.get(&object).is_some_and(|applied| *applied >= generation)
    }

    /// Notes an applied truncation.
    pub(super) fn note(&mut self, object: ObjectId, generation: u64) {
        if self.applied.insert(object, generation).is_none() {
            self.order.push_back(object);
        }
        while self.applied.len() > GENERATIONS_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.applied.remove(&oldest);
        }
    }

    /// Forgets a removed file.
    pub(super) fn forget(&mut self, file: FileId) {
        self.applied.retain(|object, _| object.file != file);
        self.order.retain(|object| object.file != file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(file: u64) -> ObjectId {
        ObjectId { file: FileId::new(file).unwrap(), slot: 0 }
    }

    #[test]
    fn applied_truncations_cover_their_repetitions() {
        let mut generations = Generations::default();
        assert!(!generations.covers(object(1), 1));
        generations.note(object(1), 3);
        assert!(generations.covers(object(1), 2) && generations.covers(object(1), 3));
        assert!(!generations.covers(object(1), 4) && !generations.covers(object(2), 1));
        generations.forget(object(1).file);
        assert!(!generations.covers(object(1), 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut generations = Generations::default();
        for file in 1..=GENERATIONS_MAX as u64 + 5 {
            generations.note(object(file), 1);
            generations.note(object(file), 2);
        }
        assert_eq!(generations.applied.len(), GENERATIONS_MAX);
        assert_eq!(generations.order.len(), GENERATIONS_MAX);
        assert!(!generations.covers(object(5), 1) && generations.covers(object(6), 2));
    }
}
