//! What a node does for a cluster whose owner was killed before it could end it.

use super::directory::ClusterDirectory;
use super::nodes::Order;
use super::process::{Presence, ProcessRecord};
use std::time::{Duration, Instant};

/// How long the metadata server may take to end by itself: a batch system that ends a job does not wait long.
const GRACE: Duration = Duration::from_secs(2);

/// The name of this host.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the cluster's owner was on this host and has gone.
pub fn is_abandoned(order: &Order) -> bool {
    let of_owner = |owner: &ProcessRecord| matches!(owner.find(), Ok(Presence::Gone));
    order.ephemeral && order.cluster.1 == host_name() && order.owner.as_ref().is_some_and(of_owner)
}

/// Ends the metadata server and removes the cluster's directory, if the cluster is ephemeral, was started on this host, and
/// its owner has gone. Nobody is there to hear of a failure but the log.
pub fn clean_up(order: &Order) {
    if !is_abandoned(order) {
        return;
    }
    let (directory, _) = &order.cluster;
    // Another node of this host may be at it.
    let Ok(Some(directory)) = ClusterDirectory::open(directory) else { return };
    let Ok(Some(settings)) = directory.settings() else { return };
    if let Ok(Presence::Running(process)) = directory.presence(&settings.metadata.name) {
        let ended = process.terminate().and_then(|()| process.wait_until(Instant::now() + GRACE));
        if !matches!(ended, Ok(true)) {
            let killed = process.kill().and_then(|()| process.wait_until(Instant::now() + GRACE));
            eprintln!("note: the metadata server was killed: {killed:?}");
        }
    }
    if let Err(failure) = directory.remove(&settings) {
        failure.report();
    }
}
