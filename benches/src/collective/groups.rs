//! What is measured together, and which ratios are made of it.

use super::access::{Contender, Layout};

/// Accesses that take turns.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Bytes of each rank in one access, about.
    pub bytes: u64,
    /// Who takes part.
    pub contenders: &'static [Contender],
    /// Which ratios are wanted.
    pub comparisons: &'static [Comparison],
}

/// A ratio of one contender to the fastest of others.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// What it shows.
    pub name: &'static str,
    /// The contender.
    pub of: &'static str,
    /// Those that it is compared with.
    pub to: &'static [&'static str],
    /// The least that is wanted.
    pub target: f64,
}

const MIB: u64 = 1 << 20;
const EXCHANGE: &[(&str, &str)] = &[("romio_cb_write", "enable"), ("romio_cb_read", "enable")];
const LIST: &[(&str, &str)] = &[("romio_cb_write", "disable"), ("romio_cb_read", "disable")];
const ONE_BY_ONE: &[(&str, &str)] =
    &[("romio_cb_write", "disable"), ("romio_cb_read", "disable"), ("pfs_list_io", "disable")];
const SIXTEEN: &[(&str, &str)] =
    &[("romio_cb_write", "disable"), ("romio_cb_read", "disable"), ("pfs_list_io", "disable"), ("pfs_io_depth", "16")];

const fn contender(name: &'static str, layout: Layout, hints: &'static [(&'static str, &'static str)]) -> Contender {
    Contender { name, layout, hints, is_atomic: false }
}

const fn ratio(name: &'static str, of: &'static str, to: &'static [&'static str], target: f64) -> Comparison {
    Comparison { name, of, to, target }
}

/// Pieces in turn, planned in every way.
macro_rules! pieces {
    ($bytes:expr) => {
        [
            contender("auto", Layout::Pieces($bytes), &[]),
            contender("exchange", Layout::Pieces($bytes), EXCHANGE),
            contender("list", Layout::Pieces($bytes), LIST),
            contender("one by one", Layout::Pieces($bytes), ONE_BY_ONE),
            contender("16 deep", Layout::Pieces($bytes), SIXTEEN),
        ]
    };
}

const ROWS: &[Comparison] = &[
    ratio("rows to one by one", "auto", &["one by one"], 5.0),
    ratio("rows to 16 deep", "auto", &["16 deep"], 2.0),
    ratio("rows to the best", "auto", &["exchange", "list"], 0.95),
];

/// All groups.
pub const ALL: &[Group] = &[
    Group {
        name: "segments",
        bytes: 64 * MIB,
        contenders: &[
            contender("shared", Layout::Segments, &[]),
            contender("per process", Layout::FilePerProcess, &[]),
            Contender { is_atomic: true, ..contender("atomic", Layout::Segments, &[]) },
        ],
        comparisons: &[
            ratio("shared to file per process", "shared", &["per process"], 0.9),
            ratio("atomic to non-atomic", "atomic", &["shared"], 0.95),
        ],
    },
    Group {
        name: "strided",
        bytes: 64 * MIB,
        contenders: &[
            contender("auto", Layout::Pieces(47_008), &[]),
            contender("exchange", Layout::Pieces(47_008), EXCHANGE),
            contender("list", Layout::Pieces(47_008), LIST),
            contender("contiguous", Layout::Segments, &[]),
        ],
        comparisons: &[
            ratio("47008 to contiguous", "auto", &["contiguous"], 0.8),
            ratio("47008 to the best", "auto", &["exchange", "list"], 0.95),
        ],
    },
    Group {
        name: "box",
        bytes: 64 * MIB,
        contenders: &[
            contender("auto", Layout::Box, &[]),
            contender("exchange", Layout::Box, EXCHANGE),
            contender("list", Layout::Box, LIST),
            contender("contiguous", Layout::Segments, &[]),
        ],
        comparisons: &[
            ratio("box to contiguous", "auto", &["contiguous"], 0.8),
            ratio("box to the best", "auto", &["exchange", "list"], 0.95),
        ],
    },
    Group { name: "rows-512", bytes: MIB, contenders: &pieces!(512), comparisons: ROWS },
    Group { name: "rows-1024", bytes: 2 * MIB, contenders: &pieces!(1024), comparisons: ROWS },
    Group { name: "rows-4096", bytes: 4 * MIB, contenders: &pieces!(4096), comparisons: ROWS },
    // Where the plan changes its mind: calibrates the decision, and has no other target than to decide right.
    Group {
        name: "pieces-2048",
        bytes: 8 * MIB,
        contenders: pieces!(2048).first_chunk::<3>().unwrap(),
        comparisons: &[ratio("2048 to the best", "auto", &["exchange", "list"], 0.95)],
    },
    Group {
        name: "pieces-8192",
        bytes: 16 * MIB,
        contenders: pieces!(8192).first_chunk::<3>().unwrap(),
        comparisons: &[ratio("8192 to the best", "auto", &["exchange", "list"], 0.95)],
    },
    Group {
        name: "pieces-20000",
        bytes: 32 * MIB,
        contenders: pieces!(20_000).first_chunk::<3>().unwrap(),
        comparisons: &[ratio("20000 to the best", "auto", &["exchange", "list"], 0.95)],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ratio_is_of_contenders_of_its_group() {
        for group in ALL {
            let known = |name: &&str| group.contenders.iter().any(|contender| contender.name == *name);
            for comparison in group.comparisons {
                assert!(known(&comparison.of) && comparison.to.iter().all(known), "{}", comparison.name);
            }
        }
    }

    /// What collective accesses are wanted to be, wherever it is measured.
    #[test]
    fn every_wish_has_its_figure() {
        let wishes = [
            ("segments", "shared", &["per process"][..], 0.9),
            ("segments", "atomic", &["shared"], 0.95),
            ("strided", "auto", &["contiguous"], 0.8),
            ("strided", "auto", &["exchange", "list"], 0.95),
            ("box", "auto", &["contiguous"], 0.8),
            ("box", "auto", &["exchange", "list"], 0.95),
        ];
        let rows = ["rows-512", "rows-1024", "rows-4096"].into_iter().flat_map(|group| {
            let wishes = [(&["one by one"][..], 5.0), (&["16 deep"], 2.0), (&["exchange", "list"], 0.95)];
            wishes.map(|(to, target)| (group, "auto", to, target))
        });
        for (group, of, to, target) in wishes.into_iter().chain(rows) {
            let group = ALL.iter().find(|known| known.name == group).unwrap();
            let is_it = |known: &&Comparison| (known.of, known.to, known.target) == (of, to, target);
            assert!(group.comparisons.iter().any(|known| is_it(&known)), "{} {of} {to:?}", group.name);
        }
    }

    #[test]
    fn every_group_and_ratio_has_a_name_of_its_own() {
        let names = ALL.iter().flat_map(|group| group.comparisons.iter().map(move |one| (group.name, one.name)));
        let names: Vec<_> = names.collect();
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
    }
}
