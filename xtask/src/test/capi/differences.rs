//! The list of known differences from the standard: whose each is, and what the standard says.
//!
//! A line is MPI, WHOSE, FUNCTION, WHAT, REASON, separated by tabs; `#` begins a remark. `*` in FUNCTION and WHAT stands for
//! anything. WHOSE is `theirs` or `ours`, or `theirs-ends` with a SECTION in the place of FUNCTION: MPI's own implementation
//! does not get to its end, so it is not asked.

use std::fs;

use anyhow::{Context as _, Result, bail};

use super::SOURCES;
use super::job::Side;
use super::observed::Key;
use crate::mpi::Mpi;
use crate::workspace;

const FILE: &str = "c/differences.tsv";

/// The lines for one MPI.
#[derive(Debug, Default)]
pub struct Differences {
    entries: Vec<Entry>,
    /// Sections that MPI's own implementation is not asked.
    pub ends: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    side: Side,
    function: String,
    what: String,
}

impl Differences {
    /// The list in the source tree.
    pub fn load(mpi: Mpi) -> Result<Self> {
        let file = workspace::root()?.join(SOURCES).join(FILE);
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        Self::parse(&text, mpi.name()).with_context(|| format!("in {}", file.display()))
    }

    fn parse(text: &str, mpi: &str) -> Result<Self> {
        let mut known = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [of, whose, function, what, reason] = fields[..] else { bail!("not five fields: {line:?}") };
            if reason.trim().is_empty() {
                bail!("no reason: {line:?}");
            }
            let side = match whose {
                "theirs" | "theirs-ends" => Side::Theirs,
                "ours" => Side::Ours,
                _ => bail!("neither theirs nor ours: {line:?}"),
            };
            if !matches(of, mpi) {
                continue;
            }
            match whose {
                "theirs-ends" => known.ends.push(function.to_owned()),
                _ => known.entries.push(Entry { side, function: function.to_owned(), what: what.to_owned() }),
            }
        }
        Ok(known)
    }

    /// Whether it is known that this side's answer is another one than the standard's.
    pub fn knows(&self, side: Side, key: &Key) -> bool {
        self.entries.iter().any(|entry| {
            entry.side == side && matches(&entry.function, &key.function) && matches(&entry.what, &key.what)
        })
    }
}

/// Whether a text fits a pattern, in which `*` is anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            ends.into_iter().any(|at| matches(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit() {
        assert!(matches("MPI_File_*_at*", "MPI_File_read_at_all_c") && matches("*", ""));
        assert!(!matches("MPI_File_*_at", "MPI_File_read_at_all") && !matches("a", "ab"));
    }

    #[test]
    fn a_line_is_of_one_mpi_and_has_a_reason() {
        let text = "# remark\nmpich\ttheirs\tMPI_File_*\tx\twhy\n*\tours\tf\ty*\twhy\nopenmpi\ttheirs-ends\tsome section\t-\twhy\n";
        let known = Differences::parse(text, "mpich").unwrap();
        let key = |function: &str, what: &str| Key { function: function.to_owned(), what: what.to_owned(), rank: 0 };
        assert!(known.knows(Side::Theirs, &key("MPI_File_open", "x")) && known.knows(Side::Ours, &key("f", "yes")));
        assert!(!known.knows(Side::Ours, &key("MPI_File_open", "x")) && known.ends.is_empty());
        assert_eq!(Differences::parse(text, "openmpi").unwrap().ends, ["some section"]);
        assert!(Differences::parse("mpich\ttheirs\tf\tx\t \n", "mpich").is_err(), "no reason");
        assert!(Differences::parse("mpich\tx\tf\tx\ty\n", "mpich").is_err());
    }

    #[test]
    fn the_list_is_understood() {
        assert!(Mpi::ALL.iter().all(|mpi| Differences::load(*mpi).is_ok()));
    }
}
