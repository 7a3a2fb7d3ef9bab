//! What a client has written and not yet made durable: which places a sync must commit (rules 20, 24, 25).
//!
//! A *place* is whatever one commit makes durable, such as one server's object of a file. A *start* is one start of the
//! server that has it: bytes that one start has taken and another one commits may be lost.
//!
//! Invariants:
//! * a place with bytes that no commit has covered is listed, taken by the sync that runs, or told as a loss;
//! * whatever a sync could not commit, for whatever reason, is listed again for the next one;
//! * a loss is told once, and by a sync that returns an error.

use std::collections::BTreeMap;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsynced<P, S> {
    places: BTreeMap<P, S>,
    /// Bytes of an earlier start were there, and no sync has told yet that they may be lost.
    lost: Option<P>,
}

impl<P: Copy + Ord, S: Copy + Eq> Default for Unsynced<P, S> {
    fn default() -> Self {
        Unsynced { places: BTreeMap::new(), lost: None }
    }
}

impl<P: Copy + Ord, S: Copy + Eq> Unsynced<P, S> {
    /// This start of its server has taken bytes for a place.
    pub fn note_written(&mut self, place: P, start: S) {
        if self.places.insert(place, start).is_some_and(|before| before != start) {
            self.lost = Some(place);
        }
    }

    /// A sync begins: it must commit these places, and what it can not commit must be [put back](Self::put_back). If bytes
    /// may be lost, that place is the error to return, and everything stays for the next sync.
    pub fn take(&mut self) -> Result<BTreeMap<P, S>, P> {
        match self.lost.take() {
            Some(place) => Err(place),
            None => Ok(std::mem::take(&mut self.places)),
        }
    }

    /// The sync has ended, and these were not committed. What was written meanwhile may have been taken by a later start.
    pub fn put_back(&mut self, left: BTreeMap<P, S>) {
        if crate::mutant!(FailedSyncForgets) {
            return;
        }
        for (place, start) in left {
            if *self.places.entry(place).or_insert(start) != start {
                self.lost = Some(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(places: &[(u32, u64)]) -> Result<BTreeMap<u32, u64>, u32> {
        Ok(places.iter().copied().collect())
    }

    /// A sync whose commit is not answered in time fails. When the next one committed only what was written since, it
    /// succeeded without the earlier bytes being durable.
    #[test]
    fn a_failed_sync_leaves_its_places_to_the_next() {
        let mut unsynced = Unsynced::default();
        unsynced.note_written(1, 7);
        unsynced.note_written(2, 7);
        let mut taken = unsynced.take().unwrap();
        taken.remove(&1);
        unsynced.put_back(taken);
        assert_eq!(unsynced.take(), listed(&[(2, 7)]));
        assert_eq!(unsynced.take(), listed(&[]), "it was committed");
    }

    /// The sync that tells a loss commits nothing. When it forgot what other servers had taken, the next one succeeded
    /// without them.
    #[test]
    fn a_loss_is_told_once_and_keeps_the_rest() {
        let mut unsynced = Unsynced::default();
        unsynced.note_written(1, 7);
        unsynced.note_written(2, 7);
        unsynced.note_written(1, 8);
        assert_eq!(unsynced.take(), Err(1));
        assert_eq!(unsynced.take(), listed(&[(1, 8), (2, 7)]));
    }

    /// While a commit failed, its server was started again and took more. When only the new start was remembered, nobody
    /// was told that the bytes of the first one were gone.
    #[test]
    fn a_restart_during_a_failing_commit_is_a_loss() {
        let mut unsynced = Unsynced::default();
        unsynced.note_written(1, 7);
        let taken = unsynced.take().unwrap();
        unsynced.note_written(1, 8);
        unsynced.put_back(taken);
        assert_eq!(unsynced.take(), Err(1));
        assert_eq!(unsynced.take(), listed(&[(1, 8)]));
    }
}
