//! Programs in C that know nothing of this library: compiled by MPI's own compiler, launched with the library before MPI's.

#[path = "../../../examples/tests/support/mod.rs"]
mod support;

use anyhow::{Context, Result, ensure};
use pfs_client::parse_url;
use pfs_testkit::ProcessCluster;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use support::{Ranks, group_sizes};
use tempfile::TempDir;

/// The cases of `cases.c` that can be run one after the other.
const CASES: [&str; 8] =
    ["handles", "handlers", "requests", "failed_requests", "freed", "memory", "communicators", "seen_at_once"];

struct Program {
    _folder: TempDir,
    path: String,
}

/// `cases.c`, compiled once.
fn cases() -> &'static Program {
    static CASES: LazyLock<Program> = LazyLock::new(|| compiled("cases.c").expect("cases.c compiles"));
    &CASES
}

fn compiler() -> String {
    std::env::var("MPICC").unwrap_or_else(|_| "mpicc.openmpi".to_owned())
}

fn compiled(source: &str) -> Result<Program> {
    let folder = TempDir::new()?;
    let path = folder.path().join("program").to_str().context("the path is text")?.to_owned();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(source);
    let status =
        Command::new(compiler()).arg("-o").arg(&path).arg(source).status().context("running MPI's compiler")?;
    ensure!(status.success(), "{status}");
    Ok(Program { _folder: folder, path })
}

/// The library that was built with this test.
fn library() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).context("a test lies two folders deep")?;
    let library = built.join("libpfs_mpiio_capi.so");
    ensure!(library.is_file(), "{} is not there; build the package's library", library.display());
    Ok(library)
}

/// Launches a case with the library and more in the environment.
fn launch(cluster: &ProcessCluster, ranks: u32, variables: &[(&str, &str)], arguments: &[&str]) -> Result<Ranks> {
    launch_by_env(cluster, ranks, variables, &[], arguments)
}

/// The same with options of `env`.
fn launch_by_env(
    cluster: &ProcessCluster,
    ranks: u32,
    variables: &[(&str, &str)],
    options: &[&str],
    arguments: &[&str],
) -> Result<Ranks> {
    // Not in the launcher's own environment: it is no program of MPI.
    let preload = format!("LD_PRELOAD={}", library()?.display());
    let program = [preload.as_str(), cases().path.as_str()];
    Ranks::launch_with(cluster, ranks, "env", &[options, &program[..], arguments].concat(), variables)
}

fn all_cases(cluster: &ProcessCluster, ranks: u32, variables: &[(&str, &str)], arguments: &[&str]) -> Result<()> {
    let output = launch(cluster, ranks, variables, arguments)?.succeed()?;
    for case in CASES {
        ensure!(output.lines().any(|line| line == format!("ok {case}")), "{case} on {ranks} ranks:\n{output}");
    }
    Ok(())
}

#[test]
fn programs_work_as_they_are() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    for ranks in [1].into_iter().chain(group_sizes()) {
        all_cases(&cluster, ranks, &[], &["all", &format!("pfs:/as-they-are-{ranks}")])?;
    }
    Ok(())
}

/// With less than `MPI_THREAD_MULTIPLE` nothing may call MPI behind the program's back.
#[test]
fn programs_work_with_few_threads() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    all_cases(&cluster, 2, &[("PFS_MPIIO_THREADS", "asked")], &["all", "pfs:/few-threads", "1"])
}

/// MPI takes locks for the sake of a thread of ours only where there can be a file of ours.
#[test]
fn the_level_of_threads_is_raised_only_in_a_job_that_has_files() -> Result<()> {
    let cluster = ProcessCluster::start(1)?;
    let without = &["-u", "PFS_SECRET_FILE"][..];
    for (threads, options, level) in [
        ("", &[][..], "multiple"),
        ("", without, "asked"),
        ("auto", without, "asked"),
        ("multiple", without, "multiple"),
        ("asked", &[], "asked"),
    ] {
        let variables = [("PFS_MPIIO_THREADS", threads)];
        let output = launch_by_env(&cluster, 1, &variables, options, &["level", "-", "1"])?.succeed()?;
        ensure!(output.lines().any(|line| line == format!("level {level}")), "{threads:?} {options:?}: {output}");
    }
    Ok(())
}

/// Names that were written for another file system, in folders that are not there.
#[test]
fn names_are_mapped() -> Result<()> {
    let cluster = ProcessCluster::start(1)?;
    let map = [("PFS_MPIIO_MAP", "/no/such/folder=pfs:/mapped,.=pfs:/here"), ("PFS_MPIIO_TRACE", "1")];
    let finished = launch(&cluster, 2, &map, &["freed", "ufs:/no/such/folder/a//b/x"])?.finish()?;
    ensure!(finished.status.success(), "{}{}", finished.output, finished.errors);
    let opened = "MPI_File_open(pfs:/mapped/a/b/x-freed, amode 9) = () <";
    ensure!(finished.errors.contains(&format!("pfs: rank 1: {opened}")), "{}", finished.errors);
    launch(&cluster, 2, &map, &["memory", "./run/../x"])?.succeed()?;
    let client = support::client(&cluster)?;
    client.stat(&parse_url("pfs:/mapped/a/b/x-freed")?.1)?;
    client.stat(&parse_url("pfs:/here/x-memory")?.1)?;
    Ok(())
}

/// What a program has left open is closed in order, with its bytes; libraries that close their files by an attribute of
/// `MPI_COMM_SELF` do so before.
#[test]
fn files_left_open_are_closed() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let finished = launch(&cluster, 2, &[], &["left_open", "pfs:/x"])?.finish()?;
    ensure!(finished.status.success(), "{}{}", finished.output, finished.errors);
    let told = finished.errors.matches("pfs:/x-left_open was left open and is closed now").count();
    ensure!(told == 2, "once for each rank and not of the library's:\n{}", finished.errors);
    let client = support::client(&cluster)?;
    ensure!(client.stat(&parse_url("pfs:/x-left_open")?.1)?.size_bytes == 8);
    Ok(())
}

/// Other files go to MPI's own functions, and none of ours is in their way.
#[test]
fn other_files_are_mpis_own() -> Result<()> {
    let cluster = ProcessCluster::start(1)?;
    let folder = TempDir::new()?;
    let name = folder.path().join("x");
    let arguments = ["memory", name.to_str().context("the path is text")?];
    let finished = launch(&cluster, 2, &[("PFS_MPIIO_TRACE", "files")], &arguments)?.finish()?;
    ensure!(!finished.errors.contains("pfs: rank"), "{}", finished.errors);
    ensure!(folder.path().join("x-memory").is_file(), "{}{}", finished.output, finished.errors);
    Ok(())
}

/// What the library exports is what programs call, by both names, and nothing of Rust.
#[test]
fn nothing_else_is_exported() -> Result<()> {
    let library = library()?;
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().context("running nm")?;
    let listed = String::from_utf8(listed.stdout)?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let is_known = |name: &str| {
        let plain = name.strip_prefix('P').unwrap_or(name);
        ["MPI_File_", "MPI_Register_datarep", "MPI_Init", "MPI_Wait", "MPI_Test"]
            .iter()
            .any(|known| plain.starts_with(known))
    };
    let foreign: Vec<_> = names.iter().filter(|name| !is_known(name)).collect();
    ensure!(foreign.is_empty(), "{foreign:?}");
    let alone: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with('P'))
        .filter(|name| !names.iter().any(|other| other.strip_prefix('P') == Some(**name)))
        .collect();
    ensure!(alone.is_empty() && names.len() >= 2 * 62, "{alone:?} of {}", names.len());
    Ok(())
}
