//! What MPI-IO promises, on groups of ranks against real servers.

mod support;

use anyhow::{Context, Result, ensure};
use pfs_testkit::ProcessCluster;
use std::fs;
use support::{Ranks, group_sizes, largest_group};

/// Every case of `pfs_examples::cases` on every group size.
#[test]
fn the_cases_pass_on_every_group_size() -> Result<()> {
    let cluster = ProcessCluster::start(4)?;
    for ranks in group_sizes() {
        let prefix = format!("pfs:/{ranks}-");
        let arguments = ["all", "--prefix", &prefix];
        let output = Ranks::launch(&cluster, ranks, env!("CARGO_BIN_EXE_rank_cases"), &arguments)?.succeed()?;
        let passed = output.lines().last().unwrap_or_default();
        ensure!(passed.starts_with("passed: ") && passed.ends_with(&format!("on {ranks} ranks")), "{output}");
    }
    cluster.stop()
}

/// One rank writes and reads more than 2 GiB at once, and asks for more values than a count of 31 bits could say; the others take
/// part with nothing.
#[test]
fn counts_may_have_more_than_31_bits() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let arguments = ["large", "--file", "pfs:/large", "--bytes", "2050m"];
    Ranks::launch(&cluster, 2, env!("CARGO_BIN_EXE_rank_cases"), &arguments)?.succeed()?;
    cluster.stop()
}

/// Nonblocking and split collectives go on by a thread of the library if MPI lets them.
#[test]
fn nonblocking_cases_pass_with_threads() -> Result<()> {
    let cluster = ProcessCluster::start(3)?;
    for (part, ranks) in [("nonblocking", largest_group()), ("request", 2), ("split", 1)] {
        let prefix = format!("pfs:/threads-{part}-");
        let arguments = ["--threads", "all", "--prefix", &prefix, "--only", part];
        let output = Ranks::launch(&cluster, ranks, env!("CARGO_BIN_EXE_rank_cases"), &arguments)?.succeed()?;
        ensure!(output.contains(&format!("on {ranks} ranks")), "{output}");
    }
    cluster.stop()
}

/// The environment's hints count more than the program's, and these more than the site's file. The cases pass with them, and
/// with ranks that are said to be on several nodes.
#[test]
fn hints_come_from_outside_too() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("hints");
    fs::write(&file, "# of the site\npfs_io_depth 9\nind_wr_buffer_size 262144\ncb_nodes nonsense\n")?;
    let file = file.to_str().context("a readable name")?;
    let variables = [("ROMIO_HINTS", file), ("PFS_HINTS", "pfs_io_depth=7"), ("PFS_RANKS_PER_NODE", "2")];
    let program = env!("CARGO_BIN_EXE_rank_cases");
    let arguments = ["all", "--prefix", "pfs:/outside-"];
    let finished = Ranks::launch_with(&cluster, largest_group(), program, &arguments, &variables)?.finish()?;
    ensure!(finished.status.success(), "{}", finished.errors);
    // Once in a process: each rank is rank 0 of a file of its own in one of the cases.
    let warnings = finished.errors.matches("cb_nodes=\"nonsense\"").count();
    ensure!((1..=largest_group() as usize).contains(&warnings), "{}", finished.errors);
    cluster.stop()
}

/// Ranks that do not see each other's processes, as in containers of their own, can not share memory: they pass messages instead, and
/// who has asked for memory is told which rank's it is about.
#[test]
fn ranks_that_can_not_share_memory_pass_messages() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let run = |hints, name: &str| {
        let prefix = format!("pfs:/{name}-");
        let contained = ["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_rank_cases")];
        let arguments = [&contained[..], &["all", "--prefix", &prefix, "--only", "unaligned pieces"]].concat();
        // The ways of Open MPI and of MPICH's UCX through memory do not work so.
        let variables = [("PFS_HINTS", hints), ("OMPI_MCA_btl", "tcp,self"), ("UCX_TLS", "tcp,self")];
        Ranks::launch_with(&cluster, 2, "unshare", &arguments, &variables)?.finish()
    };
    let finished = run("", "contained")?;
    ensure!(finished.status.success(), "{}{}", finished.output, finished.errors);
    let finished = run("pfs_node_memory=enable", "refused")?;
    let told = "the memory of rank 1, on the same node, can not be shared";
    ensure!(!finished.status.success() && finished.errors.contains(told), "{}{}", finished.output, finished.errors);
    cluster.stop()
}

/// A hint that nobody knows is told once, by one rank, and the program goes on.
#[test]
fn an_unknown_hint_warns_once() -> Result<()> {
    let cluster = ProcessCluster::start(1)?;
    let directory = tempfile::tempdir()?;
    let input = directory.path().join("input");
    fs::write(&input, pfs_examples::pattern::bytes(1, 0, 10_000))?;
    let input_name = input.to_str().context("a readable name")?;
    let arguments = ["write", "--input", input_name, "--file", "pfs:/hint", "--hint", "striping_unti=65536"];
    let finished = Ranks::launch(&cluster, 2, env!("CARGO_BIN_EXE_pfs-demo"), &arguments)?.finish()?;
    ensure!(finished.status.success(), "{}", finished.errors);
    ensure!(finished.errors.matches("striping_unti").count() == 1, "{}", finished.errors);
    cluster.stop()
}

/// `PFS_REPORT` asks for a report of each file at its close, and one of all files when MPI ends.
#[test]
fn reports_are_printed_on_request() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let program = env!("CARGO_BIN_EXE_hello_pfs");
    let reports = |form| {
        let variables = [("PFS_REPORT", form)];
        let finished = Ranks::launch_with(&cluster, 2, program, &["pfs:/hello"], &variables)?.finish()?;
        ensure!(finished.status.success(), "{}", finished.errors);
        Ok(finished.errors)
    };
    let text = reports("text")?;
    for wanted in ["pfs: /hello, 2 ranks\n", "pfs: all files of 2 ranks\n"] {
        ensure!(text.matches(wanted).count() == 1, "{text}");
    }
    let json = reports("json")?;
    let lines = json.lines().filter(|line| line.starts_with('{')).map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.collect::<Result<_, _>>()?;
    ensure!(lines.len() == 2 && lines[0]["file"] == "/hello" && lines[1]["job"] == true, "{json}");
    for line in &lines {
        let count = |name: &str| line["counters"][name].as_u64().context(name.to_owned());
        ensure!(count("MPIIO_COLL_WRITES")? == 2 && count("MPIIO_COLL_OPENS")? >= 2, "{line}");
        ensure!(count("MPIIO_BYTES_WRITTEN")? > 0 && count("MPIIO_BYTES_READ")? > 0, "{line}");
        let time = |name: &str, part: &str| line["times"][name][part].as_f64().context(name.to_owned());
        let whole = time("MPIIO_F_WRITE_TIME", "sum")?;
        let parts = ["AGREE", "PLAN", "TOKEN_WAIT"].map(|phase| time(&format!("PFS_F_{phase}_TIME"), "sum"));
        ensure!(whole > 0.0 && parts.into_iter().sum::<Result<f64>>()? > 0.0, "{line}");
        ensure!(time("PFS_F_SYNC_TIME", "max")? <= time("PFS_F_SYNC_TIME", "sum")?, "{line}");
    }
    cluster.stop()
}

/// Processes that never open a file together do not know who else is there: each reports for itself.
#[test]
fn each_process_reports_for_itself_without_a_common_file() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let variables = [("PFS_REPORT", "json")];
    let arguments = ["all", "--prefix", "pfs:/alone-", "--only", "a file of one rank"];
    let program = env!("CARGO_BIN_EXE_rank_cases");
    let finished = Ranks::launch_with(&cluster, 2, program, &arguments, &variables)?.finish()?;
    ensure!(finished.status.success(), "{}{}", finished.output, finished.errors);
    for rank in 0..2 {
        ensure!(finished.errors.matches(&format!("{{\"process\":{rank},")).count() == 1, "{}", finished.errors);
    }
    ensure!(!finished.errors.contains("\"job\":true"), "{}", finished.errors);
    cluster.stop()
}

#[test]
fn the_smallest_program_works() -> Result<()> {
    let cluster = ProcessCluster::start(2)?;
    let output =
        Ranks::launch(&cluster, largest_group(), env!("CARGO_BIN_EXE_hello_pfs"), &["pfs:/hello"])?.succeed()?;
    ensure!(output.contains("wrote and checked"), "{output}");
    cluster.stop()
}

/// A file goes in by one group and comes out by another of a different size, with the same checksums. A byte that
/// is not as in the input is found.
#[test]
fn a_file_goes_in_and_comes_out_by_other_ranks() -> Result<()> {
    let cluster = ProcessCluster::start(3)?;
    let directory = tempfile::tempdir()?;
    let input = directory.path().join("input");
    // Not a multiple of anything: the last transfers of some ranks are short or empty.
    let mut bytes = pfs_examples::pattern::bytes(1, 0, 3_141_593);
    fs::write(&input, &bytes)?;
    let input_name = input.to_str().context("a readable name")?;
    let demo = |command: &str, ranks: u32| {
        let arguments = [command, "--input", input_name, "--file", "pfs:/demo", "--transfer", "200k", "--json"];
        Ranks::launch(&cluster, ranks, env!("CARGO_BIN_EXE_pfs-demo"), &arguments)
    };
    let written = demo("write", largest_group())?.succeed()?;
    let read = demo("read", largest_group() - 1)?.succeed()?;
    let field = |json: &str, name: &str| {
        let value = json.split_once(&format!("\"{name}\":")).map(|(_, rest)| rest.split([',', '}']).next());
        value.flatten().map(str::to_owned).with_context(|| format!("{name} in {json}"))
    };
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &bytes);
    for json in [&written, &read] {
        ensure!(field(json, "bytes")? == bytes.len().to_string(), "{json}");
        ensure!(field(json, "crc64")? == format!("\"{crc:016x}\""), "{json}");
    }
    bytes[2_000_000] ^= 1;
    fs::write(&input, &bytes)?;
    let finished = demo("read", 2)?.finish()?;
    ensure!(!finished.status.success() && finished.errors.contains("offset 2000000 "), "{}", finished.errors);
    cluster.stop()
}
