//! The requests of one file that wait, by arrival and by the bytes they wait for.
//!
//! Invariant: the index names a part of a request at exactly the bytes that the part requires.

use crate::extent::{Extent, ExtentMap};
use crate::ids::{ClientId, Holder, RequestId};
use crate::token::holder::Ranges;
use crate::token::message::Mode;
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, BTreeSet};

/// Who waits for a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requester {
    /// A client, for itself or for its group.
    Member { client: ClientId, request: RequestId, collective: bool },
    /// A client, for several clients.
    Set { client: ClientId, request: RequestId },
    /// The metadata server itself, to truncate or delete.
    Manager { operation: u64 },
}

impl Requester {
    /// The client to be told.
    pub(super) fn asker(self) -> Option<(ClientId, RequestId)> {
        match self {
            Requester::Member { client, request, .. } | Requester::Set { client, request } => Some((client, request)),
            Requester::Manager { .. } => None,
        }
    }
}

/// What a request wants for one holder.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Nobody for the metadata server itself.
    pub(super) holder: Option<Holder>,
    /// Disjoint, in order, never empty.
    pub(super) required: Ranges,
}

impl Part {
    pub(super) fn hull(&self) -> Extent {
        self.required[0].hull(self.required[self.required.len() - 1])
    }
}

/// A request that can not be granted yet.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) requester: Requester,
    pub(super) mode: Mode,
    /// At least one. Parts never conflict with each other.
    pub(super) parts: SmallVec<[Part; 1]>,
    pub(super) desired: Option<Extent>,
    /// Nothing conflicting is before it in the queue, and everything in its way is under a revoke. It met other holders'
    /// claims, so its grant is not widened.
    pub(super) asked: bool,
}

impl Waiting {
    /// All that it requires, with the holders.
    pub(super) fn required(&self) -> impl Iterator<Item = (Option<Holder>, Extent)> {
        self.parts.iter().flat_map(|part| part.required.iter().map(|range| (part.holder, *range)))
    }

    pub(super) fn is_for(&self, holder: Holder) -> bool {
        self.parts.iter().any(|part| part.holder == Some(holder))
    }
}

/// One part of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    arrival: u64,
    mode: Mode,
    holder: Option<Holder>,
}

impl Entry {
    fn conflicts(&self, holder: Option<Holder>, mode: Mode) -> bool {
        self.mode.conflicts(mode) && (self.holder != holder || holder.is_none())
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    by_arrival: BTreeMap<u64, Waiting>,
    /// By arrival at every byte.
    index: ExtentMap<SmallVec<[Entry; 1]>>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.by_arrival.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_arrival.is_empty()
    }

    pub(super) fn get(&self, arrival: u64) -> Option<&Waiting> {
        self.by_arrival.get(&arrival)
    }

    pub(super) fn mark_asked(&mut self, arrival: u64) {
        if let Some(waiting) = self.by_arrival.get_mut(&arrival) {
            waiting.asked = true;
        }
    }

    pub(super) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.by_arrival.keys().copied()
    }

    /// The last in the queue.
    pub(super) fn push(&mut self, arrival: u64, waiting: Waiting) {
        debug_assert!(self.by_arrival.keys().next_back().is_none_or(|last| *last < arrival), "arrivals increase");
        for (holder, range) in waiting.required() {
            let entry = Entry { arrival, mode: waiting.mode, holder };
            let gaps = self.index.gaps(range);
            self.index.update(range, |entries| {
                let mut entries = entries.clone();
                entries.push(entry);
                Some(entries)
            });
            gaps.into_iter().for_each(|gap| self.index.insert(gap, smallvec![entry]));
        }
        self.by_arrival.insert(arrival, waiting);
    }

    pub(super) fn remove(&mut self, arrival: u64) -> Option<Waiting> {
        let waiting = self.by_arrival.remove(&arrival)?;
        for (_, range) in waiting.required() {
            self.index.update(range, |entries| {
                let left: SmallVec<[Entry; 1]> = entries.iter().filter(|e| e.arrival != arrival).copied().collect();
                (!left.is_empty()).then_some(left)
            });
        }
        Some(waiting)
    }

    /// Takes out what `which` holds for.
    pub(super) fn take(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let found: Vec<u64> = self.by_arrival.iter().filter(|(_, w)| which(w)).map(|(arrival, _)| *arrival).collect();
        found.into_iter().filter_map(|arrival| self.remove(arrival)).collect()
    }

    /// Whether a request that came before `arrival` can not be granted beside this one.
    pub(super) fn is_behind(&self, arrival: u64, waiting: &Waiting) -> bool {
        !self.is_empty()
            && !crate::mutant!(QueueJumped)
            && waiting.required().any(|(holder, range)| {
                let before = |entry: &&Entry| entry.arrival < arrival;
                self.index.overlapping(range).any(|(_, entries)| {
                    entries.iter().take_while(before).any(|entry| entry.conflicts(holder, waiting.mode))
                })
            })
    }

    /// Whether somebody waits for some of these bytes.
    pub(super) fn touches(&self, range: Extent) -> bool {
        self.index.overlapping(range).next().is_some()
    }

    /// Whether a request for another holder waits for some of these bytes.
    pub(super) fn others_touch(&self, range: Extent, holder: Holder) -> bool {
        self.index.overlapping(range).any(|(_, entries)| entries.iter().any(|entry| entry.holder != Some(holder)))
    }

    /// Adds the requests that wait for some of these bytes.
    pub(super) fn add_touching(&self, range: Extent, arrivals: &mut BTreeSet<u64>) {
        if !self.is_empty() {
            let entries = self.index.overlapping(range).flat_map(|(_, entries)| entries);
            arrivals.extend(entries.map(|entry| entry.arrival));
        }
    }
}
