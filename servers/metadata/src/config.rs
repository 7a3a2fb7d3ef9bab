//! What a metadata server is told at its start.

use anyhow::{Context, bail};
use pfs_core::layout::check_stripe_unit;
use pfs_core::session::Terms;
use pfs_proto::secret::Secret;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Configuration of a metadata server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store; one server per directory.
    pub directory: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The cluster's secret.
    pub secret: Secret,
    /// Milliseconds after which a silent client or file server is given up.
    pub lease_ms: u64,
    /// Milliseconds between two heartbeats of a client or file server; at most a third of the lease.
    pub heartbeat_ms: u64,
    /// Milliseconds for which a restarted server waits for clients of earlier starts, at least the lease; nothing: somewhat
    /// more than the lease, so that one with a broken connection notices it, connects and says what it holds.
    pub grace_ms: Option<u64>,
    /// Milliseconds after which a holder is shut out that neither gives way nor gets on, though it is alive.
    pub revoke_timeout_ms: u64,
    /// Bytes; for files whose creator does not say.
    pub default_stripe_unit: u64,
    /// Servers; for files whose creator does not say. 0: all that are up.
    pub default_stripe_count: u32,
    /// A new cluster may be made in an empty directory.
    pub create_cluster: bool,
    /// How long the caller of a truncation waits for all file servers.
    pub truncate_patience: Duration,
}

impl Config {
    /// The usual settings: 15 s lease, 3 s heartbeat, 60 s to give way, 1 MiB stripes over all servers, on an existing
    /// cluster.
    pub fn new(directory: PathBuf, listen: SocketAddr, secret: Secret) -> Self {
        Config {
            directory,
            listen,
            secret,
            lease_ms: 15_000,
            heartbeat_ms: 3_000,
            grace_ms: None,
            revoke_timeout_ms: 60_000,
            default_stripe_unit: 1 << 20,
            default_stripe_count: 0,
            create_cluster: false,
            truncate_patience: Duration::from_secs(20),
        }
    }

    /// See the field.
    pub(crate) fn grace_ms(&self) -> u64 {
        self.grace_ms.unwrap_or(self.lease_ms + 2 * self.heartbeat_ms)
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms { lease_ms: self.lease_ms, heartbeat_ms: self.heartbeat_ms }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        check_stripe_unit(self.default_stripe_unit).context("the default stripe unit is refused")?;
        if self.heartbeat_ms == 0 || self.heartbeat_ms.saturating_mul(3) > self.lease_ms {
            bail!(
                "a heartbeat of {} ms does not fit a lease of {} ms; it must be at least 1 ms and at most a third of the lease",
                self.heartbeat_ms,
                self.lease_ms
            );
        }
        if self.revoke_timeout_ms == 0 {
            bail!("no holder gives way within 0 ms; give it time");
        }
        if self.grace_ms() < self.lease_ms {
            bail!(
                "a grace of {} ms is shorter than the lease of {} ms; a client that does not come back would still use what is granted to others when it ends",
                self.grace_ms(),
                self.lease_ms
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Config::new(PathBuf::from("/nowhere"), listen, Secret::new([7; 32]))
    }

    #[test]
    fn the_usual_settings_fit_each_other() {
        config().check().unwrap();
    }

    /// Rule 18: who has not spoken by the end of the grace is fenced, and has stopped by then, since its lease is over.
    #[test]
    fn a_grace_is_no_shorter_than_the_lease() {
        let with = |grace_ms| Config { grace_ms: Some(grace_ms), ..config() }.check();
        let error = with(14_999).unwrap_err().to_string();
        assert!(error.contains("grace of 14999 ms") && error.contains("lease of 15000 ms"), "{error}");
        with(15_000).unwrap();
    }
}
