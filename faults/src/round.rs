//! One round: a cluster, clients at work, faults, and the look at what came of it.

use crate::checker::check;
use crate::clock::now_ns;
use crate::history::History;
use crate::network::{Network, Node};
use crate::plan::{Fault, FaultKind, Size};
use crate::process::{Ended, WorkerProcess};
use crate::ranks::{Job, MPIRUN, RankJob};
use crate::record::Record;
use anyhow::{Context, Result, bail, ensure};
use pfs_client::DataPath;
use pfs_testkit::ProcessCluster;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Units of a round's file: 1 MiB.
const UNITS: u64 = 16_384;
/// Stripe unit of the files: many pieces of few servers in one write.
const STRIPE_UNIT: u64 = 64 << 10;
/// How long the clients work after the last fault.
const CALM: Duration = Duration::from_millis(400);
/// How long a client may take to begin, or to end in order once nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often anything is looked at that is waited for.
const POLL: Duration = Duration::from_millis(5);

/// What a round has shown.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Bytes that no order of whole writes explains, in words.
    pub wrong: Vec<String>,
    /// Clients that did not come to an end, in words.
    pub hangs: Vec<String>,
    /// Sessions that were lost though nothing was done to their clients.
    pub lost_without_a_fault: Vec<String>,
    /// What the clients did.
    pub history: History,
}

/// A cluster on hosts of its own, and the directory of all its rounds.
pub struct World<'a> {
    network: &'a mut Network,
    cluster: ProcessCluster,
    directory: PathBuf,
    /// File servers that were started and may not serve yet.
    starting: BTreeSet<usize>,
    workers_started: u64,
    size: Size,
    /// How the round's bytes go.
    data_path: DataPath,
}

impl<'a> World<'a> {
    /// Starts the servers.
    pub fn start(network: &'a mut Network, directory: &Path, size: Size) -> Result<Self> {
        let cluster = ProcessCluster::builder(size.file_servers)
            .lease_ms(size.lease_ms)
            .stripe_unit(STRIPE_UNIT)
            .stripe_count(u32::try_from(size.file_servers)?)
            .hosts(network.server_hosts())
            .directory(directory.join("cluster"))
            .start_processes()?;
        let directory = directory.to_owned();
        Ok(World {
            network,
            cluster,
            directory,
            starting: BTreeSet::new(),
            workers_started: 0,
            size,
            data_path: DataPath::Auto,
        })
    }

    /// The ends of the servers' logs.
    pub fn log_tails(&self) -> String {
        self.cluster.log_tails()
    }

    /// Runs one round. An error says that the round could not be run, which is no verdict about the servers.
    pub fn round(&mut self, name: &str, seed: u64, faults: &[Fault], data_path: DataPath) -> Result<Outcome> {
        self.data_path = data_path;
        let path = format!("/{name}");
        self.finish_alone("make", &path, seed)?;
        let mut all = Vec::new();
        for slot in 0..self.size.clients {
            all.push(self.start_worker(Node::Client(slot), "mix", &path, seed)?);
        }
        let mut clients = Clients { slots: (0..all.len()).collect(), all };
        let mut ranks = self.start_ranks(&path, seed)?;
        wait_until("all clients have a session", || {
            let clients_have = clients.all.iter().all(|worker| worker.has_told(is_session));
            Ok(clients_have && ranks.as_ref().map_or(Ok(true), RankJob::has_begun)?)
        })?;
        self.run_faults(&mut clients, ranks.as_mut(), faults, &path, seed)?;
        self.network.join_all()?;
        for index in std::mem::take(&mut self.starting) {
            self.cluster.wait_for_file_server(index)?;
        }
        sleep(CALM);
        let mut outcome = Outcome::default();
        finish(&mut clients.all, &mut outcome)?;
        let told_by_ranks = match ranks {
            Some(ranks) => {
                let hangs = &mut outcome.hangs;
                ranks.finish(PATIENCE, hangs)?
            }
            None => Vec::new(),
        };
        if outcome.hangs.is_empty() {
            match self.finish_alone("read-all", &path, seed) {
                Ok(reader) => clients.all.push(reader),
                Err(error) => outcome.hangs.push(format!("nobody can read the file in the end: {error:#}")),
            }
        }
        self.judge(clients.all, told_by_ranks, &mut outcome, name)?;
        Ok(outcome)
    }

    /// The MPI job, if the round has one.
    fn start_ranks(&mut self, path: &str, seed: u64) -> Result<Option<RankJob>> {
        if self.size.ranks == 0 {
            return Ok(None);
        }
        let first = self.workers_started + 1;
        self.workers_started += self.size.ranks as u64;
        let job = Job { first, ranks: self.size.ranks, path, units: UNITS, seed, data_path: self.data_path };
        let command = self.network.command(Node::Ranks, Path::new(MPIRUN));
        RankJob::start(command, &job, &self.cluster, &self.directory).map(Some)
    }

    fn start_worker(&mut self, node: Node, task: &str, path: &str, seed: u64) -> Result<WorkerProcess> {
        self.workers_started += 1;
        let number = self.workers_started;
        let program = std::env::current_exe().context("cannot tell where this executable is")?;
        let mut command: Command = self.network.command(node, &program);
        command.args(["worker", "--metadata", &self.cluster.metadata_address(), "--path", path, "--task", task]);
        command.arg("--secret-file").arg(self.cluster.secret_file());
        command.args(["--data-path", self.data_path.name()]);
        for (flag, value) in [("--units", UNITS), ("--worker", number), ("--seed", seed.wrapping_mul(1000) + number)] {
            command.arg(flag).arg(value.to_string());
        }
        WorkerProcess::start(command, number, &self.directory.join(format!("worker-{number}.log")))
    }

    /// A worker that does its task and ends, while nothing goes wrong.
    fn finish_alone(&mut self, task: &str, path: &str, seed: u64) -> Result<WorkerProcess> {
        let mut worker = self.start_worker(Node::Client(0), task, path, seed)?;
        wait_until(&format!("the task {task} is done"), || Ok(worker.ended()?.is_some()))
            .with_context(|| format!("the client said {:?}", worker.told().lines.last()))?;
        ensure!(worker.ended()? == Some(true), "the task {task} failed: {:?}", worker.told().lines.last());
        Ok(worker)
    }

    fn run_faults(
        &mut self,
        clients: &mut Clients,
        mut ranks: Option<&mut RankJob>,
        faults: &[Fault],
        path: &str,
        seed: u64,
    ) -> Result<()> {
        let mut events: Vec<(u64, bool, Fault)> = Vec::new();
        for &fault in faults {
            events.push((fault.at_ms, true, fault));
            events.push((fault.at_ms + fault.for_ms, false, fault));
        }
        events.sort_by_key(|(at_ms, begins, _)| (*at_ms, !begins));
        let started = Instant::now();
        for (at_ms, begins, fault) in events {
            sleep(Duration::from_millis(at_ms).saturating_sub(started.elapsed()));
            crate::interrupt::check()?;
            match (fault.target, &mut ranks) {
                (Node::Rank(rank), Some(ranks)) => ranks.fault(rank, fault.kind, begins)?,
                (Node::Rank(rank), None) => bail!("there is no rank {rank}"),
                _ if begins => self.begin(clients, fault, path, seed)?,
                _ => self.end(clients, fault)?,
            }
            if let (Some(ranks), Node::Rank(_) | Node::Ranks) = (&mut ranks, fault.target) {
                ranks.note_fault();
            }
        }
        Ok(())
    }

    fn begin(&mut self, clients: &mut Clients, fault: Fault, path: &str, seed: u64) -> Result<()> {
        match (fault.kind, fault.target) {
            (FaultKind::KillFileServer, Node::FileServer(index)) => self.cluster.kill_file_server(index),
            (FaultKind::KillMetadata, _) => self.cluster.kill_metadata(),
            (FaultKind::KillServers, _) => self.cluster.kill_9_all(),
            (FaultKind::StopFileServer, Node::FileServer(index)) => self.cluster.pause_file_server(index)?,
            (FaultKind::StopMetadata, _) => self.cluster.pause_metadata()?,
            (FaultKind::StopClient | FaultKind::PauseClient, Node::Client(slot)) => {
                clients.in_slot(slot).signal(Signal::STOP)?;
            }
            (FaultKind::KillClient, Node::Client(slot)) => {
                clients.in_slot(slot).kill()?;
                clients.slots[slot] = clients.all.len();
                clients.all.push(self.start_worker(fault.target, "mix", path, seed)?);
            }
            (FaultKind::CutClientMetadata | FaultKind::CutFileServerMetadata, node) => {
                self.network.cut(node, Node::Metadata)?;
            }
            (FaultKind::CutClientFileServer, node) => self.network.cut(node, Node::FileServer(fault.other))?,
            (FaultKind::CutClient, node) => {
                for server in self.network.servers() {
                    self.network.cut(node, server)?;
                }
            }
            (kind, node) => bail!("{} can not be done to {node}", kind.name()),
        }
        if let Node::Client(slot) = fault.target
            && fault.kind.may_end_a_session()
            && fault.kind != FaultKind::KillClient
        {
            clients.in_slot(slot).faults.push(now_ns());
        }
        Ok(())
    }

    fn end(&mut self, clients: &mut Clients, fault: Fault) -> Result<()> {
        match (fault.kind, fault.target) {
            (FaultKind::KillFileServer, Node::FileServer(index)) => self.start_file_server(index)?,
            (FaultKind::KillMetadata, _) => self.cluster.start_metadata()?,
            (FaultKind::KillServers, _) => {
                self.cluster.start_metadata()?;
                for index in 0..self.size.file_servers {
                    self.start_file_server(index)?;
                }
            }
            (FaultKind::StopFileServer, Node::FileServer(index)) => self.cluster.continue_file_server(index)?,
            (FaultKind::StopMetadata, _) => self.cluster.continue_metadata()?,
            (FaultKind::StopClient | FaultKind::PauseClient, Node::Client(slot)) => {
                clients.in_slot(slot).signal(Signal::CONT)?;
            }
            (FaultKind::CutClientMetadata | FaultKind::CutFileServerMetadata, node) => {
                self.network.join(node, Node::Metadata)?;
            }
            (FaultKind::CutClientFileServer, node) => self.network.join(node, Node::FileServer(fault.other))?,
            (FaultKind::CutClient, node) => {
                for server in self.network.servers() {
                    self.network.join(node, server)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn start_file_server(&mut self, index: usize) -> Result<()> {
        self.starting.insert(index);
        self.cluster.spawn_file_server(index)
    }

    /// Puts together what all have told, keeps it beside the logs, and checks it.
    fn judge(&self, workers: Vec<WorkerProcess>, ranks: Vec<Ended>, outcome: &mut Outcome, name: &str) -> Result<()> {
        for (number, faults, killed, told) in workers.into_iter().map(WorkerProcess::into_told).chain(ranks) {
            let kept = self.directory.join(format!("{name}-worker-{number}.txt"));
            fs::write(&kept, told.lines.join("\n")).with_context(|| format!("cannot write {}", kept.display()))?;
            outcome.wrong.extend(told.nonsense);
            outcome.history.add_worker(&told.records, &faults, killed)?;
            let mut in_session = false;
            for (time, record) in &told.records {
                match record {
                    Record::Session { .. } => in_session = true,
                    Record::Lost(text) if std::mem::take(&mut in_session) && !faults.iter().any(|at| at <= time) => {
                        outcome.lost_without_a_fault.push(format!("worker {number} at {time} ns: {text}"));
                    }
                    _ => {}
                }
            }
        }
        outcome.wrong.extend(check(&outcome.history, UNITS));
        let logs = self.cluster.files().directory().join("logs");
        for entry in fs::read_dir(&logs).with_context(|| format!("cannot list {}", logs.display()))? {
            let path = entry?.path();
            let log = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            if let Some(line) = String::from_utf8_lossy(&log).lines().find(|line| line.contains("panicked at")) {
                outcome.wrong.push(format!("a server has panicked, see {}: {line}", path.display()));
            }
        }
        Ok(())
    }
}

/// All client processes of a round, and which one is at which place now.
struct Clients {
    all: Vec<WorkerProcess>,
    slots: Vec<usize>,
}

impl Clients {
    fn in_slot(&mut self, slot: usize) -> &mut WorkerProcess {
        &mut self.all[self.slots[slot]]
    }
}

/// Asks all clients to end in order, and waits.
fn finish(workers: &mut [WorkerProcess], outcome: &mut Outcome) -> Result<()> {
    workers.iter_mut().for_each(WorkerProcess::ask_to_end);
    let deadline = Instant::now() + PATIENCE;
    for worker in workers.iter_mut().filter(|worker| worker.killed.is_none()) {
        while worker.ended()?.is_none() && Instant::now() < deadline {
            crate::interrupt::check()?;
            sleep(POLL);
        }
        match worker.ended()? {
            Some(true) => {}
            Some(false) => {
                outcome.wrong.push(format!("worker {} has failed; see its log and {:?}", worker.number, last(worker)));
            }
            None => outcome.hangs.push(format!(
                "worker {} did not end within {PATIENCE:?} after all faults were over; its last words: {:?}",
                worker.number,
                last(worker)
            )),
        }
    }
    Ok(())
}

fn is_session(record: &Record) -> bool {
    matches!(record, Record::Session { .. })
}

fn last(worker: &WorkerProcess) -> Option<String> {
    worker.told().lines.last().map(|line| line.chars().take(300).collect())
}

fn wait_until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !so()? {
        crate::interrupt::check()?;
        ensure!(Instant::now() < deadline, "waited for {PATIENCE:?} in vain: {what}");
        sleep(POLL);
    }
    Ok(())
}
