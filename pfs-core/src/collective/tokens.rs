//! The token ranges of a plan: exact while they are few or regular, else joined over the smallest gaps.

use crate::extent::Extent;
use crate::pattern::RangePattern;

/// Most patterns in one request.
pub const TOKEN_PATTERNS_MAX: usize = 64;
/// Most ranges that the patterns of one request may stand for.
const TOKEN_RANGES_MAX: u64 = 4096;

/// Patterns with every byte of `runs` in them, which are in order and do not touch.
pub(super) fn patterns(runs: &[Extent]) -> Vec<RangePattern> {
    let exact = regular(runs);
    let ranges: u64 = exact.iter().map(|pattern| pattern.count()).sum();
    if exact.len() <= TOKEN_PATTERNS_MAX && ranges <= TOKEN_RANGES_MAX {
        return exact;
    }
    joined(runs).into_iter().map(RangePattern::from).collect()
}

/// Runs of equal length at equal distances as one pattern each.
pub(super) fn regular(runs: &[Extent]) -> Vec<RangePattern> {
    let mut patterns = Vec::new();
    let mut rest = runs;
    while let Some(&first) = rest.first() {
        let taken = regular_prefix(rest);
        let stride = if taken > 1 { rest[1].start() - first.start() } else { first.len() };
        let pattern = RangePattern::new(first.start(), first.len(), stride, taken as u64);
        patterns.push(pattern.expect("disjoint extents in order make a pattern"));
        rest = &rest[taken..];
    }
    patterns
}

/// How many runs from the first on form one pattern. Two runs alone are no pattern.
fn regular_prefix(runs: &[Extent]) -> usize {
    let follows =
        |pair: &[Extent], stride: u64| pair[1].len() == pair[0].len() && pair[1].start() - pair[0].start() == stride;
    let Some(second) = runs.get(1) else { return 1 };
    let stride = second.start() - runs[0].start();
    match 1 + runs.windows(2).take_while(|pair| follows(pair, stride)).count() {
        0..=2 => 1,
        taken => taken,
    }
}

/// The runs joined over their smallest gaps until there are few.
fn joined(runs: &[Extent]) -> Vec<Extent> {
    let mut gaps: Vec<(u64, usize)> =
        runs.windows(2).enumerate().map(|(i, pair)| (pair[1].start() - pair[0].end(), i)).collect();
    // The largest gaps stay; of equal ones the first, so that all ranks agree.
    gaps.sort_by_key(|&(bytes, i)| (std::cmp::Reverse(bytes), i));
    gaps.truncate(TOKEN_PATTERNS_MAX - 1);
    let mut cuts: Vec<usize> = gaps.into_iter().map(|(_, i)| i).collect();
    cuts.sort_unstable();
    let mut hulls = Vec::with_capacity(cuts.len() + 1);
    let mut from = 0;
    for cut in cuts.into_iter().chain([runs.len() - 1]) {
        hulls.push(runs[from].hull(runs[cut]));
        from = cut + 1;
    }
    hulls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<Extent> {
        runs.into_iter().map(|(start, end)| Extent::new(start, end).unwrap()).collect()
    }

    #[test]
    fn a_regular_comb_is_one_pattern() {
        let comb = set((0..1000).map(|i| (i * 100, i * 100 + 10)));
        assert_eq!(format!("{:?}", patterns(&comb)), "[1000 × 10 B from 0 every 100]");
    }

    #[test]
    fn a_few_runs_are_named_one_by_one() {
        let few = set([(0, 5), (9, 20), (400, 500)]);
        assert_eq!(format!("{:?}", patterns(&few)), "[[0, 5), [9, 20), [400, 500)]");
    }

    #[test]
    fn many_irregular_runs_are_joined_over_their_smallest_gaps() {
        // Starts grow quadratically, so every gap is larger than the one before.
        let many = set((1..200).map(|i| (i * i, i * i + 1)));
        let patterns = patterns(&many);
        assert_eq!(patterns.len(), TOKEN_PATTERNS_MAX);
        assert_eq!(format!("{:?}", patterns[0]), "[1, 18497)");
        assert_eq!(format!("{:?}", patterns[63]), "[39601, 39602)");
    }
}
