//! `pfs-datapath`: the file system's data path and raw TCP, in turns, on a cluster that runs.
//!
//! It finds the cluster in the environment, as every client does. `cargo xtask bench datapath` starts one for it.

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pfs_bench_datapath::cases::{CASES, HOT, OURS, OURS_4, wanted};
use pfs_bench_datapath::contenders::{Contender, Local, Ours, RawServer, RawTcp, Servers};
use pfs_bench_datapath::machine::Machine;
use pfs_bench_datapath::measure::{self, Case};
use pfs_bench_datapath::report::Report;
use pfs_bench_datapath::work::Material;
use pfs_bench_datapath::{overlap, profile};
use std::path::{Path, PathBuf};

/// The allocator of the project's programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of the largest call.
const CALL_BYTES_MAX: usize = 16 << 20;

/// Compare the data path with raw TCP.
#[derive(Debug, Parser)]
struct Options {
    /// Process ids of all servers of the cluster.
    #[arg(long, value_name = "PID,…", value_delimiter = ',', required = true)]
    servers: Vec<i32>,
    /// Where the raw server's store and local files are: on the same kind of disk as the servers' stores.
    #[arg(long)]
    store: PathBuf,
    /// Directory for the figures.
    #[arg(long)]
    out: PathBuf,
    /// Rounds of each case.
    #[arg(long, default_value_t = 21)]
    rounds: u32,
    /// MiB of the file of large operations.
    #[arg(long, default_value_t = 512)]
    large_mib: u64,
    /// Operations of a run of small ones.
    #[arg(long, default_value_t = 32_768)]
    blocks: usize,
    /// Only cases whose name contains one of these.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    only: Vec<String>,
    /// Instead of comparing, keep flame graphs of the file system's part in this directory's `flame`: of the cases that are
    /// named, or of those whose cost is in the documentation.
    #[arg(long)]
    profile: bool,
    /// The commit that is measured, for the report.
    #[arg(long, default_value = "not named")]
    commit: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let chosen = |case: &&Case| options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part));
    let cases: Vec<&Case> = CASES.iter().filter(chosen).collect();
    let overlaps: Vec<&Case> = overlap::CASES.iter().filter(chosen).collect();
    let names = || CASES.iter().chain(&overlap::CASES).map(|case| case.name).collect::<Vec<_>>();
    ensure!(!cases.is_empty() || !overlaps.is_empty(), "no case has such a name; there are {:?}", names());
    let large_bytes = options.large_mib << 20;
    ensure!(large_bytes.is_multiple_of(CALL_BYTES_MAX as u64), "--large-mib must be a multiple of 16");
    let material = Material::new(large_bytes, options.blocks);

    let machine = Machine::describe(&options.commit);
    let raw = std::env::current_exe().context("find this program")?.with_file_name("pfs-raw");
    let server = RawServer::start(&raw, &options.store, large_bytes.max(options.blocks as u64 * 4096))?;
    let mut contenders = contenders(&options, &server, &material)?;
    if options.profile {
        let asked = |case: &&&Case| !options.only.is_empty() || HOT.contains(&case.name);
        let cases: Vec<&Case> = cases.iter().filter(asked).copied().collect();
        return profile(&cases, &mut contenders, &material, &options.out.join("flame"));
    }
    let (mut samples, mut beside) = (Vec::new(), Vec::new());
    let all = cases.len() + overlaps.len();
    for (index, case) in cases.iter().enumerate() {
        let progress = |round| eprint!("\r{} of {all}: {:16} round {round:2}  ", index + 1, case.name);
        samples.extend(measure::run(case, &mut contenders, &material, options.rounds, progress)?);
    }
    for (index, case) in overlaps.iter().enumerate() {
        let progress = |round| eprint!("\r{} of {all}: {:16} round {round:2}  ", cases.len() + index + 1, case.name);
        beside.extend(overlap::run(case, &mut contenders, &material, options.rounds, progress)?);
    }
    eprintln!();
    let wanted = cases.iter().flat_map(|case| wanted(case)).filter_map(|wanted| wanted.figure(&samples));
    let figures = wanted.chain(overlap::figures(&beside)).collect();
    let report = Report { machine: machine.at_end(), rounds: options.rounds, figures };
    report.keep(&options.out, &samples)?;
    if !beside.is_empty() {
        let path = options.out.join("overlap.csv");
        std::fs::write(&path, overlap::csv(&beside)).with_context(|| format!("write {}", path.display()))?;
    }
    print!("{}", report.text());
    Ok(())
}

fn profile(cases: &[&Case], contenders: &mut [Box<dyn Contender>], material: &Material, out: &Path) -> Result<()> {
    let ours = contenders.iter_mut().find(|contender| contender.name() == OURS).context("ours is missing")?;
    for case in cases {
        eprintln!("{}", case.name);
        profile::record(case, ours.as_mut(), material, out)?;
    }
    println!("kept in {}", out.display());
    Ok(())
}

fn contenders(options: &Options, server: &RawServer, material: &Material) -> Result<Vec<Box<dyn Contender>>> {
    let servers = Servers::connect(options.servers.clone())?;
    Ok(vec![
        Box::new(RawTcp::connect(server, CALL_BYTES_MAX)?),
        Box::new(Ours::create(&servers, OURS, 1, CALL_BYTES_MAX, material)?),
        Box::new(Ours::create(&servers, OURS_4, 4, CALL_BYTES_MAX, material)?),
        Box::new(Local::create(&options.store)?),
    ])
}
