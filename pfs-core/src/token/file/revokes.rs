//! The revokes of one file that are under way, by number and by the bytes that they ask for.
//!
//! Invariant: the index names a revoke at exactly the bytes of its range.

use crate::extent::{Extent, ExtentMap, ExtentSet};
use crate::ids::{ClientId, Holder, RevokeId};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};

/// A revoke that was sent and is not yet acked by every member.
#[derive(Clone, Debug)]
pub(super) struct PendingRevoke {
    pub(super) holder: Holder,
    pub(super) range: Extent,
    pub(super) downgrade: bool,
    /// Members that have not acked.
    pub(super) missing: BTreeSet<ClientId>,
    /// What every member so far gives up; nothing before the first ack.
    pub(super) released: Option<ExtentSet>,
    /// The holder's last grant when the revoke was sent.
    pub(super) sequence: u64,
}

impl PendingRevoke {
    /// Counts one member's ack. Returns whether it was the last one.
    pub(super) fn ack(&mut self, member: ClientId, released: ExtentSet) -> bool {
        self.missing.remove(&member);
        self.released = Some(match self.released.take() {
            None => released,
            Some(others) => intersection(&others, &released),
        });
        self.missing.is_empty() || crate::mutant!(FirstMemberAcksForAll)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Revokes {
    by_id: BTreeMap<RevokeId, PendingRevoke>,
    index: ExtentMap<SmallVec<[RevokeId; 2]>>,
}

impl Revokes {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn contains(&self, id: RevokeId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn get_mut(&mut self, id: RevokeId) -> Option<&mut PendingRevoke> {
        self.by_id.get_mut(&id)
    }

    /// Those that this client has not acked.
    pub(super) fn missing(&self, client: ClientId) -> Vec<RevokeId> {
        self.by_id.iter().filter(|(_, revoke)| revoke.missing.contains(&client)).map(|(id, _)| *id).collect()
    }

    pub(super) fn insert(&mut self, id: RevokeId, revoke: PendingRevoke) {
        let range = revoke.range;
        let gaps = self.index.gaps(range);
        self.index.update(range, |ids| {
            let mut ids = ids.clone();
            ids.push(id);
            Some(ids)
        });
        gaps.into_iter().for_each(|gap| self.index.insert(gap, smallvec![id]));
        self.by_id.insert(id, revoke);
    }

    pub(super) fn remove(&mut self, id: RevokeId) -> Option<PendingRevoke> {
        let revoke = self.by_id.remove(&id)?;
        self.index.update(revoke.range, |ids| {
            let left: SmallVec<[RevokeId; 2]> = ids.iter().filter(|other| **other != id).copied().collect();
            (!left.is_empty()).then_some(left)
        });
        Some(revoke)
    }

    pub(super) fn remove_of(&mut self, holder: Holder) {
        let found: Vec<RevokeId> = self.by_id.iter().filter(|(_, r)| r.holder == holder).map(|(id, _)| *id).collect();
        found.into_iter().for_each(|id| {
            self.remove(id);
        });
    }

    /// Those that ask for some of these bytes; one may be named more than once.
    pub(super) fn overlapping(&self, range: Extent) -> impl Iterator<Item = &PendingRevoke> {
        let quick = if self.is_empty() { None } else { Some(()) };
        let ids = quick.into_iter().flat_map(move |()| self.index.overlapping(range)).flat_map(|(_, ids)| ids);
        ids.map(|id| &self.by_id[id])
    }

    /// Whether a revoke of this holder asks for some of these bytes.
    pub(super) fn touch(&self, range: Extent, holder: Holder) -> bool {
        self.overlapping(range).any(|revoke| revoke.holder == holder)
    }
}

fn intersection(a: &ExtentSet, b: &ExtentSet) -> ExtentSet {
    a.extents().flat_map(|part| b.within(part).map(|(both, ())| both).collect::<Vec<_>>()).collect()
}
