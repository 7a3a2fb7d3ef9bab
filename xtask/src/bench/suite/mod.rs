//! The suite: well-known workloads on this file system and on what a user could take instead on this machine.
//!
//! Invariants: within a round all contenders of a workload run one after the other and nothing beside them, every other round
//! in the opposite order, so that drift hits all alike; each starts without the files of the one before; ratios are made
//! within a round. A comparison that fails is told and left out; this file system must not fail.

mod contender;
mod gluster;
mod raw;
mod results;
mod workload;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;

use super::keep::{self, PlaceFlags};
use crate::cluster::Cluster;
use crate::demo::limits::{self, Limits};
use crate::interrupt;
use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::step::Step;
use crate::workspace::{self, Built, Selection};

use contender::Contender;
use gluster::Gluster;
use raw::RawServers;
use workload::{Program, Workload, workloads};

const FILE_SERVERS: u32 = 4;
/// Rounds of a run of everything, and of one that decides targets.
const ROUNDS: u32 = 7;
const TARGET_ROUNDS: u32 = 21;
/// Stores are files in memory, so that no disk is measured, except where a contender is called so.
const MEMORY: &str = "/dev/shm";
/// The longest that one run of one contender may take.
const RUN_LIMIT: Duration = Duration::from_secs(240);
const FIGURES_LIMIT: Duration = Duration::from_secs(120);
const FIGURES: &str = "pfs-figures";

/// What the suite does
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Flags {
    /// Rounds; 7 or more give an interval worth its name, 21 or more decide a target [default: 7, with --targets 21]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Only workloads whose name contains one of these
    #[arg(long, value_name = "NAME,…")]
    only: Option<String>,
    /// Only what a target is judged by
    #[arg(long)]
    targets: bool,
    /// Only contenders whose name contains one of these
    #[arg(long, value_name = "NAME,…")]
    contenders: Option<String>,
    #[command(flatten)]
    place: PlaceFlags,
}

/// Builds in release, starts everything and measures.
pub fn run(flags: &Flags) -> Result<()> {
    let chosen = chosen(flags);
    let takes_part = |is_it: fn(Contender) -> bool| chosen.iter().any(|(_, who)| who.iter().copied().any(is_it));
    let with_mpich = takes_part(|contender| contender.mpi() == Mpi::Mpich);
    let with_gluster = takes_part(|contender| contender == Contender::Gluster);
    let mut needs = vec![Need::OpenMpi, Need::Fonts];
    needs.extend(with_mpich.then_some(Need::Mpich));
    needs.extend(with_gluster.then_some(Need::Gluster));
    setup::run(&needs)?;
    let built = super::build()?;
    let for_mpich = Selection::ReleasePrograms(&[("pfs-bench", "pfs-ior")]);
    let mpich = with_mpich.then(|| workspace::build(&for_mpich, Mpi::Mpich)).transpose()?;
    let out = flags.place.of("suite")?;
    fs::create_dir_all(&out)?;
    let stage = Stage::set_up(&built, mpich.as_ref(), with_gluster)?;
    let wanted = flags.rounds.unwrap_or(if flags.targets { TARGET_ROUNDS } else { ROUNDS });
    let rounds = if flags.place.quick { 1 } else { wanted };
    let mut table = results::Table::begin(&out)?;
    if flags.only.is_none() {
        machine_limits(&mut table)?;
    }
    for round in 1..=rounds {
        for (workload, contenders) in &chosen {
            let mut order = contenders.clone();
            if round % 2 == 0 {
                order.reverse();
            }
            for contender in order {
                interrupt::check()?;
                stage.once(workload, contender, round, &mut table)?;
            }
        }
    }
    table.end()?;
    stage.take_down()?;
    let about =
        format!("{rounds} rounds{}.", if flags.place.quick { ", little data: says nothing about speed" } else { "" });
    let mut figures = Command::new(built.program(FIGURES)?);
    figures.arg(&out).args(["--commit", &keep::commit()?, "--about", &about]);
    print!("{}", Step::new(FIGURES, figures, FIGURES_LIMIT).run()?.stdout);
    eprintln!("kept in {}", out.display());
    Ok(())
}

/// What is done, and by whom.
fn chosen(flags: &Flags) -> Vec<(Workload, Vec<Contender>)> {
    let contenders = |workload: &Workload| {
        let all = if flags.targets { workload.judged } else { workload.contenders };
        all.iter().copied().filter(|contender| named(flags.contenders.as_deref(), contender.name())).collect::<Vec<_>>()
    };
    let all = workloads(flags.place.quick).into_iter().filter(|workload| named(flags.only.as_deref(), workload.name));
    let all = all.map(|workload| (contenders(&workload), workload)).filter(|(who, _)| !who.is_empty());
    all.map(|(who, workload)| (workload, who)).collect()
}

fn named(only: Option<&str>, name: &str) -> bool {
    only.is_none_or(|only| only.split(',').any(|part| name.contains(part)))
}

fn machine_limits(table: &mut results::Table) -> Result<()> {
    let limits = Limits::measure()?;
    table.row("limit", 0, "copy", "memory copy", 1, limits.memory_copy_mib_per_second)?;
    table.row("limit", 0, "send", "loopback TCP", 1, limits.loopback_tcp_mib_per_second)
}

/// Everything that runs beside the contenders.
pub(super) struct Stage<'a> {
    open: &'a Built,
    mpich: Option<&'a Built>,
    cluster: Cluster,
    on_disk: Cluster,
    gluster: Option<Gluster>,
    raw: RawServers,
    memory: TempDir,
    disk: TempDir,
}

impl<'a> Stage<'a> {
    fn set_up(open: &'a Built, mpich: Option<&'a Built>, with_gluster: bool) -> Result<Self> {
        let memory = Path::new(MEMORY);
        ensure!(memory.is_dir(), "{MEMORY} is missing; it must be a file system in memory");
        let pfs = open.program("pfs")?;
        let disk = workspace::target_directory()?;
        let directory = |parent: &Path| tempfile::Builder::new().prefix("pfs-suite-").tempdir_in(parent);
        eprintln!("starting 1 + {FILE_SERVERS} servers in {MEMORY} and on disk, the comparisons' servers too");
        let gluster = || Gluster::start(memory, FILE_SERVERS).context("starting Gluster");
        Ok(Stage {
            cluster: Cluster::start_in(memory, pfs, FILE_SERVERS)?,
            on_disk: Cluster::start_in(&disk, pfs, FILE_SERVERS)?,
            gluster: with_gluster.then(gluster).transpose()?,
            raw: RawServers::start(memory, open.program("pfs-raw")?, FILE_SERVERS)?,
            memory: directory(memory)?,
            disk: directory(&disk)?,
            open,
            mpich,
        })
    }

    /// One run of one contender.
    fn once(&self, workload: &Workload, contender: Contender, round: u32, table: &mut results::Table) -> Result<()> {
        let name = format!("{} of {}, round {round}", workload.title(), contender.name());
        if contender == Contender::DiskSyncs {
            let rate = limits::syncs_per_second(self.disk.path())? * f64::from(workload.ranks);
            return table.row(workload.name, workload.setting, "create", contender.name(), round, rate);
        }
        let command = self.command(workload, contender)?;
        let finished = Step::new(name.clone(), command, RUN_LIMIT).run();
        let noted = finished.and_then(|finished| match workload.program {
            Program::Ior => results::ior(&finished.stdout, workload, contender, round, table),
            Program::Mdtest => results::mdtest(&finished.stdout, workload, contender, round, table),
        });
        match noted {
            Ok(()) => eprintln!("{name}: done"),
            Err(error) if contender.is_ours() => return Err(error.context(name)),
            Err(error) => {
                eprintln!("{name}: FAILED and left out: {error:#}");
                table.note(&format!("{name}: failed: {error:#}"))?;
                self.tidy(contender)?;
            }
        }
        Ok(())
    }

    fn command(&self, workload: &Workload, contender: Contender) -> Result<Command> {
        let mpi = contender.mpi();
        let built = if mpi == Mpi::Open { self.open } else { self.mpich.context("nothing was built for MPICH")? };
        let program = match workload.program {
            Program::Ior => "pfs-ior",
            Program::Mdtest => "pfs-mdtest",
        };
        let mut command = mpi.launch(workload.ranks);
        command.arg(built.program(program)?).args(workload.arguments.split_whitespace());
        command.args(["-a", contender.api(workload.program)]);
        let place = self.place(contender)?;
        match workload.program {
            Program::Ior => command.args(["-O", "summaryFormat=JSON", "-o", &format!("{place}suite")]),
            Program::Mdtest => command.args(["-d", &format!("{place}names")]),
        };
        let cluster = if contender == Contender::PfsDisk { &self.on_disk } else { &self.cluster };
        cluster.reachable_from(&mut command);
        command.envs(workload.environment.iter().map(|(name, value)| (name, value)));
        if contender == Contender::PfsNoCache {
            command.env("PFS_CACHE_BYTES", "0");
        }
        Ok(command)
    }

    /// What stands before the name of a contender's file.
    fn place(&self, contender: Contender) -> Result<String> {
        let in_directory = |directory: &Path| format!("{}/", directory.display());
        Ok(match contender {
            Contender::Pfs
            | Contender::PfsMpich
            | Contender::PfsClient
            | Contender::PfsNoCache
            | Contender::PfsDisk => "pfs:/".to_owned(),
            Contender::OpenMemory | Contender::MpichMemory => in_directory(self.memory.path()),
            Contender::OpenDisk | Contender::MpichDisk => in_directory(self.disk.path()),
            Contender::Gluster => in_directory(self.mount()?),
            Contender::RawTcp | Contender::RawReductions => format!("{}/", self.raw.addresses()),
            Contender::DiskSyncs => bail!("the disk's syncs are of no file system"),
        })
    }

    fn mount(&self) -> Result<&Path> {
        Ok(self.gluster.as_ref().context("Gluster was not started")?.mount())
    }

    /// Removes what a failed run has left.
    fn tidy(&self, contender: Contender) -> Result<()> {
        let place = match contender {
            Contender::OpenMemory | Contender::MpichMemory => self.memory.path(),
            Contender::OpenDisk | Contender::MpichDisk => self.disk.path(),
            Contender::Gluster => self.mount()?,
            _ => return Ok(()),
        };
        for entry in fs::read_dir(place)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }
                .with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    }

    fn take_down(self) -> Result<()> {
        self.gluster.map_or(Ok(()), Gluster::stop)?;
        self.raw.stop();
        self.cluster.stop()?;
        self.on_disk.stop()
    }
}
