//! Putting the server together.
//!
//! At the start, in this order: the start is counted; the coordinator is told which sessions there were, who was being
//! shut out and which file servers there are; truncations that were under way ask for their ranges; then the server
//! answers. Tokens are granted, and orphans removed, once every client of an earlier start has said what it holds or is
//! shut out, and every known file server refuses the stamps of earlier starts.

use crate::activity::{self, Activity};
use crate::background::Background;
use crate::clock::{boottime_ms, unix_ns};
use crate::cluster::{self, OpenCluster};
use crate::config::Config;
use crate::counters::Counters;
use crate::data_clients::DataClients;
use crate::file_servers::{FileServers, Placement};
use crate::metrics::CallMetrics;
use crate::namespace::Namespace;
use crate::service;
use crate::sessions::Sessions;
use crate::store::keys::Counter;
use crate::tokens::{Effects, State, Tokens};
use crate::upkeep::{Removals, ShuttingOut, SizeWriter, Truncations, reap};
use crate::web;
use anyhow::Context;
use pfs_core::ids::Boot;
use pfs_core::session::coordinator::Coordinator;
use pfs_proto::secret::AuthInterceptor;
use pfs_server_runtime::{CancellationToken, RunningServer, Services, bind, serve};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Client numbers that are reserved with one commit.
pub(crate) const CLIENT_NUMBERS: u64 = 1024;

/// Everything that the services use.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) cluster_id: String,
    pub(crate) boot: Boot,
    pub(crate) started_ms: u64,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) servers: Arc<FileServers>,
    pub(crate) placement: Placement,
    pub(crate) tokens: Tokens,
    pub(crate) sizes: Arc<SizeWriter>,
    pub(crate) removals: Arc<Removals>,
    pub(crate) truncations: Arc<Truncations>,
    pub(crate) data: Arc<DataClients>,
    pub(crate) background: Background,
    pub(crate) activity: Activity,
    pub(crate) metrics: CallMetrics,
    /// Is cancelled when the grace after the start is over.
    pub(crate) grace_over: CancellationToken,
}

/// Starts a metadata server. When this returns it answers.
pub async fn start(config: Config) -> anyhow::Result<RunningServer> {
    config.check()?;
    let listener = bind(config.listen).await?;
    let opened = cluster::open(&config.directory, config.create_cluster).await?;
    let shutdown = CancellationToken::new();
    let stop_on_error = shutdown.clone().drop_guard();
    let (shared, lock) = assemble(config, opened, shutdown.clone()).await?;
    let secret = shared.config.secret.clone();
    let background = shared.background.clone();
    tracing::info!(cluster_id = shared.cluster_id, boot = %shared.boot, "metadata server starts");
    let services = Services { calls: service::routes(shared.clone()), web: web::routes(&shared) };
    drop(shared);
    let mut running = serve(listener, &secret, services, shutdown)?;
    running.attach("background", async move {
        let ended = background.ended().await;
        drop(lock);
        ended
    });
    stop_on_error.disarm();
    Ok(running)
}

async fn assemble(
    config: Config,
    opened: OpenCluster,
    shutdown: CancellationToken,
) -> anyhow::Result<(Arc<Shared>, pfs_server_runtime::DirectoryLock)> {
    let OpenCluster { lock, store, cluster_id, boot, counters } = opened;
    let namespace = Arc::new(Namespace::open(store, unix_ns()).await?);
    let known = namespace.known_sessions().await.context("the sessions of earlier starts could not be read")?;
    let servers = FileServers::open(namespace.clone(), cluster_id.clone(), config.lease_ms).await?;
    let servers = Arc::new(servers);
    let data = Arc::new(DataClients::new(AuthInterceptor::new(&config.secret)));
    let sizes = Arc::new(SizeWriter::default());
    let background = Background::new(shutdown.clone());

    let (errands, to_be_shut_out) = mpsc::unbounded_channel();
    let (reap_orphan, orphans) = mpsc::unbounded_channel();
    let grace_over = CancellationToken::new();
    let effects = Effects { errands, reap: reap_orphan, sizes: sizes.clone(), grace_over: grace_over.clone() };
    let numbers = counters.reserve(Counter::Client, CLIENT_NUMBERS).await?;
    let (terms, grace_ms, now_ms) = (config.terms(), config.grace_ms(), boottime_ms());
    let coordinator = Coordinator::new(boot, terms, grace_ms, config.revoke_timeout_ms, numbers.start, now_ms);
    let server_ids = servers.all().into_iter().map(|server| server.id);
    let unlinked = namespace.orphans().await?;
    let state = State::new(coordinator, Sessions::new(numbers), server_ids, known, unlinked, effects);
    let (tokens, clock) = Tokens::new(state, shutdown);
    background.spawn(clock);

    let removals = Arc::new(Removals::new(namespace.clone(), servers.clone(), data.clone()));
    let truncations = Arc::new(Truncations {
        namespace: namespace.clone(),
        servers: servers.clone(),
        data: data.clone(),
        tokens: tokens.clone(),
        background: background.clone(),
        patience: config.truncate_patience,
        finished: Notify::new(),
    });
    for pending in namespace.pending_truncations().await? {
        truncations.resume(pending).await;
    }
    background.spawn(sizes.clone().run(namespace.clone()));
    background.spawn(reap(namespace.clone(), orphans, removals.clone()));
    background.spawn(removals.clone().run());
    let shutting_out = ShuttingOut::new(namespace.clone(), servers.clone(), data.clone(), tokens.clone(), boot);
    background.spawn(Arc::new(shutting_out).run(to_be_shut_out, background.clone()));

    let placement = Placement::new(config.default_stripe_unit, config.default_stripe_count);
    let shared = Arc::new(Shared {
        config,
        cluster_id,
        boot,
        started_ms: boottime_ms(),
        namespace,
        counters,
        servers,
        placement,
        tokens,
        sizes,
        removals,
        truncations,
        data,
        background,
        activity: Activity::default(),
        metrics: CallMetrics::default(),
        grace_over,
    });
    shared.background.spawn(activity::run(shared.clone()));
    Ok((shared, lock))
}
