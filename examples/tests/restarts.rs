//! A job whose metadata server is killed and started again has a pause and no error, and its file is right.
//!
//! What could go wrong: a collective's grant was made by the start that is gone; a rank re-asserts its tokens later than
//! another asks for new ones; a call's answer is lost and it is made twice.

mod support;

use anyhow::{Result, ensure};
use pfs_testkit::ProcessCluster;
use support::{Ranks, largest_group};

const TURNS: u64 = 60;

#[test]
fn a_metadata_server_that_is_killed_is_a_pause() -> Result<()> {
    endure(&[])
}

#[test]
fn and_in_atomic_mode_too() -> Result<()> {
    endure(&["--atomic"])
}

fn endure(options: &[&str]) -> Result<()> {
    let mut cluster = ProcessCluster::builder(3).lease_ms(1000).start_processes()?;
    let turns = TURNS.to_string();
    let arguments = [&["endure", "--file", "pfs:/x", "--turns", &turns][..], options].concat();
    let mut group = Ranks::launch(&cluster, largest_group(), env!("CARGO_BIN_EXE_rank_cases"), &arguments)?;
    for turn in [3, 20, 21, 40] {
        group.wait_for(&format!("turn {turn}"))?;
        cluster.kill_metadata();
        cluster.start_metadata()?;
    }
    let output = group.succeed()?;
    ensure!(output.ends_with("endured"), "{output}");
    cluster.stop()
}
