//! Which cluster a command speaks to, and with which secret: what the name itself says, then the flag, then the
//! environment.

use crate::failure::Failure;
use crate::names::RemoteName;
use clap::Args;
use pfs_client::blocking::Client;
use pfs_client::{ClientConfig, METADATA_VARIABLE, SECRET_FILE_VARIABLE};
use pfs_proto::secret::Secret;
use std::env;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// Metadata server as HOST:PORT[,HOST:PORT…] [env: PFS_METADATA]
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',')]
    metadata: Vec<String>,

    /// File with the cluster's secret [env: PFS_SECRET_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Connection {
    /// The metadata servers from the flag or the environment.
    pub fn metadata(&self) -> Result<Vec<String>, Failure> {
        let addresses = match self.metadata.as_slice() {
            [] => env::var(METADATA_VARIABLE).unwrap_or_default().split(',').map(str::to_owned).collect(),
            given => given.to_vec(),
        };
        let addresses: Vec<String> = addresses
            .into_iter()
            .map(|address| address.trim().to_owned())
            .filter(|address| !address.is_empty())
            .collect();
        if addresses.is_empty() {
            let problem = format!("{METADATA_VARIABLE} is not set and --metadata is not given");
            return Err(Failure::because("find the metadata server", problem).next(
                "run `eval \"$(pfs start --dir DIR)\"`, or source the file `env` of a running cluster's directory",
            ));
        }
        Ok(addresses)
    }

    /// The file with the secret, from the flag or the environment.
    pub fn secret_file(&self) -> Result<PathBuf, Failure> {
        let from_environment =
            || env::var_os(SECRET_FILE_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.secret_file.clone().or_else(from_environment).ok_or_else(|| {
            let problem = format!("{SECRET_FILE_VARIABLE} is not set and --secret-file is not given");
            Failure::because("find the cluster's secret", problem)
                .next("name the file `secret` of the cluster's directory")
        })
    }

    /// The secret itself.
    pub fn secret(&self) -> Result<Secret, Failure> {
        load_secret(&self.secret_file()?)
    }

    /// Whether `--metadata` was given.
    pub fn has_metadata_flag(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// Fails when `--metadata` was given to a command that has no use for it.
    pub fn refuse_metadata_flag(&self, command: &str) -> Result<(), Failure> {
        match self.metadata.as_slice() {
            [] => Ok(()),
            _ => Err(Failure::usage(format_args!("`pfs {command}` takes no --metadata"))),
        }
    }

    /// Fails when `--secret-file` was given to a command that makes the secret itself.
    pub fn refuse_secret_file_flag(&self, command: &str) -> Result<(), Failure> {
        match &self.secret_file {
            None => Ok(()),
            Some(_) => {
                Err(Failure::usage(format_args!("`pfs {command}` makes its own secret and takes no --secret-file")))
            }
        }
    }

    /// Connects to clusters as names ask for them.
    pub fn clusters(&self) -> Clusters<'_> {
        Clusters { connection: self, open: Vec::new() }
    }

    /// Connects to the cluster that `name` or else the flags or the environment say.
    pub fn open(&self, name: Option<&RemoteName>) -> Result<Cluster, Failure> {
        let metadata = match name.and_then(|name| name.metadata.clone()) {
            Some(address) => vec![address],
            None => self.metadata()?,
        };
        let address = metadata.join(",");
        let secret_file = self.secret_file()?;
        load_secret(&secret_file)?;
        let mut config = ClientConfig::new(metadata, secret_file);
        config.name = format!("pfs command, {}", config.name);
        let client = Client::connect(config)
            .map_err(|error| cannot(format_args!("connect to the metadata server at {address}"), &error))?;
        Ok(Cluster { client, address })
    }
}

fn load_secret(file: &Path) -> Result<Secret, Failure> {
    Secret::load(file).map_err(|error| Failure::cannot("use the cluster's secret", &error))
}

/// Connected clusters, for commands whose names may lead to several.
pub struct Clusters<'a> {
    connection: &'a Connection,
    open: Vec<(Option<String>, Cluster)>,
}

impl Clusters<'_> {
    /// The cluster of a name, connected when it is needed first.
    pub fn of(&mut self, name: &RemoteName) -> Result<&Cluster, Failure> {
        let index = match self.open.iter().position(|(metadata, _)| *metadata == name.metadata) {
            Some(index) => index,
            None => {
                self.open.push((name.metadata.clone(), self.connection.open(Some(name))?));
                self.open.len() - 1
            }
        };
        Ok(&self.open[index].1)
    }
}

/// A connected cluster.
pub struct Cluster {
    /// The session.
    pub client: Client,
    /// "host:port" of the metadata server, for messages.
    pub address: String,
}

/// A failure of the client library, with what the user can do about its kind.
pub fn cannot(tried: impl Display, error: &pfs_client::Error) -> Failure {
    use pfs_client::ErrorKind;
    let failure = Failure::because(tried, error);
    match error.kind() {
        ErrorKind::Unauthenticated => failure.next("give this cluster's secret with --secret-file or PFS_SECRET_FILE"),
        ErrorKind::NoSpace => failure.next("see `pfs df`"),
        _ => failure,
    }
}
