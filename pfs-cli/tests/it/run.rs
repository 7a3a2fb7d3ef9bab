//! `pfs run`: whatever becomes of the program, its status comes through and nothing is left.

use crate::harness::{Cluster, noise, pfs, run, text, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The command, with what it makes below `home`.
fn run_in<const N: usize>(home: &Path, arguments: [&str; N]) -> Command {
    let mut command = pfs(["run"]);
    command.args(arguments).env("TMPDIR", home).env_remove("PFS_MPIIO_MAP").env_remove("LD_PRELOAD");
    command
}

fn assert_nothing_left(home: &Path) {
    let left: Vec<_> = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    let naming = |id: &str| fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| contains(&line, home));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let servers: Vec<_> = processes.filter_map(|e| e.file_name().into_string().ok()).filter(|id| naming(id)).collect();
    assert!(servers.is_empty(), "processes are left: {servers:?}");
}

fn contains(line: &[u8], home: &Path) -> bool {
    String::from_utf8_lossy(line).contains(text(home))
}

#[test]
fn a_program_has_a_cluster_and_its_files_are_copied_in_and_out() {
    let home = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let (input, output) = (files.path().join("input"), files.path().join("output"));
    let content = noise((3 << 20) + 5, 41);
    fs::write(&input, &content).unwrap();
    let program = format!("{} cp --quiet pfs:/in pfs:/out && echo done; exit 3", env!("CARGO_BIN_EXE_pfs"));
    let mut command = run_in(home.path(), ["--file-servers", "2", "--stripe-unit", "64K"]);
    command.args(["--stage-in", text(&input), "pfs:/in", "--stage-out", "pfs:/out", text(&output)]);
    let outcome = run(command.args(["--", "sh", "-c", &program]), b"");
    assert_eq!(outcome.status.code(), Some(3), "the program's own status: {}", outcome.stderr);
    assert_eq!(outcome.stdout, b"done\n", "standard output is the program's");
    assert_eq!(fs::read(&output).unwrap(), content);
    assert_nothing_left(home.path());
}

#[test]
fn a_cluster_with_a_directory_is_kept_and_one_that_runs_is_used() {
    let home = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let directory = files.path().join("kept");
    let pfs_program = env!("CARGO_BIN_EXE_pfs");
    let mut first = run_in(home.path(), ["--dir", text(&directory), "--", pfs_program, "cp", "-q", "-", "pfs:/x"]);
    run(&mut first, b"bytes").success();
    let mut second = run_in(home.path(), ["--dir", text(&directory), "--", pfs_program, "cp", "-q", "pfs:/x", "-"]);
    assert_eq!(run(&mut second, b"").success(), "bytes", "standard input and output are the program's");
    assert_nothing_left(home.path());

    let cluster = Cluster::start(1);
    run(&mut cluster.command(["run", "--", pfs_program, "mkdir", "pfs:/made"]), b"").success();
    assert!(cluster.ok(["ls", "/"]).contains("made"), "the cluster that runs was not used");
    let refused = run(&mut cluster.command(["run", "--file-servers", "3", "--", "true"]), b"");
    assert_eq!(refused.status.code(), Some(2), "{}", refused.stderr);
}

#[test]
fn what_can_not_be_run_has_a_status_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let status = |arguments: &[&str]| {
        let outcome = run(run_in(home.path(), []).args(arguments), b"");
        (outcome.status.code().unwrap(), outcome.stderr)
    };
    let (missing, said) = status(&["--", "/nonexistent/program"]);
    assert_eq!(missing, 127, "{said}");
    let (directory, said) = status(&["--", "/"]);
    assert_eq!(directory, 126, "{said}");
    let (unstaged, said) = status(&["--stage-in", "/nonexistent/x", "pfs:/x", "--", "true"]);
    assert!(unstaged == 125 && said.contains("/nonexistent/x"), "{said}");
    let (lost, said) = status(&["--stage-out", "pfs:/none", "/tmp/none", "--", "true"]);
    assert!(lost == 125 && said.contains("pfs:/none"), "{said}");
    let (killed, said) = status(&["--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed, 137, "{said}");
    let (wrong, said) = status(&["--stage-in", "a", "b", "--", "true"]);
    assert_eq!(wrong, 2, "{said}");
    assert_nothing_left(home.path());
}

fn begin(command: &mut Command, sign: &Path) -> Child {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(100);
    while !sign.exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "the program did not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn a_signal_reaches_the_program_and_leaves_nothing() {
    let files = tempfile::tempdir().unwrap();
    for (signal, number) in [(Signal::TERM, 15), (Signal::INT, 2)] {
        let home = tempfile::tempdir().unwrap();
        let (sign, told) = (files.path().join(format!("sign-{number}")), files.path().join(format!("told-{number}")));
        let name = if number == 15 { "TERM" } else { "INT" };
        let script = format!(
            "trap 'touch {}; exit 9' {name}; touch {}; while :; do sleep 0.05; done",
            told.display(),
            sign.display()
        );
        let mut child = begin(&mut run_in(home.path(), ["--", "sh", "-c", &script]), &sign);
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "the program's own status after signal {number}");
        assert!(told.exists(), "signal {number} did not reach the program");
        assert_nothing_left(home.path());
    }
}

#[test]
fn a_program_that_heeds_no_signal_is_killed() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sign, id) = (files.path().join("sign"), files.path().join("id"));
    let script =
        format!("trap '' TERM; echo $$ > {}; touch {}; while :; do sleep 0.05; done", id.display(), sign.display());
    let mut child = begin(&mut run_in(home.path(), ["--grace-s", "0", "--", "sh", "-c", &script]), &sign);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let program: i32 = fs::read_to_string(id).unwrap().trim().parse().unwrap();
    wait_until_gone(Pid::from_raw(program).unwrap());
    assert_nothing_left(home.path());
}

/// A launcher that says what it was told stands for the real ones.
#[test]
fn ranks_load_the_library_and_find_the_servers() {
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let library = files.path().join("lib-x.so");
    fs::write(&library, "").unwrap();
    for (name, expected) in [
        ("mpirun.openmpi", "-x PFS_METADATA -x PFS_SECRET_FILE -x PFS_MPIIO_MAP -x LD_PRELOAD=LIB -n 2 ./a"),
        ("mpirun.mpich", "-genv LD_PRELOAD LIB -n 2 ./a"),
        ("srun", "--export=ALL,LD_PRELOAD=LIB -n 2 ./a"),
    ] {
        let launcher = files.path().join(name);
        fs::write(&launcher, "#!/bin/sh\necho \"$*\"\necho \"$TMPDIR $PFS_MPIIO_MAP\"\n").unwrap();
        fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = run_in(home.path(), ["--preload", text(&library), "--", text(&launcher), "-n", "2", "./a"]);
        let answer = run(&mut command, b"").success();
        let lines: Vec<&str> = answer.lines().collect();
        let library = fs::canonicalize(&library).unwrap();
        assert_eq!(lines[0], expected.replace("LIB", text(&library)));
        let (temporary, map) = lines[1].split_once(' ').unwrap();
        assert_eq!(map, format!("{temporary}=pfs:/"), "the program's temporary names are in the file system");
    }
    let mut plain = run_in(home.path(), ["--preload", text(&library), "--map", "/data=pfs:/d", "--map", ".=pfs:/w"]);
    // Nothing that is loaded may be needed by the shell itself, so it only says what it would be.
    let answer = run(plain.args(["--", "/usr/bin/env"]), b"");
    let said = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(said.contains("PFS_MPIIO_MAP=/data=pfs:/d,.=pfs:/w\n"), "{said}");
    assert!(said.contains("LD_PRELOAD=") && said.contains("lib-x.so"), "{said}");

    let spaced = files.path().join("a b.so");
    fs::write(&spaced, "").unwrap();
    let refused = run(&mut run_in(home.path(), ["--preload", text(&spaced), "--", "true"]), b"");
    assert!(refused.status.code() == Some(125) && refused.stderr.contains("LD_PRELOAD"), "{}", refused.stderr);
    assert_nothing_left(home.path());
}
