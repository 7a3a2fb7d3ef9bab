//! Ending the background servers of a cluster on this machine. Doing it again changes nothing.

use super::directory::{ClusterDirectory, Removal};
use super::node_servers;
use super::process::{Presence, ServerProcess};
use crate::failure::{Failure, Outcome};
use std::borrow::Borrow;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the kernel may take to end a process that was killed.
const KILL_GRACE: Duration = Duration::from_secs(30);

/// Ends the servers of the cluster in `dir`, by force after `grace`, and with `remove` makes an end of its data too.
pub fn stop(dir: &Path, remove: bool, grace: Duration) -> Outcome {
    let Some(directory) = ClusterDirectory::open(dir)? else {
        eprintln!("note: there is no {}; nothing to stop", dir.display());
        return Ok(());
    };
    let tried = format!("stop the cluster in {}", directory.path().display());
    let settings = directory.settings()?.ok_or_else(|| Failure::because(&tried, "its settings are gone"))?;

    let nodes = node_servers::end(&directory, &settings, remove, grace)?;
    let mut running = Vec::new();
    // File servers first: what they still report must find the metadata server.
    for server in settings.servers().rev() {
        match directory.presence(&server.name)? {
            Presence::Running(process) => running.push((server.name.as_str(), process)),
            Presence::OtherHost(host) => {
                return Err(Failure::because(&tried, format_args!("{} runs on the host {host}", server.name))
                    .next("run `pfs stop` there"));
            }
            Presence::Gone => eprintln!("note: {} had ended already", server.name),
            Presence::NeverStarted => {}
        }
    }
    let (metadata, file_servers): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|(name, _)| *name == settings.metadata.name);
    let stopped = nodes + file_servers.len() + metadata.len();
    for servers in [file_servers, metadata] {
        end(&servers, grace)?;
    }
    for name in settings.processes() {
        directory.remove_run_files(&name)?;
    }
    let path = directory.path().display().to_string();
    eprintln!("stopped {stopped} servers in {path}");

    if remove {
        match directory.remove(&settings)? {
            Removal::Whole => eprintln!("removed {path}"),
            Removal::OthersLeft => eprintln!("removed the cluster; other files are left in {path}"),
        }
    }
    Ok(())
}

/// Asks the servers to end, waits, and kills those that do not.
pub fn end<P: Borrow<ServerProcess>>(servers: &[(&str, P)], grace: Duration) -> Outcome {
    let cannot = |name: &str, error: std::io::Error| Failure::cannot(format_args!("stop {name}"), &error);
    for (name, process) in servers {
        process.borrow().terminate().map_err(|error| cannot(name, error))?;
    }
    let deadline = Instant::now() + grace;
    for (name, process) in servers {
        let process = process.borrow();
        if process.wait_until(deadline).map_err(|error| cannot(name, error))? {
            continue;
        }
        eprintln!("note: {name} (process {}) did not end within {} s and is killed", process.pid(), grace.as_secs());
        process.kill().map_err(|error| cannot(name, error))?;
        if !process.wait_until(Instant::now() + KILL_GRACE).map_err(|error| cannot(name, error))? {
            let problem = format!("process {} is still there after SIGKILL", process.pid());
            return Err(Failure::because(format_args!("stop {name}"), problem).next("look for a disk that hangs"));
        }
    }
    Ok(())
}
