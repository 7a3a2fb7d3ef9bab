//! Where hints come from: the environment, the program, and the site's file, in this order.

use crate::error::Error;
use crate::info::Info;
use pfs_core::hints::{Hints, line, romio_file};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Hints that count more than the program's: `key=value;key=value`.
const VARIABLE: &str = "PFS_HINTS";
/// Names a file of hints that count less.
const FILE_VARIABLE: &str = "ROMIO_HINTS";
/// The file without that.
const FILE: &str = "/etc/romio-hints";

/// The hints of rank 0, from everywhere. Tells of what has no effect, once in a process.
pub(crate) fn gathered(info: &Info) -> Result<Hints, Error> {
    let (file, environment) = (site_file(), std::env::var(VARIABLE).unwrap_or_default());
    merged(&file, info, &environment)
}

fn merged(file: &str, info: &Info, environment: &str) -> Result<Hints, Error> {
    let usable = |pair: &(&str, &str)| match Hints::parse([*pair]) {
        Ok(_) => true,
        Err(error) => {
            warn_once(&format!("{error}; it is in the file of hints and has no effect"));
            false
        }
    };
    let file: Vec<_> = romio_file(file).into_iter().filter(usable).collect();
    let environment = line(environment)?;
    let (hints, unknown) = Hints::parse(file.into_iter().chain(info.iter()).chain(environment))?;
    unknown.into_iter().for_each(|key| warn_once(&format!("the hint {key} is not known and has no effect")));
    Ok(hints)
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
    use pfs_core::hints::Switch;

    #[test]
    fn the_environment_counts_more_than_the_program_and_this_more_than_the_file() {
        let file = "cb_nodes 1\npfs_io_depth 4\nromio_cb_read enable\ncb_buffer_size lots\n";
        let info = Info::new().with("cb_nodes", 2).with("romio_cb_read", "disable");
        let hints = merged(file, &info, "cb_nodes=3").unwrap();
        assert_eq!((hints.cb_nodes, hints.cb_read, hints.io_depth), (Some(3), Switch::Disable, 4));
        assert_eq!(hints.cb_buffer_bytes, Hints::default().cb_buffer_bytes, "a bad line of the file is passed over");
        assert!(merged("", &info, "cb_nodes=none").is_err(), "not so of the environment");
    }
}
