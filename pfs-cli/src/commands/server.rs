//! `pfs server`: one server in the foreground, until SIGTERM or SIGINT.

use super::node;
use crate::cluster::file_options::MemoryOptions;
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::sizes::parse_size;
use clap::{Args, Subcommand, ValueEnum};
use pfs_server_runtime::{LogFormat, RunningServer, init_logging, run_until_signal};
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};

/// Which server.
#[derive(Debug, Subcommand)]
pub enum Flags {
    Metadata(MetadataFlags),
    File(FileFlags),
    Node(node::Flags),
}

/// Run a metadata server: names, layouts, sizes, sessions and tokens
#[derive(Debug, Args)]
pub struct MetadataFlags {
    #[command(flatten)]
    common: CommonFlags,

    /// Make a new cluster if the directory is empty; without it an empty directory is refused
    #[arg(long)]
    create: bool,

    /// Milliseconds after which a silent client is given up
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    lease_ms: Option<u64>,

    /// Milliseconds between two signs of life
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_ms: Option<u64>,

    /// Milliseconds for which a restarted server waits for the clients that it had [default: somewhat over the lease]
    #[arg(long, value_name = "MS")]
    grace_ms: Option<u64>,

    /// Milliseconds after which a client is shut out that is alive but does not give way to others
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    revoke_timeout_ms: Option<u64>,

    /// Stripe unit of files that ask for none, like 1M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    stripe_unit: Option<u64>,

    /// Number of file servers for files that ask for none, 0 for all
    #[arg(long, value_name = "N")]
    stripe_count: Option<u32>,
}

/// Run a file server: stripes of files as local objects
#[derive(Debug, Args)]
pub struct FileFlags {
    #[command(flatten)]
    common: CommonFlags,

    /// The name that this server keeps in its cluster
    #[arg(long, value_name = "NAME")]
    name: String,

    /// Host, or HOST:PORT, at which clients reach this server [default: where it listens]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,

    #[command(flatten)]
    memory: MemoryOptions,
}

#[derive(Debug, Args)]
struct CommonFlags {
    /// The server's store
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", value_parser = socket_address)]
    listen: SocketAddr,

    /// Write the address to this file when the server is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// Threads that serve [default: one for each core]; 1 costs least for each small request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// How the log on standard error looks; RUST_LOG says what is in it
    #[arg(long, value_enum, default_value_t = LogFormatFlag::Text)]
    log_format: LogFormatFlag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormatFlag {
    Text,
    Json,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    match flags {
        Flags::Metadata(flags) => run_metadata(flags, connection),
        Flags::File(flags) => run_file(flags, connection),
        Flags::Node(flags) => node::run(flags),
    }
}

fn run_metadata(flags: MetadataFlags, connection: &Connection) -> Outcome {
    connection.refuse_metadata_flag("server metadata")?;
    let secret = connection.secret()?;
    let common = flags.common;
    let mut config = pfs_metadata_server::Config::new(common.dir.clone(), common.listen, secret);
    config.create_cluster = flags.create;
    if let Some(lease_ms) = flags.lease_ms {
        config.lease_ms = lease_ms;
    }
    if let Some(heartbeat_ms) = flags.heartbeat_ms {
        config.heartbeat_ms = heartbeat_ms;
    }
    config.grace_ms = flags.grace_ms;
    if let Some(revoke_timeout_ms) = flags.revoke_timeout_ms {
        config.revoke_timeout_ms = revoke_timeout_ms;
    }
    if let Some(stripe_unit) = flags.stripe_unit {
        config.default_stripe_unit = stripe_unit;
    }
    if let Some(stripe_count) = flags.stripe_count {
        config.default_stripe_count = stripe_count;
    }
    serve("metadata server", &common, || pfs_metadata_server::start(config))
}

fn run_file(flags: FileFlags, connection: &Connection) -> Outcome {
    let metadata = connection.metadata()?;
    let secret = connection.secret()?;
    let common = flags.common;
    let mut config = pfs_file_server::Config::new(common.dir.clone(), common.listen, metadata, secret, flags.name);
    config.advertise = flags.advertise;
    flags.memory.apply(&mut config);
    serve("file server", &common, || pfs_file_server::start(config))
}

/// Starts the server, says so in the ready file, and returns when it has stopped.
fn serve<S>(kind: &str, common: &CommonFlags, start: impl FnOnce() -> S) -> Outcome
where
    S: Future<Output = anyhow::Result<RunningServer>>,
{
    init_logging("info", common.log_format.into())
        .map_err(|error| Failure::cannot("start logging", error.as_ref()).next("correct RUST_LOG"))?;
    let runtime = runtime(common.threads).map_err(|error| Failure::cannot("start a runtime", &error))?;
    runtime.block_on(async {
        let doing = |what: &str| format!("{what} the {kind} in {} at {}", common.dir.display(), common.listen);
        let server = start().await.map_err(|error| Failure::cannot(doing("start"), error.as_ref()))?;
        run_until_signal(server, common.ready_file.as_deref())
            .await
            .map_err(|error| Failure::cannot(doing("run"), error.as_ref()))
    })
}

/// A runtime with these threads; whatever waits for a disk has others.
fn runtime(threads: Option<u16>) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(threads) = threads.filter(|threads| *threads > 1) {
        builder.worker_threads(threads.into());
    }
    builder.enable_all().build()
}

/// HOST:PORT, with the host's first address.
fn socket_address(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| format!("{error}; give HOST:PORT"))?;
    addresses.next().ok_or_else(|| "the host has no address".to_owned())
}

impl From<LogFormatFlag> for LogFormat {
    fn from(flag: LogFormatFlag) -> Self {
        match flag {
            LogFormatFlag::Text => LogFormat::Text,
            LogFormatFlag::Json => LogFormat::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_needs_a_port() {
        assert_eq!(socket_address("127.0.0.1:70"), Ok("127.0.0.1:70".parse().unwrap()));
        assert_eq!(socket_address("[::1]:0"), Ok("[::1]:0".parse().unwrap()));
        assert!(socket_address("127.0.0.1").is_err());
        assert!(socket_address("").is_err());
    }
}
