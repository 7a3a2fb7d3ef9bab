//! The plain reference file: one process makes it for itself, and finds every place in it by `MPI_Pack` and `MPI_Unpack`.
//!
//! What a rank sees through its view is its filetype's values, one behind the other, packed by MPI into a stream. A write is
//! a pack of that stream, a change of some of its bytes, and an unpack. Nothing of the library's flattening is used.
//!
//! Invariants: bytes behind the file's end are zeros; `owners` tells for every byte which rank has written it by itself since
//! the last sync (its number plus 1), 0 if every rank must see it.

use super::case::{Case, Part, Step, ViewOf};
use super::kind::{Kind, Start};
use super::memory::{Made, Memory, Representation};
use crate::pattern;
use pfs_mpiio::Whence;
use std::ops::Range;

/// The file, and what the ranks see of it.
pub struct Reference {
    bytes: Vec<u8>,
    owners: Vec<u8>,
    size: usize,
    /// Ranks that have made the file longer by themselves since the last sync.
    extended: Vec<bool>,
    seen: Vec<Seen>,
    /// Individual file pointers, in bytes of the stream.
    pointers: Vec<usize>,
    /// The shared one.
    shared: usize,
    atomic: bool,
    /// Whether all ranks see the same.
    is_same: bool,
    /// Of overlapping writes of a collective the lowest rank's stay: a planted mistake.
    lowest_wins: bool,
}

/// A rank's view.
struct Seen {
    displacement: usize,
    etype_bytes: usize,
    representation: Representation,
    filetype: Made,
}

/// What the ranks must do for a step to have one right result, and this result.
#[derive(Default)]
pub struct Expected {
    /// Before it: sync, barrier, sync.
    pub settle: bool,
    /// One rank after the other, with a sync after each.
    pub turns: bool,
    /// What each rank reads.
    pub reads: Vec<Read>,
    /// Each rank's individual file pointer afterwards, in etypes.
    pub positions: Vec<u64>,
    /// The shared file pointer afterwards, in etypes, if all ranks see the same.
    pub shared: Option<u64>,
    /// Ranks that must get an error.
    pub refused: Vec<bool>,
}

/// What a rank reads.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// As the file holds it, up to the end of the file.
    pub bytes: Vec<u8>,
    /// Whether a byte must be seen by this rank (1) or may be an older one (0).
    pub known: Vec<u8>,
    /// Whether the rank must see the file's end where it is.
    pub exact: bool,
}

/// The buffer that a rank writes in a step of a case, before it is filled with anything else.
pub fn fill(memory: &mut Memory<'_>, step: usize, rank: usize) {
    let seed = 1000 * step as u64 + rank as u64;
    let bytes = memory.bytes_mut();
    let filled = pattern::bytes(seed, 0, bytes.len());
    bytes.copy_from_slice(&filled);
}

impl Reference {
    /// An empty file that all ranks see as bytes.
    pub fn new(ranks: usize, case: &Case, lowest_wins: bool) -> Reference {
        let seen = (0..ranks).map(|_| Seen::new(&ViewOf::bytes())).collect();
        let (extended, pointers) = (vec![false; ranks], vec![0; ranks]);
        let (bytes, owners, atomic) = (Vec::new(), Vec::new(), case.atomic);
        Reference { bytes, owners, size: 0, extended, seen, pointers, shared: 0, atomic, is_same: true, lowest_wins }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }

    /// Whether every rank must see every byte.
    pub fn is_settled(&self) -> bool {
        !self.extended.contains(&true) && self.owners.iter().all(|&owner| owner == 0)
    }

    /// How a rank's values are stored.
    pub fn representation(&self, rank: usize) -> Representation {
        self.seen[rank].representation
    }

    /// Does the step with this number.
    pub fn apply(&mut self, number: usize, step: &Step) -> Expected {
        let mut expected = Expected { refused: vec![false; self.seen.len()], ..Expected::default() };
        match step {
            Step::View(views) => {
                self.seen = views.iter().map(Seen::new).collect();
                self.pointers.fill(0);
                self.shared = 0;
                self.is_same = views.iter().all(|view| *view == views[0]);
            }
            Step::Access { kind, writes: true, parts } => self.write(number, *kind, parts, &mut expected),
            Step::Access { kind, writes: false, parts } => self.read(*kind, parts, &mut expected),
            Step::Sync => self.settle(),
            Step::SetSize(bytes) => {
                self.settle_for(&mut expected, true);
                self.size = usize::try_from(*bytes).expect("a small file");
                self.bytes.truncate(self.size);
                self.owners.truncate(self.size);
                self.grow(self.size);
            }
            Step::Atomic(on) => {
                self.settle_for(&mut expected, true);
                self.atomic = *on;
            }
            Step::Preallocate(bytes) => {
                self.settle_for(&mut expected, true);
                self.size = self.size.max(usize::try_from(*bytes).expect("a small file"));
                self.grow(self.size);
            }
            Step::Seek(seeks) => self.seek(seeks, &mut expected),
            Step::SeekShared(way, whence) => self.seek_shared(*way, *whence, &mut expected),
        }
        let etypes = |(pointer, seen): (&usize, &Seen)| (pointer / seen.etype_bytes) as u64;
        expected.positions = self.pointers.iter().zip(&self.seen).map(etypes).collect();
        expected.shared = self.is_same.then(|| etypes((&self.shared, &self.seen[0])));
        expected
    }

    fn settle(&mut self) {
        self.owners.fill(0);
        self.extended.fill(false);
    }

    /// Has the ranks sync first if it is needed and there is something to sync.
    fn settle_for(&mut self, expected: &mut Expected, is_needed: bool) {
        if is_needed && !self.is_settled() {
            expected.settle = true;
            self.settle();
        }
    }

    fn grow(&mut self, length: usize) {
        let length = length.max(self.bytes.len());
        self.bytes.resize(length, 0);
        self.owners.resize(length, 0);
    }

    /// Where each rank's part begins in its stream, in bytes, and how long it is.
    fn ranges(&self, kind: Kind, parts: &[Part]) -> Vec<Range<usize>> {
        let mut shared = self.shared;
        let range = |(rank, part): (usize, &Part)| {
            let length = part.count * usize::try_from(part.memory.bounds().size).expect("a small type");
            let start = match kind.start() {
                Start::Given => usize::try_from(part.offset).expect("a small file") * self.seen[rank].etype_bytes,
                Start::Own => self.pointers[rank],
                Start::Shared => shared,
            };
            shared += length;
            start..start + length
        };
        parts.iter().enumerate().map(range).collect()
    }

    /// Moves the file pointers that an access uses.
    fn move_on(&mut self, kind: Kind, rank: usize, length: usize) {
        let length = length.next_multiple_of(self.seen[rank].etype_bytes);
        match kind.start() {
            Start::Given => {}
            Start::Own => self.pointers[rank] += length,
            Start::Shared => self.shared += length,
        }
    }

    fn write(&mut self, number: usize, kind: Kind, parts: &[Part], expected: &mut Expected) {
        let ranges = self.ranges(kind, parts);
        let others = |reference: &Reference, rank: usize| {
            let owners = reference.seen[rank].look(&reference.owners, ranges[rank].clone());
            owners.into_iter().any(|owner| owner != 0 && usize::from(owner) != rank + 1)
        };
        let conflicts = (0..parts.len()).any(|rank| others(self, rank));
        self.settle_for(expected, conflicts);
        expected.turns = !kind.is_collective() && (kind.start() == Start::Shared || self.overlaps(&ranges));
        let is_pending = !kind.is_collective() && !self.atomic && !expected.turns;
        let mut order: Vec<usize> = (0..parts.len()).collect();
        if self.lowest_wins && kind.is_collective() {
            order.reverse();
        }
        for rank in order {
            let data = self.data(number, rank, &parts[rank]);
            let owner = if is_pending { u8::try_from(rank + 1).expect("few ranks") } else { 0 };
            let (start, length) = (ranges[rank].start, data.len());
            let seen = &self.seen[rank];
            seen.put(&mut self.bytes, start, &data);
            seen.put(&mut self.owners, start, &vec![owner; length]);
            let mut touched = Vec::new();
            seen.put(&mut touched, start, &vec![1; length]);
            let end = touched.iter().rposition(|&byte| byte == 1).map_or(0, |last| last + 1);
            self.extended[rank] |= is_pending && end > self.size;
            self.size = self.size.max(end);
            self.move_on(kind, rank, length);
        }
        let length = self.bytes.len().max(self.owners.len());
        self.grow(length);
        if expected.turns {
            self.settle();
        }
    }

    /// Whether ranks write the same bytes.
    fn overlaps(&self, ranges: &[Range<usize>]) -> bool {
        let mut all: Vec<u8> = Vec::new();
        self.seen.iter().zip(ranges).any(|(seen, range)| {
            let met = seen.look(&all, range.clone()).contains(&1);
            seen.put(&mut all, range.start, &vec![1; range.len()]);
            met
        })
    }

    /// What a rank writes, as the file holds it.
    fn data(&self, number: usize, rank: usize, part: &Part) -> Vec<u8> {
        let made = Made::new(&part.memory);
        let mut memory = Memory::new(&made, part.count, 0);
        fill(&mut memory, number, rank);
        memory.pack(self.seen[rank].representation)
    }

    fn read(&mut self, kind: Kind, parts: &[Part], expected: &mut Expected) {
        // Where a pointer stops, or what all ranks agree about, must be sure.
        let is_needed = kind.is_collective() || kind.start() != Start::Given;
        self.settle_for(expected, is_needed && self.extended.contains(&true));
        expected.turns = kind == Kind::Shared;
        let ranges = self.ranges(kind, parts);
        let inside = vec![1u8; self.size];
        for (rank, range) in ranges.into_iter().enumerate() {
            let seen = &self.seen[rank];
            let mut there = seen.look(&inside, range.clone()).iter().filter(|&&byte| byte == 1).count();
            if seen.representation != Representation::Native {
                // Only whole elements are converted.
                there -= there % parts[rank].memory.element_bytes().unwrap_or(1);
            }
            let start = range.start;
            let bytes = seen.look(&self.bytes, start..start + there);
            let owners = seen.look(&self.owners, start..start + there);
            let known = owners.iter().map(|&owner| u8::from(owner == 0 || usize::from(owner) == rank + 1)).collect();
            let exact = !self.extended.iter().enumerate().any(|(other, extended)| *extended && other != rank);
            expected.reads.push(Read { bytes, known, exact });
            self.move_on(kind, rank, if kind.moves_by_request() { range.len() } else { there });
        }
    }

    fn seek(&mut self, seeks: &[(i64, Whence)], expected: &mut Expected) {
        let is_needed = self.extended.contains(&true) && seeks.iter().any(|seek| seek.1 == Whence::End);
        self.settle_for(expected, is_needed);
        for (rank, &(way, whence)) in seeks.iter().enumerate() {
            match self.place(rank, self.pointers[rank], way, whence) {
                Some(to) => self.pointers[rank] = to,
                None => expected.refused[rank] = true,
            }
        }
    }

    fn seek_shared(&mut self, way: i64, whence: Whence, expected: &mut Expected) {
        self.settle_for(expected, self.extended.contains(&true) && whence == Whence::End);
        match self.place(0, self.shared, way, whence) {
            Some(to) => self.shared = to,
            None => expected.refused.fill(true),
        }
    }

    /// Where a pointer goes, unless it is before the view's start.
    fn place(&self, rank: usize, pointer: usize, way: i64, whence: Whence) -> Option<usize> {
        let seen = &self.seen[rank];
        let from = match whence {
            Whence::Set => 0,
            Whence::Current => pointer,
            Whence::End => seen.bytes_before(self.size).next_multiple_of(seen.etype_bytes),
        };
        from.checked_add_signed(way as isize * seen.etype_bytes as isize)
    }
}

impl ViewOf {
    /// All bytes of the file.
    pub fn bytes() -> ViewOf {
        let (etype, filetype) = (super::shape::Shape::BYTE, super::shape::Shape::BYTE);
        ViewOf { displacement: 0, etype, filetype, representation: Representation::Native }
    }
}

impl Seen {
    fn new(view: &ViewOf) -> Seen {
        let etype_bytes = usize::try_from(view.etype.bounds().size).expect("a small type");
        let displacement = usize::try_from(view.displacement).expect("a small file");
        let (representation, filetype) = (view.representation, Made::new(&view.filetype));
        Seen { displacement, etype_bytes, representation, filetype }
    }

    fn tile(&self) -> (usize, usize) {
        let bounds = self.filetype.bounds;
        let extent = usize::try_from(bounds.extent).expect("a filetype goes forward");
        (usize::try_from(bounds.size).expect("a small type"), extent)
    }

    /// The filetypes with bytes `range` of the stream: where the first is in the file, how many there are, how much of the
    /// stream is before them, and where they end.
    fn tiles(&self, range: &Range<usize>) -> (usize, usize, usize, usize) {
        let (size, extent) = self.tile();
        let (first, end) = (range.start / size, range.end.div_ceil(size));
        let reach = self.filetype.bounds.true_lower + self.filetype.bounds.true_extent;
        let reach = usize::try_from(reach).expect("a filetype goes forward");
        let origin = self.displacement + first * extent;
        (origin, end - first, first * size, self.displacement + (end - 1) * extent + reach)
    }

    /// Bytes of the stream, with zeros behind the end of the image.
    fn look(&self, image: &[u8], range: Range<usize>) -> Vec<u8> {
        if range.is_empty() {
            return Vec::new();
        }
        let (origin, count, before, end) = self.tiles(&range);
        let mut window = vec![0; end.max(origin) - origin];
        let there = image.len().clamp(origin, end.max(origin));
        if origin < there {
            window[..there - origin].copy_from_slice(&image[origin..there]);
        }
        let stream = self.filetype.pack(&window, 0, count, Representation::Native);
        stream[range.start - before..range.end - before].to_vec()
    }

    /// Changes bytes of the stream; the image grows.
    fn put(&self, image: &mut Vec<u8>, start: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let (origin, count, before, end) = self.tiles(&(start..start + data.len()));
        image.resize(image.len().max(end), 0);
        let mut stream = self.filetype.pack(image, origin, count, Representation::Native);
        stream[start - before..][..data.len()].copy_from_slice(data);
        self.filetype.unpack(&stream, image, origin, count, Representation::Native);
    }

    /// How much of the stream lies before this place in the file.
    fn bytes_before(&self, place: usize) -> usize {
        let (size, extent) = self.tile();
        if size == 0 || place <= self.displacement {
            return 0;
        }
        let count = (place - self.displacement).div_ceil(extent.max(1));
        self.look(&vec![1; place], 0..count * size).iter().filter(|&&byte| byte == 1).count()
    }
}
