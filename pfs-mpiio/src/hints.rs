//! Where hints come from: the environment, the program, and the site's file, in this order; and which are in effect.
//!
//! Invariants: all ranks have the same hints; they change between two collective accesses, for all ranks between the same.

use crate::error::Error;
use crate::file::{File, OpenFile};
use crate::group::{Call, ROOT};
use crate::info::Info;
use crate::times::{Counter, Phase};
use pfs_core::hints::{Hints, OpenFacts, Switch, line, romio_file};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Hints that count more than the program's: `key=value;key=value`.
const VARIABLE: &str = "PFS_HINTS";
/// Names a file of hints that count less.
const FILE_VARIABLE: &str = "ROMIO_HINTS";
/// The file without that.
const FILE: &str = "/etc/romio-hints";

/// The hints of an open file.
pub(crate) struct Current(Mutex<Arc<Hints>>);

impl Current {
    pub(crate) fn new(hints: Hints) -> Current {
        Current(Mutex::new(Arc::new(hints)))
    }

    fn get(&self) -> Arc<Hints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, hints: Hints) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(hints);
    }
}

impl File {
    /// Every hint in effect.
    pub fn get_info(&self) -> Info {
        let OpenFile { file, nodes, path, .. } = &**self.open;
        let facts = OpenFacts { path: path.as_str(), recipe: file.recipe(), nodes };
        self.open.hints().in_effect(facts).into_iter().collect()
    }

    /// Changes hints. Collective; those of rank 0 count. Hints that act on the creation of a file are passed over, and those
    /// that `info` does not name stay; so do those that the environment sets.
    pub fn set_info(&self, info: &Info) -> Result<(), Error> {
        self.open.times.add(Counter::Hints, u64::from(info.iter().next().is_some()));
        self.run_in_turn(self.open.times.during(Phase::Meta, self.open.set_info(info)))
    }
}

impl OpenFile {
    /// The hints in effect.
    pub(crate) fn hints(&self) -> Arc<Hints> {
        self.hints.get()
    }

    /// The ranks have found that those of a node can not share memory.
    pub(crate) fn without_node_memory(&self) {
        self.hints.replace(Hints { node_memory: Switch::Disable, ..(*self.hints()).clone() });
    }

    async fn set_info(&self, info: &Info) -> Result<(), Error> {
        let before = self.hints();
        let own = match self.group.is_root() {
            true => changed(&before, info, &std::env::var(VARIABLE).unwrap_or_default()),
            false => before.changed(info.iter()).map(|(hints, _)| hints).map_err(Error::from),
        };
        self.group.enter(Call::SetInfo, own.as_ref().map(|_| [0; 4]).map_err(Error::clone)).await?;
        let after = self.group.ask(ROOT, async { own.map(|hints| lines(&hints).into_bytes()) }).await?;
        self.hints.replace(from_lines(&String::from_utf8_lossy(&after))?);
        Ok(())
    }
}

/// Hints on their way to the other ranks: `key=value` for each, in lines. None of them has a line's end in it.
pub(crate) fn lines(hints: &Hints) -> String {
    hints.pairs().into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
}

/// Reads what [`lines`] made.
pub(crate) fn from_lines(text: &str) -> Result<Hints, Error> {
    Ok(Hints::parse(text.lines().filter_map(|line| line.split_once('=')))?.0)
}

/// What rank 0 makes of a change. Tells of what has no effect, once in a process.
fn changed(before: &Hints, info: &Info, environment: &str) -> Result<Hints, Error> {
    let (hints, unknown) = before.changed(info.iter().chain(line(environment)?))?;
    warn_of_unknown(unknown);
    Ok(hints)
}

/// The hints of rank 0, from everywhere. Tells of what has no effect, once in a process.
pub(crate) fn gathered(info: &Info) -> Result<Hints, Error> {
    let (file, environment) = (site_file(), std::env::var(VARIABLE).unwrap_or_default());
    merged(&file, info, &environment)
}

fn merged(file: &str, info: &Info, environment: &str) -> Result<Hints, Error> {
    let file: Vec<_> =
        romio_file(file).into_iter().filter(|pair| is_possible(*pair, " in the file of hints")).collect();
    let environment = line(environment)?;
    let (hints, unknown) = Hints::parse(file.into_iter().chain(info.iter()).chain(environment))?;
    warn_of_unknown(unknown);
    Ok(hints)
}

/// Whether a value makes sense; tells of it if not, once in a process.
fn is_possible(pair: (&str, &str), place: &str) -> bool {
    let checked = Hints::parse([pair]);
    if let Err(error) = &checked {
        warn_once(&format!("{error}; the hint{place} has no effect"));
    }
    checked.is_ok()
}

impl Info {
    /// The same without values that make no sense, which are an error otherwise; tells of each if it is asked to, once in a
    /// process. For programs that were not written for this library: other ones pass over such values.
    pub fn possible(mut self, is_told: bool) -> Info {
        self.retain(|key, value| match is_told {
            true => is_possible((key, value), ""),
            false => Hints::parse([(key, value)]).is_ok(),
        });
        self
    }
}

fn warn_of_unknown(keys: Vec<&str>) {
    keys.into_iter().for_each(|key| warn_once(&format!("the hint {key} is not known and has no effect")));
}

/// The text of the site's hints; nothing if there are none. A file that was named and can not be read is told of.
fn site_file() -> String {
    let named = std::env::var_os(FILE_VARIABLE);
    let path = named.clone().unwrap_or_else(|| FILE.into());
    std::fs::read_to_string(&path).unwrap_or_else(|error| {
        if named.is_some() {
            warn_once(&format!("the file of hints {} can not be read: {error}", path.display()));
        }
        String::new()
    })
}

/// MPI lets a library pass over hints that it does not know; a misspelt one should not pass unseen.
fn warn_once(message: &str) {
    static WARNED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if warned.insert(message.to_owned()) {
        eprintln!("pfs: {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_counts_more_than_the_program_and_this_more_than_the_file() {
        let file = "cb_nodes 1\npfs_io_depth 4\nromio_cb_read enable\ncb_buffer_size lots\n";
        let info = Info::new().with("cb_nodes", 2).with("romio_cb_read", "disable");
        let hints = merged(file, &info, "cb_nodes=3").unwrap();
        assert_eq!((hints.cb_nodes, hints.cb_read, hints.io_depth), (Some(3), Switch::Disable, 4));
        assert_eq!(hints.cb_buffer_bytes, Hints::default().cb_buffer_bytes, "a bad line of the file is passed over");
        assert!(merged("", &info, "cb_nodes=none").is_err(), "not so of the environment");
        let later = changed(&hints, &Info::new().with("cb_nodes", 4).with("pfs_io_depth", 9), "cb_nodes=3").unwrap();
        assert_eq!(later, Hints { io_depth: 9, ..hints }, "nor does it count less later");
    }

    #[test]
    fn hints_go_to_the_other_ranks_as_they_are() {
        let info = Info::new().with("cb_nodes", 2).with("cb_config_list", "a:1,*:*").with("romio_ds_read", "enable");
        let hints = merged("", &info, "").unwrap();
        assert_eq!(from_lines(&lines(&hints)).unwrap(), hints);
    }
}
