//! `pfs run`: a program on a cluster that lives as long as the program does.
//!
//! Invariants: a cluster that was started here is stopped before the command ends, however the program ends, and removed
//! if it was made here. Standard input, output and error are the program's; what this command has to say goes to standard
//! error. The exit status is the program's own, or 125 if it could not be run, staged or cleaned up after.

mod launcher;
mod scratch;
mod supervisor;

use crate::cluster::ending;
use crate::cluster::formation::{self, Access, StartOptions};
use crate::connection::Connection;
use crate::failure::{Failure, Outcome};
use crate::names::Place;
use clap::Args;
use launcher::{Kind, Launcher};
use pfs_client::{METADATA_VARIABLE, SECRET_FILE_VARIABLE};
use scratch::Scratch;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use supervisor::{Ending, Supervisor};

/// What `env`, `timeout` and their like return when they fail themselves.
const OWN_FAILURE_STATUS: u8 = 125;
/// How long servers may take to end by themselves.
const SERVER_GRACE: Duration = Duration::from_secs(20);
/// Path prefixes that lead to the file system, for the library.
const MAP_VARIABLE: &str = "PFS_MPIIO_MAP";

/// Run a program on a cluster that is started for it
#[derive(Debug, Args)]
#[command(after_help = "\
  pfs run -- mpirun -n 4 ./program pfs:/out
  pfs run --file-servers 4 --stage-in data pfs:/data --stage-out pfs:/out results -- mpirun -n 4 ./program

Without --dir, and with no PFS_METADATA or --metadata, a cluster is made in a temporary directory and removed at the end.
With --dir it is kept there, and the next run finds its files. With PFS_METADATA or --metadata that cluster is used.

Unmodified MPI programs are served by a library that is loaded into the ranks. It is found by the launcher's MPI: lib/pfs/MPI
beside the folder of this program, or capi/MPI beside it in a build. Open MPI's and MPICH's mpirun and srun are told to load
it into the ranks only; other programs get it in LD_PRELOAD, if --mpi says for which MPI.

If no map is given (--map or PFS_MPIIO_MAP) and the cluster is started for this run, the program gets a temporary directory
of its own in TMPDIR, and what it opens there by MPI is in the file system.

SIGINT, SIGTERM and SIGHUP go to the program; one that does not end in time is killed. Results are copied out when the
program has ended by itself, with whatever status. Exit status: the program's, 128 and the signal if one ended it; 125 if
this command failed, 126 if the program can not be executed, 127 if there is none.")]
pub struct Flags {
    /// Start the cluster in this directory, and leave it there when it has stopped
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    #[command(flatten)]
    options: StartOptions,

    /// Copy a file or directory in before the program starts
    #[arg(long, value_names = ["LOCAL", "PFS-NAME"], num_args = 2, action = clap::ArgAction::Append)]
    stage_in: Vec<String>,

    /// Copy a file or directory out when the program has ended
    #[arg(long, value_names = ["PFS-NAME", "LOCAL"], num_args = 2, action = clap::ArgAction::Append)]
    stage_out: Vec<String>,

    /// Paths that begin with FROM lead to the file system, like /scratch=pfs:/scratch; `.` is the working directory
    #[arg(long, value_name = "FROM=pfs:TO")]
    map: Vec<String>,

    /// Load the library for this MPI [default: the launcher's]
    #[arg(long, value_name = "MPI")]
    mpi: Option<Kind>,

    /// Load this library
    #[arg(long, value_name = "FILE", conflicts_with = "no_preload")]
    preload: Option<PathBuf>,

    /// Load no library: the program has one of its own
    #[arg(long)]
    no_preload: bool,

    /// Seconds between a signal and the end by force of a program that does not heed it
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace_s: u64,

    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the subcommand.
pub fn run(flags: Flags, connection: &Connection) -> Outcome {
    let job = Job::new(flags, connection)?;
    let mut supervisor = Supervisor::new(Duration::from_secs(job.flags.grace_s)).map_err(own)?;
    let cluster = Cluster::start(&job, connection).map_err(own)?;
    let ended = job.run(&cluster, &mut supervisor);
    let stopped = cluster.stop().map_err(own);
    // Whatever went wrong was said; the program's own failure is the one that counts.
    match ended.map_err(own)? {
        Ending::SUCCESS => stopped,
        ending => Err(Failure::Exit(ending.status())),
    }
}

/// Reports a failure that is this command's own.
fn own(failure: Failure) -> Failure {
    match failure {
        usage @ Failure::Usage(_) => usage,
        exit @ Failure::Exit(_) => exit,
        failure => {
            failure.report();
            Failure::Exit(OWN_FAILURE_STATUS)
        }
    }
}

/// What was asked for, checked before anything is started.
struct Job {
    flags: Flags,
    launcher: Launcher,
    stage_in: Vec<[String; 2]>,
    stage_out: Vec<[String; 2]>,
}

impl Job {
    fn new(mut flags: Flags, connection: &Connection) -> Result<Self, Failure> {
        if flags.dir.is_some() {
            connection.refuse_metadata_flag("run --dir")?;
            connection.refuse_secret_file_flag("run --dir")?;
        }
        let stage_in = staging(&flags.stage_in, |[from, to]| is_remote(to) && !is_remote(from))?;
        let stage_out = staging(&flags.stage_out, |[from, to]| is_remote(from) && !is_remote(to))?;
        if let Some(wrong) = flags.map.iter().find(|entry| !entry.contains("=pfs:")) {
            return Err(Failure::usage(format_args!("--map {wrong:?} is not FROM=pfs:TO")));
        }
        let command = std::mem::take(&mut flags.command);
        let launcher = Launcher::new(command, flags.mpi);
        Ok(Job { flags, launcher, stage_in, stage_out })
    }

    fn run(&self, cluster: &Cluster, supervisor: &mut Supervisor) -> Result<Ending, Failure> {
        for [from, to] in &self.stage_in {
            let ending = supervisor.run(self.copy(cluster, from, to)?)?;
            if supervisor.was_told_to_end() {
                return Ok(ending);
            }
            if ending != Ending::SUCCESS {
                return Err(Failure::because(format_args!("copy {from} in"), ending));
            }
        }
        let scratch = self.scratch(cluster)?;
        let ended = supervisor.run(self.program(cluster, scratch.as_ref())?)?;
        if supervisor.was_told_to_end() {
            return Ok(ended);
        }
        for [from, to] in &self.stage_out {
            let ending = supervisor.run(self.copy(cluster, from, to)?)?;
            if ending != Ending::SUCCESS {
                let failure = Failure::because(format_args!("copy {from} out"), ending);
                // A program that failed is the better reason for missing results.
                return if ended == Ending::SUCCESS { Err(failure) } else { Ok(ended) };
            }
        }
        Ok(ended)
    }

    /// `pfs cp` as a process of its own, so that a signal ends only the copy.
    fn copy(&self, cluster: &Cluster, from: &str, to: &str) -> Result<Command, Failure> {
        let program = env::current_exe().map_err(|error| Failure::cannot("find this program", &error))?;
        let mut command = Command::new(program);
        command.args(["cp", "--recursive", "--quiet", "--", from, to]).envs(cluster.variables());
        Ok(command)
    }

    /// A temporary directory for the program, if nobody has said what leads to the file system.
    fn scratch(&self, cluster: &Cluster) -> Result<Option<Scratch>, Failure> {
        let has_map = !self.flags.map.is_empty() || env::var_os(MAP_VARIABLE).is_some_and(|map| !map.is_empty());
        match &cluster.home {
            Some(home) if !has_map => Scratch::make(home).map(Some),
            _ => Ok(None),
        }
    }

    fn program(&self, cluster: &Cluster, scratch: Option<&Scratch>) -> Result<Command, Failure> {
        let mut variables: Vec<(&'static str, OsString)> = cluster.variables();
        if !self.flags.map.is_empty() {
            variables.push((MAP_VARIABLE, self.flags.map.join(",").into()));
        }
        if let Some(scratch) = scratch {
            variables.extend(scratch.variables());
        }
        let library =
            if self.flags.no_preload { None } else { self.launcher.library(self.flags.preload.as_deref())? };
        self.launcher.command(&variables, library.as_deref())
    }
}

/// Pairs of names that `fits` accepts.
fn staging(names: &[String], fits: impl Fn(&[String; 2]) -> bool) -> Result<Vec<[String; 2]>, Failure> {
    let pairs = names.chunks_exact(2).map(|pair| [pair[0].clone(), pair[1].clone()]);
    pairs
        .map(|pair| match fits(&pair) {
            true => Ok(pair),
            false => Err(Failure::usage(format_args!(
                "{} to {}: staging is between a local name and one that begins with pfs:",
                pair[0], pair[1]
            ))),
        })
        .collect()
}

fn is_remote(name: &str) -> bool {
    matches!(Place::parse(name), Ok(Place::Remote(_)))
}

/// The cluster that the program uses.
struct Cluster {
    access: Option<Access>,
    /// Where what belongs to this run lies; only if the cluster was started for it.
    home: Option<tempfile::TempDir>,
    directory: Option<PathBuf>,
}

impl Cluster {
    fn start(job: &Job, connection: &Connection) -> Result<Self, Failure> {
        let given = connection.has_metadata_flag() || env::var_os(METADATA_VARIABLE).is_some_and(|it| !it.is_empty());
        if given && job.flags.dir.is_none() {
            if let Some(flag) = job.flags.options.first_given() {
                let problem = "the program uses a cluster that runs already";
                return Err(Failure::usage(format_args!("--{flag} is for a cluster that is started; {problem}")));
            }
            let access = Access { metadata: connection.metadata()?.join(","), secret_file: connection.secret_file()? };
            return Ok(Cluster { access: Some(access), home: None, directory: None });
        }
        let home = tempfile::Builder::new()
            .prefix("pfs-run-")
            .tempdir()
            .map_err(|error| Failure::cannot("make a temporary directory", &error))?;
        let directory = job.flags.dir.clone().unwrap_or_else(|| home.path().join("cluster"));
        let mut access = None;
        formation::start(&directory, &job.flags.options, |to| {
            access = Some(to.clone());
            Ok(())
        })?;
        Ok(Cluster { access, home: Some(home), directory: Some(directory) })
    }

    fn variables(&self) -> Vec<(&'static str, OsString)> {
        self.access.iter().flat_map(Access::variables).collect()
    }

    /// Stops what was started, and removes what was made in a temporary directory.
    fn stop(mut self) -> Outcome {
        self.end()?;
        match self.home.take() {
            Some(home) => home.close().map_err(|error| Failure::cannot("remove the temporary directory", &error)),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Outcome {
        let Some(directory) = self.directory.take() else { return Ok(()) };
        let made_here = self.home.as_ref().is_some_and(|home| directory.starts_with(home.path()));
        ending::stop(Path::new(&directory), made_here, SERVER_GRACE)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(failure) = self.end() {
            failure.report();
        }
    }
}

/// The names of variables that ranks on other nodes need too.
const FORWARDED: [&str; 3] = [METADATA_VARIABLE, SECRET_FILE_VARIABLE, MAP_VARIABLE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_is_between_the_two_sides() {
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let inwards = |[from, to]: &[String; 2]| is_remote(to) && !is_remote(from);
        assert!(staging(&names(["a", "pfs:/a"]), inwards).is_ok());
        assert!(staging(&names(["pfs:/a", "a"]), inwards).is_err());
        assert!(staging(&names(["a", "b"]), inwards).is_err());
    }
}
