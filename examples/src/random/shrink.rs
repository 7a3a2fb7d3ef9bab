//! Simpler cases, to find the simplest that still fails.

use super::case::{Case, Part, Step, ViewOf};
use super::shape::Shape;

/// Cases that are a little simpler, the boldest first.
pub fn simpler(case: &Case) -> Vec<Case> {
    let mut found: Vec<Case> = Vec::new();
    for at in (0..case.steps.len()).rev() {
        let mut without = case.clone();
        without.steps.remove(at);
        found.push(without);
    }
    if case.atomic {
        found.push(Case { atomic: false, ..case.clone() });
    }
    for at in (0..case.hints.len()).rev() {
        let mut without = case.clone();
        without.hints.remove(at);
        found.push(without);
    }
    for (at, step) in case.steps.iter().enumerate() {
        for step in simpler_steps(step) {
            let mut other = case.clone();
            other.steps[at] = step;
            found.push(other);
        }
    }
    found.retain(is_possible);
    found
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    match step {
        Step::View(views) => {
            let all_plain = views.iter().map(|view| ViewOf { filetype: view.etype.clone(), ..view.clone() }).collect();
            let each = each(views, |view| {
                let displaced = (view.displacement > 0).then(|| ViewOf { displacement: 0, ..view.clone() });
                // An inner type is made of etypes too, as long as it is no smaller than one.
                let is_whole = |of: &&Shape| of.bounds().size.is_multiple_of(view.etype.bounds().size);
                let inner = view.filetype.inner().into_iter().filter(is_whole).cloned();
                let inner =
                    inner.map(|filetype| ViewOf { filetype, ..view.clone() }).filter(|_| view.filetype != view.etype);
                displaced.into_iter().chain(inner).collect()
            });
            [vec![all_plain], each].concat().into_iter().filter(|other| other != views).map(Step::View).collect()
        }
        Step::Access { kind, writes, parts } => {
            let parts = each(parts, simpler_parts);
            parts.into_iter().map(|parts| Step::Access { kind: *kind, writes: *writes, parts }).collect()
        }
        _ => Vec::new(),
    }
}

fn simpler_parts(part: &Part) -> Vec<Part> {
    if part.count == 0 {
        return Vec::new();
    }
    let bytes = part.count * usize::try_from(part.memory.bounds().size).expect("a small type");
    let mut found = vec![Part::empty()];
    if part.memory != Shape::BYTE {
        found.push(Part { memory: Shape::BYTE, count: bytes, ..part.clone() });
    }
    if part.offset > 0 {
        found.push(Part { offset: 0, ..part.clone() });
        found.push(Part { offset: part.offset / 2, ..part.clone() });
    }
    if part.count > 1 {
        found.push(Part { count: part.count / 2, ..part.clone() });
        found.push(Part { count: part.count - 1, ..part.clone() });
    }
    found
}

/// All lists in which one thing is a simpler one.
fn each<T: Clone>(all: &[T], simpler: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let with = |(at, one): (usize, &T)| {
        let others = simpler(one).into_iter();
        others.map(|other| [&all[..at], &[other], &all[at + 1..]].concat()).collect::<Vec<_>>()
    };
    all.iter().enumerate().flat_map(with).collect()
}

/// Whether every access has whole etypes, and what uses the shared file pointer sees the same on all ranks.
fn is_possible(case: &Case) -> bool {
    let mut seen: Option<&Vec<ViewOf>> = None;
    case.steps.iter().all(|step| {
        let is_same = seen.is_none_or(|views| views.iter().all(|view| *view == views[0]));
        if step.is_shared() && !is_same {
            return false;
        }
        match step {
            Step::View(views) => {
                seen = Some(views);
                true
            }
            Step::Access { parts, .. } => parts.iter().enumerate().all(|(rank, part)| {
                let etype = seen.map_or(1, |views| views[rank].etype.bounds().size);
                (part.memory.bounds().size * part.count as u64).is_multiple_of(etype)
            }),
            _ => true,
        }
    })
}
