//! Two sets of observations compared call by call, and the table of functions.

use std::collections::{BTreeMap, BTreeSet};

use super::differences::Differences;
use super::job::Side;
use super::observed::{Key, Observations, Seen};

/// What is to be said about a function.
#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    theirs: Tally,
    ours: Tally,
}

/// How many observations there are, how many are what the standard says, and what others are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    seen: u32,
    right: u32,
    others: BTreeSet<String>,
}

/// The comparison of two runs.
#[derive(Debug, Default)]
pub struct Comparison {
    rows: BTreeMap<String, Row>,
    /// Differences that nobody has noted.
    pub unexpected: Vec<String>,
}

impl Comparison {
    /// Compares; `functions` are those that must have been called.
    pub fn of(theirs: &Observations, ours: &Observations, known: &Differences, functions: &[String]) -> Self {
        let mut comparison = Self::default();
        for (side, observations) in [(Side::Theirs, theirs), (Side::Ours, ours)] {
            for (key, seen) in &observations.seen {
                comparison.count(side, key, seen, known);
            }
        }
        for (key, seen) in theirs.seen.iter().filter(|(_, seen)| seen.wanted.is_empty()) {
            let other = ours.seen.get(key).map_or("nothing", |other| other.value.as_str());
            let is_known = known.knows(Side::Theirs, key) || known.knows(Side::Ours, key);
            if other != seen.value && !is_known {
                comparison.unexpected.push(said(key, &format!("theirs {:?}, ours {other:?}", seen.value)));
            }
        }
        let missing = theirs.seen.keys().filter(|key| !ours.seen.contains_key(key));
        comparison.unexpected.extend(missing.map(|key| said(key, "ours was not seen")));
        let called = |function: &&String| ours.seen.keys().any(|key| key.function == **function);
        let never = functions.iter().filter(|function| !called(function));
        comparison.unexpected.extend(never.map(|function| format!("{function} was never called")));
        comparison
    }

    fn count(&mut self, side: Side, key: &Key, seen: &Seen, known: &Differences) {
        let row = self.rows.entry(key.function.clone()).or_default();
        let tally = if side == Side::Theirs { &mut row.theirs } else { &mut row.ours };
        tally.seen += 1;
        if seen.conforms() {
            tally.right += 1;
            return;
        }
        tally.others.insert(format!("{}: {}", key.what, seen.value));
        if !known.knows(side, key) {
            let wanted = seen.wanted.join(" or ");
            self.unexpected.push(said(key, &format!("{} {:?}, not {wanted:?}", side.name(), seen.value)));
        }
    }

    /// Function, result of MPI's own implementation, result of ours; what differs from the standard below it.
    pub fn table(&self) -> String {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0);
        let mut text = format!("{:width$}  {:>11}  {:>11}\n", "function", "theirs", "ours");
        for (function, row) in &self.rows {
            text += &format!("{function:width$}  {:>11}  {:>11}\n", row.theirs.shown(), row.ours.shown());
            for (side, tally) in [(Side::Theirs, &row.theirs), (Side::Ours, &row.ours)] {
                text.extend(tally.others.iter().map(|other| format!("    {}: {other}\n", side.name())));
            }
        }
        text
    }

    /// Functions, observations and those that are not the standard's, of both sides.
    pub fn summary(&self) -> String {
        let sum = |tally: fn(&Row) -> &Tally| {
            self.rows.values().map(tally).fold((0, 0), |(seen, right), tally| (seen + tally.seen, right + tally.right))
        };
        let ((their_seen, their_right), (our_seen, our_right)) = (sum(|row| &row.theirs), sum(|row| &row.ours));
        format!(
            "{} functions; as the standard says: theirs {their_right} of {their_seen}, ours {our_right} of {our_seen}",
            self.rows.len()
        )
    }
}

impl Tally {
    fn shown(&self) -> String {
        if self.seen == 0 { "does not end".to_owned() } else { format!("{} of {}", self.right, self.seen) }
    }
}

fn said(key: &Key, what: &str) -> String {
    format!("{}, {}, rank {}: {what}", key.function, key.what, key.rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observations(lines: &[(&str, &str, &str)]) -> Observations {
        let seen = lines.iter().map(|(what, value, wanted)| {
            let key = Key { function: "MPI_File_read".to_owned(), what: (*what).to_owned(), rank: 0 };
            let wanted = wanted.split('|').filter(|wanted| *wanted != "-").map(str::to_owned).collect();
            (key, Seen { value: (*value).to_owned(), wanted })
        });
        Observations { seen: seen.collect(), ended_in: None }
    }

    #[test]
    fn only_what_nobody_has_noted_is_unexpected() {
        let theirs = observations(&[("a", "1", "1"), ("b", "2", "3"), ("c", "x", "-")]);
        let ours = observations(&[("a", "4", "1"), ("b", "3", "3"), ("c", "y", "-")]);
        let functions = ["MPI_File_read".to_owned(), "MPI_File_seek".to_owned()];
        let found = Comparison::of(&theirs, &ours, &Differences::default(), &functions).unexpected;
        let expected =
            ["b, rank 0: theirs \"2\"", "a, rank 0: ours \"4\"", "c, rank 0: theirs \"x\"", "MPI_File_seek was never"];
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{found:?}");
        let missing = Comparison::of(&theirs, &observations(&[("a", "1", "1")]), &Differences::default(), &[]);
        assert!(missing.unexpected.iter().any(|line| line.contains("ours was not seen")));
    }
}
