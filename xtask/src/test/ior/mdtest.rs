//! `pfs-mdtest` under `mpirun`: every phase, with the files' bytes compared, and the table read as others read mdtest's.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use crate::cluster::Cluster;
use crate::test::findings::Findings;
use crate::workspace::Built;

/// Name, ranks, arguments, and the operations that must have a rate.
const RUNS: [(&str, u32, &str, &[&str]); 5] = [
    ("files and directories through MPI-IO", 4, "-n 12 -N 1 -w 4096 -e 4096 -X -i 2 -d pfs:/md-plain", &ALL),
    (
        "a tree for each client",
        3,
        "-a PFSCLIENT -u -n 14 -b 2 -z 2 -w 64 -e 64 -X --verify-write -R -d pfs:/md-tree",
        &ALL,
    ),
    ("shared files, opened together", 3, "-S -n 5 -w 512 -e 512 -X -y -d pfs:/md-shared", &FILES),
    ("rank 0 makes all, in further trees", 3, "-c -n 6 -I 3 -L -d pfs:/md-collective -P --print-all-procs", &ALL),
    ("plain files by mknod", 2, "-a POSIX -k -F -n 20 -f 1 -l 2 -d {}/md --showRankStatistics", &FILES),
];

const ALL: [&str; 10] = [
    "Directory creation",
    "Directory stat",
    "Directory rename",
    "Directory removal",
    "File creation",
    "File stat",
    "File read",
    "File removal",
    "Tree creation",
    "Tree removal",
];

const FILES: [&str; 6] = ["File creation", "File stat", "File read", "File removal", "Tree creation", "Tree removal"];

/// Runs each once.
pub(super) fn run(built: &Built, cluster: &Cluster, directory: &Path, findings: &mut Findings) -> Result<()> {
    let bench = Bench { program: built.program("pfs-mdtest")?, cluster, directory };
    for (name, ranks, arguments, operations) in RUNS {
        findings.check(&format!("pfs-mdtest, {name}, {ranks} ranks"), || {
            let finished = bench.run(ranks, arguments)?;
            check_table(&finished.stdout, operations)?;
            Ok(String::new())
        });
    }
    findings.check("pfs-mdtest, phases in runs of their own", || in_parts(&bench).map(|()| String::new()));
    Ok(())
}

/// Every operation has a maximum, minimum and mean above zero in each table.
fn check_table(text: &str, operations: &[&str]) -> Result<()> {
    for start in ["-- started at ", "mdtest-", "Command line used: ", "-- finished at "] {
        ensure!(text.lines().any(|line| line.starts_with(start)), "no line {start:?}");
    }
    let tables: Vec<&str> = text.split("\nSUMMARY ").skip(1).collect();
    ensure!(!tables.is_empty(), "no table");
    for table in tables {
        for operation in operations {
            let line = table.lines().find_map(|line| line.trim_start().strip_prefix(operation));
            let line = line.with_context(|| format!("no line of {operation} in {table}"))?;
            let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            ensure!(numbers.len() == 4 || numbers.len() == 7, "{operation} has {numbers:?}");
            ensure!(numbers[..3].iter().all(|number| *number > 0.0), "{operation} has {numbers:?}");
        }
    }
    Ok(())
}

/// As IO500 does it: files are made for a second, looked at, read and removed, each in a run of its own.
fn in_parts(bench: &Bench) -> Result<()> {
    let common = "-F -n 1000000 -N 1 -w 128 -G 9 -x {}/files -d pfs:/md-parts";
    let made = bench.run(3, &format!("{common} -C -W 1"))?;
    ensure!(made.stdout.contains("Continue stonewall hit min: "), "nothing is said of the stone wall");
    let files = bench.directory.join("files");
    let count: u64 = fs::read_to_string(&files)?.trim().parse()?;
    ensure!(count > 0, "no files were made");
    for (phase, operation) in [("-T", "File stat"), ("-E -e 128 -X", "File read"), ("-r", "File removal")] {
        check_table(&bench.run(3, &format!("{common} {phase}"))?.stdout, &[operation])?;
    }
    Ok(fs::remove_file(files)?)
}
