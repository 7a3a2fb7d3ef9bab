//! `pfs wait`: until a server of a cluster ends, for scripts that run something beside it.

use crate::cluster::directory::ClusterDirectory;
use crate::cluster::process::{Presence, ServerProcess};
use crate::failure::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Wait until a server that `pfs start` started has ended, and say which; the exit status is 1 then
#[derive(Debug, Args)]
#[command(after_help = "\
For a script that runs a program beside its servers:
  pfs wait --dir D & wait -n $! $program")]
pub struct Flags {
    /// The cluster's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Runs the subcommand.
pub fn run(flags: Flags) -> Outcome {
    let processes = processes(&flags)?;
    loop {
        for (name, process) in &processes {
            // The first one waits, the others are only looked at.
            let until = Instant::now() + LOOK_EVERY / u32::try_from(processes.len()).unwrap_or(u32::MAX);
            let ended = process.wait_until(until);
            if ended.map_err(|error| Failure::cannot(format_args!("watch {name}"), &error))? {
                let dir = flags.dir.display();
                return Err(Failure::because(
                    format_args!("wait on with the cluster in {dir}"),
                    format_args!("{name} has ended"),
                ));
            }
        }
    }
}

/// All processes of the cluster. The directory is free again when this returns: it may be stopped meanwhile.
fn processes(flags: &Flags) -> Result<Vec<(String, ServerProcess)>, Failure> {
    let tried = format!("watch the cluster in {}", flags.dir.display());
    let gone = || Failure::because(&tried, "there is none; start it first");
    let directory = ClusterDirectory::open(&flags.dir)?.ok_or_else(gone)?;
    let settings = directory.settings()?.ok_or_else(gone)?;
    let mut running = Vec::new();
    for name in settings.processes() {
        match directory.presence(&name)? {
            Presence::Running(process) => running.push((name, process)),
            _ => return Err(Failure::because(&tried, format_args!("{name} does not run"))),
        }
    }
    Ok(running)
}
