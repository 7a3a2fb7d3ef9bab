//! `install`: programs, libraries, manual pages and what finds them, below a prefix.
//!
//! ```text
//! bin/pfs                              the command, servers included
//! lib/pfs/MPI/libpfs_mpiio.so          the library for unmodified MPI programs, for each MPI
//! lib/pkgconfig/pfs-mpiio-MPI.pc       how programs are linked with it
//! share/man/man1, man3                 a page for each command, and one for the library
//! share/modulefiles/pfs/VERSION        for environment modules (Tcl)
//! share/pfs/slurm/                     batch script and functions
//! share/doc/pfs/                       README, licences
//! ```
//!
//! Invariant: with DESTDIR everything goes below it, and no file mentions it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::capi;
use crate::mpi::Mpi;
use crate::setup::{self, Need};
use crate::step::Step;
use crate::workspace::{self, Selection};

const LIMIT: Duration = Duration::from_secs(60);
const VERSION: &str = env!("CARGO_PKG_VERSION");
const LIBRARY: &str = "libpfs_mpiio.so";
const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// Build in release and install below a prefix
#[derive(Debug, Clone, Args)]
pub struct Flags {
    /// Where it will be used, like /opt/pfs
    #[arg(long, value_name = "DIR")]
    prefix: PathBuf,
    /// Put everything below this folder, for packages
    #[arg(long, env = "DESTDIR", value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Libraries for these MPIs only [default: both]
    #[arg(long, value_name = "MPI", value_delimiter = ',')]
    mpi: Vec<Mpi>,
}

/// What is installed.
pub struct Parts {
    /// The `pfs` program.
    pub pfs: PathBuf,
    /// The library for each MPI.
    pub libraries: Vec<(Mpi, PathBuf)>,
}

/// Builds and installs.
pub fn run(flags: &Flags) -> Result<()> {
    ensure!(flags.prefix.is_absolute(), "--prefix {} is not an absolute path", flags.prefix.display());
    let mpis = if flags.mpi.is_empty() { Mpi::ALL.to_vec() } else { flags.mpi.clone() };
    setup::run(&mpis.iter().map(|mpi| Need::of(*mpi)).collect::<Vec<_>>())?;
    let built = workspace::build(&Selection::ReleasePrograms(&[("pfs-cli", "pfs")]), Mpi::Open)?;
    let pfs = built.program("pfs")?.to_path_buf();
    let libraries = mpis.iter().map(|mpi| Ok((*mpi, capi::release(*mpi)?))).collect::<Result<Vec<_>>>()?;
    let root = put(&Parts { pfs, libraries }, &flags.prefix, flags.destdir.as_deref())?;
    println!("installed in {}", root.display());
    Ok(())
}

/// Installs what was built for `prefix`, below `destdir` if there is one, and returns where that is.
pub fn put(parts: &Parts, prefix: &Path, destdir: Option<&Path>) -> Result<PathBuf> {
    let root = match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(prefix)),
        None => prefix.to_path_buf(),
    };
    let tree = Tree { root: root.clone() };
    let source = workspace::root()?;
    tree.copy(&parts.pfs, "bin/pfs", PROGRAM)?;
    for (mpi, library) in &parts.libraries {
        tree.copy(library, &format!("lib/pfs/{}/{LIBRARY}", mpi.name()), PROGRAM)?;
        let description = format!("lib/pkgconfig/pfs-mpiio-{}.pc", mpi.name());
        tree.write(&description, pkg_config(prefix, *mpi), FILE)?;
    }
    let mpis: Vec<Mpi> = parts.libraries.iter().map(|(mpi, _)| *mpi).collect();
    tree.write(&format!("share/modulefiles/pfs/{VERSION}"), modulefile(prefix, &mpis), FILE)?;
    for (name, mode) in [("pfs-job.sh", FILE), ("pfs-mpi.sbatch", PROGRAM)] {
        tree.copy(&source.join("slurm").join(name), &format!("share/pfs/slurm/{name}"), mode)?;
    }
    for name in
        ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "docs/MPI_LIBRARY.md", "docs/SEMANTICS.md"]
    {
        let file = Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned();
        tree.copy(&source.join(name), &format!("share/doc/pfs/{file}"), FILE)?;
    }
    tree.copy(&source.join("pfs-mpiio/capi/share/libpfs_mpiio.3"), "share/man/man3/libpfs_mpiio.3", FILE)?;
    manual_pages(&parts.pfs, &tree)?;
    Ok(root)
}

/// The pages of all commands, which the program makes itself.
fn manual_pages(pfs: &Path, tree: &Tree) -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder for manual pages")?;
    let mut command = Command::new(pfs);
    command.arg("man").arg(folder.path()).args(["--date", &date()?]);
    Step::new("pfs man", command, LIMIT).run()?;
    for entry in fs::read_dir(folder.path())? {
        let page = entry?.path();
        let name = page.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned();
        tree.copy(&page, &format!("share/man/man1/{name}"), FILE)?;
    }
    Ok(())
}

/// The day of the commit that is installed.
fn date() -> Result<String> {
    let mut command = Command::new("git");
    command.current_dir(workspace::root()?).args(["log", "-1", "--format=%cs"]);
    Ok(Step::new("git log", command, LIMIT).run()?.stdout.trim().to_owned())
}

/// A folder in which files are put, whole or not at all.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.write(to, bytes, mode)
    }

    fn write(&self, to: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let to = self.root.join(to);
        let put = || {
            let folder = to.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)?;
            // What uses the old file keeps it.
            let new = tempfile::NamedTempFile::new_in(folder)?;
            fs::write(new.path(), content.as_ref())?;
            fs::set_permissions(new.path(), fs::Permissions::from_mode(mode))?;
            new.persist(&to).map_err(|error| error.error)?;
            std::io::Result::Ok(())
        };
        put().with_context(|| format!("installing {}", to.display()))
    }
}

/// Linked before MPI's own library, and found again when the program runs, also if the linker leaves out what nobody seems to
/// need: calls of a program in Fortran come out of MPI's own bindings.
fn pkg_config(prefix: &Path, mpi: Mpi) -> String {
    let (prefix, mpi) = (prefix.display(), mpi.name());
    format!(
        "prefix={prefix}
libdir=${{prefix}}/lib/pfs/{mpi}
library=${{libdir}}/{LIBRARY}

Name: pfs-mpiio-{mpi}
Description: MPI-IO on a pfs file system, for {mpi}
Version: {VERSION}
Libs: -L${{libdir}} -Wl,-rpath,${{libdir}} -Wl,--push-state,--no-as-needed -l:{LIBRARY} -Wl,--pop-state
"
    )
}

fn modulefile(prefix: &Path, mpis: &[Mpi]) -> String {
    let prefix = prefix.display();
    let libraries: String = mpis
        .iter()
        .map(|mpi| {
            let name = mpi.name();
            format!("setenv        PFS_MPIIO_{} $prefix/lib/pfs/{name}/{LIBRARY}\n", name.to_uppercase())
        })
        .collect();
    format!(
        "#%Module1.0
# The parallel file system pfs: its command, manual pages, and libraries for MPI programs.

proc ModulesHelp {{ }} {{
    puts stderr \"pfs {VERSION}: pfs run -- mpirun -n 4 ./program; see man pfs, man libpfs_mpiio\"
}}

module-whatis {{a parallel file system that a job can carry with it, and MPI-IO on it}}
conflict      pfs
set           prefix {{{prefix}}}
prepend-path  PATH $prefix/bin
prepend-path  MANPATH $prefix/share/man
prepend-path  PKG_CONFIG_PATH $prefix/lib/pkgconfig
setenv        PFS_SLURM_DIR $prefix/share/pfs/slurm
# What to load into the ranks, if not by `pfs run`: mpirun -x LD_PRELOAD=$PFS_MPIIO_OPENMPI
{libraries}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_mentions_the_folder_of_a_package() {
        let destdir = tempfile::tempdir().unwrap();
        let program = destdir.path().join("program");
        fs::write(&program, "#!/bin/sh\necho page > \"$2/pfs-x.1\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let parts = Parts { pfs: program.clone(), libraries: vec![(Mpi::Mpich, program)] };
        let root = put(&parts, Path::new("/opt/pfs"), Some(destdir.path())).unwrap();
        assert_eq!(root, destdir.path().join("opt/pfs"));
        for name in ["lib/pkgconfig/pfs-mpiio-mpich.pc", &format!("share/modulefiles/pfs/{VERSION}")] {
            let text = fs::read_to_string(root.join(name)).unwrap();
            assert!(text.contains("/opt/pfs") && !text.contains(destdir.path().to_str().unwrap()), "{text}");
        }
        assert!(root.join("share/man/man1/pfs-x.1").is_file() && root.join("lib/pfs/mpich/libpfs_mpiio.so").is_file());
    }
}
