//! Random cases of MPI-IO against a reference that MPI packs; and that a mistake among them is found.
//!
//! `cargo xtask test mpiio` runs thousands of cases. Here are some for every MPI and group size that the other tests use.

mod support;

use anyhow::{Result, ensure};
use pfs_testkit::ProcessCluster;
use support::{Finished, Ranks, group_sizes};

/// Cases on each group size.
const CASES: u32 = 25;

fn job(cluster: &ProcessCluster, ranks: u32, prefix: &str, more: &[&str]) -> Result<Finished> {
    let prefix = format!("pfs:/{prefix}-{ranks}-");
    let arguments = [&["--prefix", &prefix, "--seed", "2"], more].concat();
    Ranks::launch(cluster, ranks, env!("CARGO_BIN_EXE_random_cases"), &arguments)?.finish()
}

#[test]
fn random_cases_are_as_the_reference() -> Result<()> {
    let cluster = ProcessCluster::start(4)?;
    for ranks in [1].into_iter().chain(group_sizes()) {
        let Finished { status, output, errors } = job(&cluster, ranks, "r", &["--cases", &CASES.to_string()])?;
        ensure!(status.success(), "{output}\n{errors}");
        ensure!(output.contains(&format!("{CASES} cases on {ranks} ranks")), "{output}");
    }
    cluster.stop()
}

/// Each of these is one change in the test program itself, and each must end in a report with the case, the command that
/// runs it again, and a simpler one.
#[test]
fn planted_mistakes_are_found() -> Result<()> {
    let cluster = ProcessCluster::start(4)?;
    for mistake in ["flip", "shift", "order"] {
        let found = job(&cluster, 2, mistake, &["--plant", mistake, "--cases", &CASES.to_string()])?;
        ensure!(!found.status.success(), "{mistake} was not found: {}", found.output);
        for part in ["FAILED: seed 2, case ", "on 2 ranks", "PFS_TEST_CASE=2:", "the case:", "simpler, after "] {
            ensure!(found.output.contains(part), "no {part:?} for {mistake}: {}\n{}", found.output, found.errors);
        }
    }
    cluster.stop()
}

/// A rank that stays away from a collective call hangs the others: the program ends itself and tells the case.
#[test]
fn a_case_that_hangs_is_told() -> Result<()> {
    let cluster = ProcessCluster::start(4)?;
    let found = job(&cluster, 2, "hang", &["--plant", "hang", "--case-seconds", "5"])?;
    ensure!(!found.status.success(), "it did not hang: {}", found.output);
    for part in ["FAILED: seed 2, case ", "it hangs", "hangs in step ", "PFS_TEST_CASE=2:", "read_at"] {
        ensure!(found.errors.contains(part), "no {part:?}: {}\n{}", found.output, found.errors);
    }
    cluster.stop()
}
