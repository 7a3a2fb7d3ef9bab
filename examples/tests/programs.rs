//! The example programs check themselves; here each does, on 1 rank and on every group size.

mod support;

use anyhow::{Context, Result, ensure};
use pfs_testkit::ProcessCluster;
use std::path::PathBuf;
use support::{Ranks, group_sizes};

/// An example of this package: cargo builds them beside the tests.
fn example(name: &str) -> Result<String> {
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(|deps| deps.parent()).context("tests are built in a folder of the build")?;
    let program: PathBuf = built.join("examples").join(name);
    ensure!(program.exists(), "{} is not there; run cargo build -p pfs-examples --examples", program.display());
    Ok(program.to_str().context("a readable name")?.to_owned())
}

fn sizes() -> Vec<u32> {
    [1].into_iter().chain(group_sizes()).collect()
}

/// Runs an example on every number of ranks, with a file of its own; its last line must contain this.
fn runs(name: &str, more: &[&str], says: &str) -> Result<()> {
    let (cluster, program) = (ProcessCluster::start(4)?, example(name)?);
    for ranks in sizes() {
        let file = format!("pfs:/{name}-{ranks}");
        let arguments = [&[file.as_str()], more].concat();
        let output = Ranks::launch(&cluster, ranks, &program, &arguments)?.succeed()?;
        ensure!(output.contains(says), "{name} on {ranks} ranks: {output}");
    }
    cluster.stop()
}

#[test]
fn checkpoint_3d() -> Result<()> {
    runs("checkpoint_3d", &[], "read and checked by")
}

/// Fewer cells than ranks in a dimension: some have none.
#[test]
fn checkpoint_3d_of_a_thin_domain() -> Result<()> {
    runs("checkpoint_3d", &["--size", "5,1,2"], "read and checked by")
}

#[test]
fn out_of_core_matrix() -> Result<()> {
    runs("out_of_core_matrix", &[], "transposed and checked")
}

#[test]
fn overlap_compute() -> Result<()> {
    runs("overlap_compute", &[], "are written and checked")
}

#[test]
fn overlap_compute_with_threads() -> Result<()> {
    runs("overlap_compute", &["--threads", "--blocks", "300", "--block", "100"], "are written and checked")
}

/// The second run goes on behind the first one's records.
#[test]
fn shared_log() -> Result<()> {
    let (cluster, program) = (ProcessCluster::start(4)?, example("shared_log")?);
    for ranks in sizes() {
        let records = ranks * 21;
        for start in [0, records * 48] {
            let output = Ranks::launch(&cluster, ranks, &program, &[&format!("pfs:/log-{ranks}")])?.succeed()?;
            let says = format!("{records} records of {ranks} ranks are in the log, from byte {start} on");
            ensure!(output.contains(&says), "{output}");
        }
    }
    cluster.stop()
}

/// Two jobs, each with so many ranks, and twice with the same file.
#[test]
fn coupled_jobs() -> Result<()> {
    let (cluster, program) = (ProcessCluster::start(4)?, example("coupled_jobs")?);
    for ranks in [1, 2] {
        for _ in 0..2 {
            let file = format!("pfs:/coupled-{ranks}");
            let job = |role| Ranks::launch(&cluster, ranks, &program, &[file.as_str(), "--role", role]);
            let (simulation, analysis) = (job("simulation")?, job("analysis")?);
            let said = [simulation.succeed()?, analysis.succeed()?].concat();
            for role in ["Simulation", "Analysis"] {
                ensure!(said.contains(&format!("{role}: 6 steps on {ranks} ranks, each as it should be")), "{said}");
            }
        }
    }
    cluster.stop()
}

/// One job whose halves play both roles.
#[test]
fn coupled_halves_of_a_job() -> Result<()> {
    let (cluster, program) = (ProcessCluster::start(4)?, example("coupled_jobs")?);
    for ranks in group_sizes() {
        let output = Ranks::launch(&cluster, ranks, &program, &[&format!("pfs:/halves-{ranks}")])?.succeed()?;
        ensure!(output.matches("each as it should be").count() == 2, "{ranks} ranks: {output}");
    }
    cluster.stop()
}
