//! `pfs mv`: gives a file or directory another name.

use crate::connection::{Connection, cannot};
use crate::failure::{Failure, Outcome};
use crate::names::RemoteName;
use clap::Args;
use pfs_client::{EntryKind, ErrorKind};

/// Rename a file or directory
#[derive(Debug, Args)]
#[command(after_help = "\
If DESTINATION is a directory, SOURCE goes into it. A file that has the new name is replaced, at once and whole.")]
pub struct Flags {
    /// What there is
    source: String,

    /// Its new name, or the directory to move it to
    destination: String,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let from = RemoteName::parse(&flags.source)?;
    let mut to = RemoteName::parse(&flags.destination)?;
    if from.metadata != to.metadata {
        let problem = "the two names give different metadata servers";
        return Err(Failure::because(format_args!("move {from} to {to}"), problem).next("use `pfs cp`, then `pfs rm`"));
    }
    let cluster = connection.open(Some(&from))?;
    let failed = |to: &RemoteName, error| cannot(format_args!("move {from} to {to}"), &error);
    match cluster.client.stat(&to.path) {
        Ok(status) if status.kind == EntryKind::Directory && to.path != from.path => {
            if let Some(name) = from.last_name() {
                to = to.join(name)?;
            }
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&to, error)),
    }
    cluster.client.rename(&from.path, &to.path).map_err(|error| failed(&to, error))
}
