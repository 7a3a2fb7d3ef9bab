//! What a request may ask for: its patterns become lists of ranges, of bounded length.

use super::FileTokens;
use super::queue::Part;
use crate::extent::{Extent, ExtentSet};
use crate::ids::Holder;
use crate::pattern::RangePattern;
use crate::token::RANGES_PER_HOLDER_MAX;
use crate::token::holder::Ranges;
use crate::token::message::{AcquireSet, Mode, Refusal};
use smallvec::{SmallVec, smallvec};
use std::collections::BTreeSet;

impl FileTokens {
    /// The ranges of one holder's request, joined; the hull of too many if that hurts nobody.
    pub(super) fn required_ranges(
        &self,
        holder: Holder,
        mode: Mode,
        patterns: &[RangePattern],
    ) -> Result<Ranges, Refusal> {
        let hull = hull(patterns).ok_or(Refusal::Empty)?;
        let ranges = count(patterns);
        if ranges <= RANGES_PER_HOLDER_MAX {
            return Ok(expand(patterns));
        }
        match self.hurts(hull, holder, mode) {
            false => Ok(smallvec![hull]),
            true => Err(Refusal::TooManyRanges { ranges, limit: RANGES_PER_HOLDER_MAX, hull }),
        }
    }

    /// The parts of a set, which do not conflict with each other. All lists together are as short as those of one holder.
    pub(super) fn set_parts(&self, set: &AcquireSet) -> Result<SmallVec<[Part; 1]>, Refusal> {
        let hulls: Option<Vec<Extent>> = set.parts.iter().map(|part| hull(&part.required)).collect();
        let hulls = hulls.filter(|hulls| !hulls.is_empty()).ok_or(Refusal::Empty)?;
        let ranges = set.parts.iter().fold(0u64, |sum, part| sum.saturating_add(count(&part.required)));
        let few = ranges <= RANGES_PER_HOLDER_MAX;
        let part = |(part, hull): (&crate::token::message::SetPart, &Extent)| Part {
            holder: Some(part.holder),
            required: if few { expand(&part.required) } else { smallvec![*hull] },
        };
        let parts: SmallVec<[Part; 1]> = set.parts.iter().zip(&hulls).map(part).collect();
        let conflict = conflict_inside(set.mode, &parts);
        let hurts = || set.parts.iter().zip(&hulls).any(|(part, hull)| self.hurts(*hull, part.holder, set.mode));
        match conflict {
            Some((one, other)) if few || one == other => Err(Refusal::SetConflict(one, other)),
            None if few || !hurts() => Ok(parts),
            _ => {
                let hull = hulls.into_iter().reduce(Extent::hull).expect("a set has parts");
                Err(Refusal::TooManyRanges { ranges, limit: RANGES_PER_HOLDER_MAX, hull })
            }
        }
    }

    /// Whether somebody else has or wants some of these bytes.
    fn hurts(&self, range: Extent, holder: Holder, mode: Mode) -> bool {
        !self.table.is_free(range, Some(holder), mode)
            || self.queue.others_touch(range, holder)
            || self.taken.values().any(|taken| taken.overlaps(range))
    }
}

fn count(patterns: &[RangePattern]) -> u64 {
    patterns.iter().fold(0u64, |sum, pattern| sum.saturating_add(pattern.count()))
}

fn hull(patterns: &[RangePattern]) -> Option<Extent> {
    patterns.iter().map(|pattern| pattern.hull()).reduce(Extent::hull)
}

fn expand(patterns: &[RangePattern]) -> Ranges {
    match patterns {
        [single] if single.count() == 1 => smallvec![single.hull()],
        _ => {
            let set: ExtentSet = patterns.iter().flat_map(|pattern| pattern.extents()).collect();
            set.extents().collect()
        }
    }
}

/// Two holders that want the same byte, or one that is named twice.
fn conflict_inside(mode: Mode, parts: &[Part]) -> Option<(Holder, Holder)> {
    let mut named = BTreeSet::new();
    let mut all = Vec::new();
    for part in parts {
        let holder = part.holder?;
        if !named.insert(holder) {
            return Some((holder, holder));
        }
        if mode == Mode::Exclusive {
            all.extend(part.required.iter().map(|range| (*range, holder)));
        }
    }
    all.sort_unstable();
    let clash = all.windows(2).find(|pair| pair[0].0.overlaps(pair[1].0));
    clash.map(|pair| (pair[0].1, pair[1].1))
}
