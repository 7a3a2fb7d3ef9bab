//! Where the cluster is and how much a client may use; names of files.

use crate::error::{Error, ErrorKind};
use pfs_core::path::PfsPath;
use pfs_proto::transport::check_address;
use std::path::PathBuf;
use std::time::Duration;

/// Names the metadata servers, as `host:port[,host:port…]`.
pub const METADATA_VARIABLE: &str = "PFS_METADATA";
/// Names the file with the cluster secret.
pub const SECRET_FILE_VARIABLE: &str = "PFS_SECRET_FILE";

/// How many bytes of files a client keeps; 0 for no cache.
pub const CACHE_BYTES_VARIABLE: &str = "PFS_CACHE_BYTES";

/// Names a [`DataPath`]: auto, bulk, small or unary.
pub const DATA_PATH_VARIABLE: &str = "PFS_DATA_PATH";

/// How bytes go to and from file servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataPath {
    /// Large requests as with `Bulk`, small ones as with `Small`.
    #[default]
    Auto,
    /// Each request is a call; its bytes are not copied on their way between buffer and socket.
    Bulk,
    /// Requests share one stream to each server.
    Small,
    /// Each request is a call of generated code, as any other gRPC client would make it.
    Unary,
}

impl DataPath {
    /// All of them.
    pub const ALL: [DataPath; 4] = [DataPath::Auto, DataPath::Bulk, DataPath::Small, DataPath::Unary];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            DataPath::Auto => "auto",
            DataPath::Bulk => "bulk",
            DataPath::Small => "small",
            DataPath::Unary => "unary",
        }
    }
}

impl std::str::FromStr for DataPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        DataPath::ALL.into_iter().find(|path| path.name() == text).ok_or_else(|| {
            let message = format!("{text:?} is no way for data; it must be auto, bulk, small or unary");
            Error::new(ErrorKind::InvalidArgument, message)
        })
    }
}

/// Settings of one client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Metadata servers as "host:port", tried in order.
    pub metadata: Vec<String>,
    /// The cluster secret, readable by its owner only.
    pub secret_file: PathBuf,
    /// How `pfs status` names this client.
    pub name: String,
    /// How long one request to a server may take.
    pub operation_timeout: Duration,
    /// How long a server that does not answer is tried again.
    pub retry_for: Duration,
    /// How long the session outlives a metadata server that does not answer: operations wait for so long, and then end in
    /// an error. Also how long any one answer of a metadata server that is there is waited for.
    pub session_patience: Duration,
    /// How long a write of unknown outcome keeps its range from others while its file server can not be asked; after
    /// that the metadata server sees to it.
    pub drain_patience: Duration,
    /// Bytes of requests and answers under way at once.
    pub in_flight_bytes_max: usize,
    /// The same for each server, so that one that is slow leaves room for the others.
    pub in_flight_bytes_per_server_max: usize,
    /// Payload bytes of one request.
    pub request_bytes_max: usize,
    /// How bytes go to and from file servers. `PFS_DATA_PATH` sets it.
    pub data_path: DataPath,
    /// Requests of so many payload bytes, and smaller ones, are small. An access of up to four times as many is made of small ones.
    pub small_bytes_max: usize,
    /// Bytes of blocks that are kept of files; 0 for no cache. `PFS_CACHE_BYTES` sets it.
    pub cache_bytes: usize,
    /// Bytes of one block.
    pub cache_block_bytes: usize,
    /// Accesses of so many bytes, and larger ones, pass the cache by.
    pub cache_bypass_bytes: usize,
    /// How far ahead of somebody who reads from front to back, or pieces at one distance; 0 for no read-ahead.
    pub read_ahead_bytes: usize,
}

impl ClientConfig {
    /// Default settings for a cluster.
    pub fn new(metadata: Vec<String>, secret_file: impl Into<PathBuf>) -> Self {
        ClientConfig {
            metadata,
            secret_file: secret_file.into(),
            name: default_name(),
            operation_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(5),
            session_patience: Duration::from_secs(120),
            drain_patience: Duration::from_secs(5),
            in_flight_bytes_max: 32 << 20,
            in_flight_bytes_per_server_max: 8 << 20,
            request_bytes_max: 2 << 20,
            data_path: DataPath::Auto,
            small_bytes_max: 64 << 10,
            cache_bytes: 64 << 20,
            cache_block_bytes: 64 << 10,
            cache_bypass_bytes: 256 << 10,
            read_ahead_bytes: 4 << 20,
        }
    }

    /// Settings from `PFS_METADATA`, `PFS_SECRET_FILE` and, if they are set, `PFS_CACHE_BYTES` and `PFS_DATA_PATH`.
    pub fn from_env() -> Result<Self, Error> {
        ClientConfig::with_environment(None)
    }

    /// Which cluster is meant: the addresses of its metadata servers, `host:port[,host:port…]` or those of `PFS_METADATA`, and
    /// the secret file of `PFS_SECRET_FILE`.
    pub fn cluster(addresses: Option<&str>) -> Result<(Vec<String>, PathBuf), Error> {
        let metadata = match addresses {
            Some(addresses) => addresses.to_owned(),
            None => variable(METADATA_VARIABLE)?,
        };
        let metadata = metadata.split(',').map(|address| address.trim().to_owned()).collect();
        Ok((metadata, variable(SECRET_FILE_VARIABLE)?.into()))
    }

    /// Settings for `host:port[,host:port…]`, with the others as [`from_env`](Self::from_env) has them.
    pub fn from_addresses(addresses: &str) -> Result<Self, Error> {
        ClientConfig::with_environment(Some(addresses))
    }

    fn with_environment(addresses: Option<&str>) -> Result<Self, Error> {
        let (metadata, secret_file) = ClientConfig::cluster(addresses)?;
        let mut config = ClientConfig::new(metadata, secret_file);
        if let Ok(bytes) = std::env::var(CACHE_BYTES_VARIABLE) {
            config.cache_bytes = bytes.trim().parse().map_err(|_| {
                let message =
                    format!("{CACHE_BYTES_VARIABLE} is {bytes:?}; it must be a number of bytes, 0 for no cache");
                Error::new(ErrorKind::InvalidArgument, message)
            })?;
        }
        if let Ok(path) = std::env::var(DATA_PATH_VARIABLE) {
            config.data_path = path.trim().parse().map_err(|error: Error| error.context(DATA_PATH_VARIABLE))?;
        }
        Ok(config)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.metadata.is_empty() {
            let message = format!("no metadata server is named; set {METADATA_VARIABLE}=host:port");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        for address in &self.metadata {
            check_address(address).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("the metadata server's address is wrong: {error}"))
            })?;
        }
        let limit = pfs_proto::transport::DATA_REQUEST_BYTES_MAX;
        if self.request_bytes_max == 0 || self.request_bytes_max > limit {
            let message =
                format!("request_bytes_max is {} bytes; it must be between 1 and {limit}", self.request_bytes_max);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.in_flight_bytes_max < self.request_bytes_max || u32::try_from(self.in_flight_bytes_max).is_err() {
            let message = format!(
                "in_flight_bytes_max is {} bytes; it must be at least request_bytes_max, {}, and below 4 GiB",
                self.in_flight_bytes_max, self.request_bytes_max
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.in_flight_bytes_per_server_max < self.request_bytes_max {
            let message = format!(
                "in_flight_bytes_per_server_max is {} bytes; it must be at least request_bytes_max, {}",
                self.in_flight_bytes_per_server_max, self.request_bytes_max
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let small_limit = pfs_proto::transport::SMALL_REQUEST_BYTES_MAX;
        if self.small_bytes_max == 0 || self.small_bytes_max > small_limit {
            let message =
                format!("small_bytes_max is {} bytes; it must be between 1 and {small_limit}", self.small_bytes_max);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let block_bytes_max = 16 << 20;
        if !(512..=block_bytes_max).contains(&self.cache_block_bytes) {
            let message = format!(
                "cache_block_bytes is {} bytes; it must be between 512 and {block_bytes_max}",
                self.cache_block_bytes
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}

fn variable(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| {
        let message = format!(
            "{name} is not set; start a cluster with `eval \"$(pfs start --dir D --file-servers N)\"`, or source the \
             env file of a running one"
        );
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

/// host:process
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

/// Takes a file name apart: `pfs://host:port/path`, `pfs:/path` or `/path`. The address is there only in the first form.
pub fn parse_url(text: &str) -> Result<(Option<String>, PfsPath), Error> {
    let refused = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidArgument, format!("the file name {text:?} can not be used: {error}"))
    };
    let (address, path) = match text.strip_prefix("pfs://") {
        Some(rest) => {
            let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
            check_address(address).map_err(|error| refused(&error))?;
            (Some(address.to_owned()), format!("/{path}"))
        }
        None => (None, text.strip_prefix("pfs:").unwrap_or(text).to_owned()),
    };
    let path = PfsPath::parse(&path).map_err(|error| refused(&error))?;
    Ok((address, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_three_forms() {
        let parse = |text| parse_url(text).map(|(address, path)| (address, path.to_string())).unwrap();
        assert_eq!(parse("pfs://h:1/a/b"), (Some("h:1".into()), "/a/b".into()));
        assert_eq!(parse("pfs://h:1"), (Some("h:1".into()), "/".into()));
        assert_eq!(parse("pfs:/a"), (None, "/a".into()));
        assert_eq!(parse("/a"), (None, "/a".into()));
        for bad in ["", "a", "pfs:a", "pfs://", "pfs://h/a", "pfs:/a/../b", "pfs://h:99999/a"] {
            let error = parse_url(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn impossible_limits_are_refused() {
        let good = ClientConfig::new(vec!["localhost:1".into()], "/secret");
        assert!(good.check().is_ok());
        for change in [
            (|c| c.metadata.clear()) as fn(&mut ClientConfig),
            |c| c.metadata[0] = "nowhere".into(),
            |c| c.request_bytes_max = 0,
            |c| c.request_bytes_max = 1 << 30,
            |c| c.in_flight_bytes_max = 1,
            |c| c.in_flight_bytes_per_server_max = 1,
            |c| c.small_bytes_max = 0,
            |c| c.small_bytes_max = 2 << 20,
            |c| c.cache_block_bytes = 0,
            |c| c.cache_block_bytes = 1 << 30,
        ] {
            let mut bad = good.clone();
            change(&mut bad);
            assert_eq!(bad.check().unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
