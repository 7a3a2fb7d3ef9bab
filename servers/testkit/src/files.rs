//! Where a cluster keeps its files.
//!
//! ```text
//! <directory>/secret        the cluster secret
//! <directory>/metadata/     the metadata server's store
//! <directory>/file-0/ …     the file servers' stores, unless the builder put one elsewhere
//! <directory>/ready/        the servers' ready files    } of child processes only
//! <directory>/logs/         the servers' logs           }
//! ```

use anyhow::Context;
use pfs_proto::secret::Secret;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The directories and the secret of a cluster; a temporary directory is removed with it.
#[derive(Debug)]
pub struct ClusterFiles {
    directory: PathBuf,
    elsewhere: BTreeMap<usize, PathBuf>,
    _temporary: Option<TempDir>,
}

impl ClusterFiles {
    /// Makes what is missing in `directory`, or in a temporary one.
    pub(crate) fn prepare(
        directory: Option<PathBuf>,
        elsewhere: BTreeMap<usize, PathBuf>,
        file_servers: usize,
    ) -> anyhow::Result<Self> {
        let (directory, temporary) = match directory {
            Some(directory) => (directory, None),
            None => {
                let temporary = TempDir::with_prefix("pfs-").context("cannot make a temporary directory")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let files = ClusterFiles { directory, elsewhere, _temporary: temporary };
        let stores = (0..file_servers).map(|index| files.file_server_store(index));
        for made in stores.chain([files.metadata_store(), files.directory.join("ready"), files.directory.join("logs")])
        {
            fs::create_dir_all(&made).with_context(|| format!("cannot make the directory {}", made.display()))?;
        }
        Ok(files)
    }

    /// The secret, made when this is the first cluster in the directory.
    pub(crate) fn secret(&self) -> anyhow::Result<Secret> {
        let path = self.secret_file();
        let secret = if path.exists() { Secret::load(&path)? } else { Secret::generate_file(&path)? };
        Ok(secret)
    }

    /// The directory that holds everything else.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the cluster secret.
    pub fn secret_file(&self) -> PathBuf {
        self.directory.join("secret")
    }

    /// The metadata server's store.
    pub fn metadata_store(&self) -> PathBuf {
        self.directory.join("metadata")
    }

    /// The store of file server `index`.
    pub fn file_server_store(&self, index: usize) -> PathBuf {
        let usual = || self.directory.join(file_server_name(index));
        self.elsewhere.get(&index).cloned().unwrap_or_else(usual)
    }

    /// The ready file of the server of this name.
    pub(crate) fn ready_file(&self, name: &str) -> PathBuf {
        self.directory.join("ready").join(name)
    }

    /// The log of the server of this name: `metadata`, or `file-0` and so on.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.directory.join("logs").join(format!("{name}.log"))
    }
}

/// The name under which file server `index` registers.
pub(crate) fn file_server_name(index: usize) -> String {
    format!("file-{index}")
}

/// The name of the metadata server in logs and errors.
pub(crate) const METADATA_NAME: &str = "metadata";
