//! `pfs-ior` under `mpirun`, checking every byte it reads: one shared file, and a file per rank.

use std::time::Duration;

use anyhow::Result;

use super::findings::Findings;
use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace::Built;

const FILE_SERVERS: u32 = 4;
const LAUNCH_LIMIT: Duration = Duration::from_secs(300);

/// Name, ranks, and the arguments that differ.
const CASES: [(&str, u32, &[&str]); 4] = [
    ("collective, segmented", 4, &["-c", "-b", "1m", "-t", "256k", "-s", "4"]),
    ("collective, reordered", 3, &["-c", "-C", "-b", "1m", "-t", "1m", "-s", "2", "-i", "2"]),
    ("independent, strided", 2, &["-b", "64k", "-t", "64k", "-s", "16"]),
    ("a file per rank", 3, &["-F", "-b", "2m", "-t", "512k"]),
];

/// Runs each case once against one cluster.
pub fn run(built: &Built, findings: &mut Findings) -> Result<()> {
    let program = built.program("pfs-ior")?;
    let cluster = Cluster::start(built.program("pfs")?, FILE_SERVERS)?;
    for (number, (name, ranks, arguments)) in CASES.iter().enumerate() {
        findings.check(&format!("pfs-ior, {name}, {ranks} ranks"), || {
            let mut command = Mpi::Open.launch(*ranks);
            command.arg(program).args(*arguments).args(["-w", "-r", "-W", "-R", "-o", &format!("pfs:/ior-{number}")]);
            cluster.reachable_from(&mut command);
            Step::new("mpirun pfs-ior", command, LAUNCH_LIMIT).run()?;
            Ok(String::new())
        });
    }
    cluster.stop()
}
