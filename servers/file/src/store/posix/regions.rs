//! Which regions of an object may have blocks that differ from their stored checksums, and where that is marked.
//!
//! Checksums on the disk are behind while bytes are written: they are written back when the object is made durable. After a
//! crash the blocks that were written since then have to be found again. For an object that was committed once they lie in
//! regions with an open mark (`marks.rs`). One that never was is known by its checksum file: that has another name until the
//! first commit, so until then no region needs a mark.
//!
//! Invariants:
//! * before a byte of a committed object changes, its region is durably marked;
//! * a mark is cleared by a sync, if nobody wrote to its region between the sync's begin and its end, and everything before
//!   that is durable, bytes and checksums;
//! * what is being written when an object is first committed is marked before its checksum file gets its name.

use super::super::disk::Disk;
use super::marks::{Mark, MarkFile, Place};
use super::table::Wait;
use parking_lot::Mutex;
use pfs_core::ids::ObjectId;
use pfs_proto::data::ObjectExtent;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::io;

/// Bytes of a region: large enough that few marks are needed, small enough that one is soon summed again.
pub(super) const REGION_BYTES: u64 = 64 << 20;
/// What one operation marks one by one; beyond it everything from its first region on is marked.
const REGIONS_MAX: u64 = 64;
const TAIL_BIT: u64 = 1 << 63;

/// One region, or one and all after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Region(u64);

impl Region {
    /// One region by its number.
    pub(super) fn one(number: u64) -> Self {
        Region(number & !TAIL_BIT)
    }

    /// One region and all after it.
    pub(super) fn tail(number: u64) -> Self {
        Region(number | TAIL_BIT)
    }

    /// The tail that begins with the region of this byte.
    pub(super) fn from_byte(offset: u64) -> Self {
        Region::tail(offset / REGION_BYTES)
    }

    pub(super) fn to_bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Region(bits)
    }

    /// First byte, and the first byte after it.
    pub(super) fn bytes(self) -> (u64, u64) {
        let start = (self.0 & !TAIL_BIT).saturating_mul(REGION_BYTES);
        match self.0 & TAIL_BIT {
            0 => (start, start.saturating_add(REGION_BYTES)),
            _ => (start, u64::MAX),
        }
    }
}

/// Few regions, without an allocation.
pub(super) type RegionList = SmallVec<[Region; 4]>;

/// The regions of extents, each once if the extents are in order.
pub(super) fn regions_of(extents: &[ObjectExtent]) -> RegionList {
    let mut regions = RegionList::new();
    for extent in extents {
        let (first, last) = (extent.offset().0 / REGION_BYTES, (extent.end().0 - 1) / REGION_BYTES);
        if last - first >= REGIONS_MAX {
            regions.push(Region::tail(first));
            continue;
        }
        for number in first..=last {
            if regions.last() != Some(&Region::one(number)) {
                regions.push(Region::one(number));
            }
        }
    }
    regions
}

/// The open regions of one object.
#[derive(Debug)]
pub(super) struct OpenRegions {
    object: ObjectId,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether a commit has ever begun to name the checksum file.
    needs_marks: bool,
    is_closed: bool,
    open: BTreeMap<Region, Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// Operations under way in it.
    writers: u32,
    /// Whether something was written that no sync under way is known to cover.
    is_dirty: bool,
    place: Option<Place>,
    is_marked: bool,
}

/// An operation under way.
#[derive(Debug)]
#[must_use = "who has entered regions has to leave them"]
pub(super) struct Entered(RegionList);

impl OpenRegions {
    /// Of an object that was committed, or was not.
    pub(super) fn new(object: ObjectId, was_committed: bool) -> Self {
        OpenRegions {
            object,
            state: Mutex::new(State { needs_marks: was_committed, is_closed: false, open: BTreeMap::new() }),
        }
    }

    /// To be called before bytes of these regions change; nothing if that would have to wait.
    pub(super) fn enter<D: Disk>(
        &self,
        regions: RegionList,
        marks: &MarkFile<D>,
        wait: Wait,
    ) -> io::Result<Option<Entered>> {
        let mut state = self.state.lock();
        let unmarked = state.needs_marks && regions.iter().any(|region| !state.is_marked(*region));
        if unmarked && wait == Wait::Never {
            return Ok(None);
        }
        for region in &regions {
            let open = state.open.entry(*region).or_default();
            open.writers += 1;
            open.is_dirty = true;
        }
        let entered = Entered(regions);
        if unmarked {
            let put = state.put_marks(self.object, marks, |region| entered.0.contains(region));
            drop(state);
            let marked = put.and_then(|put| marks.sync().map(|()| put));
            match marked {
                Ok(put) => self.state.lock().are_marked(&put),
                Err(error) => {
                    self.leave(entered, marks);
                    return Err(error);
                }
            }
        }
        Ok(Some(entered))
    }

    /// To be called when the operation has ended, whether it did what it should or not.
    pub(super) fn leave<D: Disk>(&self, Entered(regions): Entered, marks: &MarkFile<D>) {
        let mut state = self.state.lock();
        for region in regions {
            state.open.get_mut(&region).expect("who is in a region keeps it open").writers -= 1;
        }
        if state.is_closed {
            state.clear(marks);
        }
    }

    /// To be called when the object is removed: what becomes of its bytes is no matter any more.
    pub(super) fn close<D: Disk>(&self, marks: &MarkFile<D>) {
        let mut state = self.state.lock();
        (state.is_closed, state.needs_marks) = (true, false);
        state.clear(marks);
    }

    /// Whether something was written that is not known to be durable.
    pub(super) fn any_open(&self) -> bool {
        !self.state.lock().open.is_empty()
    }

    /// To be called when a sync begins.
    pub(super) fn begin_sync(&self) {
        for open in self.state.lock().open.values_mut() {
            open.is_dirty = open.writers > 0;
        }
    }

    /// To be called when a sync has ended, with whether everything that was written before it is durable.
    pub(super) fn end_sync<D: Disk>(&self, is_durable: bool, marks: &MarkFile<D>) {
        let mut state = self.state.lock();
        if !is_durable {
            state.open.values_mut().for_each(|open| open.is_dirty = true);
            return;
        }
        state.clear(marks);
    }

    /// To be called in a sync, before the checksum file of an object that was never committed gets its name: marks what
    /// the sync does not cover. From here on whoever writes needs a mark.
    pub(super) fn need_marks<D: Disk>(&self, marks: &MarkFile<D>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Ok(());
        }
        state.needs_marks = true;
        state.open.retain(|_, open| open.writers > 0 || open.is_dirty || open.place.is_some());
        if state.open.values().all(|open| open.is_marked) {
            return Ok(());
        }
        let put = state.put_marks(self.object, marks, |_| true)?;
        drop(state);
        marks.sync()?;
        self.state.lock().are_marked(&put);
        Ok(())
    }
}

impl State {
    /// Closes the regions that nobody is in and that are durable, or of no matter.
    fn clear<D: Disk>(&mut self, marks: &MarkFile<D>) {
        let of_no_matter = self.is_closed;
        self.open.retain(|_, open| {
            let stays = open.writers > 0 || (open.is_dirty && !of_no_matter);
            if !stays && let Some(place) = open.place.take() {
                marks.clear(place);
            }
            stays
        });
    }

    fn is_marked(&self, region: Region) -> bool {
        self.open.get(&region).is_some_and(|open| open.is_marked)
    }

    /// Puts the missing marks of some open regions, and tells which of them the next sync of the marks makes durable.
    fn put_marks<D: Disk>(
        &mut self,
        object: ObjectId,
        marks: &MarkFile<D>,
        which: impl Fn(&Region) -> bool,
    ) -> io::Result<RegionList> {
        let mut put = RegionList::new();
        for (&region, open) in self.open.iter_mut().filter(|(region, open)| !open.is_marked && which(region)) {
            if open.place.is_none() {
                open.place = Some(marks.put(Mark { object, region })?);
            }
            put.push(region);
        }
        Ok(put)
    }

    fn are_marked(&mut self, regions: &[Region]) {
        for region in regions {
            // A sync may have closed it meanwhile, if nobody is in it.
            if let Some(open) = self.open.get_mut(region) {
                open.is_marked = open.place.is_some();
            }
        }
    }
}

#[cfg(test)]
#[path = "regions_tests.rs"]
mod tests;
