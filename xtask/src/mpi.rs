//! The two MPI implementations: how each compiles, launches, and lives with more ranks than cores.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::workspace;

/// An MPI implementation as Debian names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mpi {
    /// Open MPI
    #[value(name = "openmpi")]
    Open,
    /// MPICH
    Mpich,
}

impl Mpi {
    /// Both.
    pub const ALL: [Mpi; 2] = [Mpi::Open, Mpi::Mpich];

    /// The name of its folders.
    pub fn name(self) -> &'static str {
        match self {
            Mpi::Open => "openmpi",
            Mpi::Mpich => "mpich",
        }
    }

    /// The compiler wrapper that names this MPI's headers and libraries.
    pub fn compiler(self) -> &'static str {
        match self {
            Mpi::Open => "mpicc.openmpi",
            Mpi::Mpich => "mpicc.mpich",
        }
    }

    /// A build is for one MPI, and the binding's build does not notice a change of it: one folder each.
    pub fn target_directory(self) -> Result<PathBuf> {
        let shared = workspace::target_directory()?;
        Ok(match self {
            Mpi::Open => shared,
            Mpi::Mpich => shared.join("mpich"),
        })
    }

    /// The launcher with the options that let it run as root and with more ranks than cores.
    pub fn launcher(self) -> &'static [&'static str] {
        match self {
            Mpi::Open => &["mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"],
            Mpi::Mpich => &["mpirun.mpich"],
        }
    }

    /// The environment in which ranks that wait give up the core, and in which no container's refusal of
    /// `process_vm_readv` fills the output with warnings.
    pub fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Mpi::Open => &[("OMPI_MCA_mpi_yield_when_idle", "1"), ("OMPI_MCA_btl_vader_single_copy_mechanism", "none")],
            Mpi::Mpich => &[],
        }
    }

    /// `mpirun` for `ranks` ranks; the caller adds the program and its arguments.
    pub fn launch(self, ranks: u32) -> Command {
        let mut command = Command::new(self.launcher()[0]);
        command.args(&self.launcher()[1..]).args(["-n", &ranks.to_string()]).envs(self.environment().iter().copied());
        command
    }
}
