//! A bounded cache of open objects, the least recently used closed first.
//!
//! Invariants:
//! * an object that somebody uses is in the cache, so that nobody opens it a second time;
//! * an object is closed only when its ledger has nothing to remember: one with uncommitted bytes is synced first,
//!   one with lost bytes stays.
//!
//! So the cache passes its bound only for as long as that many objects are in use, or lost bytes.

use super::super::disk::Disk;
use super::super::sync_ledger::Standing;
use super::object::OpenObject;
use parking_lot::Mutex;
use pfs_core::ids::ObjectId;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How many of the least recently used objects are looked at to find one that can be closed at once.
const LOOK_AT_MAX: usize = 32;
/// How many objects one caller syncs to make room.
const SYNCS_PER_TRIM_MAX: usize = 4;

/// A bounded cache of open objects.
#[derive(Debug)]
pub(super) struct ObjectCache<D: Disk> {
    open_max: usize,
    state: Mutex<State<D>>,
}

#[derive(Debug)]
struct State<D: Disk> {
    open: HashMap<ObjectId, Entry<D>>,
    by_use: BTreeMap<u64, ObjectId>,
    uses: u64,
}

#[derive(Debug)]
struct Entry<D: Disk> {
    object: Arc<OpenObject<D>>,
    last_use: u64,
}

enum Room<D: Disk> {
    Enough,
    Made,
    AfterSync(Arc<OpenObject<D>>),
    None,
}

impl<D: Disk> ObjectCache<D> {
    pub(super) fn new(open_max: usize) -> Self {
        let state = State { open: HashMap::new(), by_use: BTreeMap::new(), uses: 0 };
        ObjectCache { open_max: open_max.max(1), state: Mutex::new(state) }
    }

    /// An open object.
    pub(super) fn get(&self, id: ObjectId) -> Option<Arc<OpenObject<D>>> {
        self.state.lock().touch(id)
    }

    /// Adds an object that was just opened, unless somebody was faster: then theirs is returned.
    pub(super) fn insert(&self, object: OpenObject<D>) -> Arc<OpenObject<D>> {
        let mut state = self.state.lock();
        let id = object.id();
        if let Some(theirs) = state.touch(id) {
            return theirs;
        }
        let object = Arc::new(object);
        state.uses += 1;
        let last_use = state.uses;
        state.by_use.insert(last_use, id);
        state.open.insert(id, Entry { object: object.clone(), last_use });
        object
    }

    /// Takes an object out whose files were unlinked, if it was open.
    pub(super) fn remove(&self, id: ObjectId) -> Option<Arc<OpenObject<D>>> {
        let object = self.state.lock().remove(id)?;
        object.remove();
        Some(object)
    }

    /// Closes objects until the bound is kept.
    pub(super) fn trim(&self) {
        let mut syncs = 0;
        loop {
            // The lock is free again before a sync.
            let room = self.state.lock().make_room(self.open_max);
            match room {
                Room::Made => {}
                Room::AfterSync(object) if syncs < SYNCS_PER_TRIM_MAX => {
                    object.settle();
                    syncs += 1;
                }
                Room::Enough | Room::None | Room::AfterSync(_) => return,
            }
        }
    }

    /// All open objects.
    pub(super) fn all(&self) -> Vec<Arc<OpenObject<D>>> {
        self.state.lock().open.values().map(|entry| entry.object.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().open.len()
    }
}

impl<D: Disk> State<D> {
    fn touch(&mut self, id: ObjectId) -> Option<Arc<OpenObject<D>>> {
        let entry = self.open.get_mut(&id)?;
        if entry.last_use == self.uses {
            return Some(entry.object.clone());
        }
        self.by_use.remove(&entry.last_use);
        self.uses += 1;
        entry.last_use = self.uses;
        self.by_use.insert(self.uses, id);
        Some(entry.object.clone())
    }

    fn remove(&mut self, id: ObjectId) -> Option<Arc<OpenObject<D>>> {
        let entry = self.open.remove(&id)?;
        self.by_use.remove(&entry.last_use);
        Some(entry.object)
    }

    fn make_room(&mut self, open_max: usize) -> Room<D> {
        if self.open.len() <= open_max {
            return Room::Enough;
        }
        let mut uncommitted = None;
        for id in self.by_use.values().take(LOOK_AT_MAX).copied() {
            let object = &self.open[&id].object;
            // Whoever uses it cloned it under this lock, so a count of 1 stays 1.
            if Arc::strong_count(object) > 1 {
                continue;
            }
            match object.standing() {
                Standing::Settled => {
                    self.remove(id);
                    return Room::Made;
                }
                Standing::Uncommitted => uncommitted = uncommitted.or_else(|| Some(object.clone())),
                Standing::Lost => {}
            }
        }
        uncommitted.map_or(Room::None, Room::AfterSync)
    }
}
