//! Offsets, extents, and maps from disjoint extents to values.
//!
//! Invariants:
//! * an [`Extent`] is half open and never empty: `start < end`;
//! * `end == INFINITY` means "to the end of all files"; no byte is ever stored at or past [`MAX_FILE_BYTES`];
//! * the extents of an [`ExtentMap`] are disjoint, and no two neighbours that touch have equal values.

use std::collections::BTreeMap;
use std::fmt;

/// The end of an extent that has none.
pub const INFINITY: u64 = u64::MAX;

/// Largest size of a file in bytes: 2^63 - 1, the largest offset of MPI and POSIX.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;

macro_rules! offset {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

offset! {
    /// A position in the logical file, in bytes.
    FileOffset
}
offset! {
    /// A position in one server's piece of a file, in bytes.
    ObjectOffset
}

/// A half-open, non-empty byte range `[start, end)` of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    start: u64,
    end: u64,
}

impl Extent {
    /// Every byte a file can have.
    pub const ALL: Extent = Extent { start: 0, end: INFINITY };

    /// `[start, end)`, or nothing when that is empty.
    pub const fn new(start: u64, end: u64) -> Option<Extent> {
        if start < end { Some(Extent { start, end }) } else { None }
    }

    /// `length` bytes from `start`, or nothing when `length` is 0 or the end passes [`MAX_FILE_BYTES`].
    pub const fn with_length(start: FileOffset, length: u64) -> Option<Extent> {
        match start.0.checked_add(length) {
            Some(end) if end <= MAX_FILE_BYTES => Extent::new(start.0, end),
            _ => None,
        }
    }

    /// From `start` to infinity.
    pub const fn from(start: u64) -> Extent {
        assert!(start < INFINITY);
        Extent { start, end: INFINITY }
    }

    /// First byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// First byte after the extent.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Number of bytes; huge for an extent to infinity.
    #[allow(clippy::len_without_is_empty)] // an extent is never empty
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether the two share a byte.
    pub const fn overlaps(self, other: Extent) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether every byte of `other` is in this one.
    pub const fn contains(self, other: Extent) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The shared bytes.
    pub fn intersection(self, other: Extent) -> Option<Extent> {
        Extent::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The smallest extent with both in it.
    pub fn hull(self, other: Extent) -> Extent {
        Extent { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            INFINITY => write!(f, "[{}, ∞)", self.start),
            end => write!(f, "[{}, {})", self.start, end),
        }
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The same bytes in order, each once, as few extents as there can be.
pub fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    // Mostly several lists in order one after the other, which a stable sort merges.
    extents.sort();
    extents.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    extents
}

/// A map from disjoint extents to values. Neighbours that touch and have equal values are one entry.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtentMap<V> {
    /// start → (end, value)
    entries: BTreeMap<u64, (u64, V)>,
}

impl<V> Default for ExtentMap<V> {
    fn default() -> Self {
        ExtentMap { entries: BTreeMap::new() }
    }
}

impl<V: Clone + PartialEq> ExtentMap<V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no byte has a value.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (Extent, &V)> {
        self.entries.iter().map(|(&start, (end, value))| (Extent { start, end: *end }, value))
    }

    /// Entries that share a byte with `range`, whole, in order.
    pub fn overlapping(&self, range: Extent) -> impl Iterator<Item = (Extent, &V)> {
        let before = self.entries.range(..range.start).next_back();
        before
            .into_iter()
            .filter(move |(_, (end, _))| *end > range.start)
            .chain(self.entries.range(range.start..range.end))
            .map(|(&start, (end, value))| (Extent { start, end: *end }, value))
    }

    /// Entries cut to `range`, in order.
    pub fn within(&self, range: Extent) -> impl Iterator<Item = (Extent, &V)> {
        self.overlapping(range)
            .map(move |(entry, value)| (entry.intersection(range).expect("an overlapping entry shares a byte"), value))
    }

    /// The value at one byte.
    pub fn get(&self, at: u64) -> Option<&V> {
        let (_, (end, value)) = self.entries.range(..=at).next_back()?;
        (*end > at).then_some(value)
    }

    /// The parts of `range` without a value, in order.
    pub fn gaps(&self, range: Extent) -> Vec<Extent> {
        let mut gaps = Vec::new();
        let mut from = range.start;
        for (entry, _) in self.overlapping(range) {
            gaps.extend(Extent::new(from, entry.start.min(range.end)));
            from = from.max(entry.end);
        }
        gaps.extend(Extent::new(from, range.end));
        gaps
    }

    /// Whether every byte of `range` has a value for which `accept` holds.
    pub fn covers(&self, range: Extent, accept: impl Fn(&V) -> bool) -> bool {
        let mut from = range.start;
        for (entry, value) in self.overlapping(range) {
            if entry.start > from || !accept(value) {
                return false;
            }
            from = entry.end;
        }
        from >= range.end
    }

    /// Sets every byte of `range` to `value`; joins with neighbours of the same value.
    pub fn insert(&mut self, range: Extent, value: V) {
        self.remove(range);
        let mut joined = range;
        if let Some((&start, (end, before))) = self.entries.range(..range.start).next_back()
            && *end == range.start
            && *before == value
        {
            joined.start = start;
        }
        if let Some((end, after)) = self.entries.get(&range.end)
            && *after == value
        {
            joined.end = *end;
            self.entries.remove(&range.end);
        }
        self.entries.insert(joined.start, (joined.end, value));
    }

    /// Takes every byte of `range` out of the map. What sticks out of the range on either side stays.
    pub fn remove(&mut self, range: Extent) {
        self.split_at(range.start);
        self.split_at(range.end);
        while let Some((&start, _)) = self.entries.range(range.start..range.end).next() {
            self.entries.remove(&start);
        }
    }

    /// Changes the values inside `range`; `change` returns the new value, or nothing to take it out.
    pub fn update(&mut self, range: Extent, change: impl Fn(&V) -> Option<V>) {
        let parts: Vec<(Extent, Option<V>)> = self.within(range).map(|(part, value)| (part, change(value))).collect();
        for (part, value) in parts {
            match value {
                Some(value) => self.insert(part, value),
                None => self.remove(part),
            }
        }
    }

    /// Cuts the entry that has `at` strictly inside it in two.
    fn split_at(&mut self, at: u64) {
        if let Some((_, (end, value))) = self.entries.range_mut(..at).next_back()
            && *end > at
        {
            let tail = (*end, value.clone());
            *end = at;
            self.entries.insert(at, tail);
        }
    }
}

impl<V: fmt::Debug + Clone + PartialEq> fmt::Debug for ExtentMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A set of bytes, kept as disjoint extents that do not touch.
pub type ExtentSet = ExtentMap<()>;

impl FromIterator<Extent> for ExtentSet {
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        let mut set = ExtentSet::new();
        for extent in extents {
            set.insert(extent, ());
        }
        set
    }
}

impl ExtentSet {
    /// The extents in order.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.iter().map(|(extent, ())| extent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent() -> impl Strategy<Value = Extent> {
        (0u64..60, 1u64..20).prop_map(|(start, len)| Extent::new(start, start + len).unwrap())
    }

    #[derive(Clone, Debug)]
    enum Change {
        Insert(Extent, u8),
        Remove(Extent),
        Halve(Extent),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (extent(), 0u8..4).prop_map(|(e, v)| Change::Insert(e, v)),
            extent().prop_map(Change::Remove),
            extent().prop_map(Change::Halve),
        ]
    }

    proptest! {
        /// The map against an array with one cell per byte.
        #[test]
        fn a_map_is_an_array_of_bytes(changes in prop::collection::vec(change(), 0..40), probe in extent()) {
            let mut map = ExtentMap::new();
            let mut model = [None; 80];
            for change in changes {
                match change {
                    Change::Insert(e, v) => {
                        map.insert(e, v);
                        (e.start..e.end).for_each(|i| model[i as usize] = Some(v));
                    }
                    Change::Remove(e) => {
                        map.remove(e);
                        (e.start..e.end).for_each(|i| model[i as usize] = None);
                    }
                    Change::Halve(e) => {
                        map.update(e, |v| (*v > 0).then_some(v / 2));
                        (e.start..e.end).for_each(|i| {
                            model[i as usize] = model[i as usize].filter(|v| *v > 0).map(|v| v / 2);
                        });
                    }
                }
                let entries: Vec<_> = map.iter().collect();
                for pair in entries.windows(2) {
                    prop_assert!(pair[0].0.end <= pair[1].0.start, "entries overlap: {map:?}");
                    prop_assert!(
                        pair[0].0.end < pair[1].0.start || pair[0].1 != pair[1].1,
                        "equal neighbours are not joined: {map:?}"
                    );
                }
            }
            for (i, cell) in model.iter().enumerate() {
                prop_assert_eq!(map.get(i as u64), cell.as_ref());
            }
            let covered = (probe.start..probe.end).all(|i| model[i as usize].is_some_and(|v| v > 1));
            prop_assert_eq!(map.covers(probe, |v| *v > 1), covered);
            let gap_bytes: u64 = map.gaps(probe).iter().map(|g| g.len()).sum();
            let empty = (probe.start..probe.end).filter(|i| model[*i as usize].is_none()).count();
            prop_assert_eq!(gap_bytes, empty as u64);
        }
    }

    #[test]
    fn an_extent_is_never_empty_and_never_past_the_largest_file() {
        assert_eq!(Extent::new(5, 5), None);
        assert_eq!(Extent::with_length(FileOffset(5), 0), None);
        assert_eq!(Extent::with_length(FileOffset(MAX_FILE_BYTES), 1), None);
        assert_eq!(Extent::with_length(FileOffset(u64::MAX), 2), None);
        assert!(Extent::with_length(FileOffset(MAX_FILE_BYTES - 1), 1).is_some());
    }
}
