//! Random cases of MPI-IO on 1 to 6 ranks, compared with a file that one process makes by `MPI_Pack`.
//!
//! `PFS_TEST_SEED` is the seed, and `PFS_TEST_CASE=RANKS:NUMBER` runs only one case: a failing job tells both.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Effort;
use super::findings::Findings;
use crate::cluster::Cluster;
use crate::interrupt;
use crate::mpi::Mpi;
use crate::step::Step;
use crate::workspace::Built;

const FILE_SERVERS: u32 = 4;
/// Where the servers' stores are: thousands of small files are made durable, which is not what is tested here.
const MEMORY: &str = "/dev/shm";
const JOB_LIMIT: Duration = Duration::from_secs(900);
/// From so many ranks on they are taken to be on nodes of two each, so that messages go from node to node.
const NODES_FROM: u32 = 4;
/// Numbers of ranks, and their shares of all cases.
const SHARES: [(u32, u64); 6] = [(1, 12), (2, 14), (3, 8), (4, 6), (5, 1), (6, 1)];

/// Cases of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Job {
    ranks: u32,
    first: u64,
    cases: u64,
}

/// Runs a job for each number of ranks against one cluster.
pub fn run(built: &Built, effort: &Effort, findings: &mut Findings) -> Result<()> {
    let seed = std::env::var("PFS_TEST_SEED").unwrap_or_else(|_| "1".to_owned());
    let jobs = match std::env::var("PFS_TEST_CASE") {
        Ok(case) => vec![one(&case)?],
        Err(_) => all(effort.random_cases),
    };
    let program = built.program("random_cases")?;
    let cluster = Cluster::start_in(Path::new(MEMORY), built.program("pfs")?, FILE_SERVERS)?;
    let mut passed = 0;
    for Job { ranks, first, cases } in &jobs {
        interrupt::check()?;
        findings.check(&format!("random cases, {ranks} ranks"), || {
            let mut command = Mpi::Open.launch(*ranks);
            command.arg(program).args(["--prefix", &format!("pfs:/random-{ranks}-"), "--seed", &seed]);
            command.args(["--first", &first.to_string(), "--cases", &cases.to_string()]);
            if *ranks >= NODES_FROM {
                command.env("PFS_RANKS_PER_NODE", "2");
            }
            cluster.reachable_from(&mut command);
            let limit = JOB_LIMIT.saturating_mul(effort.time_factor);
            let finished = Step::new("mpirun random_cases", command, limit).run()?;
            let line = finished.stdout.lines().last().unwrap_or_default().to_owned();
            ensure!(line.starts_with(&format!("{cases} cases on {ranks} ranks")), "it ended with {line:?}");
            passed += cases;
            Ok(line)
        });
    }
    let wanted: u64 = jobs.iter().map(|job| job.cases).sum();
    println!("{passed} of {wanted} random cases passed, seed {seed}");
    cluster.stop()
}

/// At least so many cases, in shares.
fn all(cases: u64) -> Vec<Job> {
    let shares: u64 = SHARES.iter().map(|(_, share)| share).sum();
    SHARES.map(|(ranks, share)| Job { ranks, first: 0, cases: (cases * share).div_ceil(shares) }).to_vec()
}

/// `RANKS:NUMBER`
fn one(case: &str) -> Result<Job> {
    let parsed = case.split_once(':').and_then(|(ranks, number)| Some((ranks.parse().ok()?, number.parse().ok()?)));
    let (ranks, first) = parsed.with_context(|| format!("PFS_TEST_CASE={case} is not RANKS:NUMBER"))?;
    Ok(Job { ranks, first, cases: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_ranks_has_its_share() {
        let jobs = all(2100);
        assert_eq!(jobs.iter().map(|job| job.cases).sum::<u64>(), 2100);
        assert!(all(2000).iter().map(|job| job.cases).sum::<u64>() >= 2000, "never fewer than were asked for");
        assert_eq!(one("3:17").unwrap(), Job { ranks: 3, first: 17, cases: 1 });
        assert!(one("3").is_err() && one("x:1").is_err());
    }
}
