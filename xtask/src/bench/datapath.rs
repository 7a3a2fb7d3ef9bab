//! `bench datapath`: the file system's data path and raw TCP in turns, by the program `pfs-datapath`.
//!
//! Real servers in release, their stores in memory, one client process. Nothing of MPI is needed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::keep::{self, RoundFlags};
use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace::{self, Selection};

const FILE_SERVERS: u32 = 4;
/// Stores are files in memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";
const PACKAGE: &str = "pfs-bench-datapath";
/// The longest that a round of all cases may take.
const ROUND_LIMIT: Duration = Duration::from_secs(120);

/// Compare the data path with a raw TCP program that does the same job, in turns
#[derive(Debug, Clone, Args)]
pub struct Flags {
    #[command(flatten)]
    common: RoundFlags,
    /// Only cases whose name contains one of these
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,
    /// Keep flame graphs of the hot paths beside the figures, instead of comparing
    #[arg(long)]
    profile: bool,
}

/// Builds in release, starts the servers and measures.
pub fn run(flags: &Flags) -> Result<()> {
    let place = &flags.common.place;
    eprintln!("building in release");
    let programs = [("pfs-cli", "pfs"), (PACKAGE, "pfs-raw"), (PACKAGE, "pfs-datapath")];
    let built = workspace::build(&Selection::ReleasePrograms(&programs), Mpi::Open)?;
    let out = place.of("datapath")?;
    let memory = Path::new(MEMORY);
    ensure!(memory.is_dir(), "{MEMORY} is missing; it must be a file system in memory");
    let store = tempfile::Builder::new().prefix("pfs-raw-").tempdir_in(memory).context("making a store for raw TCP")?;
    eprintln!("starting 1 metadata server and {FILE_SERVERS} file servers in {MEMORY}");
    let cluster = Cluster::start_in(memory, built.program("pfs")?, FILE_SERVERS)?;
    let mut command = Command::new(built.program("pfs-datapath")?);
    cluster.reachable_from(&mut command);
    let servers: Vec<String> = cluster.servers().iter().map(|process| process.id.to_string()).collect();
    command.args(["--servers", &servers.join(",")]).args(["--commit", &keep::commit()?]);
    command.arg("--store").arg(store.path()).arg("--out").arg(&out);
    let rounds = flags.common.rounds(3);
    command.args(["--rounds", &rounds.to_string()]);
    if place.quick {
        command.args(["--large-mib", "64", "--blocks", "4096"]);
    }
    command.args(flags.profile.then_some("--profile"));
    command.args(flags.only.iter().flat_map(|only| ["--only", only]));
    let finished = Step::new("pfs-datapath", command, ROUND_LIMIT * (rounds + 1)).showing_stderr().run()?;
    cluster.stop()?;
    eprintln!("kept in {}", out.display());
    print!("{}", finished.stdout);
    Ok(())
}
