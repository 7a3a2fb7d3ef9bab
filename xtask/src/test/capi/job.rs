//! What the programs of one MPI share: the library, the servers, a folder, and how they are compiled and launched.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::SOURCES;
use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::step::{Finished, Step};
use crate::workspace;

const COMPILER_LIMIT: Duration = Duration::from_secs(120);
const COPY_LIMIT: Duration = Duration::from_secs(60);

/// Whose implementation a program runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// MPI's own, on local files.
    Theirs,
    /// The library, on the servers.
    Ours,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Theirs, Side::Ours];

    /// How it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Side::Theirs => "theirs",
            Side::Ours => "ours",
        }
    }
}

/// One MPI's programs.
pub struct Ground<'a> {
    /// The MPI.
    pub mpi: Mpi,
    /// Ranks of most programs.
    pub ranks: u32,
    /// The library for this MPI.
    pub library: PathBuf,
    /// The servers.
    pub cluster: &'a Cluster,
    folder: TempDir,
}

impl<'a> Ground<'a> {
    /// A ground with an empty folder.
    pub fn new(mpi: Mpi, ranks: u32, library: PathBuf, cluster: &'a Cluster) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pfs-capi-").tempdir().context("making a folder for programs")?;
        Ok(Self { mpi, ranks, library, cluster, folder })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How a test file of one side is called.
    pub fn file(&self, side: Side, name: &str) -> String {
        match side {
            Side::Theirs => self.path(name).display().to_string(),
            Side::Ours => format!("pfs:/{}-{name}", self.mpi.name()),
        }
    }

    /// Compiles sources, relative to the folder of all of them, by a wrapper of this MPI.
    pub fn compile(&self, wrapper: &str, sources: &[&str], program: &str, flags: &[&str]) -> Result<PathBuf> {
        let (folder, to) = (workspace::root()?.join(SOURCES), self.path(program));
        let mut command = Command::new(format!("{wrapper}.{}", self.mpi.name()));
        command.args(["-O1", "-Wall", "-o"]).arg(&to).args(sources.iter().map(|source| folder.join(source)));
        command.args(flags);
        Step::new(format!("compiling {program}"), command, COMPILER_LIMIT).run()?;
        Ok(to)
    }

    /// `mpirun` for this side; the caller adds the program.
    pub fn launch(&self, side: Side, ranks: u32) -> Command {
        let mut command = self.mpi.launch(ranks);
        if side == Side::Ours {
            self.preload(&mut command);
        }
        command
    }

    /// Has the ranks of a launcher load the library and find the servers.
    pub fn preload(&self, command: &mut Command) {
        self.cluster.reachable_from(command);
        match self.mpi {
            Mpi::Open => {
                let mut assignment = OsString::from("LD_PRELOAD=");
                assignment.push(&self.library);
                command.arg("-x").arg(assignment);
            }
            Mpi::Mpich => {
                command.args(["-genv", "LD_PRELOAD"]).arg(&self.library);
            }
        }
    }

    /// Runs a launched program to success; standard error is part of an error only.
    pub fn run(&self, name: &str, command: Command, limit: Duration) -> Result<Finished> {
        Step::new(format!("{name} ({})", self.mpi.name()), command, limit).run()
    }

    /// Copies a file out of the file system.
    pub fn copy_out(&self, from: &str, to: &Path) -> Result<()> {
        let command = self.cluster.pfs(&["cp", "--quiet", from, &to.display().to_string()]);
        Step::new("pfs cp", command, COPY_LIMIT).run().map(drop)
    }
}

/// Fails if two files differ.
pub fn same_bytes(left: &Path, right: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let (first, second) = (read(left)?, read(right)?);
    if first == second {
        return Ok(());
    }
    let at = first.iter().zip(&second).position(|(a, b)| a != b).unwrap_or(first.len().min(second.len()));
    bail!(
        "{} ({} bytes) and {} ({} bytes) differ from byte {at} on",
        left.display(),
        first.len(),
        right.display(),
        second.len()
    )
}
