//! From a configuration to a server that serves.

use crate::buffers::BufferPool;
use crate::fence_file::FenceFile;
use crate::gate::Gate;
use crate::label;
use crate::metadata_link::MetadataLink;
use crate::metered::Budget;
use crate::metrics::server_metrics;
use crate::registration::{Registering, Registrar};
use crate::replies::{Limits, Replies};
use crate::server::FileServer;
use crate::service::DataService;
use crate::store::{ObjectStore, PosixOptions, PosixStore};
use crate::traffic::Traffic;
use crate::wire::Wire;
use crate::{fence_file, instance};
use anyhow::{Context, bail, ensure};
use pfs_core::ids::Instance;
use pfs_proto::metadata::{Label, TEXT_BYTES_MAX};
use pfs_proto::secret::Secret;
use pfs_proto::transport::check_address;
use pfs_server_runtime::{CancellationToken, DirectoryLock, RunningServer, Services, bind, metrics, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::service::Routes;

const MIB: u32 = 1 << 20;

/// How a file server is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's directory; made if it is not there.
    pub directory: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// "host:port" at which clients reach the server, or "host" with the port that it listens at; nothing: where it
    /// listens.
    pub advertise: Option<String>,
    /// Addresses of the metadata server as "host:port", tried in order.
    pub metadata: Vec<String>,
    /// The cluster's secret.
    pub secret: Secret,
    /// The operator's name for this server; it stays with the store.
    pub name: String,
    /// Most object files that are kept open.
    pub open_objects_max: usize,
    /// Most bytes on their way from the transport to objects.
    pub write_bytes_max: u32,
    /// Most bytes of read replies in memory.
    pub reply_bytes_max: u32,
    /// Most bytes of read replies in memory that one client may have.
    pub client_reply_bytes_max: u32,
    /// How long a client may leave a read reply unread before its connection is cut.
    pub unread_reply_max: Duration,
    /// Most bytes of buffers that lie idle.
    pub idle_buffer_bytes_max: usize,
}

impl Config {
    /// A configuration with the default bounds.
    pub fn new(directory: PathBuf, listen: SocketAddr, metadata: Vec<String>, secret: Secret, name: String) -> Self {
        Config {
            directory,
            listen,
            advertise: None,
            metadata,
            secret,
            name,
            open_objects_max: 1024,
            write_bytes_max: 32 * MIB,
            reply_bytes_max: 24 * MIB,
            client_reply_bytes_max: 8 * MIB,
            unread_reply_max: Duration::from_secs(60),
            idle_buffer_bytes_max: 8 * MIB as usize,
        }
    }
}

/// Starts a file server, and returns when it is registered and serves. Waits for a metadata server that does not answer
/// yet; one that refuses this server ends the start.
pub async fn start(config: Config) -> anyhow::Result<RunningServer> {
    start_over(config, |store| Arc::new(store)).await
}

/// The same over the store that `over` makes of the usual one: for tests.
#[doc(hidden)]
pub async fn start_over(
    config: Config,
    over: impl FnOnce(PosixStore) -> Arc<dyn ObjectStore> + Send + 'static,
) -> anyhow::Result<RunningServer> {
    check(&config)?;
    let listener = bind(config.listen).await?;
    let address = advertised(&config, listener.local_addr().context("cannot tell the address of the listener")?)?;
    let opened = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || open(&config, over)).await.context("opening the store broke off")??
    };
    let (gone, mut all_gone) = mpsc::channel::<()>(1);
    let server = Arc::new(FileServer {
        gate: Arc::new(Gate::new(opened.fence_file.fences())),
        instance: opened.instance,
        name: config.name.clone(),
        directory: config.directory.clone(),
        label: opened.label.map_or_else(OnceLock::new, OnceLock::from),
        store: opened.store,
        fence_file: opened.fence_file,
        metadata: MetadataLink::new(&config.metadata, &config.secret)?,
        buffers: BufferPool::new(config.idle_buffer_bytes_max),
        replies: Replies::new(Limits {
            bytes_max: config.reply_bytes_max,
            client_bytes_max: config.client_reply_bytes_max,
            unread_for_max: config.unread_reply_max,
        }),
        writes: Budget::new(config.write_bytes_max),
        traffic: Traffic::default(),
        _lock: opened.lock,
        _gone: gone,
    });
    let shutdown = CancellationToken::new();
    let service = Wire::new(DataService::new(server.clone(), shutdown.clone()), server.clone(), shutdown.clone());
    let services = Services { calls: Routes::new(service), web: metrics::route(server_metrics(&server)) };
    // Served before it is registered, so that the metadata server reaches it with truncations and fences.
    let mut running = serve(listener, &config.secret, services, shutdown.clone())?;
    let unread = server.replies.clone();
    let registrar = Registrar {
        server,
        address,
        metadata: config.metadata,
        secret: config.secret,
        connections: running.connections(),
        shutdown: shutdown.clone(),
    };
    let Registering { registered, ended } = registrar.start()?;
    running.attach("heartbeat", async move { ended.await.context("the thread of the heartbeats broke off") });
    let stopped = shutdown.clone();
    running.attach("unread replies", async move {
        stopped.run_until_cancelled(unread.cut_who_do_not_read()).await;
        Ok(())
    });
    running.attach("store", async move {
        shutdown.cancelled().await;
        // Nothing is ever sent: this is the end of the last one who uses the store.
        while all_gone.recv().await.is_some() {}
        Ok(())
    });
    match registered.await {
        Ok(Ok(())) => Ok(running),
        failed => {
            let reason = match failed {
                Ok(Err(error)) => anyhow::Error::from(error),
                _ => anyhow::anyhow!("the thread of the heartbeats ended early"),
            };
            let reason = reason.context(format!("the file server {} did not start", config.name));
            if let Err(error) = running.stop().await {
                tracing::warn!(error = format!("{error:#}"), "stopping after the failed start");
            }
            Err(reason)
        }
    }
}

fn check(config: &Config) -> anyhow::Result<()> {
    ensure!(!config.metadata.is_empty(), "no address of the metadata server is given; name at least one");
    for address in &config.metadata {
        check_address(address)?;
    }
    let name_is_good = (1..=TEXT_BYTES_MAX).contains(&config.name.len()) && !config.name.chars().any(char::is_control);
    ensure!(name_is_good, "{:?} is no name for a file server; use 1 to {TEXT_BYTES_MAX} plain characters", config.name);
    Ok(())
}

fn advertised(config: &Config, listening: SocketAddr) -> anyhow::Result<String> {
    match &config.advertise {
        Some(address) if check_address(address).is_ok() => Ok(address.clone()),
        Some(host) => {
            let address = format!("{host}:{}", listening.port());
            check_address(&address)
                .with_context(|| format!("{host:?} cannot be advertised; give host or host:port"))?;
            Ok(address)
        }
        None if listening.ip().is_unspecified() => bail!(
            "the file server listens on every address of this host ({listening}); say with an advertised host:port where clients reach it"
        ),
        None => Ok(listening.to_string()),
    }
}

struct Opened {
    lock: DirectoryLock,
    store: Arc<dyn ObjectStore>,
    label: Option<Label>,
    instance: Instance,
    fence_file: fence_file::FenceFile,
}

fn open(config: &Config, over: impl FnOnce(PosixStore) -> Arc<dyn ObjectStore>) -> anyhow::Result<Opened> {
    let directory = &config.directory;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let lock = DirectoryLock::acquire(directory)?;
    let options = PosixOptions { open_objects_max: config.open_objects_max.min(open_files_max() / 4) };
    let store = PosixStore::open(&directory.join("objects"), options)?;
    let objects = store.space()?.objects;
    let label = label::load(directory, &config.name, objects)?;
    let fence_file = FenceFile::load(directory)?;
    let instance = instance::advance(directory)?;
    announce(directory, label.as_ref(), instance, objects);
    Ok(Opened { lock, store: over(store), label, instance, fence_file })
}

fn announce(directory: &Path, label: Option<&Label>, instance: Instance, objects: u64) {
    let server = label.map(|label| label.server);
    tracing::info!(directory = %directory.display(), ?server, %instance, objects, "opened the store");
}

/// Raises the limit of open files as far as it goes, and returns it.
fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
