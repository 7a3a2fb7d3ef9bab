//! `capi`: the library of `MPI_File_*` for programs that are not changed, one for each MPI.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::workspace::{self, Built, Selection};

const PACKAGE: &str = "pfs-mpiio-capi";
const TARGET: &str = "pfs_mpiio_capi";
/// What the library is called where programs look for it.
const FILE: &str = "libpfs_mpiio.so";

/// Build the `MPI_File_*` library into target/capi/MPI/libpfs_mpiio.so
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Flags {
    /// For which MPI; without it, for both
    #[arg(value_name = "MPI")]
    mpis: Vec<Mpi>,
    /// Unoptimised, with checks
    #[arg(long)]
    dev: bool,
}

/// Builds the library.
pub fn run(flags: &Flags) -> Result<()> {
    let mpis = if flags.mpis.is_empty() { vec![Mpi::Open, Mpi::Mpich] } else { flags.mpis.clone() };
    setup::run(&mpis.iter().map(|mpi| Need::of(*mpi)).collect::<Vec<_>>())?;
    for mpi in mpis {
        let built = if flags.dev { workspace::build(&Selection::Library(PACKAGE), mpi)? } else { built(mpi)? };
        println!("{}", put(&built, mpi)?.display());
    }
    Ok(())
}

fn built(mpi: Mpi) -> Result<Built> {
    workspace::build(&Selection::ReleaseLibrary(PACKAGE), mpi)
}

/// Builds the library in release and returns where it is.
pub fn release(mpi: Mpi) -> Result<PathBuf> {
    Ok(built(mpi)?.library(TARGET)?.to_path_buf())
}

/// The library of a build for tests, which is unoptimised.
pub fn tested(built: &Built) -> Result<&Path> {
    built.library(TARGET)
}

/// Puts the library that was built to its place, and returns that.
pub fn put(built: &Built, mpi: Mpi) -> Result<PathBuf> {
    let folder = workspace::target_directory()?.join("capi").join(mpi.name());
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let (from, to) = (built.library(TARGET)?, folder.join(FILE));
    replace(from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(to)
}

/// A program that has the old library open keeps it.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    fs::copy(from, &new)?;
    Ok(fs::rename(&new, to)?)
}
