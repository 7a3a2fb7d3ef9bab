//! The directory of a metadata server: its lock, its store, the identity of the cluster, the count of starts.

use crate::counters::Counters;
use crate::records::{self, Cluster, FORMAT_VERSION};
use crate::store::keys::{self, Counter};
use crate::store::{Batch, Condition, MetadataStore, RedbStore};
use anyhow::{Context, bail};
use pfs_core::ids::Boot;
use pfs_server_runtime::DirectoryLock;
use prost::Message;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The store's file in the directory.
const STORE_FILE: &str = "metadata.redb";

/// An opened directory.
pub(crate) struct OpenCluster {
    pub(crate) lock: DirectoryLock,
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) cluster_id: String,
    pub(crate) boot: Boot,
    pub(crate) counters: Arc<Counters>,
}

/// Opens the cluster of a directory, or makes one in an empty directory if that is allowed, and counts the start.
pub(crate) async fn open(directory: &Path, create: bool) -> anyhow::Result<OpenCluster> {
    if create {
        fs::create_dir_all(directory).with_context(|| format!("cannot make the directory {}", directory.display()))?;
    }
    let lock = DirectoryLock::acquire(directory)?;
    let path = directory.join(STORE_FILE);
    if !path.exists() {
        check_empty(directory)?;
        if !create {
            bail!(
                "{} holds no metadata; give the directory of an existing cluster, or allow a new cluster to be made",
                directory.display()
            );
        }
    }
    let store: Arc<dyn MetadataStore> = Arc::new(RedbStore::open(&path)?);
    let cluster_id = identity(&*store, create).await.with_context(|| format!("{} can not be used", path.display()))?;
    let counters = Arc::new(Counters::new(store.clone()));
    let started = counters.reserve(Counter::Boot, 1).await.context("the start could not be recorded")?;
    let boot = Boot::new(started.start).context("the count of starts is 0")?;
    Ok(OpenCluster { lock, store, cluster_id, boot, counters })
}

/// A directory with anything else in it is somebody's.
fn check_empty(directory: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", directory.display()))?.file_name();
        if name != pfs_server_runtime::LOCK_FILE {
            bail!(
                "{} is not empty ({:?} is in it) and holds no metadata; give an empty directory or the right one",
                directory.display(),
                name
            );
        }
    }
    Ok(())
}

async fn identity(store: &dyn MetadataStore, create: bool) -> anyhow::Result<String> {
    let key = keys::cluster();
    if let Some(value) = store.get(&key).await? {
        let cluster: Cluster = records::decode(&key, &value)?;
        if cluster.format_version != FORMAT_VERSION {
            bail!(
                "it has format {}, and this program reads format {FORMAT_VERSION}; use the matching release of pfs",
                cluster.format_version
            );
        }
        return Ok(cluster.cluster_id);
    }
    if !create {
        bail!("it holds no cluster; its first start was interrupted, allow a new cluster to be made");
    }
    let cluster_id = new_cluster_id()?;
    let cluster = Cluster { format_version: FORMAT_VERSION, cluster_id: cluster_id.clone() };
    let mut batch = Batch::default();
    batch.conditions.push(Condition::Is { key: key.clone(), value: None });
    batch.put(key, cluster.encode_to_vec());
    store.commit(batch).await.context("the cluster's identity could not be written")?;
    tracing::info!(cluster_id, "made a new cluster");
    Ok(cluster_id)
}

fn new_cluster_id() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).context("the system gave no random numbers")?;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all text");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_is_made_once_and_its_starts_are_counted() {
        let directory = tempfile::tempdir().unwrap();
        assert!(open(directory.path(), false).await.is_err(), "an empty directory needs permission");
        let first = open(directory.path(), true).await.unwrap();
        let (id, boot) = (first.cluster_id.clone(), first.boot);
        assert_eq!((id.len(), boot.get()), (32, 1));
        assert!(open(directory.path(), true).await.is_err(), "one server per directory");
        drop(first);
        let second = open(directory.path(), false).await.unwrap();
        assert_eq!((second.cluster_id, second.boot.get()), (id, 2));
    }

    #[tokio::test]
    async fn a_foreign_directory_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.tex"), "mine").unwrap();
        let error = open(directory.path(), true).await.err().unwrap().to_string();
        assert!(error.contains("thesis.tex"), "{error}");
    }
}
