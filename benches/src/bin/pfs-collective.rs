//! `pfs-collective`: collective accesses compared with each other, in turns; see [`pfs_bench::collective`].
//!
//! `mpirun -n 4 pfs-collective --prefix pfs:/bench- --out DIRECTORY`, which `cargo xtask bench collective` does.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_bench::collective::{groups, measure, report};
use pfs_bench_datapath::machine::Machine;
use pfs_bench_datapath::report::Report;
use std::path::{Path, PathBuf};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about = "Compares collective accesses, in turns")]
struct Options {
    /// Start of the names of all files
    #[arg(long)]
    prefix: String,
    /// Directory for `samples.csv`, `summary.txt` and `figures.json`
    #[arg(long)]
    out: PathBuf,
    /// The commit that is measured, for the figures
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Rounds of each group
    #[arg(long, default_value_t = 21)]
    rounds: u32,
    /// Divide all amounts of data by this
    #[arg(long, default_value_t = 1)]
    smaller: u64,
    /// Only groups whose name contains this
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<()> {
    pfs_bench::memory::without_huge_pages().context("ask for pages of the usual size")?;
    let options = Options::parse();
    let universe = mpi::initialize().context("MPI did not start")?;
    let world = universe.world();
    let done = run(&options, &world);
    if let Err(error) = done {
        eprintln!("pfs-collective, rank {}: {error:#}", world.rank());
        world.abort(1);
    }
    Ok(())
}

fn run(options: &Options, world: &SimpleCommunicator) -> Result<()> {
    ensure!(options.rounds > 0 && options.smaller > 0, "no rounds or no data");
    let is_wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| only.split(',').any(|part| name.contains(part)));
    let groups: Vec<groups::Group> = groups::ALL.iter().copied().filter(|group| is_wanted(group.name)).collect();
    if groups.is_empty() {
        bail!("no group has such a name");
    }
    let machine = Machine::describe(&options.commit);
    let (mut samples, mut ratios, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for group in &groups {
        if world.rank() == 0 {
            eprintln!("measuring {}", group.name);
        }
        let bytes = group.bytes / options.smaller;
        let found = measure::group(world, group, &options.prefix, options.rounds, bytes)?;
        ratios.extend(report::ratios(&found.samples, group));
        samples.extend(found.samples);
        waits.extend(found.waits);
    }
    if world.rank() != 0 {
        return Ok(());
    }
    let mut figures = report::wait_figures(&waits, options.rounds);
    let table = report::table(&samples, &groups, &ratios) + &report::waits_table(&figures);
    figures.extend(ratios.into_iter().map(|ratio| ratio.figure));
    let lines = report::lines(&figures);
    let kept = Report { machine: machine.at_end(), rounds: options.rounds, figures };
    std::fs::create_dir_all(&options.out).with_context(|| format!("make {}", options.out.display()))?;
    write(&options.out.join("samples.csv"), &report::csv(&samples))?;
    write(&options.out.join("summary.txt"), &format!("{table}\n{lines}"))?;
    write(&options.out.join("figures.json"), &(serde_json::to_string_pretty(&kept)? + "\n"))?;
    print!("{table}\n{lines}");
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
