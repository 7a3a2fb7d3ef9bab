//! `setup`: installs through apt what the chosen parts need and is not there, and what Python needs in an environment of
//! its own.
//!
//! Nothing is installed that is there already, so a second run changes nothing and needs no network. The package lists
//! are brought up to date only when something is missing.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::mpi::Mpi;
use crate::python;
use crate::step::Step;

const APT_LIMIT: Duration = Duration::from_secs(900);
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// A reason to have packages on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Building for and running under Open MPI; libclang is what the MPI binding's build reads headers with.
    OpenMpi,
    /// The same for MPICH.
    Mpich,
    /// A batch system on this machine.
    Slurm,
    /// Network namespaces that play hosts.
    Namespaces,
    /// Building libFuzzer, which is C++.
    Fuzzer,
    /// A browser without a screen, and a terminal without one.
    Browser,
    /// A gRPC client in Python, in a virtual environment.
    Grpcio,
    /// Compiling Fortran.
    Fortran,
    /// HDF5 by h5py and PnetCDF, built for Open MPI.
    Formats,
    /// mpi4py, built from its source for each MPI.
    Mpi4py,
    /// What reads the files that an installation has beside its programs.
    Installed,
    /// A parallel file system to compare with.
    Gluster,
    /// The font of plots.
    Fonts,
}

impl Need {
    /// Everything that any command of this program can need.
    pub const ALL: [Need; 13] = [
        Need::OpenMpi,
        Need::Mpich,
        Need::Slurm,
        Need::Namespaces,
        Need::Fuzzer,
        Need::Browser,
        Need::Grpcio,
        Need::Fortran,
        Need::Formats,
        Need::Mpi4py,
        Need::Installed,
        Need::Gluster,
        Need::Fonts,
    ];

    /// Building for this MPI.
    pub fn of(mpi: Mpi) -> Self {
        match mpi {
            Mpi::Open => Need::OpenMpi,
            Mpi::Mpich => Need::Mpich,
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Need::OpenMpi => &["gcc", "libc6-dev", "libclang-dev", "openmpi-bin", "libopenmpi-dev"],
            Need::Mpich => &["gcc", "libc6-dev", "libclang-dev", "mpich", "libmpich-dev"],
            Need::Slurm => &["slurm-wlm", "munge"],
            Need::Namespaces => &["iproute2"],
            Need::Fuzzer => &["gcc", "g++", "libc6-dev"],
            Need::Browser => &["chromium", "fonts-dejavu-core", "tmux"],
            Need::Grpcio => &["python3-venv"],
            Need::Fortran => &["gfortran"],
            Need::Formats => &["python3-h5py-mpi", "hdf5-tools", "libpnetcdf-dev", "pnetcdf-bin"],
            Need::Mpi4py => &["python3-venv", "python3-dev"],
            Need::Installed => &["mandoc", "man-db", "pkg-config", "tcl"],
            Need::Gluster => &["glusterfs-server", "glusterfs-client"],
            Need::Fonts => &["fonts-dejavu-core"],
        }
    }
}

/// Makes sure that everything for `needs` is there.
pub fn run(needs: &[Need]) -> Result<()> {
    packages(needs)?;
    if needs.contains(&Need::Grpcio) {
        python::set_up()?;
    }
    if needs.contains(&Need::Mpi4py) {
        python::mpi4py::set_up()?;
    }
    Ok(())
}

fn packages(needs: &[Need]) -> Result<()> {
    let wanted: BTreeSet<&str> = needs.iter().flat_map(|need| need.packages()).copied().collect();
    let missing = missing(&wanted)?;
    if missing.is_empty() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    println!("setup: installing {}", missing.join(" "));
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat())
}

/// Those of `wanted` that dpkg does not call installed.
fn missing<'a>(wanted: &BTreeSet<&'a str>) -> Result<Vec<&'a str>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(wanted);
    // An unknown package gives exit status 1 and the answers for all others.
    let answer = Step::new("dpkg-query", query, QUERY_LIMIT)
        .run_any_status()
        .context("set-up knows Debian's packages only; on another system install MPI and libclang by hand")?;
    let installed: BTreeSet<&str> = answer.stdout.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(wanted.iter().copied().filter(|package| !installed.contains(package)).collect())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else if on_path("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    } else {
        bail!(
            "packages are missing and this is neither root nor a machine with sudo; as root run: apt-get {}",
            arguments.join(" ")
        );
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--option=DPkg::Lock::Timeout=300"]);
    command.args(arguments);
    Step::new(format!("apt-get {}", arguments[0]), command, APT_LIMIT)
        .run()
        .with_context(|| format!("installing packages; try by hand: apt-get {}", arguments.join(" ")))?;
    Ok(())
}

/// Whether a program of this name is found.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_installed_is_missing() {
        let wanted = BTreeSet::from(["dpkg", "pfs-no-such-package"]);
        assert_eq!(missing(&wanted).unwrap(), ["pfs-no-such-package"]);
    }
}
