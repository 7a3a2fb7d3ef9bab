//! One client process: it moves its part of the file when it is told to, and says when it began and ended.
//!
//! Commands are lines of standard input (`write`, `read`, `latency`), answers lines of standard output. The byte at offset `o`
//! is a function of `o`, so what is read can be checked; that is done when the time has been taken.

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use pfs_bench_datapath::raw::RawClient;
use pfs_bench_datapath::usage::Usage;
use pfs_client::blocking::{Client, File};
use pfs_client::{ClientConfig, LayoutRequest, OpenOptions};
use pfs_core::path::PfsPath;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

/// Bytes on one server before the next one's turn.
pub const STRIPE_UNIT: u64 = 1 << 20;
/// Bytes of one call.
pub const CALL_BYTES: usize = 8 << 20;
/// Bytes of one request of either side.
pub const REQUEST_BYTES: usize = 1 << 20;
/// What a small operation moves.
const SMALL_BYTES: usize = 4096;
/// Small operations whose mean time is told.
const SMALL_COUNT: u32 = 400;

/// Who moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Raw TCP, to one server.
    Raw,
    /// The file system.
    Pfs,
}

impl Kind {
    /// Both.
    pub const ALL: [Kind; 2] = [Kind::Raw, Kind::Pfs];

    /// How figures call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Pfs => "pfs",
        }
    }
}

/// What a client moves, and whereto
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Who moves the bytes
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// The raw server, or the metadata server
    #[arg(long)]
    pub address: SocketAddr,
    /// The cluster's secret
    #[arg(long)]
    pub secret_file: Option<PathBuf>,
    /// The file that all clients share
    #[arg(long, default_value = "/scale")]
    pub path: String,
    /// Servers of the file
    #[arg(long, default_value_t = 1)]
    pub servers: u32,
    /// Where this client's part begins
    #[arg(long, default_value_t = 0)]
    pub offset: u64,
    /// Bytes of this client's part
    #[arg(long)]
    pub bytes: usize,
}

/// An answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Monotonic nanoseconds at the begin; all processes of a machine have one clock.
    pub start_ns: u64,
    /// The same at the end.
    pub end_ns: u64,
    /// CPU nanoseconds of this process meanwhile.
    pub cpu_ns: u64,
    /// Nanoseconds of one small operation, of `latency` only.
    pub small_ns: u64,
}

enum Way {
    Raw(RawClient),
    Pfs { file: File, _client: Client },
}

struct Load {
    way: Way,
    offset: u64,
    source: Vec<u8>,
    target: Vec<u8>,
}

/// Obeys until the input ends.
pub fn run(flags: &Flags) -> Result<()> {
    let mut load = Load::new(flags)?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read a command")?;
        let done = load.obey(line.trim())?;
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
        out.flush()?;
    }
    Ok(())
}

impl Load {
    fn new(flags: &Flags) -> Result<Load> {
        let source: Vec<u8> = (0..flags.bytes as u64 / 8).flat_map(|word| pattern(flags.offset + word * 8)).collect();
        ensure!(source.len() == flags.bytes, "a client's part must be a multiple of 8 bytes, not {}", flags.bytes);
        let way = match flags.kind {
            Kind::Raw => Way::Raw(RawClient::connect(flags.address)?),
            Kind::Pfs => open(flags)?,
        };
        // A raw server has this client's part only.
        let offset = if flags.kind == Kind::Raw { 0 } else { flags.offset };
        Ok(Load { way, offset, target: vec![0; flags.bytes], source })
    }

    fn obey(&mut self, command: &str) -> Result<Done> {
        let before = Usage::own()?;
        let start_ns = now_ns();
        let mut small_ns = 0;
        match command {
            "write" => self.write()?,
            "read" => self.read()?,
            "latency" => small_ns = self.small()?,
            other => bail!("{other:?} is no command"),
        }
        let end_ns = now_ns();
        let cpu_ns = u64::try_from((Usage::own()? - before).cpu.as_nanos())?;
        if command == "read" {
            ensure!(self.target == self.source, "what was read at {} is not what was written", self.offset);
            self.target.fill(0);
        }
        Ok(Done { start_ns, end_ns, cpu_ns, small_ns })
    }

    fn write(&mut self) -> Result<()> {
        for (call, bytes) in self.source.chunks(CALL_BYTES).enumerate() {
            let at = self.offset + (call * CALL_BYTES) as u64;
            match &mut self.way {
                Way::Raw(raw) => raw.write_at(at, bytes, REQUEST_BYTES)?,
                Way::Pfs { file, .. } => file.write_at(bytes, at)?,
            }
        }
        match &mut self.way {
            Way::Raw(raw) => raw.sync(),
            Way::Pfs { file, .. } => Ok(file.sync()?),
        }
    }

    fn read(&mut self) -> Result<()> {
        for (call, bytes) in self.target.chunks_mut(CALL_BYTES).enumerate() {
            let at = self.offset + (call * CALL_BYTES) as u64;
            match &mut self.way {
                Way::Raw(raw) => raw.read_at(at, bytes, REQUEST_BYTES)?,
                Way::Pfs { file, .. } => {
                    let read = file.read_at(bytes, at)?;
                    ensure!(read == bytes.len(), "only {read} of {} bytes at {at} are there", bytes.len());
                }
            }
        }
        Ok(())
    }

    /// The mean time of a small write, one after the other.
    fn small(&mut self) -> Result<u64> {
        let bytes = &self.source[..SMALL_BYTES];
        let started = Instant::now();
        for _ in 0..SMALL_COUNT {
            match &mut self.way {
                Way::Raw(raw) => raw.write_at(self.offset, bytes, REQUEST_BYTES)?,
                Way::Pfs { file, .. } => file.write_at(bytes, self.offset)?,
            }
        }
        Ok(u64::try_from((started.elapsed() / SMALL_COUNT).as_nanos())?)
    }
}

fn open(flags: &Flags) -> Result<Way> {
    let secret = flags.secret_file.as_ref().context("the file system's clients need --secret-file")?;
    let config = ClientConfig { cache_bytes: 0, ..ClientConfig::new(vec![flags.address.to_string()], secret) };
    let client = Client::connect(config)?;
    let layout =
        LayoutRequest { stripe_unit: Some(STRIPE_UNIT), stripe_count: Some(flags.servers), ..LayoutRequest::default() };
    let options = OpenOptions { truncate: false, layout, ..OpenOptions::create() };
    let file = client.open(&PfsPath::parse(&flags.path)?, &options)?;
    Ok(Way::Pfs { file, _client: client })
}

/// Eight bytes that belong at an offset: Steele, Lea and Flood's mixer of SplitMix64.
fn pattern(offset: u64) -> [u8; 8] {
    let mut word = offset.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).to_le_bytes()
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
