//! A rank that is killed or stopped inside a collective access ends it for the others, within the lease and a little more.
//!
//! MPI by itself would let them wait for ever; what tells them is the metadata server, which misses the heartbeats of the
//! rank and says so on the streams of the others.

mod support;

use anyhow::{Context, Result, ensure};
use pfs_testkit::ProcessCluster;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};
use support::Ranks;

const LEASE: Duration = Duration::from_secs(1);
/// From the signal to the error: the lease, the fence, a transfer that is under way.
const ERROR_TIME_MAX: Duration = Duration::from_secs(10);
const RANKS: u32 = 3;

#[test]
fn a_stopped_rank_ends_the_collective_of_the_others() -> Result<()> {
    outlive(Signal::STOP, &[])
}

#[test]
fn a_killed_rank_ends_the_collective_of_the_others() -> Result<()> {
    outlive(Signal::KILL, &[])
}

#[test]
fn a_killed_rank_ends_nonblocking_collectives() -> Result<()> {
    outlive(Signal::KILL, &["--nonblocking"])
}

fn outlive(signal: Signal, options: &[&str]) -> Result<()> {
    let cluster = ProcessCluster::builder(2).lease_ms(LEASE.as_millis() as u64).start_processes()?;
    // Launchers end a job when one of its processes dies, so a shell stays in its place.
    let stays = r#""$0" "$@"; exec sleep 600"#;
    let outlive = ["-c", stays, env!("CARGO_BIN_EXE_rank_cases"), "outlive", "--file", "pfs:/x"];
    let mut group = Ranks::launch(&cluster, RANKS, "/bin/sh", &[&outlive, options].concat())?;
    let mut processes = Vec::new();
    for rank in 0..RANKS {
        let process = group.wait_for_start(&format!("rank {rank} process "))?;
        processes.push(Pid::from_raw(process.trim().parse()?).context("a process id")?);
    }
    kill_process(processes[RANKS as usize - 1], signal)?;
    let start = Instant::now();
    for rank in 0..RANKS - 1 {
        let error = group.wait_for_start(&format!("rank {rank} lost: "))?;
        ensure!(error.contains("MPI_ERR_IO"), "{error}");
        group.wait_for_start(&format!("rank {rank} went on"))?;
    }
    ensure!(start.elapsed() < ERROR_TIME_MAX, "the others were told after {:?}", start.elapsed());
    group.go_on()?;
    // Also if it was stopped: the launcher ends it when the others have.
    group.finish()?;
    cluster.stop()
}
