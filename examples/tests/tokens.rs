//! The token traffic of collectives, as the metadata server counts it.

mod support;

use anyhow::{Result, ensure};
use pfs_testkit::ProcessCluster;
use support::{Ranks, Traffic, client, group_sizes};

/// One request for a group's first collective write whatever its size, none for the next on the same file.
#[test]
fn a_collective_makes_one_token_request_and_the_next_one_none() -> Result<()> {
    let cluster = ProcessCluster::start(4)?;
    let client = client(&cluster)?;
    for ranks in group_sizes() {
        let file = format!("pfs:/held-by-{ranks}");
        let arguments = ["hold", "--file", &file, "--turns", "3"];
        let mut group = Ranks::launch(&cluster, ranks, env!("CARGO_BIN_EXE_rank_cases"), &arguments)?;
        group.wait_for("opened")?;
        let mut before = Traffic::of(&client)?;
        for (turn, requests) in [(1, 1), (2, 0), (3, 0)] {
            group.go_on()?;
            group.wait_for(&format!("wrote {turn}"))?;
            let now = Traffic::of(&client)?;
            let traffic = now.since(before);
            ensure!(traffic == Traffic { requests, revokes: 0 }, "{ranks} ranks, turn {turn}: {traffic:?}");
            before = now;
        }
        group.go_on()?;
        group.succeed()?;
        ensure!(Traffic::of(&client)? == before, "a close asks for no token");
    }
    cluster.stop()
}
