//! The store's label: whose it is. A server refuses a store with another label, and one that has lost its label.

use pfs_core::ids::ServerId;
use pfs_proto::metadata::Label;
use pfs_server_runtime::write_durably;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The version of the store's format that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const LABEL_FILE: &str = "label.json";

/// Why a store can not be used.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The label can not be read.
    #[error("cannot read the store's label {}", path.display())]
    Read {
        /// The label file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The label is damaged.
    #[error("the store's label {} is damaged; restore it, or start a new server in an empty directory under another name", path.display())]
    Damaged {
        /// The label file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Server 0.
    #[error("the store's label {} names server 0, which no server is; restore the label", .0.display())]
    NoServer(PathBuf),
    /// Another release made the store.
    #[error("the store of {} has format {found}, and this program knows format {FORMAT_VERSION}; use the release of pfs that made it", path.display())]
    Format {
        /// The label file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The store of a server with another name.
    #[error("the store of {} belongs to the file server {found:?}, not to {expected:?}; give each server its own directory", path.display())]
    Name {
        /// The label file.
        path: PathBuf,
        /// The name in the label.
        found: String,
        /// The name that was configured.
        expected: String,
    },
    /// The store of another cluster or server.
    #[error("the store of {} belongs to {found_server} of cluster {found_cluster}, but the metadata server knows it as {server} of cluster {cluster}; start it with the metadata server it belongs to", path.display())]
    Identity {
        /// The label file.
        path: PathBuf,
        /// The label's cluster.
        found_cluster: String,
        /// The label's server.
        found_server: ServerId,
        /// The metadata server's cluster.
        cluster: String,
        /// What the metadata server calls this one.
        server: ServerId,
    },
    /// Objects without a label.
    #[error("{} has {objects} objects but no {LABEL_FILE}; restore the label, or start a new server in an empty directory under another name", directory.display())]
    Lost {
        /// The store.
        directory: PathBuf,
        /// Its objects.
        objects: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct LabelFile {
    format_version: u32,
    cluster_id: String,
    server_id: u32,
    server_name: String,
}

/// All that is read of a label before it is known that the rest can be understood.
#[derive(Deserialize)]
struct FormatOnly {
    format_version: u32,
}

/// Reads the label of a store; nothing if it has none, and then it must have no objects.
pub fn load(directory: &Path, server_name: &str, objects: u64) -> Result<Option<Label>, LabelError> {
    let path = directory.join(LABEL_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound && objects == 0 => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(LabelError::Lost { directory: directory.to_owned(), objects });
        }
        Err(source) => return Err(LabelError::Read { path, source }),
    };
    let damaged = |source| LabelError::Damaged { path: path.clone(), source };
    let FormatOnly { format_version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format_version != FORMAT_VERSION {
        return Err(LabelError::Format { path, found: format_version });
    }
    let label: LabelFile = serde_json::from_slice(&bytes).map_err(damaged)?;
    if label.server_name != server_name {
        return Err(LabelError::Name { path, found: label.server_name, expected: server_name.to_owned() });
    }
    let server = ServerId::new(label.server_id).ok_or(LabelError::NoServer(path))?;
    Ok(Some(Label { cluster_id: label.cluster_id, server }))
}

/// Writes a new store's label, durably.
pub fn store(directory: &Path, server_name: &str, label: &Label) -> anyhow::Result<()> {
    let label = LabelFile {
        format_version: FORMAT_VERSION,
        cluster_id: label.cluster_id.clone(),
        server_id: label.server.get(),
        server_name: server_name.to_owned(),
    };
    write_durably(&directory.join(LABEL_FILE), &serde_json::to_vec_pretty(&label)?)
}

/// Whether the store is the one that the metadata server takes it for.
pub fn check(directory: &Path, ours: &Label, theirs: &Label) -> Result<(), LabelError> {
    if ours == theirs {
        return Ok(());
    }
    Err(LabelError::Identity {
        path: directory.join(LABEL_FILE),
        found_cluster: ours.cluster_id.clone(),
        found_server: ours.server,
        cluster: theirs.cluster_id.clone(),
        server: theirs.server,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(server: u32) -> Label {
        Label { cluster_id: "c-1".into(), server: ServerId::new(server).unwrap() }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(load(directory.path(), "file-0", 0).unwrap(), None);
        assert!(matches!(load(directory.path(), "file-0", 3), Err(LabelError::Lost { objects: 3, .. })));
        store(directory.path(), "file-0", &label(4)).unwrap();
        assert_eq!(load(directory.path(), "file-0", 3).unwrap(), Some(label(4)));
        assert!(matches!(load(directory.path(), "file-1", 3), Err(LabelError::Name { .. })));
    }

    #[test]
    fn foreign_and_damaged_labels_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(directory.path().join(LABEL_FILE), text).unwrap();
        for damaged in ["", "{}", "[1]", r#"{"format_version":1}"#, r#"{"format_version":"1"}"#] {
            write(damaged);
            let error = load(directory.path(), "a", 0).unwrap_err();
            assert!(matches!(error, LabelError::Damaged { .. }), "{damaged}: {error}");
        }
        write(r#"{"format_version":2,"of":"the future"}"#);
        assert!(matches!(load(directory.path(), "a", 0), Err(LabelError::Format { found: 2, .. })));
        write(r#"{"format_version":1,"cluster_id":"c","server_id":0,"server_name":"a"}"#);
        assert!(matches!(load(directory.path(), "a", 0), Err(LabelError::NoServer(_))));
    }

    #[test]
    fn another_identity_is_refused_with_both_names() {
        let directory = Path::new("/store");
        assert!(check(directory, &label(4), &label(4)).is_ok());
        let error = check(directory, &label(4), &label(5)).unwrap_err().to_string();
        assert!(error.contains("server-4") && error.contains("server-5"), "{error}");
    }
}
