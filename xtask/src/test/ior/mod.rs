//! `pfs-ior` under `mpirun` against real servers and on plain files, checking every byte that it reads; its output is read by
//! a small parser as others read IOR's. `pfs-mdtest` beside it.

mod mdtest;
mod parse;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::findings::Findings;
use crate::cluster::Cluster;
use crate::mpi::Mpi;
use crate::step::{Finished, Step};
use crate::workspace::Built;

const FILE_SERVERS: u32 = 4;
const LAUNCH_LIMIT: Duration = Duration::from_secs(120);

/// Name, ranks, and arguments of runs that write, read and check. `{}` is a directory for plain files.
const CHECKED: [(&str, u32, &str); 10] = [
    ("collective, segmented", 4, "-c -b 1m -t 256k -s 4 -o pfs:/segmented"),
    (
        "collective, every word, another order in each repetition",
        3,
        "-c -ZZ -X -7 -b 1m -t 1m -s 2 -i 2 -l random -g -o pfs:/reordered",
    ),
    (
        "independent, in a view, 16 segments a call",
        2,
        "-V -b 47008 -t 47008 -s 40 --segmentsPerCall 16 -l offset -C -e -o pfs:/view",
    ),
    ("a strided datatype", 3, "-V -S -c -b 64k -t 16k -s 5 -o pfs:/strided"),
    ("a file and a directory per rank", 3, "-F -u -C -b 2m -t 512k -m -i 2 -d 0 -o pfs:/own"),
    ("arrays of three dimensions", 4, "--preset checkpoint-3d -b 64k -t 64k -s 3 -o pfs:/array"),
    (
        "random transfers of clients by themselves",
        3,
        "-a PFSCLIENT -z -b 256k -t 4k -s 2 -p --randomPrefill 64k -o pfs:/random",
    ),
    ("a file per client, other ranks' data read", 3, "-a PFSCLIENT -F -Z -Q 1 -b 512k -t 64k -l i -o pfs:/clients"),
    ("the MPI library's own MPI-IO", 3, "-a MPIIO -c -V -b 64k -t 16k -s 4 -p -o {}/mpiio"),
    ("plain files", 2, "-a POSIX -F -zz -b 64k -t 4k -s 8 -Y --random-offset-seed 5 -M 1m -j 60 -o {}/posix"),
];

/// Runs each case once against one cluster.
pub fn run(built: &Built, findings: &mut Findings) -> Result<()> {
    let directory = TempDir::new().context("making a directory for plain files")?;
    let cluster = Cluster::start(built.program("pfs")?, FILE_SERVERS)?;
    let bench = Bench { program: built.program("pfs-ior")?, cluster: &cluster, directory: directory.path() };
    for (name, ranks, arguments) in CHECKED {
        findings.check(&format!("pfs-ior, {name}, {ranks} ranks"), || {
            let finished = bench.run(ranks, &format!("{arguments} -w -r -W -R"))?;
            let table = parse::table(&finished.stdout)?;
            let accesses: Vec<&str> = table.lines.iter().map(|line| line.access.as_str()).collect();
            ensure!(accesses.starts_with(&["write", "read"]), "results are {accesses:?}");
            ensure!(table.summary.len() == 2, "the summary has {} lines", table.summary.len());
            ensure!(table.max_write_mib_s.is_some_and(|rate| rate > 0.0), "there is no maximum of writes");
            ensure!(table.max_read_mib_s.is_some_and(|rate| rate > 0.0), "there is no maximum of reads");
            ensure!(table.lines.iter().all(|line| line.bandwidth_mib_s > 0.0), "a result is 0");
            Ok(String::new())
        });
    }
    findings.check("pfs-ior, output for programs", || output(&bench).map(|()| String::new()));
    findings.check("pfs-ior, a deadline that ranks agree on", || deadline(&bench).map(|()| String::new()));
    findings.check("pfs-ior, damage is found", || damage(&bench).map(|()| String::new()));
    findings.check("pfs-ior, hints", || hints(&bench).map(|()| String::new()));
    mdtest::run(built, &cluster, directory.path(), findings)?;
    let left = fs::read_dir(directory.path())?.count();
    findings.check("pfs-ior, files removed", || {
        ensure!(left == KEPT.len(), "{left} files are left in {}", directory.path().display());
        Ok(String::new())
    });
    cluster.stop()
}

/// The files that checks leave on purpose.
const KEPT: [&str; 5] = ["status", "script", "damaged", "hints", "operations-0-00000.csv"];

/// What runs need.
pub(super) struct Bench<'a> {
    program: &'a Path,
    cluster: &'a Cluster,
    directory: &'a Path,
}

impl Bench<'_> {
    fn run(&self, ranks: u32, arguments: &str) -> Result<Finished> {
        let finished = self.run_any_status(ranks, arguments, &[])?;
        ensure!(finished.status.success(), "{}{}", finished.status, finished.indented_output());
        Ok(finished)
    }

    fn run_any_status(&self, ranks: u32, arguments: &str, environment: &[(&str, &str)]) -> Result<Finished> {
        let mut command = Mpi::Open.launch(ranks);
        let directory = self.directory.to_string_lossy();
        let arguments = arguments.split_whitespace().map(|word| word.replace("{}", &directory));
        command.arg(self.program).args(arguments).envs(environment.iter().copied());
        self.cluster.reachable_from(&mut command);
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        Step::new(format!("mpirun {name}"), command, LAUNCH_LIMIT).run_any_status()
    }
}

/// JSON, CSV and a script: two tests, the second with what the first one has.
fn output(bench: &Bench) -> Result<()> {
    let finished = bench.run(2, "-w -r -b 64k -t 16k -i 2 -A 17 -O summaryFormat=JSON -o pfs:/json")?;
    let value = parse::json(&finished.stdout)?;
    ensure!(value["tests"][0]["Results"].as_array().is_some_and(|results| results.len() == 6), "not 6 results");
    ensure!(value["summary"][0]["ReferenceNumber"] == 17, "no reference number");
    fs::write(
        bench.directory.join("script"),
        "IOR START\n  api=PFS, testFile=pfs:/script, blockSize=64k, transferSize=16k\n  summaryFormat=CSV\nRUN\n  \
         segmentCount=2 # more\n  readFile=0,writeFile=1\nRUN\nIOR STOP\n",
    )?;
    let finished = bench.run(2, "-f {}/script -O savePerOpDataCSV={}/operations -N 1")?;
    let lines = parse::csv(&finished.stdout)?;
    ensure!(lines == ["write", "read", "write"], "the script's results are {lines:?}");
    let operations = fs::read_to_string(bench.directory.join("operations-0-00000.csv"))?;
    ensure!(operations.lines().count() == 1 + 8, "{} lines of operations", operations.lines().count());
    Ok(())
}

/// As IO500 does it: a write that ends after a second with wear-out, and a read in another run of what was written.
fn deadline(bench: &Bench) -> Result<()> {
    let common =
        "-C -Q 1 -g -G 27 -k -b 47008 -t 47008 -s 1000000 -o pfs:/deadline -O stoneWallingStatusFile={}/status";
    let written = bench.run(3, &format!("{common} -w -D 1 -O stoneWallingWearOut=1"))?;
    ensure!(written.stdout.contains("stonewalling pairs accessed min:"), "nothing is said of the deadline");
    let table = parse::table(&written.stdout)?;
    let wall = table.summary[0].iter().find(|(name, _)| name == "Stonewall(s)").map(|(_, value)| value.as_str());
    ensure!(wall.is_some_and(|seconds| seconds.parse().is_ok_and(|seconds: f64| seconds >= 1.0)), "{wall:?}");
    let pairs: u64 = fs::read_to_string(bench.directory.join("status"))?.trim().parse()?;
    let read = bench.run(3, &format!("{common} -r -R"))?;
    let bytes = pairs * 3 * 47_008;
    ensure!(read.stdout.contains(&format!("actual aggregate bytes moved = {bytes}")), "not {bytes} bytes were read");
    // Without wear-out every rank reads as far as the rank has come whose data it reads; collective calls end together.
    bench.run(3, "-c -C -b 16k -t 16k -s 1000000 -o pfs:/together -w -r -W -R -D 1")?;
    Ok(())
}

/// A changed byte is an error, told with its place and by the exit status.
fn damage(bench: &Bench) -> Result<()> {
    let common = "-a POSIX -b 64k -t 16k -G 27 -k -o {}/damaged";
    bench.run(2, &format!("{common} -w"))?;
    bench.run(2, &format!("{common} -r -R"))?;
    let path = bench.directory.join("damaged");
    let mut bytes = fs::read(&path)?;
    bytes[70_000] ^= 4;
    fs::write(&path, bytes)?;
    let finished = bench.run_any_status(2, &format!("{common} -r -R"), &[])?;
    ensure!(!finished.status.success(), "damage is no failure");
    ensure!(finished.stdout.contains("Incorrect data on read (1 errors found)"), "{}", finished.indented_output());
    ensure!(finished.stderr.contains("at 70000"), "the place is not told:{}", finished.indented_output());
    let refused = bench.run_any_status(2, "-C -Z -o pfs:/x", &[])?;
    ensure!(refused.stderr.contains("Both Constant and Random"), "{}", refused.indented_output());
    Ok(())
}

/// Hints of the environment and of a file reach the file system.
fn hints(bench: &Bench) -> Result<()> {
    fs::write(bench.directory.join("hints"), "IOR_HINT__MPI__striping_factor=3\n")?;
    let arguments = "-w -H -b 64k -t 64k -U {}/hints -o pfs:/hints --progress always";
    let environment = [("IOR_HINT__MPI__striping_unit", "65536"), ("IOR_HINT__MPI__striping_factor", "2")];
    let finished = bench.run_any_status(2, arguments, &environment)?;
    ensure!(finished.status.success(), "{}{}", finished.status, finished.indented_output());
    let in_effect = finished.stdout.split("hints returned from opened file").nth(1).context("no hints in effect")?;
    for hint in ["striping_unit = 65536", "striping_factor = 3"] {
        ensure!(in_effect.contains(hint), "no {hint} in {in_effect}");
    }
    ensure!(finished.stderr.contains("write 1/1: "), "no progress is shown:{}", finished.indented_output());
    Ok(())
}
