//! What the program `functions` puts down: one file for each rank, a line for each observation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Which observation: of what function, what about it, on which rank.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The function.
    pub function: String,
    /// What was done.
    pub what: String,
    /// The rank that saw it.
    pub rank: u32,
}

/// What was seen, and what MPI says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What was seen.
    pub value: String,
    /// Alternatives that the standard leaves; none if it says nothing.
    pub wanted: Vec<String>,
}

impl Seen {
    /// Whether it is what the standard says, as far as that says anything.
    pub fn conforms(&self) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&self.value)
    }
}

/// All observations of one run on all ranks.
#[derive(Debug, Default)]
pub struct Observations {
    /// By what they are of.
    pub seen: BTreeMap<Key, Seen>,
    /// The section that a rank was in when the run ended early.
    pub ended_in: Option<String>,
}

impl Observations {
    /// Reads the files of all ranks.
    pub fn read(prefix: &Path, ranks: u32) -> Result<Self> {
        let mut all = Self::default();
        for rank in 0..ranks {
            let file = format!("{}.{rank}", prefix.display());
            let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
            all.add(&text, rank).with_context(|| format!("in {file}"))?;
        }
        Ok(all)
    }

    fn add(&mut self, text: &str, rank: u32) -> Result<()> {
        let mut section = None;
        for line in text.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["begin", name] => section = Some(name.to_owned()),
                ["end"] => section = None,
                [function, what, value, wanted] => {
                    let key = Key { function: function.to_owned(), what: what.to_owned(), rank };
                    let wanted = wanted.split('|').filter(|wanted| *wanted != "-").map(str::to_owned).collect();
                    self.seen.insert(key, Seen { value: value.to_owned(), wanted });
                }
                _ => bail!("a line that is no observation: {line:?}"),
            }
        }
        self.ended_in = self.ended_in.take().or(section);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let mut all = Observations::default();
        all.add("begin\ta\nMPI_File_read\tx\tSUCCESS 1\tSUCCESS 1|OTHER\nMPI_File_read\ty\t5\t-\nbegin\tb\n", 1)
            .unwrap();
        let seen: Vec<_> = all.seen.values().map(|seen| (seen.value.as_str(), seen.conforms())).collect();
        assert_eq!(seen, [("SUCCESS 1", true), ("5", true)]);
        assert_eq!(all.ended_in.as_deref(), Some("b"));
        all.ended_in = None;
        all.add("begin\ta\nend\n", 0).unwrap();
        assert_eq!(all.ended_in, None);
        assert!(all.add("what\n", 0).is_err());
    }
}
