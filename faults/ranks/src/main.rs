//! One rank of an MPI job under test: the ranks open one file together, write, read and sync pieces of it at random, and each
//! tells what it does and sees.
//!
//! In a session of atomic mode a rank also reads and writes for itself; in non-atomic mode all accesses are collective, since
//! only those see at once what others have written. Which it is, and which collective call comes next, all ranks draw from
//! the same seed; what each accesses in it, from a seed of its own.
//!
//! Invariants: what begins is told before it begins, what ends after it has ended, each in one write to the rank's own file of
//! records. The end of a collective write that failed is told only if the ranks still make calls together: of a group that
//! was lost, another rank may still be writing the bytes that this one gave it. The process ends without MPI, as ranks may be
//! dead by then.

use anyhow::{Context, Result};
use clap::Parser;
use mpi::traits::*;
use pfs_faults::clock::now_ns;
use pfs_faults::random::Random;
use pfs_faults::record::{Kind, Outcome, Record, SESSION_BITS, line, look_at};
use pfs_faults::unit::{UNIT_BYTES, WriteId, encode_all};
use pfs_mpiio::{AccessMode, Error, File, Info};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Longest pause between two calls.
const PAUSE_MS_MAX: u64 = 12;
/// So many collective calls in turn have failed: the group is lost.
const FAILURES_MAX: u32 = 8;
/// Pause after a call that has failed.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// A rank under test
#[derive(Debug, Parser)]
struct Flags {
    /// The file, which exists and has its size
    #[arg(long, value_name = "PATH")]
    path: String,
    /// Units of the file
    #[arg(long, value_name = "N")]
    units: u64,
    /// The number of rank 0 among all workers; the other ranks have the next ones
    #[arg(long, value_name = "N")]
    worker: u64,
    /// What the ranks do is drawn from this
    #[arg(long, value_name = "S")]
    seed: u64,
    /// How many sessions, each with an open and a close
    #[arg(long, value_name = "N")]
    sessions: u64,
    /// Calls in each session
    #[arg(long, value_name = "N")]
    turns: u64,
    /// Where the records go, as `worker-N.txt`
    #[arg(long, value_name = "DIR")]
    records: PathBuf,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let universe = mpi::initialize().context("MPI did not start")?;
    let world = universe.world();
    let rank = u64::try_from(world.rank()).context("a rank below 0")?;
    let mut member = Member::new(&flags, rank)?;
    for session in 1..=flags.sessions {
        if let Err(error) = member.session(&world, session) {
            member.tell(&Record::Lost(error.to_string()))?;
            std::process::exit(0);
        }
    }
    member.tell(&Record::Done)?;
    std::process::exit(0)
}

struct Member<'a> {
    flags: &'a Flags,
    records: std::fs::File,
    /// The same on all ranks.
    common: Random,
    own: Random,
    worker: u64,
    writer: u64,
    operations: u64,
    /// Collective calls that have failed since the last that succeeded.
    failures: u32,
    /// Collective writes that have failed since then.
    untold: Vec<(u64, String)>,
}

impl<'a> Member<'a> {
    fn new(flags: &'a Flags, rank: u64) -> Result<Self> {
        let worker = flags.worker + rank;
        let path = flags.records.join(format!("worker-{worker}.txt"));
        let records = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let records = records.with_context(|| format!("cannot make {}", path.display()))?;
        let (common, own) = (Random::new(flags.seed), Random::new(flags.seed.wrapping_add(worker << 32)));
        let (writer, operations, failures) = (0, 0, 0);
        Ok(Member { flags, records, common, own, worker, writer, operations, failures, untold: Vec::new() })
    }

    fn tell(&mut self, record: &Record) -> Result<()> {
        let text = line(now_ns(), record) + "\n";
        self.records.write_all(text.as_bytes()).context("the records can not be written")
    }

    /// From an open to a close. An error: the group is lost.
    fn session(&mut self, world: &impl Communicator, session: u64) -> Result<(), Error> {
        let file = File::open(world, &format!("pfs:{}", self.flags.path), AccessMode::RDWR, &Info::new())?;
        self.writer = (self.worker << SESSION_BITS) + session;
        self.operations = 0;
        let process = u64::from(std::process::id());
        self.told(&Record::Session { writer: self.writer, client: 0, process });
        let is_atomic = session % 2 == 1;
        file.set_atomicity(is_atomic)?;
        for _ in 0..self.flags.turns {
            self.turn(&file, is_atomic)?;
            std::thread::sleep(Duration::from_millis(self.own.below(PAUSE_MS_MAX + 1)));
        }
        self.collective(&file, Kind::Sync)?;
        self.untold.clear();
        file.close()
    }

    fn turn(&mut self, file: &File, is_atomic: bool) -> Result<(), Error> {
        match self.common.below(16) {
            0..5 => self.collective(file, Kind::Write),
            5..8 => self.collective(file, Kind::Read),
            8 => self.collective(file, Kind::Sync),
            _ if !is_atomic => self.collective(file, Kind::Write),
            _ => {
                let kind = if self.own.once_in(2) { Kind::Write } else { Kind::Read };
                self.alone(file, kind);
                Ok(())
            }
        }
    }

    /// One call of all ranks. An error: the group is lost.
    fn collective(&mut self, file: &File, kind: Kind) -> Result<(), Error> {
        let access = self.begin(kind);
        let offset = access.first * UNIT_BYTES as u64;
        let mut buffer = access.buffer(kind);
        let ended = match kind {
            Kind::Write => file.write_at_all(offset, &access.bytes[..]).map(|_| Vec::new()),
            Kind::Read => file.read_at_all(offset, &mut buffer[..]).map(|status| seen(buffer, status.bytes())),
            Kind::Sync => file.sync().map(|()| Vec::new()),
        };
        let error = match &ended {
            Ok(_) => {
                self.failures = 0;
                for (operation, text) in std::mem::take(&mut self.untold) {
                    self.told(&Record::End { operation, outcome: Outcome::Error(text) });
                }
                self.end(&access, kind, &ended);
                return Ok(());
            }
            Err(error) => error.clone(),
        };
        self.failures += 1;
        if kind == Kind::Write {
            self.untold.push((access.operation, text(&error)));
        } else {
            self.end(&access, kind, &ended);
        }
        if self.failures >= FAILURES_MAX {
            return Err(error);
        }
        std::thread::sleep(FAILURE_PAUSE);
        Ok(())
    }

    /// One access of this rank alone.
    fn alone(&mut self, file: &File, kind: Kind) {
        let access = self.begin(kind);
        let offset = access.first * UNIT_BYTES as u64;
        let mut buffer = access.buffer(kind);
        let ended = match kind {
            Kind::Write => file.write_at(offset, &access.bytes[..]).map(|_| Vec::new()),
            _ => file.read_at(offset, &mut buffer[..]).map(|status| seen(buffer, status.bytes())),
        };
        self.end(&access, kind, &ended);
        if ended.is_err() {
            std::thread::sleep(FAILURE_PAUSE);
        }
    }

    fn begin(&mut self, kind: Kind) -> Access {
        self.operations += 1;
        let operation = self.operations;
        let (mut first, mut count) = (0, 0);
        if kind != Kind::Sync {
            count = match self.own.below(10) {
                0..6 => self.own.within(1..5),
                6..9 => self.own.within(16..257),
                _ => self.own.within(1024..4097),
            };
            count = count.min(self.flags.units);
            let places = if self.own.once_in(2) { self.flags.units / 8 } else { self.flags.units };
            first = self.own.below(places).min(self.flags.units - count);
        }
        let write = WriteId { writer: self.writer, sequence: operation };
        let bytes = if kind == Kind::Write { encode_all(write, first, count) } else { Vec::new() };
        self.told(&Record::Begin { operation, kind, first, count });
        Access { operation, first, count, bytes }
    }

    fn end(&mut self, access: &Access, kind: Kind, ended: &Result<Vec<u8>, Error>) {
        let units = |bytes: &[u8]| (bytes.len() / UNIT_BYTES) as u64;
        let outcome = match ended {
            Ok(bytes) if kind == Kind::Read && units(bytes) < access.count => Outcome::Short(units(bytes)),
            Ok(bytes) => Outcome::Ok(look_at(bytes, access.first)),
            Err(error) => Outcome::Error(text(error)),
        };
        self.told(&Record::End { operation: access.operation, outcome });
    }

    /// Without records there is nothing left to do.
    fn told(&mut self, record: &Record) {
        if let Err(error) = self.tell(record) {
            eprintln!("{error:#}");
            std::process::exit(1);
        }
    }
}

struct Access {
    operation: u64,
    first: u64,
    count: u64,
    /// What is written.
    bytes: Vec<u8>,
}

impl Access {
    fn buffer(&self, kind: Kind) -> Vec<u8> {
        let length = usize::try_from(self.count).expect("units fit into memory") * UNIT_BYTES;
        if kind == Kind::Read { vec![0; length] } else { Vec::new() }
    }
}

fn seen(mut buffer: Vec<u8>, bytes: u64) -> Vec<u8> {
    buffer.truncate(usize::try_from(bytes).expect("at most the buffer's length"));
    buffer
}

fn text(error: &Error) -> String {
    format!("{} {error}", error.class())
}
