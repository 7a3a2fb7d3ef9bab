//! `bench datapath`: the file system's data path and raw TCP in turns, by the program `pfs-datapath`.
//!
//! Real servers in release, their stores in memory, one client process. Nothing of MPI is needed. The cases in which a program
//! computes beside its transfers are measured again on servers of one thread each, which want less of the program's cores.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::keep::{self, RoundFlags};
use super::single_threaded::SingleThreaded;
use crate::cluster::Cluster;
use crate::processes::Process;
use crate::step::Step;

const FILE_SERVERS: u32 = 4;
/// Stores are files in memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";
/// How the cases are called in which a program computes beside its transfers.
const OVERLAP: &str = "overlap";
const QUICK_ROUNDS: u32 = 3;
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
    let built = super::build()?;
    let out = place.of("datapath")?;
    let memory = Path::new(MEMORY);
    ensure!(memory.is_dir(), "{MEMORY} is missing; it must be a file system in memory");
    let store = tempfile::Builder::new().prefix("pfs-raw-").tempdir_in(memory).context("making a store for raw TCP")?;
    eprintln!("starting 1 metadata server and {FILE_SERVERS} file servers in {MEMORY}");
    let pfs = built.program("pfs")?;
    let cluster = Cluster::start_in(memory, pfs, FILE_SERVERS)?;
    let mut command = measurement(flags, built.program("pfs-datapath")?, &cluster.servers(), store.path(), &out)?;
    cluster.reachable_from(&mut command);
    command.args(flags.profile.then_some("--profile"));
    command.args(flags.only.iter().flat_map(|only| ["--only", only]));
    let limit = ROUND_LIMIT * (flags.common.rounds(QUICK_ROUNDS) + 1);
    let mut said = Step::new("pfs-datapath", command, limit).showing_stderr().run()?.stdout;
    cluster.stop()?;
    if !flags.profile && flags.only.as_deref().is_none_or(names_overlap) {
        eprintln!("starting the servers again, with one thread each");
        let servers = SingleThreaded::start(memory, pfs, FILE_SERVERS)?;
        let out = out.join("servers-of-one-thread");
        let mut command = measurement(flags, built.program("pfs-datapath")?, &servers.processes(), store.path(), &out)?;
        servers.reachable_from(&mut command);
        command.args(["--only", OVERLAP]);
        said += "\nservers of one thread\n";
        said += &Step::new("pfs-datapath", command, limit).showing_stderr().run()?.stdout;
        servers.stop();
    }
    eprintln!("kept in {}", out.display());
    print!("{said}");
    Ok(())
}

/// The program, but for which cluster and cases.
fn measurement(flags: &Flags, program: &Path, servers: &[Process], store: &Path, out: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    let servers: Vec<String> = servers.iter().map(|process| process.id.to_string()).collect();
    command.args(["--servers", &servers.join(",")]).args(["--commit", &keep::commit()?]);
    command.arg("--store").arg(store).arg("--out").arg(out);
    command.args(["--rounds", &flags.common.rounds(QUICK_ROUNDS).to_string()]);
    if flags.common.place.quick {
        command.args(["--large-mib", "64", "--blocks", "4096"]);
    }
    Ok(command)
}

/// Whether the cases in which a program computes beside its transfers are among those of `--only`.
fn names_overlap(only: &str) -> bool {
    only.split(',').any(|part| part.starts_with(OVERLAP))
}
