//! Random cases.

use super::case::{Case, Part, Step, ViewOf};
use super::kind::{Kind, Start};
use super::memory::Representation;
use super::numbers::Numbers;
use super::shape::{Basic, Bounds, Deal, Dealt, Shape};
use super::shapes::{buffer, orderly};
use pfs_mpiio::Whence;

/// Every hint that changes how bytes go, with values to try.
const HINTS: &[(&str, &[&str])] = &[
    ("striping_factor", &["1", "2", "3", "4"]),
    ("cb_nodes", &["1", "2", "3"]),
    ("cb_buffer_size", &["4096", "8192", "65536"]),
    ("romio_cb_write", &["enable", "enable", "disable", "automatic"]),
    ("romio_cb_read", &["enable", "enable", "disable", "automatic"]),
    ("cb_config_list", &["*:1", "*:2"]),
    ("pfs_node_memory", &["enable", "disable"]),
    ("collective_buffering", &["true", "false"]),
    ("romio_no_indep_rw", &["true", "false"]),
    ("romio_ds_read", &["enable", "disable", "automatic"]),
    ("romio_ds_write", &["enable", "disable", "automatic"]),
    ("ind_rd_buffer_size", &["4096", "10000"]),
    ("ind_wr_buffer_size", &["4096", "10000"]),
    ("pfs_list_io", &["enable", "disable"]),
    ("pfs_io_depth", &["1", "4", "16"]),
];
const STRIPE_UNITS: [u64; 3] = [4096, 8192, 65536];
/// Places in the file that an access may be spread over.
const REACH_MAX: u64 = 40_000;
const REPRESENTATIONS: &[Representation] = &[Representation::Native];

/// What the generator knows of a rank's view.
#[derive(Clone, Copy)]
struct Sight {
    etype: u64,
    filetype: Bounds,
}

struct Generator {
    numbers: Numbers,
    ranks: usize,
    sights: Vec<Sight>,
    /// Whether all ranks see the same.
    is_same: bool,
    representation: Representation,
}

/// The case with this number on so many ranks.
pub fn case(seed: u64, number: u64, ranks: usize) -> Case {
    let plain = ViewOf::bytes();
    let sights = vec![Sight::of(&plain); ranks];
    let mut generator = Generator {
        numbers: Numbers::new(&[seed, number, ranks as u64]),
        ranks,
        sights,
        is_same: true,
        representation: Representation::Native,
    };
    generator.case()
}

impl Sight {
    fn of(view: &ViewOf) -> Sight {
        Sight { etype: view.etype.bounds().size, filetype: view.filetype.bounds() }
    }

    /// Bytes of the view in so many bytes of the file.
    fn bytes_in(&self, reach: u64) -> u64 {
        let extent = u64::try_from(self.filetype.extent).expect("a filetype goes forward");
        reach / extent.max(1) * self.filetype.size
    }
}

impl Generator {
    fn case(&mut self) -> Case {
        let mut hints = vec![("striping_unit", self.numbers.pick(&STRIPE_UNITS).to_string())];
        for (key, values) in HINTS {
            if self.numbers.once_in(3) {
                hints.push((key, (*self.numbers.pick(values)).to_owned()));
            }
        }
        let atomic = self.numbers.once_in(5);
        let mut steps = Vec::new();
        if !self.numbers.once_in(6) {
            steps.push(self.view());
        }
        steps.push(self.access(true));
        for _ in 0..1 + self.numbers.below(6) {
            steps.push(self.step());
        }
        Case { hints, atomic, steps }
    }

    fn step(&mut self) -> Step {
        match self.numbers.below(40) {
            0..=14 => self.access(true),
            15..=27 => self.access(false),
            28..=31 => self.view(),
            32..=33 => Step::Sync,
            34 => Step::SetSize(self.numbers.below(20_000)),
            35 => Step::Preallocate(self.numbers.below(20_000)),
            36 => Step::Atomic(self.numbers.once_in(2)),
            37 if self.is_same => {
                let (way, whence) = self.seek();
                Step::SeekShared(way, whence)
            }
            _ => Step::Seek((0..self.ranks).map(|_| self.seek()).collect()),
        }
    }

    fn seek(&mut self) -> (i64, Whence) {
        let whence = *self.numbers.pick(&[Whence::Set, Whence::Current, Whence::End]);
        let low = if whence == Whence::Set { 0 } else { -20 };
        (i64::from(self.numbers.between(low, 40)), whence)
    }

    fn view(&mut self) -> Step {
        let etype = self.etype();
        let unit = etype.bounds().extent;
        let depth = u32::try_from(1 + self.numbers.below(3)).expect("a small depth");
        let base = self.numbers.below(3000);
        let representation = *self.numbers.pick(REPRESENTATIONS);
        let view = |displacement, filetype| ViewOf { displacement, etype: etype.clone(), filetype, representation };
        let mut views: Vec<ViewOf> = match self.numbers.below(6) {
            // All see the same.
            0 => vec![view(base, orderly(&mut self.numbers, &etype, depth)); self.ranks],
            1 => vec![view(if self.numbers.once_in(2) { 0 } else { base }, etype.clone()); self.ranks],
            // Each has every so manieth piece.
            2 => {
                let piece = orderly(&mut self.numbers, &etype, depth);
                let bounds = piece.bounds();
                let reach = bounds.lower + bounds.extent + unit * i64::from(self.numbers.between(0, 2));
                let extent = reach * i64::try_from(self.ranks).expect("few ranks");
                let filetype = Shape::Resized { lower: 0, extent, of: Box::new(piece) };
                let place = |rank: usize| base + rank as u64 * u64::try_from(reach).expect("it goes forward");
                (0..self.ranks).map(|rank| view(place(rank), filetype.clone())).collect()
            }
            // An array is dealt to all.
            3 => self.dealt(&etype).into_iter().map(|filetype| view(base, filetype)).collect(),
            // Whatever each likes.
            _ => {
                let mut own = || (self.numbers.below(3000), orderly(&mut self.numbers, &etype, depth));
                (0..self.ranks).map(|_| own()).map(|(displacement, filetype)| view(displacement, filetype)).collect()
            }
        };
        if views.iter().any(|view| view.etype.has_struct() || view.filetype.has_struct()) {
            views.iter_mut().for_each(|view| view.representation = Representation::Native);
        }
        self.representation = views[0].representation;
        self.sights = views.iter().map(Sight::of).collect();
        self.is_same = views.iter().all(|view| *view == views[0]);
        Step::View(views)
    }

    fn etype(&mut self) -> Shape {
        let basic = Shape::Basic(*self.numbers.pick(&Basic::ALL));
        match self.numbers.below(5) {
            0 => Shape::Contiguous { count: self.numbers.between(1, 3), of: Box::new(basic) },
            1 => Shape::Struct { parts: vec![(1, 0, Shape::Basic(Basic::Int)), (2, 8, basic)] },
            _ => basic,
        }
    }

    fn dealt(&mut self, etype: &Shape) -> Vec<Shape> {
        let ranks = i32::try_from(self.ranks).expect("few ranks");
        let deal = *self.numbers.pick(&[Deal::Block, Deal::Cyclic(0), Deal::Cyclic(2)]);
        let first = Dealt { size: ranks * self.numbers.between(1, 6), deal, grid: ranks };
        let second = Dealt { size: self.numbers.between(1, 30), deal: Deal::None, grid: 1 };
        let dimensions = if self.numbers.once_in(2) { vec![first, second] } else { vec![second, first] };
        let fortran = self.numbers.once_in(2);
        let of = Box::new(etype.clone());
        let shape = |rank| Shape::Darray { ranks, rank, dimensions: dimensions.clone(), fortran, of: of.clone() };
        (0..ranks).map(shape).collect()
    }

    fn access(&mut self, writes: bool) -> Step {
        let kind = loop {
            let kind = *self.numbers.pick(Kind::ALL);
            // MPI wants the same view of all ranks that use the shared file pointer.
            if self.is_same || kind.start() != Start::Shared {
                break kind;
            }
        };
        let large = self.numbers.once_in(16);
        let bytes_max = if large { 30_000 } else { *self.numbers.pick(&[100, 500, 2500]) };
        let layout = self.numbers.below(3);
        let same = self.numbers.below(REACH_MAX / 4);
        let mut parts = Vec::new();
        for rank in 0..self.ranks {
            let sight = self.sights[rank];
            let most = sight.bytes_in(REACH_MAX).min(bytes_max);
            let bytes = self.numbers.below(most + 1) / sight.etype * sight.etype;
            // At one place, one behind the other, or anywhere.
            let start = match layout {
                0 => sight.bytes_in(same),
                1 => sight.bytes_in(same / 4) + rank as u64 * most,
                _ => self.numbers.below(sight.bytes_in(REACH_MAX / 4) + 1),
            };
            let part = if bytes == 0 || self.numbers.once_in(12) {
                Part::empty()
            } else {
                let (mut memory, mut count) = buffer(&mut self.numbers, bytes, sight.etype, !writes);
                // What ends inside of an element is not converted; where that is must be easy to tell.
                if self.representation == Representation::External32 && memory.element_bytes().is_none() {
                    (memory, count) = (Shape::BYTE, usize::try_from(bytes).expect("few bytes"));
                }
                Part { offset: start / sight.etype, memory, count }
            };
            parts.push(part);
        }
        Step::Access { kind, writes, parts }
    }
}
