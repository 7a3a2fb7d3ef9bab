//! Starting and ending the file servers of nodes, from where the metadata server is.

use super::directory::ClusterDirectory;
use super::file_options::FileOptions;
use super::formation::{StartOptions, absolute};
use super::launch::Launch;
use super::nodes::{Nodes, Order, REMOVE, STOP};
use super::process::{Presence, ProcessRecord};
use super::settings::Settings;
use super::{abandoned, ending};
use crate::failure::{Failure, Outcome};
use clap::Args;
use pfs_client::ClientConfig;
use pfs_client::blocking::Client;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a launcher may take to end that was asked to end by a signal.
const KILL_GRACE: Duration = Duration::from_secs(30);
/// Opening does not wait for a reader.
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// What a start on nodes can be asked for.
#[derive(Debug, Args)]
pub struct NodeOptions {
    /// Start file servers on the nodes that this file names, one a line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub nodefile: Option<PathBuf>,

    /// How a command is run on {node}, or on all {nodes} [default: srun in a Slurm job, else ssh {node}]
    #[arg(long, value_name = "COMMAND", requires = "nodefile", value_parser = Nodes::check_launch)]
    pub launch: Option<String>,

    /// A folder of every node for the stores of its file servers
    #[arg(long, value_name = "DIR", requires = "nodefile")]
    pub node_dir: Option<PathBuf>,

    /// Remove the stores of nodes when their servers end, however that is
    #[arg(long, requires = "nodefile")]
    pub ephemeral: bool,

    /// With --ephemeral: the process that will stop the cluster. If the batch system ends the servers when it has gone, the
    /// cluster's directory and its metadata server go with them
    #[arg(long, value_name = "PID", requires = "ephemeral")]
    pub owner: Option<u32>,

    /// Seconds for which nodes' servers go on after a signal, for an owner who has had it too and saves something; a batch
    /// system sends all processes of a job the same one
    #[arg(long, value_name = "SECONDS", requires = "ephemeral", default_value_t = 0)]
    pub linger_s: u16,
}

/// The nodes that the flags name, or those of before.
pub fn nodes(options: &StartOptions, earlier: Option<&Nodes>) -> Result<Option<Nodes>, Failure> {
    let flags = &options.nodes;
    let Some(file) = &flags.nodefile else {
        if earlier.is_some() && (options.file_servers.is_some() || !options.data_dir.is_empty()) {
            let problem = "its file servers are on nodes; give --nodefile again to change them";
            return Err(Failure::because("change the file servers", problem));
        }
        return Ok(earlier.cloned());
    };
    let tried = || format!("read the names of nodes in {}", file.display());
    let text = match file.as_os_str() == "-" {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(file),
    };
    let text = text.map_err(|error| Failure::cannot(tried(), &error))?;
    let names = Nodes::parse_names(&text).map_err(|problem| Failure::because(tried(), problem))?;
    let lost = earlier.iter().flat_map(|earlier| &earlier.names).find(|name| !names.contains(name));
    if let Some(lost) = lost {
        let problem = format!("{lost} is not among them, and files may lie on it");
        return Err(Failure::because("start on these nodes", problem));
    }
    let directory = match (&flags.node_dir, earlier) {
        (Some(directory), _) => directory.clone(),
        (None, Some(earlier)) => earlier.directory.clone(),
        (None, None) => return Err(Failure::usage("--nodefile needs --node-dir, a folder of every node")),
    };
    let owner = flags.owner.map(ProcessRecord::of_child).transpose();
    Ok(Some(Nodes {
        names,
        launch: flags.launch.clone().unwrap_or_else(|| Nodes::usual_launch().to_owned()),
        directory: absolute(&[directory])?.remove(0),
        file_servers: options.file_servers.or(earlier.map(|earlier| earlier.file_servers)).unwrap_or(1),
        ephemeral: flags.ephemeral,
        owner: owner.map_err(|error| Failure::cannot("find the owner's process", &error))?,
        linger_s: flags.linger_s,
    }))
}

/// Starts the file servers of nodes and waits until all of them are up.
pub async fn start(
    directory: &ClusterDirectory,
    nodes: &Nodes,
    options: FileOptions,
    metadata: &str,
    launch: &mut Launch<'_>,
) -> Outcome {
    let secret = fs::read_to_string(directory.secret_file())
        .map_err(|error| Failure::cannot("read the cluster's secret", &error))?;
    let mut order = Order {
        name: None,
        directory: nodes.directory.clone(),
        file_servers: nodes.file_servers,
        options,
        metadata: vec![metadata.to_owned()],
        secret: secret.trim().to_owned(),
        ephemeral: nodes.ephemeral,
        cluster: (directory.path().to_owned(), abandoned::host_name()),
        owner: nodes.owner.clone(),
        linger_s: nodes.linger_s,
    };
    let launchers = nodes.launchers()?;
    for launcher in &launchers {
        order.name.clone_from(&launcher.node);
        let line = serde_json::to_string(&order).map_err(|error| Failure::cannot("tell a node what to do", &error))?;
        launch.start_launcher(launcher, &(line + "\n"))?;
    }
    let config = ClientConfig::new(vec![metadata.to_owned()], directory.secret_file());
    let cannot = |error: pfs_client::Error| Failure::cannot("ask the metadata server for its file servers", &error);
    let client = tokio::task::block_in_place(|| Client::connect(config)).map_err(cannot)?;
    let wanted = usize::from(nodes.file_servers) * nodes.names.len();
    let all_live = || {
        let status = tokio::task::block_in_place(|| client.cluster_status(false)).map_err(cannot)?;
        Ok(status.file_servers.iter().filter(|server| server.live).count() >= wanted)
    };
    let last = &launchers[launchers.len() - 1].name;
    launch.wait_until(last, all_live).await
}

/// Tells the nodes' servers to end, and waits for their launchers. Returns how many servers that were.
pub fn end(directory: &ClusterDirectory, settings: &Settings, remove: bool, grace: Duration) -> Result<usize, Failure> {
    let Some(nodes) = &settings.nodes else { return Ok(0) };
    let mut launchers = Vec::new();
    for name in nodes.processes() {
        match directory.presence(&name)? {
            Presence::Running(process) => launchers.push((name, process)),
            Presence::OtherHost(host) => {
                let tried = format!("stop the cluster in {}", directory.path().display());
                let problem = format!("{name} runs on the host {host}");
                return Err(Failure::because(tried, problem).next("run `pfs stop` there"));
            }
            Presence::Gone => eprintln!("note: {name} had ended already, and so have its file servers"),
            Presence::NeverStarted => {}
        }
    }
    if remove && launchers.len() < nodes.processes().len() {
        let stores = nodes.directory.display();
        eprintln!(
            "note: stores of nodes whose servers do not run stay in {stores} there; start the cluster to remove them"
        );
    }
    let word = if remove { REMOVE } else { STOP };
    for (name, _) in &launchers {
        let input = directory.input_file(name);
        // Without a reader it fails at once: the launcher is just ending.
        let written = OpenOptions::new().write(true).custom_flags(NONBLOCK).open(&input);
        if let Err(error) = written.and_then(|mut input| writeln!(input, "{word}")) {
            eprintln!("note: {name} can not be told to stop: {error}");
        }
    }
    let deadline = Instant::now() + grace;
    let mut left = Vec::new();
    for (name, process) in &launchers {
        match process.wait_until(deadline) {
            Ok(true) => {}
            Ok(false) => left.push((name.as_str(), process)),
            Err(error) => return Err(Failure::cannot(format_args!("stop {name}"), &error)),
        }
    }
    ending::end(&left, KILL_GRACE)?;
    let each = usize::from(nodes.file_servers);
    Ok(each * if nodes.processes().len() == 1 { nodes.names.len() } else { launchers.len() })
}
