//! `pfs server node`: the file servers of one node, for `pfs start --nodefile`.
//!
//! Invariants: the servers live as long as the standard input: its end, its last line and a signal all end them, a signal
//! perhaps somewhat later. Ephemeral
//! stores are gone when this has ended, unless it was killed; so is the folder with them. The secret comes over the input and
//! is in a file of the node's folder for nobody.

use crate::cluster::abandoned;
use crate::cluster::nodes::{Order, REMOVE};
use crate::failure::{Failure, Outcome};
use crate::signals::Signals;
use clap::Args;
use pfs_file_server::Config;
use pfs_proto::secret::Secret;
use pfs_server_runtime::{LogFormat, RunningServer, init_logging};
use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Run the file servers of one node; `pfs start --nodefile` has it started and tells it what to do over standard input
#[derive(Debug, Args)]
pub struct Flags {}

/// Why the servers end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stop,
    Remove,
}

/// Runs the subcommand.
pub fn run(_: Flags) -> Outcome {
    init_logging("info", LogFormat::Text)
        .map_err(|error| Failure::cannot("start logging", error.as_ref()).next("correct RUST_LOG"))?;
    let order = read_order()?;
    let name = match order.name.clone() {
        Some(name) => name,
        None => env::var("SLURMD_NODENAME").unwrap_or_else(|_| abandoned::host_name()),
    };
    let directory = order.directory.join(&name);
    let outcome = serve(&order, &name, &directory);
    let remove = order.ephemeral || matches!(outcome, Ok(End::Remove));
    let removed = if remove { remove_stores(&directory) } else { Ok(()) };
    abandoned::clean_up(&order);
    if remove {
        // Nodes may share a host, and then this folder: the last one removes it.
        let _ = fs::remove_dir(&order.directory);
    }
    outcome.and(removed)
}

fn read_order() -> Result<Order, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| Failure::cannot("read what to do", &error))?;
    serde_json::from_str(&line).map_err(|error| {
        Failure::cannot("understand what to do", &error)
            .next("let `pfs start --nodefile` start this, of the same version")
    })
}

fn serve(order: &Order, name: &str, directory: &Path) -> Result<End, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = order.options.threads {
        builder.worker_threads(usize::from(threads) * usize::from(order.file_servers));
    }
    let runtime = builder.enable_all().build().map_err(|error| Failure::cannot("start a runtime", &error))?;
    runtime.block_on(async {
        let mut signals = Signals::catch().map_err(|error| Failure::cannot("watch for signals", &error))?;
        let mut ends = read_end();
        let mut running = std::pin::pin!(run_servers(order, name, directory, &mut ends));
        tokio::select! {
            end = &mut running => return end,
            () = signals.next() => {}
        }
        // Whoever is alive to say when it is enough says it; nobody waits for the dead.
        let patience = if abandoned::is_abandoned(order) { 0 } else { order.linger_s };
        tokio::time::timeout(Duration::from_secs(patience.into()), running).await.unwrap_or(Ok(End::Stop))
    })
}

async fn run_servers(
    order: &Order,
    name: &str,
    directory: &Path,
    ends: &mut mpsc::Receiver<End>,
) -> Result<End, Failure> {
    let mut servers = tokio::select! {
        started = start_servers(order, name, directory) => started?,
        end = ends.recv() => return Ok(end.unwrap_or(End::Stop)),
    };
    let end = tokio::select! {
        end = ends.recv() => end.unwrap_or(End::Stop),
        ended = first_to_end(&mut servers) => {
            let problem = ended.map_or_else(|error| format!("{error:#}"), |()| "it ended by itself".to_owned());
            return Err(Failure::because(format_args!("run the file servers of {name}"), problem));
        }
    };
    if end == End::Stop && !order.ephemeral {
        for server in servers {
            let tried = format!("stop a file server of {name}");
            server.stop().await.map_err(|error| Failure::cannot(tried, error.as_ref()))?;
        }
    }
    Ok(end)
}

async fn start_servers(order: &Order, name: &str, directory: &Path) -> Result<Vec<RunningServer>, Failure> {
    let cannot_make = |error| Failure::cannot(format_args!("make {}", directory.display()), &error);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(cannot_make)?;
    let secret = Secret::parse(&order.secret)
        .ok_or_else(|| Failure::because("understand what to do", "the secret is not whole"))?;
    let address = address_towards(&order.metadata)?;
    let mut servers = Vec::new();
    for number in 0..order.file_servers {
        let (listen, store) = (SocketAddr::new(address, 0), directory.join(format!("file-{number}")));
        let name = format!("{name}-{number}");
        let mut config = Config::new(store, listen, order.metadata.clone(), secret.clone(), name.clone());
        order.options.memory.apply(&mut config);
        let started = pfs_file_server::start(config).await;
        servers.push(started.map_err(|error| Failure::cannot(format_args!("start {name}"), error.as_ref()))?);
    }
    Ok(servers)
}

async fn first_to_end(servers: &mut [RunningServer]) -> anyhow::Result<()> {
    let waits: Vec<_> = servers.iter_mut().map(|server| Box::pin(server.wait())).collect();
    futures::future::select_all(waits).await.0
}

/// This node's address on the network that the metadata server is in.
fn address_towards(metadata: &[String]) -> Result<IpAddr, Failure> {
    let tried = || format!("find the way to the metadata server at {}", metadata.join(","));
    let of = |address: &String| -> io::Result<IpAddr> {
        let there = address.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
        let anywhere: IpAddr = if there.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        // Nothing is sent: connecting a datagram socket only chooses the way.
        let socket = UdpSocket::bind((anywhere, 0))?;
        socket.connect(there)?;
        Ok(socket.local_addr()?.ip())
    };
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in metadata {
        match of(address) {
            Ok(address) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(Failure::cannot(tried(), &last))
}

/// Reads the input to its end in a thread of its own, which ends with the process.
fn read_end() -> mpsc::Receiver<End> {
    let (tell, told) = mpsc::channel(1);
    std::thread::spawn(move || {
        let last = io::stdin().lock().lines().map_while(Result::ok).find(|line| !line.is_empty());
        // Nobody listens any more if a signal was earlier.
        let _ = tell.blocking_send(if last.as_deref() == Some(REMOVE) { End::Remove } else { End::Stop });
    });
    told
}

fn remove_stores(directory: &Path) -> Outcome {
    let cannot = |error| Failure::cannot(format_args!("remove {}", directory.display()), &error);
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(cannot),
    }
}
