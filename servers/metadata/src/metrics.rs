//! The metrics of the metadata server; `docs/METRICS.md` lists them.

use crate::server::Shared;
use pfs_proto::status::error_detail;
use pfs_server_runtime::metrics::collector::Collector;
use pfs_server_runtime::metrics::encoding::{DescriptorEncoder, EncodeLabelSet};
use pfs_server_runtime::metrics::metrics::counter::Counter;
use pfs_server_runtime::metrics::metrics::family::Family;
use pfs_server_runtime::metrics::metrics::histogram::{Histogram, exponential_buckets};
use pfs_server_runtime::metrics::registry::{Registry, Unit};
use pfs_server_runtime::metrics::{Written, registry};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tonic::Status;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    method: &'static str,
    code: &'static str,
}

/// What became of calls, on token streams and off them.
#[derive(Debug)]
pub(crate) struct CallMetrics {
    seconds: Family<CallLabels, Histogram>,
    failures: Family<FailureLabels, Counter>,
}

impl Default for CallMetrics {
    fn default() -> Self {
        // 20 µs to 10 s.
        let buckets = || Histogram::new(exponential_buckets(20e-6, 2.0, 20));
        CallMetrics { seconds: Family::new_with_constructor(buckets), failures: Family::default() }
    }
}

impl CallMetrics {
    /// Does the work of a call and counts it.
    pub(crate) async fn counted<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let started = Instant::now();
        let outcome = work.await;
        self.seconds.get_or_create(&CallLabels { method }).observe(started.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            let code = error_detail(error).code.as_str_name();
            self.failures.get_or_create(&FailureLabels { method, code }).inc();
        }
        outcome
    }
}

/// Everything that the metadata server tells of itself.
pub(crate) fn server_metrics(shared: &Arc<Shared>) -> Registry {
    let mut registry = registry();
    let help = "Time of a call, with its wait for the disk; its count is the number of calls";
    registry.register_with_unit("pfs_metadata_call", help, Unit::Seconds, shared.metrics.seconds.clone());
    let help = "Calls that were refused or failed, by what the client was told";
    registry.register("pfs_metadata_call_failures", help, shared.metrics.failures.clone());
    registry.register_collector(Box::new(Present(Arc::downgrade(shared))));
    registry
}

/// What is so at the moment of asking, or was a second ago.
struct Present(Weak<Shared>);

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metrics of the metadata server")
    }
}

impl Collector for Present {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // The server ends.
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let mut written = Written(&mut encoder);
        of_server(&shared, &mut written)?;
        of_tokens(&shared, &mut written)?;
        of_file_servers(&shared, &mut written)
    }
}

fn of_server(shared: &Shared, written: &mut Written<'_, '_>) -> Result<(), fmt::Error> {
    let labels = [
        ("kind", "metadata".to_owned()),
        ("name", "metadata".to_owned()),
        ("server_id", "0".to_owned()),
        ("cluster_id", shared.cluster_id.clone()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    written.gauges("pfs_server_info", "Which server this is; always 1", None, [(labels, 1)])?;
    written.gauge("pfs_metadata_boot", "Starts of the metadata server so far", None, shared.boot.get())?;
    let (files, directories) = shared.namespace.counts();
    written.gauge("pfs_namespace_files", "Files", None, files)?;
    written.gauge("pfs_namespace_directories", "Directories, with the root", None, directories)
}

fn of_tokens(shared: &Shared, written: &mut Written<'_, '_>) -> Result<(), fmt::Error> {
    let sample = shared.activity.last_sample();
    let (all, connected) = sample.sessions;
    let sessions = [([("state", "connected")], connected), ([("state", "broken")], all.saturating_sub(connected))];
    written.gauges("pfs_sessions", "Sessions, by the state of their token streams", None, sessions)?;
    written.gauge("pfs_open_handles", "Handles open now", None, sample.open_handles)?;
    let tokens = sample.tokens;
    written.counter("pfs_token_requests", "Token requests; a collective's is one", None, tokens.requests)?;
    written.counter("pfs_token_grants", "Token requests that were granted", None, tokens.grants)?;
    written.counter("pfs_token_revokes", "Revokes decided", None, tokens.revokes)?;
    written.counter("pfs_token_acks", "Acks of revokes", None, tokens.acks)?;
    written.counter("pfs_token_refusals", "Token requests that were refused", None, tokens.refusals)?;
    written.gauge("pfs_token_ranges", "Ranges in all token tables", None, tokens.live_ranges)?;
    written.gauge("pfs_token_requests_waiting", "Token requests that wait", None, tokens.waiting)
}

fn of_file_servers(shared: &Shared, written: &mut Written<'_, '_>) -> Result<(), fmt::Error> {
    let servers: Vec<_> =
        shared.servers.all().into_iter().map(|server| (shared.servers.is_live(&server), server)).collect();
    let up = servers.iter().map(|(live, server)| ([("name", server.name.clone())], u64::from(*live)));
    written.gauges("pfs_file_server_up", "Whether a file server's last heartbeat is recent: 1 or 0", None, up)?;
    let space = |bytes: fn(&pfs_proto::metadata::SpaceReport) -> u64| -> u64 {
        servers.iter().filter(|(live, _)| *live).map(|(_, server)| bytes(&server.space)).sum()
    };
    let help = "Sizes of the stores of all file servers that are up";
    written.gauge("pfs_cluster_size", help, Some(&Unit::Bytes), space(|space| space.total_bytes))?;
    let help = "Bytes that may still be written on all file servers that are up";
    written.gauge("pfs_cluster_free", help, Some(&Unit::Bytes), space(|space| space.free_bytes))
}
