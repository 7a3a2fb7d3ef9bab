//! `faults`: real servers, clients and ranks are killed, stopped and cut off under load, by the program `pfs-faults`.
//!
//! It needs root, for network namespaces, and `ip`; without root it fails and says so. `--store` is something else: the power
//! of a simulated disk is lost ([`store`]).

pub mod store;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::step::Step;
use crate::workspace::{Selection, build};

/// The program, as the build calls it.
pub const PROGRAM: &str = "pfs-faults";
/// The programs that take part, by package and name.
const PROGRAMS: [(&str, &str); 3] =
    [("pfs-cli", "pfs"), ("pfs-faults", PROGRAM), ("pfs-fault-ranks", "pfs-fault-ranks")];
/// The longest that one round may take: its faults, and the patience with everybody who must come to an end.
const ROUND_LIMIT: Duration = Duration::from_secs(150);

/// Kill, stop and cut off real servers, clients and ranks under load, and check every byte
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub rounds: u32,

    /// Lose the power of a file server's disk instead, in a simulation, at every step of what its store does
    #[arg(long, conflicts_with_all = ["rounds", "lease_ms", "clients", "ranks", "file_servers", "only", "json"])]
    pub store: bool,

    /// With --store: how many recordings
    #[arg(long, value_name = "N", default_value_t = 20, requires = "store", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,

    /// Seed of the first round, or recording; each further one has the next
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,

    /// Lease of clients and file servers in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub lease_ms: u64,

    /// Clients at work at a time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub clients: u32,

    /// Ranks of an MPI job beside them; 0 for none
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub ranks: u32,

    /// File servers
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub file_servers: u32,

    /// Only these faults, by their names in the table
    #[arg(long, value_name = "KIND,…")]
    pub only: Option<String>,

    /// Only this way for data: auto, bulk, small or unary; without it, rounds take turns
    #[arg(long, value_name = "PATH")]
    pub data_path: Option<String>,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Installs what is missing, builds, and runs the rounds.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    if flags.store {
        return store::run(flags.seed, flags.seeds);
    }
    ensure_root()?;
    if flags.json {
        // Standard output is for the object alone.
        ensure!(setup::on_path("ip"), "`ip` is missing; run `cargo xtask setup` first");
    } else {
        setup::run(&[Need::Namespaces, Need::OpenMpi])?;
    }
    let built = build(&Selection::Programs(&PROGRAMS), Mpi::Open)?;
    run_built(built.program(PROGRAM)?, flags)
}

/// The same with programs that are built already; `pfs` lies beside this one.
pub fn run_built(program: &Path, flags: &Flags) -> Result<ExitCode> {
    ensure_root()?;
    let mut command = Command::new(program);
    command.arg("run");
    for (flag, value) in [
        ("--rounds", u64::from(flags.rounds)),
        ("--seed", flags.seed),
        ("--lease-ms", flags.lease_ms),
        ("--clients", u64::from(flags.clients)),
        ("--ranks", u64::from(flags.ranks)),
        ("--file-servers", u64::from(flags.file_servers)),
    ] {
        command.arg(flag).arg(value.to_string());
    }
    command.args(flags.only.iter().flat_map(|only| ["--only", only]));
    command.args(flags.data_path.iter().flat_map(|path| ["--data-path", path]));
    command.args(flags.json.then_some("--json"));
    let limit = ROUND_LIMIT * flags.rounds.max(1);
    let finished = Step::new("faults", command, limit).showing_stderr().run_any_status()?;
    print!("{}", finished.stdout);
    Ok(if finished.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ensure_root() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the faults cut hosts off in network namespaces, which needs root: run `cargo xtask faults` as root"
    );
    Ok(())
}
