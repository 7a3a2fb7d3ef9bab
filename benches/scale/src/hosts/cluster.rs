//! The processes of one place of the measurement.
//!
//! Host 0 has the metadata server, the next ones a file server and a raw server each, those after them a client of each
//! kind. Processes that have nothing to do wait for a line.

use super::figures::{Op, Run, Tokens};
use super::{folder, own_program};
use crate::load::{Done, Kind, STRIPE_UNIT};
use anyhow::{Context, Result, ensure};
use pfs_bench_datapath::contenders::RawServer;
use pfs_bench_datapath::usage::Usage;
use pfs_client::ClientConfig;
use pfs_client::blocking::Client;
use pfs_testkit::{Network, ProcessCluster};
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// What all places have in common.
pub struct Bench<'a> {
    pub network: &'a Network,
    pub raw: &'a Path,
    pub memory: &'a Path,
    /// File servers of the largest place, and its clients.
    pub most: usize,
}

impl Bench<'_> {
    fn server(&self, index: usize) -> usize {
        1 + index
    }

    fn client(&self, index: usize) -> usize {
        1 + self.most + index
    }

    /// From now on no host sends faster.
    pub fn limit(&self, bits_per_second: u64) -> Result<()> {
        (0..=2 * self.most).try_for_each(|host| self.network.limit(host, bits_per_second))
    }
}

/// Running servers and clients.
pub struct World {
    // Dropped in this order: clients before their servers, servers before their stores.
    raw_clients: Vec<LoadProcess>,
    pfs_clients: Vec<LoadProcess>,
    raw_servers: Vec<RawServer>,
    cluster: ProcessCluster,
    watcher: Client,
    part_bytes: usize,
    _folder: TempDir,
}

impl World {
    pub fn start(bench: &Bench<'_>, count: usize, part_bytes: usize) -> Result<World> {
        let folder = folder(bench.memory)?;
        let hosts = (0..=count).map(|host| bench.network.host(host)).collect();
        let cluster = ProcessCluster::builder(count)
            .hosts(hosts)
            .stripe_unit(STRIPE_UNIT)
            .directory(folder.path().join("cluster"))
            .start_processes()?;
        let raw_server = |index: usize| {
            let store = folder.path().join(format!("raw-{index}"));
            std::fs::create_dir(&store).with_context(|| format!("make {}", store.display()))?;
            let host = bench.server(index);
            let command = bench.network.command(host, bench.raw);
            RawServer::start_as(command, &store, part_bytes as u64, bench.network.address(host))
        };
        let raw_servers = (0..count).map(raw_server).collect::<Result<Vec<_>>>()?;
        let program = own_program()?;
        let client = |kind: Kind, index: usize| {
            let mut command = bench.network.command(bench.client(index), &program);
            let address = match kind {
                Kind::Raw => raw_servers[index].address(),
                Kind::Pfs => cluster.metadata_address().parse::<SocketAddr>()?,
            };
            command.args(["load", "--kind", kind.name(), "--address", &address.to_string()]);
            command.arg("--secret-file").arg(cluster.secret_file()).args(["--servers", &count.to_string()]);
            command.args(["--bytes", &part_bytes.to_string(), "--offset", &(index * part_bytes).to_string()]);
            LoadProcess::start(command)
        };
        let raw_clients = (0..count).map(|index| client(Kind::Raw, index)).collect::<Result<Vec<_>>>()?;
        let pfs_clients = (0..count).map(|index| client(Kind::Pfs, index)).collect::<Result<Vec<_>>>()?;
        let watcher = watch(&cluster, bench)?;
        Ok(World { raw_clients, pfs_clients, raw_servers, cluster, watcher, part_bytes, _folder: folder })
    }

    /// All of one kind move their parts at the same time.
    pub fn transfer(&mut self, kind: Kind, op: Op) -> Result<Run> {
        let servers = self.server_processes(kind)?;
        let before = Usage::of_all(&servers)?;
        let clients = self.clients(kind);
        clients.iter_mut().try_for_each(|client| client.tell(op.name()))?;
        let done = clients.iter_mut().map(LoadProcess::done).collect::<Result<Vec<Done>>>()?;
        let bytes = (done.len() * self.part_bytes) as u64;
        Ok(Run::of(bytes, &done, (Usage::of_all(&servers)? - before).cpu.as_secs_f64()))
    }

    /// What the first writes of all clients cost in tokens.
    pub fn first_writes(&mut self) -> Result<Tokens> {
        let before = self.tokens()?;
        self.transfer(Kind::Pfs, Op::Write)?;
        let after = self.tokens()?;
        Ok(Tokens { requests: after.requests - before.requests, revokes: after.revokes - before.revokes })
    }

    fn tokens(&self) -> Result<Tokens> {
        let counters = self.watcher.cluster_status(false)?.tokens.unwrap_or_default();
        Ok(Tokens { requests: counters.requests, revokes: counters.revokes })
    }

    /// Nanoseconds of a small write of the first client of each kind.
    pub fn latency(&mut self) -> Result<[u64; 2]> {
        let mut small = [0; 2];
        for (kind, small) in Kind::ALL.into_iter().zip(&mut small) {
            let client = &mut self.clients(kind)[0];
            client.tell("latency")?;
            *small = client.done()?.small_ns;
        }
        Ok(small)
    }

    fn clients(&mut self, kind: Kind) -> &mut Vec<LoadProcess> {
        match kind {
            Kind::Raw => &mut self.raw_clients,
            Kind::Pfs => &mut self.pfs_clients,
        }
    }

    fn server_processes(&self, kind: Kind) -> Result<Vec<i32>> {
        match kind {
            Kind::Raw => self.raw_servers.iter().map(RawServer::process).collect(),
            Kind::Pfs => {
                let count = self.cluster.file_server_count();
                let files = (0..count).map(|index| self.cluster.file_server_pid(index));
                let all = files.chain([self.cluster.metadata_pid()]);
                all.map(|process| Ok(i32::try_from(process.context("a server has ended")?)?)).collect()
            }
        }
    }

    /// Ends everything in good order.
    pub fn end(self) -> Result<()> {
        let World { raw_clients, pfs_clients, raw_servers, cluster, watcher, .. } = self;
        raw_clients.into_iter().chain(pfs_clients).try_for_each(LoadProcess::end)?;
        watcher.shutdown()?;
        drop(raw_servers);
        cluster.stop()
    }
}

/// A session of this process, which lives beside the hosts' bridge and gets to the metadata server over it.
fn watch(cluster: &ProcessCluster, bench: &Bench<'_>) -> Result<Client> {
    bench.network.reach_from_here()?;
    let config = ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file());
    Ok(Client::connect(config)?)
}

struct LoadProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl LoadProcess {
    fn start(mut command: Command) -> Result<LoadProcess> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start a client")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a client has no output")?).lines();
        let mut process = LoadProcess { child, input, output };
        let line = process.line()?;
        ensure!(line == "ready", "a client said {line:?} instead of ready");
        Ok(process)
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.output.next().context("a client has ended, see above")??)
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        let input = self.input.as_mut().context("a client that was ended is told something")?;
        writeln!(input, "{command}").context("tell a client what to do")
    }

    fn done(&mut self) -> Result<Done> {
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("a client said {line:?}"))
    }

    fn end(mut self) -> Result<()> {
        self.input = None;
        let status = self.child.wait().context("wait for a client")?;
        ensure!(status.success(), "a client ended with {status}");
        Ok(())
    }
}

impl Drop for LoadProcess {
    fn drop(&mut self) {
        if self.input.take().is_some() {
            // It ends with its input; should it hang in a transfer, it must not stay behind.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
