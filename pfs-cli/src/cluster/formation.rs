//! Starting the cluster of a directory: new, or again with its data.
//!
//! Invariant: on any failure nothing is left running; a caller that fails while it is told how to reach the servers
//! counts as a failure.

use super::directory::ClusterDirectory;
use super::file_options::FileOptions;
use super::launch::Launch;
use super::node_servers::{self, NodeOptions};
use super::process::Presence;
use super::settings::{MetadataOptions, ServerSettings, Settings};
use crate::failure::{Failure, Outcome};
use crate::sizes::parse_size;
use clap::Args;
use pfs_client::{METADATA_VARIABLE, SECRET_FILE_VARIABLE};
use pfs_proto::secret::Secret;
use pfs_proto::transport::check_address;
use std::collections::HashSet;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const FILE_SERVERS_DEFAULT: usize = 1;

/// What a start can be asked for.
#[derive(Debug, Args)]
pub struct StartOptions {
    /// Number of file servers [default: 1, or as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) file_servers: Option<u16>,

    /// Host name or address to listen at [default: 127.0.0.1, or as before]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// Host name or address at which clients reach this machine [default: the one to listen at]
    #[arg(long, value_name = "ADDR")]
    advertise: Option<String>,

    /// Keep the file servers' stores in these directories, in turn (once for each disk)
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Vec<PathBuf>,

    /// Stripe unit of files that ask for none, like 1M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    stripe_unit: Option<u64>,

    /// Number of file servers for files that ask for none [default: all]
    #[arg(long, value_name = "N")]
    stripe_count: Option<u32>,

    /// Milliseconds after which a silent client is given up
    #[arg(long, value_name = "MS")]
    lease_ms: Option<u64>,

    /// Milliseconds between two signs of life
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,

    /// Milliseconds for which a restarted metadata server waits for the clients that it had
    #[arg(long, value_name = "MS")]
    grace_ms: Option<u64>,

    /// Milliseconds after which a client is shut out that is alive but does not give way to others
    #[arg(long, value_name = "MS")]
    revoke_timeout_ms: Option<u64>,

    #[command(flatten)]
    file_options: FileOptions,

    #[command(flatten)]
    pub(super) nodes: NodeOptions,

    /// Seconds until servers that are not ready are given up
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout_s: u64,
}

impl StartOptions {
    /// The name of an option that was given, if one was; the time limit does not count.
    pub fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("file-servers", self.file_servers.is_some()),
            ("listen", self.listen.is_some()),
            ("advertise", self.advertise.is_some()),
            ("data-dir", !self.data_dir.is_empty()),
            ("stripe-unit", self.stripe_unit.is_some()),
            ("stripe-count", self.stripe_count.is_some()),
            ("lease-ms", self.lease_ms.is_some()),
            ("heartbeat-ms", self.heartbeat_ms.is_some()),
            ("grace-ms", self.grace_ms.is_some()),
            ("revoke-timeout-ms", self.revoke_timeout_ms.is_some()),
            ("nodefile", self.nodes.nodefile.is_some()),
        ];
        let first = given.into_iter().find_map(|(name, given)| given.then_some(name));
        first.or_else(|| self.file_options.given().next().map(|(name, _)| name))
    }
}

/// How programs reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// "host:port" of the metadata server.
    pub metadata: String,
    /// The file with the secret.
    pub secret_file: PathBuf,
}

impl Access {
    /// The lines that a shell evaluates.
    pub fn exports(&self) -> String {
        let Access { metadata, secret_file } = self;
        let secret_file = shell_quoted(secret_file);
        format!("export {METADATA_VARIABLE}='{metadata}'\nexport {SECRET_FILE_VARIABLE}={secret_file}\n")
    }

    /// The same for a child's environment.
    pub fn variables(&self) -> [(&'static str, OsString); 2] {
        [(METADATA_VARIABLE, (&self.metadata).into()), (SECRET_FILE_VARIABLE, (&self.secret_file).into())]
    }
}

/// Starts the cluster in `dir`, of which `announce` learns when all servers are ready.
pub fn start(dir: &Path, options: &StartOptions, announce: impl FnOnce(&Access) -> Outcome) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(options.timeout_s);
    let listen = options.listen.as_deref().map(resolve).transpose()?;
    check_reachable(listen, options.advertise.as_deref())?;

    let directory = ClusterDirectory::create_or_open(dir)?;
    let earlier = directory.settings()?;
    if let Some(earlier) = &earlier {
        check_stopped(&directory, earlier)?;
    }
    let mut settings = new_settings(options, listen, earlier.as_ref())?;
    make_stores(&directory, &settings, earlier.as_ref())?;
    make_secret(&directory)?;
    directory.write_settings(&settings)?;

    // More than one thread, because a client waits on the thread that calls it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::cannot("start a runtime", &error))?;
    runtime.block_on(form(&directory, &mut settings, deadline, announce))?;
    let servers = settings
        .nodes
        .as_ref()
        .map_or(settings.file_servers.len(), |nodes| usize::from(nodes.file_servers) * nodes.names.len());
    eprintln!("started 1 metadata server and {servers} file servers in {}", directory.path().display());
    Ok(())
}

/// Starts all servers and says how to reach them, or leaves none running.
async fn form(
    directory: &ClusterDirectory,
    settings: &mut Settings,
    deadline: Instant,
    announce: impl FnOnce(&Access) -> Outcome,
) -> Outcome {
    let mut launch = Launch::new(directory, deadline)?;
    start_servers(directory, settings, &mut launch).await?;
    settings.formed = true;
    directory.write_settings(settings)?;
    let metadata = settings.reachable_at(settings.metadata.port);
    let access = Access { metadata, secret_file: directory.secret_file() };
    directory.write_connection_file(&access.exports())?;
    announce(&access)?;
    launch.keep();
    Ok(())
}

/// The first address of a host name or a numeric address.
fn resolve(host: &str) -> Result<IpAddr, Failure> {
    let tried = format!("listen at {host:?}");
    let next_step = "give a host name or an address of this machine, without a port";
    let mut addresses = (host, 0).to_socket_addrs().map_err(|error| Failure::cannot(&tried, &error).next(next_step))?;
    addresses
        .next()
        .map(|address| address.ip())
        .ok_or_else(|| Failure::because(tried, "it has no address").next(next_step))
}

/// Whether clients will find the servers under the name that they are told.
fn check_reachable(listen: Option<IpAddr>, advertise: Option<&str>) -> Outcome {
    match (listen, advertise) {
        (_, Some(advertise)) if check_address(&format!("{advertise}:1")).is_err() => Err(Failure::usage(format_args!(
            "{advertise:?} is no host name or address; give --advertise without a port"
        ))),
        (Some(listen), None) if listen.is_unspecified() => Err(Failure::usage(format_args!(
            "nobody can connect to {listen}; say with --advertise how clients reach this machine"
        ))),
        _ => Ok(()),
    }
}

fn check_stopped(directory: &ClusterDirectory, earlier: &Settings) -> Outcome {
    let mut running = Vec::new();
    let processes = earlier.processes();
    for name in &processes {
        match directory.presence(name)? {
            Presence::Running(_) => running.push(name.as_str()),
            Presence::OtherHost(host) => {
                let tried = format!("start the cluster in {}", directory.path().display());
                return Err(Failure::because(tried, format_args!("{name} runs on the host {host}"))
                    .next("run `pfs stop` there first"));
            }
            Presence::Gone => eprintln!("note: {name} has ended without `pfs stop`; its records are replaced"),
            Presence::NeverStarted => {}
        }
    }
    if running.is_empty() {
        return Ok(());
    }
    let path = directory.path().display();
    let tried = format!("start the cluster in {path}");
    if running.len() == processes.len() {
        let next_step =
            format!("use it with `. {}`, or run `pfs stop --dir {path}` first", directory.connection_file().display());
        return Err(Failure::because(tried, "it is running already").next(next_step));
    }
    let problem = format!("a part of it is running: {}", running.join(", "));
    Err(Failure::because(tried, problem).next(format_args!("run `pfs stop --dir {path}` first")))
}

fn new_settings(
    options: &StartOptions,
    listen: Option<IpAddr>,
    earlier: Option<&Settings>,
) -> Result<Settings, Failure> {
    let mut settings = earlier.cloned().unwrap_or_else(|| Settings::new(Ipv4Addr::LOCALHOST.into()));
    if let Some(listen) = listen {
        settings.listen = listen;
        settings.advertise = None;
    }
    if let Some(advertise) = &options.advertise {
        settings.advertise = Some(advertise.clone());
    }
    settings.options = wished(options).or(settings.options);
    settings.file_options = options.file_options.or(settings.file_options);
    if let Some(nodes) = node_servers::nodes(options, settings.nodes.as_ref())? {
        if !settings.file_servers.is_empty() {
            let problem = "it has file servers on this machine, with files on them";
            return Err(Failure::because("put its file servers on nodes", problem).next("start another cluster"));
        }
        settings.nodes = Some(nodes);
        return Ok(settings);
    }
    let existing = settings.file_servers.len();
    let wanted = options.file_servers.map_or(existing.max(FILE_SERVERS_DEFAULT), usize::from);
    if wanted < existing {
        let problem = format!("it has {existing} file servers, and files may lie on each of them");
        return Err(Failure::because(format_args!("start with {wanted} file servers"), problem)
            .next(format_args!("give --file-servers {existing} or more, or leave it out")));
    }
    settings.add_file_servers(wanted, &absolute(&options.data_dir)?);
    Ok(settings)
}

fn wished(options: &StartOptions) -> MetadataOptions {
    MetadataOptions {
        lease_ms: options.lease_ms,
        heartbeat_ms: options.heartbeat_ms,
        grace_ms: options.grace_ms,
        revoke_timeout_ms: options.revoke_timeout_ms,
        stripe_unit: options.stripe_unit,
        stripe_count: options.stripe_count,
    }
}

/// The same paths from wherever a server runs.
pub(super) fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Failure::cannot(format_args!("use {}", path.display()), &error))
    };
    paths.iter().map(absolute).collect()
}

fn make_stores(directory: &ClusterDirectory, settings: &Settings, earlier: Option<&Settings>) -> Outcome {
    let known: HashSet<&str> =
        earlier.iter().flat_map(|earlier| earlier.servers()).map(|server| server.name.as_str()).collect();
    settings.servers().try_for_each(|server| directory.make_store(server, known.contains(server.name.as_str())))
}

fn make_secret(directory: &ClusterDirectory) -> Outcome {
    let file = directory.secret_file();
    if file.exists() {
        return Ok(());
    }
    Secret::generate_file(&file).map(drop).map_err(|error| Failure::cannot("make the cluster's secret", &error))
}

async fn start_servers(directory: &ClusterDirectory, settings: &mut Settings, launch: &mut Launch<'_>) -> Outcome {
    let name = settings.metadata.name.clone();
    launch.start(&name, &metadata_arguments(directory, settings))?;
    settings.metadata.port = launch.wait_ready(&name).await?.port();
    let metadata = settings.reachable_at(settings.metadata.port);
    if let Some(nodes) = &settings.nodes {
        return node_servers::start(directory, nodes, settings.file_options, &metadata, launch).await;
    }
    for server in &settings.file_servers {
        launch.start(&server.name, &file_arguments(directory, settings, server, &metadata))?;
        // New servers one after the other, so that the ids that they are given follow the names.
        if server.port == 0 {
            launch.wait_ready(&server.name).await?;
        }
    }
    for server in &mut settings.file_servers {
        server.port = launch.wait_ready(&server.name).await?.port();
    }
    Ok(())
}

fn metadata_arguments(directory: &ClusterDirectory, settings: &Settings) -> Vec<OsString> {
    let mut arguments = vec!["metadata".into()];
    arguments.extend(common_arguments(directory, settings, &settings.metadata));
    let options = &settings.options;
    for (flag, value) in [
        ("--lease-ms", options.lease_ms),
        ("--heartbeat-ms", options.heartbeat_ms),
        ("--grace-ms", options.grace_ms),
        ("--revoke-timeout-ms", options.revoke_timeout_ms),
        ("--stripe-unit", options.stripe_unit),
        ("--stripe-count", options.stripe_count.map(u64::from)),
    ] {
        if let Some(value) = value {
            arguments.extend([flag.into(), value.to_string().into()]);
        }
    }
    if !settings.formed {
        arguments.push("--create".into());
    }
    arguments
}

fn file_arguments(
    directory: &ClusterDirectory,
    settings: &Settings,
    server: &ServerSettings,
    metadata: &str,
) -> Vec<OsString> {
    let mut arguments = vec!["file".into()];
    arguments.extend(common_arguments(directory, settings, server));
    arguments.extend(["--metadata".into(), metadata.into(), "--name".into(), (&server.name).into()]);
    if let Some(advertise) = &settings.advertise {
        arguments.extend(["--advertise".into(), advertise.into()]);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.extend(settings.file_options.shared_by(settings.file_servers.len(), cores).arguments());
    arguments
}

fn common_arguments(directory: &ClusterDirectory, settings: &Settings, server: &ServerSettings) -> [OsString; 8] {
    let listen = SocketAddr::new(settings.listen, port_if_free(settings.listen, server.port));
    [
        "--dir".into(),
        directory.store(server).into(),
        "--listen".into(),
        listen.to_string().into(),
        "--secret-file".into(),
        directory.secret_file().into(),
        "--ready-file".into(),
        directory.ready_file(&server.name).into(),
    ]
}

/// The port of the last start if nobody else has it now, or 0 for any.
fn port_if_free(listen: IpAddr, port: u16) -> u16 {
    if TcpListener::bind((listen, port)).is_ok() { port } else { 0 }
}

/// A path as one word of a POSIX shell.
fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let path = Path::new("/tmp/it's $HOME `x` \"y\"");
        let words = std::process::Command::new("sh")
            .args(["-c", &format!("printf %s {}", shell_quoted(path))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(words.stdout).unwrap(), path.to_str().unwrap());
    }

    #[test]
    fn a_taken_port_is_not_wished_for() {
        let localhost = Ipv4Addr::LOCALHOST.into();
        let listener = TcpListener::bind((localhost, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        assert_eq!(port_if_free(localhost, taken), 0);
        drop(listener);
        // A child that another test is just starting has a copy of the listener until its program begins.
        let deadline = Instant::now() + Duration::from_secs(10);
        while port_if_free(localhost, taken) != taken {
            assert!(Instant::now() < deadline, "port {taken} stays taken");
            std::thread::yield_now();
        }
    }
}
