//! Numbers that a client gives its requests: each counts once.
//!
//! Threads of a client take their numbers in one order and may send in another, so a number may come after larger ones. Of those
//! far below the largest nothing is remembered, and they count as seen.

/// How far below the largest a number may be.
const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / u64::BITS as u64) as usize;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    largest: u64,
    /// A bit for each of the last numbers, by its remainder; empty before the first.
    seen: Vec<u64>,
}

impl Numbers {
    /// Whether a number is new; it is not any more.
    pub(super) fn take(&mut self, number: u64) -> bool {
        if number > self.largest {
            self.seen.resize(WORDS, 0);
            match number - self.largest {
                // What lies between was not seen.
                0..WINDOW => (self.largest + 1..number).for_each(|between| self.set(between, false)),
                _ => self.seen.fill(0),
            }
            self.largest = number;
        } else if self.largest - number >= WINDOW || self.is_seen(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    fn is_seen(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, number: u64, is_seen: bool) {
        let (word, bit) = place(number);
        match is_seen {
            true => self.seen[word] |= bit,
            false => self.seen[word] &= !bit,
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / u64::from(u64::BITS)) as usize, 1 << (at % u64::from(u64::BITS)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn each_number_counts_once(steps in prop::collection::vec((0u64..3, 1u64..6000), 1..400)) {
            let (mut numbers, mut taken, mut largest) = (Numbers::default(), BTreeSet::new(), 0u64);
            for (kind, distance) in steps {
                let number = match kind {
                    0 => largest + distance,
                    1 => largest + 1,
                    _ => largest.saturating_sub(distance).max(1),
                };
                let is_near = number + WINDOW > largest;
                prop_assert_eq!(numbers.take(number), is_near && taken.insert(number), "{} of {}", number, largest);
                largest = largest.max(number);
            }
        }
    }
}
