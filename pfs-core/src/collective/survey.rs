//! What can be said of all accesses together without writing them out.

use super::Access;
use crate::extent::{Extent, joined};

/// Up to this many pieces the accesses are written out, and all is known exactly.
const EXACT_RUNS_MAX: u64 = 65_536;

/// All accesses together.
#[derive(Debug)]
pub(super) struct Survey {
    /// How many ranks have any bytes.
    pub(super) ranks_with_bytes: usize,
    /// Bytes of all ranks.
    pub(super) bytes: u64,
    /// Pieces of all ranks, at most.
    pub(super) runs: u64,
    /// From the first byte to the last.
    pub(super) hull: Option<Extent>,
    /// The bytes of the file, if the pieces are few.
    pub(super) union: Option<Vec<Extent>>,
    /// No byte of the file is in two accesses; false if it is not known.
    pub(super) is_disjoint: bool,
}

impl Survey {
    pub(super) fn of(accesses: &[Access]) -> Survey {
        let bytes = accesses.iter().fold(0u64, |sum, access| sum.saturating_add(access.bytes()));
        let runs = accesses.iter().fold(0u64, |sum, access| sum.saturating_add(access.runs()));
        let union = (runs <= EXACT_RUNS_MAX)
            .then(|| joined(accesses.iter().flat_map(Access::pieces).map(|piece| piece.extent).collect()));
        let is_disjoint = match &union {
            Some(union) => union.iter().map(|run| run.len()).sum::<u64>() == bytes,
            None => hulls_are_disjoint(accesses) || periods_interleave(accesses),
        };
        Survey {
            ranks_with_bytes: accesses.iter().filter(|access| access.bytes() > 0).count(),
            bytes,
            runs,
            hull: accesses.iter().filter_map(Access::hull).reduce(Extent::hull),
            union,
            is_disjoint,
        }
    }

    /// Whether the pieces of all ranks together are at most half as many as each rank's for itself; if they are not
    /// known, whether they fill half of the file between the first and the last.
    pub(super) fn joins(&self) -> bool {
        match (&self.union, self.hull) {
            (Some(union), _) => 2 * union.len() as u64 <= self.runs,
            (None, Some(hull)) => self.bytes >= hull.len() / 2,
            (None, None) => false,
        }
    }

    /// Bytes of the file; if they are not known, as many as there can be.
    pub(super) fn distinct_bytes(&self) -> u64 {
        match (&self.union, self.hull) {
            (Some(union), _) => union.iter().map(|run| run.len()).sum(),
            (None, Some(hull)) => hull.len().min(self.bytes),
            (None, None) => 0,
        }
    }
}

/// Each rank's bytes end before those of another begin.
fn hulls_are_disjoint(accesses: &[Access]) -> bool {
    let mut hulls: Vec<Extent> = accesses.iter().filter_map(Access::hull).collect();
    hulls.sort();
    accesses.iter().all(Access::is_disjoint) && hulls.windows(2).all(|pair| pair[0].end() <= pair[1].start())
}

/// All accesses repeat themselves at the same distance, and each takes another part of it.
fn periods_interleave(accesses: &[Access]) -> bool {
    let with_bytes = || accesses.iter().filter(|access| access.bytes() > 0);
    let Some(periods) = with_bytes().map(Access::period).collect::<Option<Vec<_>>>() else { return false };
    let Some(&(period, ..)) = periods.first() else { return true };
    if !with_bytes().all(Access::is_disjoint) || period == 0 || periods.iter().any(|&(other, ..)| other != period) {
        return false;
    }
    let mut parts: Vec<(u64, u64)> = periods.iter().map(|&(_, first, span)| (first.0 % period, span)).collect();
    parts.sort_unstable();
    let next = parts.iter().skip(1).map(|part| part.0).chain([parts[0].0 + period]);
    parts.iter().zip(next).all(|(&(start, span), next)| start + span <= next)
}
