//! Putting the server together.
//!
//! At the start, in this order: the start is counted; sessions of earlier starts are forgotten, as their stamps are
//! refused as a whole; truncations that were under way take their ranges; orphans are queued for removal; then the
//! server answers. Tokens are granted once every known file server refuses the stamps of earlier starts.

use crate::background::Background;
use crate::clock::{boottime_ms, unix_ns};
use crate::cluster::{self, OpenCluster};
use crate::config::Config;
use crate::counters::Counters;
use crate::data_clients::DataClients;
use crate::file_servers::{FileServers, Placement};
use crate::namespace::Namespace;
use crate::service;
use crate::sessions::Sessions;
use crate::store::keys::Counter;
use crate::tokens::{Effects, State, Tokens};
use crate::upkeep::{Burial, Removals, SizeWriter, Truncations, bury, reap};
use anyhow::Context;
use pfs_core::ids::{Boot, ClientId};
use pfs_proto::secret::AuthInterceptor;
use pfs_server_runtime::{CancellationToken, RunningServer, bind, serve};
use std::sync::Arc;
use std::time::Duration;
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
    let mut running = serve(listener, &secret, service::routes(shared), shutdown)?;
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
    namespace.forget_sessions().await.context("sessions of earlier starts could not be removed")?;
    let servers = FileServers::open(namespace.clone(), cluster_id.clone(), config.lease_ms).await?;
    let servers = Arc::new(servers);
    let data = Arc::new(DataClients::new(AuthInterceptor::new(&config.secret)));
    let sizes = Arc::new(SizeWriter::default());
    let background = Background::new(shutdown.clone());

    let (expired, expirations) = mpsc::unbounded_channel();
    let (orphan, orphans) = mpsc::unbounded_channel();
    let effects = Effects { expired, reap: orphan.clone(), sizes: sizes.clone() };
    let numbers = counters.reserve(Counter::Client, CLIENT_NUMBERS).await?;
    let state = State::new(boot, Sessions::new(numbers, config.lease_ms), effects);
    let tick = Duration::from_millis((config.lease_ms / 10).clamp(10, 1000));
    let (tokens, actor) = Tokens::new(state, tick, shutdown);
    background.spawn(actor);

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
    for file in namespace.orphans().await? {
        orphan.send(file).context("the queue of orphans is closed")?;
    }
    background.spawn(sizes.clone().run(namespace.clone()));
    background.spawn(reap(namespace.clone(), orphans, removals.clone()));
    background.spawn(removals.clone().run());
    let burial = Burial {
        namespace: namespace.clone(),
        servers: servers.clone(),
        data: data.clone(),
        tokens: tokens.clone(),
        boot,
    };
    background.spawn(bury_all(burial, expirations, background.clone()));
    background.spawn(end_grace(servers.clone(), tokens.clone(), tick));

    let placement = Placement::new(config.default_stripe_unit, config.default_stripe_count);
    let shared = Shared {
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
    };
    Ok((Arc::new(shared), lock))
}

/// Buries the dead, each group of them on its own: one file server that hangs holds only those up who died with it.
async fn bury_all(burial: Burial, mut expirations: mpsc::UnboundedReceiver<Vec<ClientId>>, background: Background) {
    while let Some(clients) = expirations.recv().await {
        let burial = burial.clone();
        background.spawn(async move {
            if bury(burial, clients).await.is_err() {
                tracing::debug!("the server ends before its dead clients are buried; none outlives its boot");
            }
        });
    }
}

/// Ends the grace when every file server that is known refuses the stamps of earlier starts.
async fn end_grace(servers: Arc<FileServers>, tokens: Tokens, tick: Duration) {
    let mut ticks = tokio::time::interval(tick.min(Duration::from_millis(50)));
    while !servers.all_know_this_boot() {
        ticks.tick().await;
    }
    if tokens.send(State::end_grace).await.is_ok() {
        tracing::debug!("tokens are granted from now on");
    }
}
