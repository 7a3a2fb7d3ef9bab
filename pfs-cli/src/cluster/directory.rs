//! The cluster's directory: claimed by one start or stop at a time, its files written whole or not at all.

use super::process::{Presence, ProcessRecord};
use super::settings::{FORMAT_VERSION, ServerSettings, Settings};
use crate::failure::Failure;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const SETTINGS_FILE: &str = "cluster.json";
const DIRECTORY_MODE: u32 = 0o700;

/// A directory that this process alone starts or stops servers in, until it is dropped.
pub struct ClusterDirectory {
    path: PathBuf,
    _lock: File,
}

impl ClusterDirectory {
    /// Claims a cluster's directory, or makes one of an empty or missing directory. Anything else is refused.
    pub fn create_or_open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::cannot(format_args!("make the directory {}", path.display()), &error);
        make_private_directory(path).map_err(cannot)?;
        let path = fs::canonicalize(path).map_err(cannot)?;
        if !is_cluster(&path) && !is_fresh(&path).map_err(cannot)? {
            return Err(not_a_cluster(&path).next("name an empty or new directory, or one of an earlier `pfs start`"));
        }
        Self::claim(path)
    }

    /// Claims a cluster's directory; nothing when there is no such directory.
    pub fn open(path: &Path) -> Result<Option<Self>, Failure> {
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::cannot(format_args!("open the directory {}", path.display()), &error)),
            Ok(path) => path,
        };
        if !is_cluster(&path) {
            return Err(not_a_cluster(&path).next("name the directory that `pfs start` was given"));
        }
        Self::claim(path).map(Some)
    }

    fn claim(path: PathBuf) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::cannot(format_args!("claim the directory {}", path.display()), &error);
        make_private_directory(&path.join("run")).map_err(cannot)?;
        make_private_directory(&path.join("log")).map_err(cannot)?;
        let lock = OpenOptions::new().create(true).append(true).open(path.join("run").join("lock")).map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(ClusterDirectory { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let problem = "another `pfs start` or `pfs stop` is at work there";
                Err(Failure::because(format_args!("claim the directory {}", path.display()), problem)
                    .next("wait until it has ended"))
            }
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }

    /// Absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings of earlier starts; nothing before the first.
    pub fn settings(&self) -> Result<Option<Settings>, Failure> {
        let file = self.path.join(SETTINGS_FILE);
        let tried = format!("read {}", file.display());
        let text = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::cannot(tried, &error)),
            Ok(text) => text,
        };
        let settings: Settings = serde_json::from_slice(&text).map_err(|error| Failure::cannot(&tried, &error))?;
        if settings.format_version != FORMAT_VERSION {
            let version = settings.format_version;
            return Err(Failure::because(tried, format_args!("its format is version {version}, not {FORMAT_VERSION}"))
                .next("use the pfs command of the version that made it"));
        }
        Ok(Some(settings))
    }

    /// Replaces the settings, durably.
    pub fn write_settings(&self, settings: &Settings) -> Result<(), Failure> {
        let cannot = |error: &(dyn std::error::Error + 'static)| {
            Failure::cannot(format_args!("write {}", self.path.join(SETTINGS_FILE).display()), error)
        };
        let text = serde_json::to_vec_pretty(settings).map_err(|error| cannot(&error))?;
        self.replace(SETTINGS_FILE, &text).map_err(|error| cannot(&error))
    }

    /// Replaces the connection file.
    pub fn write_connection_file(&self, text: &str) -> Result<(), Failure> {
        let cannot = |error| Failure::cannot(format_args!("write {}", self.connection_file().display()), &error);
        self.replace("env", text.as_bytes()).map_err(cannot)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(&self.path)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }

    /// Where the cluster's secret is.
    pub fn secret_file(&self) -> PathBuf {
        self.path.join("secret")
    }

    /// Where the connection file is.
    pub fn connection_file(&self) -> PathBuf {
        self.path.join("env")
    }

    /// The store of a server, as an absolute path.
    pub fn store(&self, server: &ServerSettings) -> PathBuf {
        self.path.join(&server.store)
    }

    /// What a server logs.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// What a server writes when it is ready.
    pub fn ready_file(&self, name: &str) -> PathBuf {
        self.path.join("run").join(format!("{name}.ready"))
    }

    /// Where a launcher reads.
    pub fn input_file(&self, name: &str) -> PathBuf {
        self.path.join("run").join(format!("{name}.input"))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.path.join("run").join(format!("{name}.pid"))
    }

    /// Records the process that runs a server.
    pub fn write_pid_file(&self, name: &str, record: &ProcessRecord) -> io::Result<()> {
        let text = serde_json::to_vec(record).map_err(io::Error::other)?;
        let staged = self.path.join("run").join(format!(".{name}.pid"));
        fs::write(&staged, text)?;
        fs::rename(staged, self.pid_file(name))
    }

    /// The recorded process of a server, if it still runs. A record that nothing can be made of counts as stale.
    pub fn presence(&self, name: &str) -> Result<Presence, Failure> {
        let cannot = |error| Failure::cannot(format_args!("find the process of {name}"), &error);
        let text = match fs::read(self.pid_file(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Presence::NeverStarted),
            Err(error) => return Err(cannot(error)),
            Ok(text) => text,
        };
        match serde_json::from_slice::<ProcessRecord>(&text) {
            Ok(record) => record.find().map_err(cannot),
            Err(_) => Ok(Presence::Gone),
        }
    }

    /// Forgets the process of a server that is not running any more.
    pub fn remove_run_files(&self, name: &str) -> Result<(), Failure> {
        for file in [self.pid_file(name), self.ready_file(name), self.input_file(name)] {
            remove_file_if_there(&file)
                .map_err(|error| Failure::cannot(format_args!("remove {}", file.display()), &error))?;
        }
        Ok(())
    }

    /// Makes the stores of servers that have none yet. A directory that this cluster did not make must be empty.
    pub fn make_store(&self, server: &ServerSettings, known: bool) -> Result<(), Failure> {
        let store = self.store(server);
        let tried = format!("make the store {}", store.display());
        make_private_directory(&store).map_err(|error| Failure::cannot(&tried, &error))?;
        if !known && !is_empty(&store).map_err(|error| Failure::cannot(&tried, &error))? {
            return Err(Failure::because(tried, "the directory is not empty").next("name another --data-dir"));
        }
        Ok(())
    }

    /// Removes everything that starts made. The directory itself goes when nothing else is in it.
    pub fn remove(self, settings: &Settings) -> Result<Removal, Failure> {
        let cannot = |error| Failure::cannot(format_args!("remove the cluster in {}", self.path.display()), &error);
        for server in settings.servers() {
            remove_tree_if_there(&self.store(server)).map_err(cannot)?;
        }
        for file in [self.secret_file(), self.connection_file()] {
            remove_file_if_there(&file).map_err(cannot)?;
        }
        remove_tree_if_there(&self.path.join("log")).map_err(cannot)?;
        remove_file_if_there(&self.path.join(SETTINGS_FILE)).map_err(cannot)?;
        remove_tree_if_there(&self.path.join("run")).map_err(cannot)?;
        match fs::remove_dir(&self.path) {
            Ok(()) => Ok(Removal::Whole),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(Removal::OthersLeft),
            Err(error) => Err(cannot(error)),
        }
    }
}

/// What was left after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing.
    Whole,
    /// The directory, because of files in it that no start made.
    OthersLeft,
}

fn is_cluster(path: &Path) -> bool {
    path.join(SETTINGS_FILE).is_file()
}

/// Whether nothing is there but what a first start leaves that was interrupted before it wrote settings.
fn is_fresh(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let ours = name == "run" || name == "log" || name.as_encoded_bytes().starts_with(b".cluster.json.");
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(fs::read_dir(path)?.next().is_none())
}

fn not_a_cluster(path: &Path) -> Failure {
    let tried = format!("use the directory {}", path.display());
    Failure::because(tried, format_args!("it is not empty and not a cluster's (it has no {SETTINGS_FILE})"))
}

/// Makes a directory that only its owner can enter; one that exists stays as it is.
fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

fn remove_file_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn remove_tree_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn one_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("cluster");
        assert!(ClusterDirectory::open(&path).unwrap().is_none());
        let claimed = ClusterDirectory::create_or_open(&path).unwrap();
        assert!(matches!(ClusterDirectory::create_or_open(&path), Err(Failure::Failed { .. })));
        drop(claimed);
        ClusterDirectory::create_or_open(&path).unwrap();
    }

    #[test]
    fn other_directories_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("thesis.tex"), "…").unwrap();
        assert!(ClusterDirectory::create_or_open(parent.path()).is_err());
        assert!(ClusterDirectory::open(parent.path()).is_err());
    }

    #[test]
    fn settings_come_back_and_removal_leaves_what_is_not_ours() {
        let parent = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::create_or_open(parent.path()).unwrap();
        assert_eq!(directory.settings().unwrap(), None);
        let mut settings = Settings::new(Ipv4Addr::LOCALHOST.into());
        settings.add_file_servers(2, &[]);
        directory.write_settings(&settings).unwrap();
        assert_eq!(directory.settings().unwrap().as_ref(), Some(&settings));
        for server in settings.servers() {
            directory.make_store(server, false).unwrap();
            fs::write(directory.store(server).join("data"), "x").unwrap();
            assert!(directory.make_store(server, false).is_err(), "a store with data passed for a new one");
            directory.make_store(server, true).unwrap();
        }
        fs::write(directory.path().join("note"), "keep me").unwrap();
        assert_eq!(directory.remove(&settings).unwrap(), Removal::OthersLeft);
        let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["note"]);
    }

    #[test]
    fn a_record_that_is_no_record_is_stale() {
        let parent = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::create_or_open(parent.path()).unwrap();
        assert!(matches!(directory.presence("file-0"), Ok(Presence::NeverStarted)));
        fs::write(directory.pid_file("file-0"), "\0garbage").unwrap();
        assert!(matches!(directory.presence("file-0"), Ok(Presence::Gone)));
        directory.remove_run_files("file-0").unwrap();
        assert!(matches!(directory.presence("file-0"), Ok(Presence::NeverStarted)));
    }
}
