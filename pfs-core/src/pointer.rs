//! The shared file pointer of an open: a position that every member of a group moves, and no two get the same part of.
//!
//! The metadata server has it in memory. Every member keeps the newest one that it was told of, and says it again after a
//! restart: the largest is taken. Invariants that make this enough:
//! * inside a generation the position only grows, and a new position raises the generation: of two states of one pointer
//!   the larger one is the later one;
//! * whoever was given a part was told of the pointer behind it, so the largest that all members know lies behind all that
//!   was given. What was given to nobody (an answer that was lost with the server) may be left out, never given twice.

use crate::extent::MAX_FILE_BYTES;

/// Where a shared file pointer is, in units of whoever uses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharedPointer {
    /// How often it was set.
    pub generation: u64,
    /// Where it is.
    pub position: u64,
}

/// What is done to a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerChange {
    /// It moves on by so much, and what lies between is the caller's.
    Advance(u64),
    /// It is put there.
    Set(u64),
}

/// A position that no file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a shared file pointer can not go past the largest file offset, {MAX_FILE_BYTES}")]
pub struct PastTheEnd;

impl SharedPointer {
    /// The pointer after a change.
    pub fn after(self, change: PointerChange) -> Result<SharedPointer, PastTheEnd> {
        let (generation, position) = match change {
            PointerChange::Advance(by) => (Some(self.generation), self.position.checked_add(by)),
            PointerChange::Set(position) => (self.generation.checked_add(1), Some(position)),
        };
        let position = position.filter(|position| *position <= MAX_FILE_BYTES);
        match (generation, position) {
            (Some(generation), Some(position)) => Ok(SharedPointer { generation, position }),
            _ => Err(PastTheEnd),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_later_is_larger() {
        let start = SharedPointer { generation: 0, position: 500 };
        let advanced = start.after(PointerChange::Advance(8)).unwrap();
        let set = advanced.after(PointerChange::Set(0)).unwrap();
        assert_eq!((advanced.position, set.position), (508, 0));
        assert!(start < advanced && advanced < set);
    }

    #[test]
    fn it_stays_inside_of_a_file() {
        let end = SharedPointer { generation: 3, position: MAX_FILE_BYTES };
        assert_eq!(end.after(PointerChange::Advance(0)), Ok(end));
        assert_eq!(end.after(PointerChange::Advance(1)), Err(PastTheEnd));
        assert_eq!(end.after(PointerChange::Advance(u64::MAX)), Err(PastTheEnd));
        assert_eq!(end.after(PointerChange::Set(MAX_FILE_BYTES + 1)), Err(PastTheEnd));
        let worn = SharedPointer { generation: u64::MAX, position: 0 };
        assert_eq!(worn.after(PointerChange::Set(0)), Err(PastTheEnd));
    }
}
