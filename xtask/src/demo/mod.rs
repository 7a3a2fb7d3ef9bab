//! `demo`: the whole path once, on real servers, real ranks and real data, with the machine's own limits beside it.
//!
//! Invariant: whatever way it ends, the servers are stopped and the directories gone; each is owned by a guard.

mod input;
pub(crate) mod limits;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::step::Step;
use crate::workspace::{self, Built, Selection};

use input::Input;
use limits::Limits;
use report::{RankReport, Report, TokenCounts};

const FILE_SERVERS: u32 = 4;
const SHARED_FILE: &str = "pfs:/demo";
const LAUNCH_LIMIT: Duration = Duration::from_secs(600);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// Write one shared file from several ranks, read it back with a different number, compare
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// How much real data to write
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub size_mib: u64,
    /// How many ranks write; one fewer reads
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub ranks: u32,
    /// Print the figures as JSON on standard output and everything else on standard error
    #[arg(long)]
    pub json: bool,
    /// Also keep the figures, as JSON, in this file (relative to the source tree)
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
}

/// Installs, builds in release and demonstrates.
pub fn run(flags: &Flags) -> Result<()> {
    setup::run(&[Need::OpenMpi])?;
    eprintln!("building in release");
    let programs = [("pfs-cli", "pfs"), ("pfs-examples", "pfs-demo")];
    let built = workspace::build(&Selection::ReleasePrograms(&programs), Mpi::Open)?;
    let say = |line: &str| if flags.json { eprintln!("{line}") } else { println!("{line}") };
    let report = demonstrate(&built, flags, &say)?;
    if let Some(file) = &flags.keep {
        report.keep(&workspace::root()?.join(file))?;
        say(&format!("kept in {}", file.display()));
    }
    if flags.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.last_line());
    }
    Ok(())
}

/// Demonstrates with programs that are built, telling `say` each thing worth seeing; anything not as it must be is an
/// error.
pub fn demonstrate(built: &Built, flags: &Flags, say: &dyn Fn(&str)) -> Result<Report> {
    let (pfs, program) = (built.program("pfs")?, built.program("pfs-demo")?);
    let directory =
        tempfile::Builder::new().prefix("pfs-demo-").tempdir().context("making a directory for the input")?;
    say("measuring this machine: memory copy, loopback TCP");
    let limits = Limits::measure()?;
    say(&limits.to_string());
    say(&format!("collecting {} MiB of files of this machine", flags.size_mib));
    let input = input::collect(directory.path().join("input"), flags.size_mib << 20)?;
    say(&format!("input: {} bytes of {} files", input.bytes, input.files));

    say(&format!("starting 1 metadata server and {FILE_SERVERS} file servers"));
    let cluster = Cluster::start(pfs, FILE_SERVERS)?;
    let before = tokens(&cluster)?;
    say(&format!("{} ranks write {SHARED_FILE} collectively", flags.ranks));
    let write = launch(&cluster, program, "write", flags.ranks, &input)?;
    let after_write = tokens(&cluster)?;
    say(&shown(&cluster, &["layout", SHARED_FILE])?);
    say(&shown(&cluster, &["status"])?);
    let readers = flags.ranks.saturating_sub(1).max(1);
    say(&format!("{readers} ranks read {SHARED_FILE} back"));
    let read = launch(&cluster, program, "read", readers, &input)?;
    let after_read = tokens(&cluster)?;
    compare(&input, &write, &read)?;
    cluster.stop()?;

    let report = Report::new(&input, limits, write, read, after_write - before, after_read - after_write);
    say(&report.to_string());
    Ok(report)
}

/// Runs the rank program under `mpirun` and reads the line of JSON that rank 0 prints.
fn launch(cluster: &Cluster, program: &Path, direction: &str, ranks: u32, input: &Input) -> Result<RankReport> {
    let mut command = Mpi::Open.launch(ranks);
    command.arg(program).args([direction, "--file", SHARED_FILE, "--json", "--input"]).arg(&input.path);
    cluster.reachable_from(&mut command);
    let name = format!("mpirun -n {ranks} pfs-demo {direction}");
    let finished = Step::new(&name, command, LAUNCH_LIMIT).run()?;
    let line = finished.stdout.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("{name} printed no figures:{}", finished.indented_output()))?;
    serde_json::from_str(line).with_context(|| format!("{name} printed figures of another form: {line}"))
}

fn tokens(cluster: &Cluster) -> Result<TokenCounts> {
    let text = answer(cluster.pfs(&["status", "--json"]), "pfs status --json")?;
    TokenCounts::of_status(&text)
}

fn shown(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let name = format!("pfs {}", arguments.join(" "));
    let text = answer(cluster.pfs(arguments), &name)?;
    Ok(format!("$ {name}\n{}", text.trim_end()))
}

fn answer(command: Command, name: &str) -> Result<String> {
    Ok(Step::new(name, command, COMMAND_LIMIT).run()?.stdout)
}

/// Three checksums, each computed by another program over the same bytes, must be one.
fn compare(input: &Input, write: &RankReport, read: &RankReport) -> Result<()> {
    for (direction, report) in [("write", write), ("read", read)] {
        if report.bytes != input.bytes {
            bail!("the {direction} moved {} bytes, the input has {}", report.bytes, input.bytes);
        }
        if report.checksum()? != input.checksum {
            bail!("the {direction}'s checksum is {}, the input's {:016x}", report.crc64, input.checksum);
        }
    }
    Ok(())
}
