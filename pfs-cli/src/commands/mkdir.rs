//! `pfs mkdir`: makes directories.

use crate::connection::{Connection, cannot};
use crate::failure::{Outcome, for_each};
use crate::names::RemoteName;
use clap::Args;

/// Make directories
#[derive(Debug, Args)]
pub struct Flags {
    /// Make missing parents too, and accept directories that exist
    #[arg(short, long)]
    parents: bool,

    /// The directories
    #[arg(required = true)]
    path: Vec<String>,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let names = flags.path.iter().map(|path| RemoteName::parse(path)).collect::<Result<Vec<_>, _>>()?;
    let mut clusters = connection.clusters();
    for_each(&names, |name| {
        clusters
            .of(name)?
            .client
            .make_directory(&name.path, flags.parents)
            .map_err(|error| cannot(format_args!("make the directory {name}"), &error))
    })
}
