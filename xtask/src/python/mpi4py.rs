//! mpi4py as it is released, built from its source package for each MPI, and its tests.
//!
//! Invariant: an environment that is marked with its versions is complete; any other is made anew. What was built for one
//! MPI is in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context as _, Result, anyhow};

use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace;

/// The release.
pub const VERSION: &str = "4.1.2";
/// What the example needs.
const NUMPY: &str = "numpy==2.4.1";
/// Debian's interpreter, for which Debian has the headers.
const PYTHON: &str = "/usr/bin/python3";
const LIMIT: Duration = Duration::from_secs(1200);

fn directory() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("mpi4py"))
}

fn source() -> Result<PathBuf> {
    Ok(directory()?.join("source").join(format!("mpi4py-{VERSION}")))
}

/// The folder of the release's own tests.
pub fn tests() -> Result<PathBuf> {
    Ok(source()?.join("test"))
}

/// The Python program that has mpi4py for this MPI.
pub fn interpreter(mpi: Mpi) -> Result<PathBuf> {
    Ok(directory()?.join(mpi.name()).join("bin/python"))
}

/// Fetches the source package and builds it for both MPIs, at the same time, if that was not done before.
pub fn set_up() -> Result<()> {
    let missing: Vec<Mpi> = Mpi::ALL.into_iter().filter(|mpi| !is_there(*mpi)).collect();
    if missing.is_empty() && tests()?.is_dir() {
        return Ok(());
    }
    println!("setup: building mpi4py {VERSION} in {}", directory()?.display());
    for mpi in &missing {
        make_environment(*mpi)?;
    }
    if !tests()?.is_dir() {
        fetch()?;
    }
    thread::scope(|scope| {
        let builds: Vec<_> = missing.iter().map(|mpi| scope.spawn(|| build(*mpi))).collect();
        let ends = builds.into_iter().map(|build| build.join().map_err(|_| anyhow!("a build has panicked"))?);
        ends.collect::<Result<Vec<()>>>().map(drop)
    })
}

fn mark(mpi: Mpi) -> Result<PathBuf> {
    Ok(directory()?.join(mpi.name()).join("versions"))
}

fn versions() -> String {
    format!("mpi4py=={VERSION} {NUMPY}\n")
}

fn is_there(mpi: Mpi) -> bool {
    mark(mpi).and_then(|mark| Ok(fs::read_to_string(mark)?)).is_ok_and(|there| there == versions())
}

fn make_environment(mpi: Mpi) -> Result<()> {
    let environment = directory()?.join(mpi.name());
    match fs::remove_dir_all(&environment) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).context("removing the old one"),
        _ => {}
    }
    let mut make = Command::new(PYTHON);
    make.args(["-m", "venv"]).arg(&environment);
    Step::new("python3 -m venv", make, LIMIT).run().map(drop)
}

fn pip(mpi: Mpi, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(interpreter(mpi)?);
    command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments);
    // Wrappers of both MPIs are on the path; and what runs for seconds need not be optimised for a minute.
    command.env("MPICC", mpi.compiler()).env("CFLAGS", "-O0 -g0");
    Ok(command)
}

/// The source package, unpacked.
fn fetch() -> Result<()> {
    let folder = directory()?.join("source");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let release = format!("mpi4py=={VERSION}");
    let mut download = pip(Mpi::Open, &["download", "--no-deps", "--no-binary=mpi4py", &release, "--dest"])?;
    download.arg(&folder);
    Step::new("pip download mpi4py", download, LIMIT).run()?;
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(folder.join(format!("mpi4py-{VERSION}.tar.gz"))).arg("-C").arg(&folder);
    Step::new("tar", unpack, LIMIT).run().map(drop)
}

fn build(mpi: Mpi) -> Result<()> {
    // A build writes into its source, so each has a copy.
    let copy = tempfile::tempdir_in(directory()?)?;
    let from = copy.path().join("mpi4py");
    let mut duplicate = Command::new("cp");
    duplicate.arg("-r").arg(source()?).arg(&from);
    Step::new("cp", duplicate, LIMIT).run()?;
    let mut install = pip(mpi, &["install", NUMPY])?;
    install.arg(&from);
    Step::new(format!("pip install mpi4py for {}", mpi.name()), install, LIMIT).run()?;
    write_mark(&mark(mpi)?)
}

fn write_mark(mark: &Path) -> Result<()> {
    fs::write(mark, versions()).with_context(|| format!("writing {}", mark.display()))
}
