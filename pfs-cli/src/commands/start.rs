//! `pfs start`: a cluster of background processes on this machine, for a shell that `eval`s the answer.
//!
//! Standard output carries the two `export` lines and nothing else. On any failure nothing is left running.

use crate::cluster::formation::{self, StartOptions};
use crate::connection::Connection;
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use std::path::PathBuf;

/// Start a cluster on this machine or on several nodes, or start it again with its data
#[derive(Debug, Args)]
#[command(after_help = "\
Use it as:  eval \"$(pfs start --dir D --file-servers 4)\"
Later, in another shell:  . D/env

A directory that was started before is started again: its data, servers and options stay, its ports too where they
are free; --file-servers may grow. The servers run until `pfs stop --dir D`. Each file server takes up to --write-memory,
--reply-memory and --idle-memory for data, and 2 MiB for each connection.

On several nodes:  pfs start --dir D --nodefile FILE --node-dir L --listen ADDR
starts the metadata server here and --file-servers on each node, with their stores in folders below L of the node. FILE has
a node's name on each line; what follows the name is not looked at. --launch says how a command is run on a node, like
`ssh {node}`, or on all at once, like `srun --nodelist={nodes} --nodes={count} --ntasks={count}`; this program must be at the
same path there. Nodes listen on the network on which they reach the metadata server, so let that not listen on loopback.")]
pub struct Flags {
    /// The cluster's directory: new, empty, or of an earlier start
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    #[command(flatten)]
    options: StartOptions,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    connection.refuse_metadata_flag("start")?;
    connection.refuse_secret_file_flag("start")?;
    formation::start(&flags.dir, &flags.options, |access| output::print(&access.exports()))?;
    eprintln!("`pfs top` shows what they do; so does a page, whose address `pfs status` tells");
    Ok(())
}
