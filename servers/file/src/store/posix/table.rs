//! The checksums of an open object in memory, and the locks under which a block and its checksum change.
//!
//! Checksums are kept in *units*, those of [`UNIT_BYTES`] of the object. A unit is loaded from the checksum file when it is first
//! needed, changed in memory, and written back when the object is made durable. Until then the checksum file is behind, which is
//! right after a crash too: every block that was written since then lies in a region that is durably marked open, or the object
//! is known as never committed, and the checksums of both are made anew (`regions.rs`, `recovery.rs`).
//!
//! Invariants:
//! * a block of the object and its checksum change while its unit is held exclusively, and are read while it is
//!   shared, so nobody sees one without the other;
//! * a unit in memory is what the checksum file has, or dirty;
//! * units are dropped, and taken for writing back, only by who holds the checksum file's lock (`sidecar.rs`), which is taken
//!   before any unit;
//! * the units in memory of all objects are counted, and whoever loads more than a store may keep has to drop some.

use super::super::sum::{SUM_BYTES, StoredSum};
use parking_lot::{MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use pfs_core::checksum::BLOCK_BYTES;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blocks of a unit.
pub(super) const UNIT_BLOCKS: usize = 256;
/// Bytes of the object whose checksums are one unit.
pub(super) const UNIT_BYTES: u64 = UNIT_BLOCKS as u64 * BLOCK_BYTES;
/// Bytes of a unit in the checksum file.
pub(super) const UNIT_SUM_BYTES: u64 = UNIT_BLOCKS as u64 * SUM_BYTES;

/// Units that have one lock. Neighbours have different ones.
const STRIPES: u64 = 16;

/// The checksums of a unit's blocks.
pub(super) type Sums = [StoredSum; UNIT_BLOCKS];

/// Whether a call may wait for a disk, or for another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It may.
    Allowed,
    /// It gives up instead.
    Never,
}

/// Counts the units in memory of a whole store.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitCount(Arc<AtomicUsize>);

impl UnitCount {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One unit in memory.
#[derive(Debug)]
pub(super) struct Unit {
    sums: Box<Sums>,
    dirty: bool,
    has_space: bool,
}

impl Unit {
    pub(super) fn sums(&self) -> &Sums {
        &self.sums
    }

    /// The sums, to change some.
    pub(super) fn change(&mut self) -> &mut Sums {
        self.dirty = true;
        &mut self.sums
    }

    /// Whether space was taken for it in the checksum file.
    pub(super) fn has_space(&self) -> bool {
        self.has_space
    }

    pub(super) fn set_space(&mut self) {
        self.has_space = true;
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }
}

type Stripe = HashMap<u64, Unit>;

/// The checksums of one open object.
#[derive(Debug)]
pub(super) struct SumTable {
    stripes: [RwLock<Stripe>; STRIPES as usize],
    all: UnitCount,
    own: AtomicUsize,
}

impl SumTable {
    pub(super) fn new(all: UnitCount) -> Self {
        SumTable { stripes: Default::default(), all, own: AtomicUsize::new(0) }
    }

    /// Units of this object in memory.
    pub(super) fn len(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// The first unit from this one on that is in memory.
    pub(super) fn next_unit(&self, unit: u64) -> Option<u64> {
        let first = |stripe: &RwLock<Stripe>| stripe.read().keys().copied().filter(|number| *number >= unit).min();
        self.stripes.iter().filter_map(first).min()
    }

    fn stripe(&self, unit: u64) -> &RwLock<Stripe> {
        &self.stripes[(unit % STRIPES) as usize]
    }

    /// A unit to compare with. `load` fills it with what the checksum file has, and returns false if it would have to wait.
    pub(super) fn shared(
        &self,
        unit: u64,
        wait: Wait,
        load: impl FnOnce(&mut Sums) -> io::Result<bool>,
    ) -> io::Result<Option<MappedRwLockReadGuard<'_, Unit>>> {
        let stripe = self.stripe(unit);
        let guard = match wait {
            Wait::Allowed => Some(stripe.read()),
            Wait::Never => stripe.try_read(),
        };
        let Some(guard) = guard else { return Ok(None) };
        match RwLockReadGuard::try_map(guard, |units| units.get(&unit)) {
            Ok(found) => return Ok(Some(found)),
            Err(guard) => drop(guard),
        }
        let Some(mut guard) = self.lock(stripe, wait) else { return Ok(None) };
        if !self.load(&mut guard, unit, load)? {
            return Ok(None);
        }
        let guard = RwLockWriteGuard::downgrade(guard);
        Ok(Some(RwLockReadGuard::map(guard, |units| &units[&unit])))
    }

    /// A unit to change.
    pub(super) fn exclusive(
        &self,
        unit: u64,
        wait: Wait,
        load: impl FnOnce(&mut Sums) -> io::Result<bool>,
    ) -> io::Result<Option<MappedRwLockWriteGuard<'_, Unit>>> {
        let Some(mut guard) = self.lock(self.stripe(unit), wait) else { return Ok(None) };
        if !self.load(&mut guard, unit, load)? {
            return Ok(None);
        }
        Ok(Some(RwLockWriteGuard::map(guard, |units| units.get_mut(&unit).expect("it was loaded just now"))))
    }

    fn lock<'a>(&self, stripe: &'a RwLock<Stripe>, wait: Wait) -> Option<RwLockWriteGuard<'a, Stripe>> {
        match wait {
            Wait::Allowed => Some(stripe.write()),
            Wait::Never => stripe.try_write(),
        }
    }

    fn load(
        &self,
        units: &mut Stripe,
        unit: u64,
        load: impl FnOnce(&mut Sums) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if units.contains_key(&unit) {
            return Ok(true);
        }
        let mut sums = Box::new([StoredSum::HOLE; UNIT_BLOCKS]);
        if !load(&mut sums)? {
            return Ok(false);
        }
        units.insert(unit, Unit { sums, dirty: false, has_space: false });
        self.count(1);
        Ok(true)
    }

    fn count(&self, loaded: usize) {
        self.own.fetch_add(loaded, Ordering::Relaxed);
        self.all.0.fetch_add(loaded, Ordering::Relaxed);
    }

    fn discount(&self, dropped: usize) {
        self.own.fetch_sub(dropped, Ordering::Relaxed);
        self.all.0.fetch_sub(dropped, Ordering::Relaxed);
    }

    /// All of the object, exclusively.
    pub(super) fn whole(&self) -> WholeTable<'_> {
        WholeTable { table: self, stripes: self.stripes.iter().map(RwLock::write).collect() }
    }

    /// Copies of the dirty units in order, which count as clean from now on.
    pub(super) fn take_dirty(&self) -> Vec<(u64, Box<Sums>)> {
        let mut taken = Vec::new();
        for stripe in &self.stripes {
            let mut units = stripe.write();
            for (&number, unit) in units.iter_mut().filter(|(_, unit)| unit.dirty) {
                unit.dirty = false;
                taken.push((number, unit.sums.clone()));
            }
        }
        taken.sort_unstable_by_key(|(number, _)| *number);
        taken
    }

    /// Takes back that these are clean: they could not be written, or not be made durable.
    pub(super) fn keep_dirty(&self, units: &[(u64, Box<Sums>)]) {
        for (number, _) in units {
            let mut stripe = self.stripe(*number).write();
            stripe.get_mut(number).expect("only who writes units back may drop some").dirty = true;
        }
    }

    /// Drops all units that the checksum file has too.
    pub(super) fn drop_clean(&self) {
        for stripe in &self.stripes {
            let mut units = stripe.write();
            let before = units.len();
            units.retain(|_, unit| unit.dirty);
            self.discount(before - units.len());
            units.shrink_to_fit();
        }
    }
}

impl Drop for SumTable {
    fn drop(&mut self) {
        let own = *self.own.get_mut();
        self.all.0.fetch_sub(own, Ordering::Relaxed);
    }
}

/// All units of an object, exclusively held.
pub(super) struct WholeTable<'a> {
    table: &'a SumTable,
    stripes: Vec<RwLockWriteGuard<'a, Stripe>>,
}

impl WholeTable<'_> {
    /// One unit, loaded if it is not in memory.
    pub(super) fn unit(
        &mut self,
        unit: u64,
        load: impl FnOnce(&mut Sums) -> io::Result<bool>,
    ) -> io::Result<&mut Unit> {
        let stripe = &mut self.stripes[(unit % STRIPES) as usize];
        self.table.load(stripe, unit, load)?;
        Ok(stripe.get_mut(&unit).expect("it was loaded just now"))
    }

    /// Whether a unit is in memory.
    pub(super) fn has(&self, unit: u64) -> bool {
        self.stripes[(unit % STRIPES) as usize].contains_key(&unit)
    }

    /// Drops all units from this one on, dirty or not: their blocks are gone.
    pub(super) fn cut(&mut self, from: u64) {
        for units in &mut self.stripes {
            let before = units.len();
            units.retain(|&number, _| number < from);
            self.table.discount(before - units.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zeros(_: &mut Sums) -> io::Result<bool> {
        Ok(true)
    }

    fn set(table: &SumTable, unit: u64, index: usize, bytes: &[u8]) {
        table.exclusive(unit, Wait::Allowed, zeros).unwrap().unwrap().change()[index] = StoredSum::of(bytes);
    }

    #[test]
    fn dirty_units_are_taken_in_order_and_once() {
        let table = SumTable::new(UnitCount::default());
        [40, 3, 19].iter().for_each(|&unit| set(&table, unit, 7, b"x"));
        drop(table.shared(4, Wait::Allowed, zeros).unwrap());
        let taken = table.take_dirty();
        assert_eq!(taken.iter().map(|(unit, _)| *unit).collect::<Vec<_>>(), [3, 19, 40]);
        assert_eq!(taken[0].1[7], StoredSum::of(b"x"));
        assert!(table.take_dirty().is_empty());
        table.keep_dirty(&taken[..1]);
        assert_eq!(table.take_dirty().len(), 1);
    }

    #[test]
    fn units_are_counted_and_given_back() {
        let count = UnitCount::default();
        let table = SumTable::new(count.clone());
        (0..40).for_each(|unit| set(&table, unit, 0, b"x"));
        drop(table.shared(40, Wait::Allowed, zeros).unwrap());
        assert_eq!((table.len(), count.get()), (41, 41));
        table.drop_clean();
        assert_eq!(count.get(), 40, "dirty ones stay");
        table.whole().cut(30);
        assert_eq!(count.get(), 30);
        drop(table);
        assert_eq!(count.get(), 0);
    }

    #[test]
    fn nobody_waits_who_must_not() {
        let table = SumTable::new(UnitCount::default());
        assert!(table.shared(1, Wait::Never, |_| Ok(false)).unwrap().is_none());
        assert_eq!(table.len(), 0, "what was not loaded is not there");
        let held = table.exclusive(1, Wait::Allowed, zeros).unwrap().unwrap();
        assert!(table.shared(1, Wait::Never, zeros).unwrap().is_none());
        assert!(table.exclusive(17, Wait::Never, zeros).unwrap().is_none(), "it has the same lock");
        assert!(table.exclusive(2, Wait::Never, zeros).unwrap().is_some());
        drop(held);
        assert!(table.shared(1, Wait::Never, zeros).unwrap().is_some());
    }
}
