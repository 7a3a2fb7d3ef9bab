//! Builds the targets: the whole tree once more, with coverage, into a target folder of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace;

const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const QUERY_LIMIT: Duration = Duration::from_secs(60);

/// What libFuzzer needs to see: edges, and what values are compared with. `cargo fuzz --sanitizer none` passes the same.
const COVERAGE: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg fuzzing",
    "-Cdebug-assertions",
];

/// The targets: each has a file of its name.
pub fn target_names() -> Result<Vec<String>> {
    let folder = workspace::root()?.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Where builds, and what the targets find, go.
pub fn folder() -> Result<PathBuf> {
    Ok(workspace::target_directory()?.join("fuzz"))
}

/// Builds all targets; returns the folder with their programs.
pub fn build() -> Result<PathBuf> {
    let host = host()?;
    let mut command = workspace::cargo("build", Mpi::Open)?;
    command.args(["--locked", "--release", "--package", "pfs-fuzz", "--features", "libfuzzer", "--bins"]);
    // With a target named, build scripts and macros are built without coverage.
    command.args(["--target", &host]);
    command.env("CARGO_TARGET_DIR", folder()?).env("RUSTFLAGS", COVERAGE.join(" "));
    Step::new("cargo build", command, BUILD_LIMIT).showing_stderr().run()?;
    Ok(folder()?.join(host).join("release"))
}

/// What this machine is called by the compiler.
fn host() -> Result<String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("--version").arg("--verbose");
    let told = Step::new("rustc", command, QUERY_LIMIT).run()?.stdout;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}
