//! The source tree, and what cargo builds from it.
//!
//! Invariant: every build for one MPI names the same packages and targets, so that features are resolved once and
//! nothing is compiled twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::mpi::Mpi;
use crate::step::Step;

const BUILD_LIMIT: Duration = Duration::from_secs(2400);
const METADATA_LIMIT: Duration = Duration::from_secs(120);

/// The binding of MPI, and what it is made of.
const BINDING: [&str; 2] = ["mpi", "mpi-sys"];

/// The packages that link MPI.
pub const MPI_PACKAGES: [&str; 5] = ["pfs-mpiio", "pfs-mpiio-capi", "pfs-examples", "pfs-bench", "pfs-fault-ranks"];

/// The folder that holds the workspace's `Cargo.toml`.
pub fn root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(own.parent().context("xtask lies in no workspace")?.to_path_buf())
}

/// Where builds for Open MPI, and everything without MPI, go.
pub fn target_directory() -> Result<PathBuf> {
    Ok(match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => std::path::absolute(directory)?,
        None => root()?.join("target"),
    })
}

/// A cargo command in the workspace's root, without what the running cargo told this program about itself.
pub fn cargo(subcommand: &str, mpi: Mpi) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let about_this_package =
            name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if about_this_package {
            command.env_remove(name);
        }
    }
    command.current_dir(root()?).arg(subcommand).env("MPICC", mpi.compiler());
    command.env("CARGO_TARGET_DIR", mpi.target_directory()?);
    Ok(command)
}

/// What to build.
pub enum Selection<'a> {
    /// Libraries, programs, examples and tests of all packages, unoptimised.
    Workspace,
    /// Libraries, programs and examples of all packages, unoptimised. Examples use what tests use, so that features are
    /// resolved as they are with these.
    WorkspacePrograms,
    /// These programs, unoptimised, by package and name.
    Programs(&'a [(&'a str, &'a str)]),
    /// The same in release.
    ReleasePrograms(&'a [(&'a str, &'a str)]),
    /// The library of this package, unoptimised.
    Library(&'a str),
    /// The same in release.
    ReleaseLibrary(&'a str),
}

impl Selection<'_> {
    fn arguments(&self) -> Vec<&str> {
        match self {
            Selection::Workspace => vec!["--workspace", "--lib", "--bins", "--examples", "--tests"],
            Selection::WorkspacePrograms => vec!["--workspace", "--lib", "--bins", "--examples"],
            Selection::Programs(programs) => named(programs).collect(),
            Selection::ReleasePrograms(programs) => std::iter::once("--release").chain(named(programs)).collect(),
            Selection::Library(package) => vec!["--package", package, "--lib"],
            Selection::ReleaseLibrary(package) => vec!["--release", "--package", package, "--lib"],
        }
    }
}

fn named<'a>(programs: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a str> {
    programs.iter().flat_map(|(package, program)| ["--package", package, "--bin", program])
}

/// A test program of a package.
#[derive(Debug, Clone)]
pub struct TestProgram {
    /// The package it tests.
    pub package: String,
    /// Its target, such as `pfs_core` or the name of a file in `tests/`.
    pub target: String,
    /// Where the package lies; tests run there.
    pub directory: PathBuf,
    /// The program itself.
    pub executable: PathBuf,
}

/// What a build made.
#[derive(Debug, Default)]
pub struct Built {
    /// Test programs, by package and target.
    pub tests: Vec<TestProgram>,
    programs: BTreeMap<String, PathBuf>,
    libraries: BTreeMap<String, PathBuf>,
}

impl Built {
    /// Where the program `name` is.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let found = self.programs.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("the build made no program `{name}`, only {:?}", self.programs.keys()))
    }

    /// Where the shared library of the target `name` is.
    pub fn library(&self, name: &str) -> Result<&Path> {
        let found = self.libraries.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("the build made no library `{name}`, only {:?}", self.libraries.keys()))
    }
}

/// Builds `selection` for `mpi`, showing cargo's own progress.
pub fn build(selection: &Selection<'_>, mpi: Mpi) -> Result<Built> {
    let (built, complete) = build_what_compiles(selection, mpi)?;
    if !complete {
        bail!("not everything compiles, see above");
    }
    Ok(built)
}

/// Builds as [`build`], and also returns whether all of it compiled: the rest can be run all the same.
pub fn build_what_compiles(selection: &Selection<'_>, mpi: Mpi) -> Result<(Built, bool)> {
    let names = package_names()?;
    let mut command = cargo("build", mpi)?;
    command.args(["--locked", "--keep-going", "--message-format=json-render-diagnostics"]).args(selection.arguments());
    let finished = Step::new("cargo build", command, BUILD_LIMIT).showing_stderr().run_any_status()?;
    let mut built = Built::default();
    for artifact in finished.stdout.lines().filter_map(artifact) {
        if let Some(library) = artifact.library() {
            built.libraries.insert(artifact.target.name.clone(), library.clone());
        }
        let Some(executable) = artifact.executable else { continue };
        if artifact.profile.test {
            let directory = artifact.manifest_path.parent().map(Path::to_path_buf).unwrap_or_default();
            let package = names.get(&artifact.manifest_path).cloned().unwrap_or_default();
            built.tests.push(TestProgram { package, target: artifact.target.name, directory, executable });
        } else {
            built.programs.insert(artifact.target.name, executable);
        }
    }
    built.tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok((built, finished.status.success()))
}

/// One `compiler-artifact` message of cargo.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

impl Artifact {
    /// The shared library for programs in other languages, if this is one.
    fn library(&self) -> Option<&PathBuf> {
        let is_shared = self.target.kind.iter().any(|kind| kind == "cdylib");
        self.filenames.iter().find(|name| is_shared && name.extension().is_some_and(|extension| extension == "so"))
    }
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Other messages of cargo have other fields, so they are no artifact.
fn artifact(line: &str) -> Option<Artifact> {
    serde_json::from_str(line).ok()
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

/// The workspace's packages.
fn packages() -> Result<Vec<Package>> {
    let mut command = cargo("metadata", Mpi::Open)?;
    command.args(["--no-deps", "--format-version", "1"]);
    let finished = Step::new("cargo metadata", command, METADATA_LIMIT).run()?;
    let metadata: Metadata = serde_json::from_str(&finished.stdout).context("reading cargo metadata")?;
    Ok(metadata.packages)
}

/// The name of each of the workspace's packages by its manifest.
fn package_names() -> Result<BTreeMap<PathBuf, String>> {
    Ok(packages()?.into_iter().map(|package| (package.manifest_path, package.name)).collect())
}

/// The binding of MPI and all packages of the workspace that depend on it, themselves or by another one, if only in their tests.
pub fn depending_on_mpi() -> Result<BTreeSet<String>> {
    let packages = packages()?;
    let mut found: BTreeSet<String> = BINDING.iter().map(|&name| name.to_owned()).collect();
    loop {
        let depends = |package: &&Package| package.dependencies.iter().any(|other| found.contains(&other.name));
        let more: Vec<_> = packages.iter().filter(depends).map(|package| package.name.clone()).collect();
        let known = found.len();
        found.extend(more);
        if found.len() == known {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_are_taken_from_cargos_messages() {
        assert!(artifact(r#"{"reason":"build-finished","success":true}"#).is_none());
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/x/Cargo.toml","target":{"name":"pfs","kind":["bin"]},
            "profile":{"test":false,"opt_level":"0"},"filenames":["/x/target/debug/pfs"],"executable":"/x/target/debug/pfs","fresh":true}"#;
        let artifact = artifact(line).unwrap();
        assert_eq!((artifact.target.name.as_str(), artifact.profile.test), ("pfs", false));
    }

    #[test]
    fn the_mpi_packages_are_all_that_depend_on_the_binding() {
        let all = MPI_PACKAGES.iter().chain(&BINDING).map(|&name| name.to_owned());
        assert_eq!(depending_on_mpi().unwrap(), all.collect());
    }
}
