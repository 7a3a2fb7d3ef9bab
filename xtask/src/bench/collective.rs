//! `bench collective`: collective accesses compared with each other and with what a program could do instead, by the program
//! `pfs-collective`; and what planning costs, by `pfs-plan-figures`.
//!
//! Real servers in release, their stores in memory, one MPI job that makes all accesses in turns.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::keep::{self, RoundFlags};
use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::step::Step;

const FILE_SERVERS: u32 = 4;
/// Stores are files in memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";
/// The longest that a round of all groups may take.
const ROUND_LIMIT: Duration = Duration::from_secs(240);
const PLANNING_LIMIT: Duration = Duration::from_secs(600);

/// Compare collective accesses with what a program could do instead, in turns
#[derive(Debug, Clone, Args)]
pub struct Flags {
    #[command(flatten)]
    common: RoundFlags,
    /// Ranks of the job
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=64))]
    ranks: u32,
    /// Only groups whose name contains one of these, and no planning
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,
}

/// Builds in release, starts the servers and measures.
pub fn run(flags: &Flags) -> Result<()> {
    let place = &flags.common.place;
    let built = super::build()?;
    let out = place.of("collective")?;
    if flags.only.is_none() {
        eprintln!("planning");
        let mut command = Command::new(built.program("pfs-plan-figures")?);
        command.arg("--out").arg(&out).args(place.quick.then_some("--quick"));
        print!("{}", Step::new("pfs-plan-figures", command, PLANNING_LIMIT).run()?.stdout);
    }
    let memory = Path::new(MEMORY);
    ensure!(memory.is_dir(), "{MEMORY} is missing; it must be a file system in memory");
    eprintln!("starting 1 metadata server and {FILE_SERVERS} file servers in {MEMORY}");
    let cluster = Cluster::start_in(memory, built.program("pfs")?, FILE_SERVERS)?;
    let rounds = flags.common.rounds(3);
    let mut command = Mpi::Open.launch(flags.ranks);
    command.arg(built.program("pfs-collective")?).args(["--prefix", "pfs:/bench-", "--commit", &keep::commit()?]);
    cluster.reachable_from(&mut command);
    command.arg("--out").arg(&out).args(["--rounds", &rounds.to_string()]);
    command.args(if place.quick { &["--smaller", "16"][..] } else { &[] });
    command.args(flags.only.iter().flat_map(|only| ["--only", only]));
    let finished = Step::new("pfs-collective", command, ROUND_LIMIT * (rounds + 1)).showing_stderr().run()?;
    cluster.stop()?;
    eprintln!("kept in {}", out.display());
    print!("{}", finished.stdout);
    Ok(())
}
