//! `pfs stop`: ends the background servers of a cluster on this machine. Running it again changes nothing.

use crate::cluster::ending;
use crate::failure::Outcome;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Stop the servers that `pfs start` started
#[derive(Debug, Args)]
#[command(after_help = "\
The data stays, and `pfs start` with the same directory brings it back, unless --remove is given.")]
pub struct Flags {
    /// The cluster's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Remove the cluster with all its data, logs and settings when it has stopped
    #[arg(long)]
    remove: bool,

    /// Seconds until a server that does not end by itself is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    grace_s: u64,
}

/// Runs the subcommand.
pub fn run(flags: Flags) -> Outcome {
    ending::stop(&flags.dir, flags.remove, Duration::from_secs(flags.grace_s))
}
