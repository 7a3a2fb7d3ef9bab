//! Sets of bytes of one block.
//!
//! Invariant: the spans are in order, not empty, and no two of them touch.

use smallvec::SmallVec;

/// A half-open range of bytes of a block.
pub(super) type Span = (u32, u32);

/// See the module. Most blocks have one span: all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(SmallVec<[Span; 1]>);

impl Spans {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Span> {
        self.0.iter().copied()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.iter().map(|(start, end)| u64::from(end - start)).sum()
    }

    pub(super) fn covers(&self, span: Span) -> bool {
        self.iter().any(|(start, end)| start <= span.0 && span.1 <= end)
    }

    /// The parts of the set inside of `span`.
    pub(super) fn within(&self, span: Span) -> Spans {
        let cut = |(start, end): Span| (start.max(span.0), end.min(span.1));
        Spans(self.iter().map(cut).filter(|(start, end)| start < end).collect())
    }

    /// The parts of `span` outside of the set.
    pub(super) fn gaps(&self, span: Span) -> Spans {
        let mut gaps = Spans(SmallVec::from_elem(span, 1));
        self.iter().for_each(|own| gaps.remove(own));
        gaps
    }

    pub(super) fn insert(&mut self, span: Span) {
        if self.covers(span) {
            return;
        }
        let mut joined = span;
        self.0.retain(|own| {
            let touches = own.0 <= joined.1 && joined.0 <= own.1;
            if touches {
                joined = (joined.0.min(own.0), joined.1.max(own.1));
            }
            !touches
        });
        let at = self.0.partition_point(|own| own.0 < joined.0);
        self.0.insert(at, joined);
    }

    pub(super) fn remove(&mut self, span: Span) {
        let mut left: SmallVec<[Span; 1]> = SmallVec::new();
        for (start, end) in self.iter() {
            left.extend([(start, end.min(span.0)), (start.max(span.1), end)].into_iter().filter(|(s, e)| s < e));
        }
        left.dedup();
        self.0 = left;
    }

    pub(super) fn insert_all(&mut self, other: &Spans) {
        other.iter().for_each(|span| self.insert(span));
    }

    pub(super) fn remove_all(&mut self, other: &Spans) {
        other.iter().for_each(|span| self.remove(span));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES: u32 = 40;

    fn span() -> impl Strategy<Value = Span> {
        (0..BYTES - 1, 1..12u32).prop_map(|(start, length)| (start, (start + length).min(BYTES)))
    }

    proptest! {
        #[test]
        fn spans_are_an_array_of_bytes(changes in prop::collection::vec((any::<bool>(), span()), 0..30), probe in span()) {
            let (mut spans, mut model) = (Spans::default(), [false; BYTES as usize]);
            for (add, span) in changes {
                match add {
                    true => spans.insert(span),
                    false => spans.remove(span),
                }
                (span.0..span.1).for_each(|at| model[at as usize] = add);
                let all: Vec<_> = spans.iter().collect();
                prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0), "{all:?}");
                for at in 0..BYTES {
                    prop_assert_eq!(spans.covers((at, at + 1)), model[at as usize], "{:?} at {}", &all, at);
                }
            }
            let count = |wanted: bool| (probe.0..probe.1).filter(|at| model[*at as usize] == wanted).count() as u64;
            prop_assert_eq!(spans.within(probe).bytes(), count(true));
            prop_assert_eq!(spans.gaps(probe).bytes(), count(false));
            prop_assert_eq!(spans.covers(probe), count(false) == 0);
        }
    }
}
