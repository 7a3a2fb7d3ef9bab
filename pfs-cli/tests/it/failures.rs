//! What goes wrong is said in one line, soon, and changes nothing.

use crate::harness::{Cluster, noise, pfs, run, text, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn a_wrong_command_line_has_an_exit_status_of_its_own() {
    for arguments in [
        &["frobnicate"][..],
        &["cp", "one"],
        &["cp", "--stripe-unit", "4X", "one", "pfs:/x"],
        &["cp", "--stripe-count", "0", "one", "pfs:/x"],
        &["cp", "--block-size", "0", "one", "pfs:/x"],
        &["cp", "--threads", "1000", "one", "pfs:/x"],
        &["cp", "one", "two"],
        &["cp", "-", "-"],
        &["ls", "relative/path"],
        &["stat", "pfs:/a/../b"],
        &["ls", "pfs://nowhere/a"],
        &["start"],
        &["start", "--dir", "/nonexistent/x", "--file-servers", "0"],
        &["start", "--dir", "/nonexistent/x", "--metadata", "localhost:1"],
        &["start", "--dir", "/nonexistent/x", "--listen", "0.0.0.0"],
        &["start", "--dir", "/nonexistent/x", "--advertise", "it's"],
        &["server", "metadata", "--dir", "/nonexistent/x", "--listen", "nowhere"],
    ] {
        let outcome = run(pfs([]).args(arguments), b"");
        assert_eq!(outcome.status.code(), Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.is_empty() && outcome.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_unknown_cluster_is_an_error_within_seconds() {
    let home = tempfile::tempdir().unwrap();
    let nobody = run(&mut pfs(["ls", "/"]), b"").failure(1);
    assert!(nobody.contains("PFS_METADATA is not set"), "{nobody}");
    let secretless = run(&mut pfs(["--metadata", "127.0.0.1:9", "ls", "/"]), b"").failure(1);
    assert!(secretless.contains("PFS_SECRET_FILE is not set"), "{secretless}");

    let secret = home.path().join("secret");
    fs::write(&secret, "0".repeat(64)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let began = Instant::now();
    let mut command = pfs(["--metadata", &closed, "--secret-file", text(&secret), "ls", "/"]);
    let unreachable = run(&mut command, b"").failure(1);
    assert!(unreachable.contains(&closed), "{unreachable}");
    assert!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
}

#[test]
fn a_caller_without_the_secret_gets_nothing() {
    let cluster = Cluster::start(1);
    let missing = run(cluster.command(["ls", "/"]).env("PFS_SECRET_FILE", "/nonexistent/secret"), b"").failure(1);
    assert!(missing.contains("/nonexistent/secret"), "{missing}");

    let wrong = cluster.local("wrong");
    fs::write(&wrong, "0".repeat(64)).unwrap();
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = cluster.fails(["--secret-file", text(&wrong), "mkdir", "/made"]);
    assert!(refused.contains("secret"), "{refused}");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o644)).unwrap();
    cluster.fails(["--secret-file", text(&wrong), "ls", "/"]);
    assert_eq!(cluster.ok(["ls", "/"]), "");
}

#[test]
fn what_is_not_there_is_named() {
    let cluster = Cluster::start(1);
    let copy = cluster.local("copy");
    for arguments in [
        ["stat", "pfs:/missing"].as_slice(),
        &["ls", "/missing"],
        &["layout", "/missing"],
        &["tokens", "/missing"],
        &["rm", "/missing"],
        &["mv", "/missing", "/other"],
        &["cp", "pfs:/missing", text(&copy)],
        &["cp", text(&cluster.local("missing")), "pfs:/x"],
        &["mkdir", "/missing/directory"],
        &["cp", "-", "pfs:/missing/x"],
        &["layout", "/"],
        &["cp", "pfs:/", text(&copy)],
    ] {
        let failure = run(cluster.command([]).args(arguments), b"x").failure(1);
        assert!(failure.contains("missing") || failure.contains("director"), "{arguments:?}: {failure}");
    }
    assert!(!copy.exists());
    assert_eq!(cluster.ok(["ls", "/"]), "", "a failed command left something");
    cluster.ok(["mkdir", "/d"]);
    cluster.fails(["mkdir", "/d"]);
    cluster.ok(["mkdir", "-p", "/d"]);
}

#[test]
fn impossible_layouts_are_refused() {
    let cluster = Cluster::start(2);
    for layout in [["--stripe-unit", "5000"], ["--stripe-unit", "2G"], ["--stripe-count", "3"]] {
        let failure = run(cluster.command(["cp"]).args(layout).args(["-", "pfs:/x"]), b"x").failure(1);
        assert!(failure.contains("strip") || failure.contains("server"), "{failure}");
    }
    assert_eq!(cluster.ok(["ls", "/"]), "");
}

#[test]
fn a_failed_copy_leaves_no_half_file() {
    let cluster = Cluster::start(2);
    let out = cluster.local("out");
    fs::create_dir(&out).unwrap();
    let source = cluster.local("source");
    fs::write(&source, noise(6 << 20, 9)).unwrap();
    cluster.ok(["cp", "--stripe-unit", "64K", text(&source), "pfs:/x"]);
    fs::write(out.join("x"), "old").unwrap();

    let pid = cluster.pid("file-1");
    kill_process(pid, Signal::KILL).unwrap();
    wait_until_gone(pid);
    let failure = cluster.fails(["cp", "pfs:/x", text(&out.join("x"))]);
    assert!(failure.contains("the destination is as it was"), "{failure}");
    assert_eq!(fs::read(out.join("x")).unwrap(), b"old");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1, "a half file was left");

    let failure = cluster.fails(["cp", text(&source), "pfs:/x"]);
    assert!(failure.contains("pfs:/x"), "{failure}");
    let missing_directory = cluster.fails(["cp", "pfs:/x", text(&cluster.local("no/such/x"))]);
    assert!(missing_directory.contains("no/such"), "{missing_directory}");
}

#[test]
fn an_interrupted_copy_ends_though_its_pipe_does_not() {
    let cluster = Cluster::start(1);
    let mut command = cluster.command(["cp", "--block-size", "4K", "-", "pfs:/x"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(&[1; 4096]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.ok(["ls", "/"]) != "x\n" {
        assert!(Instant::now() < deadline, "the copy does not begin");
    }
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut held_open = child.stdin.take();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"));
    drop(held_open.take());
}
