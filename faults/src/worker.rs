//! A client under test: writes, reads and syncs pieces of one file at random, and tells what it does and sees.
//!
//! Invariants: what begins is told before it begins, what ends after it has ended, each in one write to standard output; so
//! the times enclose the operation, whenever the process is killed or stopped. It judges nothing: that is the checker's.

use crate::clock::now_ns;
use crate::random::Random;
use crate::record::{Kind, Outcome, Record, SESSION_BITS, line, look_at};
use crate::unit::{UNIT_BYTES, WriteId, encode_all};
use anyhow::{Context, Result};
use clap::Args;
use pfs_client::blocking::{Client, File};
use pfs_client::{Access, ClientConfig, DataPath, Error, ErrorKind, OpenOptions};
use pfs_core::path::PfsPath;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest pause between two operations.
const PAUSE_MS_MAX: u64 = 4;
/// Pause before a session is tried again.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Run one client; used by `run`
#[derive(Debug, Args)]
pub struct Flags {
    /// The metadata server
    #[arg(long, value_name = "HOST:PORT")]
    pub metadata: String,
    /// The cluster secret
    #[arg(long, value_name = "FILE")]
    pub secret_file: PathBuf,
    /// The file, which exists and has its size
    #[arg(long, value_name = "PATH")]
    pub path: String,
    /// Units of the file
    #[arg(long, value_name = "N")]
    pub units: u64,
    /// The worker's number, from 1
    #[arg(long, value_name = "N")]
    pub worker: u64,
    /// What it does is drawn from this
    #[arg(long, value_name = "S")]
    pub seed: u64,
    /// What to do
    #[arg(long, value_enum, default_value_t = Task::Mix)]
    pub task: Task,
    /// How bytes go to and from file servers: auto, bulk, small or unary
    #[arg(long, value_name = "PATH", default_value = "auto")]
    pub data_path: DataPath,
}

/// What a worker does until it is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// Makes the file and ends
    Make,
    /// Writes, reads and syncs
    Mix,
    /// Reads the whole file once and ends
    ReadAll,
    /// Writes the whole file over and over, without a sync
    Flood,
    /// Writes the whole file, syncs and ends
    Overwrite,
}

/// Runs the worker until its standard input ends or says something.
pub fn run(flags: &Flags) -> Result<()> {
    let path = PfsPath::parse(&flags.path).with_context(|| format!("the path {:?}", flags.path))?;
    let asked_to_end = Arc::new(AtomicBool::new(false));
    let asked = asked_to_end.clone();
    std::thread::spawn(move || {
        let _anything = std::io::stdin().read(&mut [0]);
        asked.store(true, Ordering::SeqCst);
    });
    let mut worker =
        Worker { flags, path, random: Random::new(flags.seed), asked_to_end, sessions: 0, operations: 0, writer: 0 };
    while let Err(error) = worker.session() {
        tell(&Record::Lost(format!("{:?} {error}", error.kind())))?;
        std::thread::sleep(CONNECT_PAUSE);
    }
    tell(&Record::Done)
}

fn tell(record: &Record) -> Result<()> {
    let text = line(now_ns(), record) + "\n";
    std::io::stdout().lock().write_all(text.as_bytes()).context("nobody listens to this worker")
}

struct Worker<'a> {
    flags: &'a Flags,
    path: PfsPath,
    random: Random,
    asked_to_end: Arc<AtomicBool>,
    sessions: u64,
    operations: u64,
    writer: u64,
}

impl Worker<'_> {
    /// One session, from its connection until the worker is to end or the session is lost.
    fn session(&mut self) -> Result<(), Error> {
        let mut config = ClientConfig::new(vec![self.flags.metadata.clone()], &self.flags.secret_file);
        config.name = format!("worker-{}", self.flags.worker);
        config.data_path = self.flags.data_path;
        config.operation_timeout = Duration::from_secs(5);
        config.retry_for = Duration::from_secs(20);
        // Shorter than most cuts, so that the metadata server has to see to writes of unknown outcome.
        config.drain_patience = Duration::from_millis(300);
        // Every client has another cache: small ones are always full, and large accesses pass them by.
        config.cache_block_bytes = 4096 << self.random.below(5);
        config.cache_bytes = [0, 256 << 10, 8 << 20][usize::try_from(self.random.below(3)).expect("an index")];
        config.cache_bypass_bytes = 16 << 10 << self.random.below(5);
        let client = Client::connect(config)?;
        self.sessions += 1;
        self.operations = 0;
        self.writer = (self.flags.worker << SESSION_BITS) + self.sessions;
        let process = u64::from(std::process::id());
        told(tell(&Record::Session { writer: self.writer, client: client.id().get(), process }))?;
        if self.flags.task == Task::Make {
            let options = OpenOptions { truncate: false, ..OpenOptions::create() };
            let file = client.open(&self.path, &options)?;
            file.set_size(self.flags.units * UNIT_BYTES as u64)?;
            file.close()?;
            return client.shutdown();
        }
        let access = if self.flags.task == Task::ReadAll { Access::Read } else { Access::ReadWrite };
        let file = client.open(&self.path, &OpenOptions { access, ..OpenOptions::default() })?;
        self.work(&file)?;
        file.close()?;
        client.shutdown()
    }

    fn work(&mut self, file: &File) -> Result<(), Error> {
        let whole = self.flags.units;
        match self.flags.task {
            Task::ReadAll => while !self.operation(file, Kind::Read, 0, whole)? {},
            Task::Overwrite => {
                while !self.operation(file, Kind::Write, 0, whole)? {}
                while !self.operation(file, Kind::Sync, 0, 0)? {}
            }
            Task::Flood => {
                while !self.asked_to_end.load(Ordering::SeqCst) {
                    self.operation(file, Kind::Write, 0, whole)?;
                }
            }
            Task::Make | Task::Mix => {
                while !self.asked_to_end.load(Ordering::SeqCst) {
                    self.random_operation(file)?;
                    std::thread::sleep(Duration::from_millis(self.random.below(PAUSE_MS_MAX + 1)));
                }
                // Shows that this client goes on, and makes durable what it has written.
                while !self.operation(file, Kind::Write, self.flags.worker, 1)? {}
                while !self.operation(file, Kind::Sync, 0, 0)? {}
                while !self.operation(file, Kind::Read, 0, whole)? {}
            }
        }
        Ok(())
    }

    fn random_operation(&mut self, file: &File) -> Result<bool, Error> {
        let count = match self.random.below(10) {
            0..6 => self.random.within(1..5),
            6..9 => self.random.within(16..257),
            _ => self.random.within(1024..4097),
        };
        let count = count.min(self.flags.units);
        // Half of all happens in one eighth of the file.
        let places = if self.random.once_in(2) { self.flags.units / 8 } else { self.flags.units };
        let first = self.random.below(places).min(self.flags.units - count);
        match self.random.below(20) {
            0..9 => self.operation(file, Kind::Write, first, count),
            9..17 => self.operation(file, Kind::Read, first, count),
            _ => self.operation(file, Kind::Sync, 0, 0),
        }
    }

    /// One operation. Tells whether it succeeded; an error only if the session is lost.
    fn operation(&mut self, file: &File, kind: Kind, first: u64, count: u64) -> Result<bool, Error> {
        self.operations += 1;
        let operation = self.operations;
        let offset = first * UNIT_BYTES as u64;
        let write = WriteId { writer: self.writer, sequence: operation };
        let bytes = if kind == Kind::Write { encode_all(write, first, count) } else { Vec::new() };
        let length = usize::try_from(count).expect("units fit into memory") * UNIT_BYTES;
        let mut buffer = if kind == Kind::Read { vec![0; length] } else { Vec::new() };
        told(tell(&Record::Begin { operation, kind, first, count }))?;
        let ended = match kind {
            Kind::Write => file.write_at(&bytes, offset).map(|()| Vec::new()),
            Kind::Sync => file.sync().map(|()| Vec::new()),
            Kind::Read => file.read_at(&mut buffer, offset).map(|length| {
                buffer.truncate(length);
                buffer
            }),
        };
        let (outcome, lost) = match ended {
            Ok(seen) if kind == Kind::Read && seen.len() < length => {
                (Outcome::Short((seen.len() / UNIT_BYTES) as u64), None)
            }
            Ok(seen) => (Outcome::Ok(look_at(&seen, first)), None),
            Err(error) => {
                let lost = matches!(error.kind(), ErrorKind::NoSession | ErrorKind::Stale).then(|| error.clone());
                (Outcome::Error(format!("{:?} {error}", error.kind())), lost)
            }
        };
        let success = matches!(outcome, Outcome::Ok(_));
        told(tell(&Record::End { operation, outcome }))?;
        match lost {
            Some(error) => Err(error),
            None => Ok(success),
        }
    }
}

/// Without anybody who listens, there is nothing left to do.
fn told(result: Result<()>) -> Result<(), Error> {
    if let Err(error) = result {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
    Ok(())
}
