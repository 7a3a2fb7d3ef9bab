//! Starting, stopping and starting again, in order and out of order.

use crate::harness::{Cluster, is_running, noise, pfs, run, text, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn copy_in(cluster: &Cluster, seed: u64, name: &str) -> Vec<u8> {
    let content = noise((5 << 20) + 77, seed);
    run(&mut cluster.command(["cp", "-", name]), &content).success();
    content
}

fn assert_content(cluster: &Cluster, name: &str, content: &[u8]) {
    let out = cluster.run(["cp", name, "-"]);
    assert!(out.status.success() && out.stdout == content, "{name} differs: {}", out.stderr);
}

#[test]
fn data_outlives_a_stop_and_a_start() {
    let mut cluster = Cluster::start(4);
    assert_eq!(mode(Path::new(&cluster.secret_file)), 0o600);
    assert_eq!(mode(&cluster.dir()), 0o700);
    let content = copy_in(&cluster, 1, "pfs:/x");
    let (metadata, pid) = (cluster.metadata.clone(), cluster.pid("metadata"));

    cluster.stop().success();
    assert!(!is_running(pid));
    assert!(!cluster.pid_file("metadata").exists());
    let again = cluster.stop();
    assert!(again.status.success(), "a second stop is no failure: {}", again.stderr);

    cluster.start_with(&[]);
    assert_eq!(cluster.metadata, metadata, "the port was free and must be kept");
    assert_content(&cluster, "pfs:/x", &content);
    assert_eq!(cluster.json(["status", "--json"])["file_servers"].as_array().unwrap().len(), 4);
}

#[test]
fn synced_data_outlives_a_kill_of_everything() {
    let mut cluster = Cluster::start(4);
    let content = copy_in(&cluster, 2, "pfs:/x");
    cluster.kill_all(4);
    cluster.start_with(&[]);
    assert_content(&cluster, "pfs:/x", &content);
    let more = copy_in(&cluster, 3, "pfs:/y");
    assert_content(&cluster, "pfs:/y", &more);
}

#[test]
fn a_running_cluster_is_not_started_again() {
    let cluster = Cluster::start(2);
    let pid = cluster.pid("metadata");
    let refused = cluster.try_start(&[]).failure(1);
    assert!(refused.contains("running already"), "{refused}");
    assert!(is_running(pid));

    kill_process(cluster.pid("file-1"), Signal::KILL).unwrap();
    wait_until_gone(cluster.pid("file-1"));
    let part = cluster.try_start(&[]).failure(1);
    assert!(part.contains("a part of it is running: metadata, file-0"), "{part}");
    cluster.ok(["ls", "/"]);
}

/// The number in a pid file may belong to somebody else by now, or be no number at all.
#[test]
fn a_stale_pid_file_harms_nobody() {
    let mut cluster = Cluster::start(2);
    let content = copy_in(&cluster, 4, "pfs:/x");
    cluster.kill_all(2);
    let mut bystander = Command::new("sleep").arg("600").spawn().unwrap();
    let record = fs::read_to_string(cluster.pid_file("metadata")).unwrap();
    let server = cluster.pid("metadata").as_raw_nonzero().to_string();
    let taken = record.replacen(&server, &bystander.id().to_string(), 1);
    fs::write(cluster.pid_file("metadata"), taken).unwrap();
    fs::write(cluster.pid_file("file-0"), "12").unwrap();

    cluster.stop().success();
    assert!(bystander.try_wait().unwrap().is_none(), "a process that is not ours was ended");
    cluster.start_with(&[]);
    assert_content(&cluster, "pfs:/x", &content);
    assert!(bystander.try_wait().unwrap().is_none());
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_cluster_grows_and_never_shrinks() {
    let mut cluster = Cluster::start(2);
    let content = copy_in(&cluster, 5, "pfs:/x");
    cluster.stop().success();
    let refused = cluster.try_start(&["--file-servers", "1"]).failure(1);
    assert!(refused.contains("2 file servers"), "{refused}");

    let disk = cluster.local("disk");
    cluster.start_with(&["--file-servers", "3", "--data-dir", text(&disk)]);
    assert_content(&cluster, "pfs:/x", &content);
    run(&mut cluster.command(["cp", "--stripe-count", "3", "-", "pfs:/y"]), b"content").success();
    assert!(disk.join("file-2").is_dir());
}

/// The words of a process's command line.
fn command_line(pid: Pid) -> Vec<String> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[test]
fn options_of_file_servers_stay_with_the_cluster() {
    let mut cluster = Cluster::unstarted();
    cluster.start_with(&["--file-servers", "2", "--write-memory", "3M", "--reply-memory", "2M", "--threads", "1"]);
    let has = |cluster: &Cluster, name: &str, flag: &str, value: &str| {
        command_line(cluster.pid(name)).windows(2).any(|words| words == [flag, value])
    };
    let write_memory = (3 << 20).to_string();
    for name in ["file-0", "file-1"] {
        assert!(has(&cluster, name, "--write-memory", &write_memory) && has(&cluster, name, "--threads", "1"));
    }
    assert!(!has(&cluster, "metadata", "--threads", "1"), "it is a file server's option");
    let content = copy_in(&cluster, 7, "pfs:/x");
    cluster.stop().success();

    cluster.start_with(&["--file-servers", "3", "--reply-memory", "4M"]);
    for name in ["file-0", "file-1", "file-2"] {
        assert!(has(&cluster, name, "--write-memory", &write_memory), "what is not given is as before");
        assert!(has(&cluster, name, "--reply-memory", &(4 << 20).to_string()));
    }
    assert_content(&cluster, "pfs:/x", &content);
    let kept: Value = serde_json::from_slice(&fs::read(cluster.dir().join("cluster.json")).unwrap()).unwrap();
    assert_eq!(kept["file_options"]["memory"]["write_memory"], 3 << 20);
    let refused = Cluster::unstarted().try_start(&["--write-memory", "1K"]);
    assert!(refused.status.code() == Some(2) && refused.stderr.contains("at least 1 MiB"), "{}", refused.stderr);
}

#[test]
fn strange_directories_are_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let thesis = home.path().join("thesis.tex");
    fs::write(&thesis, "words").unwrap();
    let refused = run(&mut pfs(["start", "--dir", text(home.path())]), b"").failure(1);
    assert!(refused.contains("not a cluster's"), "{refused}");
    run(&mut pfs(["stop", "--remove", "--dir", text(home.path())]), b"").failure(1);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    let nothing = home.path().join("nothing");
    run(&mut pfs(["stop", "--dir", text(&nothing)]), b"").success();
    assert!(!nothing.exists());

    let disk = home.path().join("disk");
    fs::create_dir_all(disk.join("file-0")).unwrap();
    fs::write(disk.join("file-0").join("theirs"), "x").unwrap();
    let start = run(&mut pfs(["start", "--dir", text(&nothing), "--data-dir", text(&disk)]), b"").failure(1);
    assert!(start.contains("not empty"), "{start}");
    run(&mut pfs(["stop", "--remove", "--dir", text(&nothing)]), b"");
    assert!(disk.join("file-0").join("theirs").exists());
}

/// A metadata store that was lost must not come back as a new, empty cluster.
#[test]
fn a_start_that_fails_says_why_and_leaves_nothing_running() {
    let cluster = Cluster::start(2);
    copy_in(&cluster, 6, "pfs:/x");
    cluster.stop().success();
    let (store, aside) = (cluster.dir().join("metadata"), cluster.local("aside"));
    fs::rename(&store, &aside).unwrap();
    let outcome = cluster.try_start(&[]);
    assert!(outcome.stderr.contains("the end of "), "no log: {}", outcome.stderr);
    let failure = outcome.failure(1);
    assert!(failure.contains("cannot start metadata"), "{failure}");

    fs::remove_dir_all(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    let (stripes, emptied) = (cluster.dir().join("file-1"), cluster.local("emptied"));
    fs::rename(&stripes, &emptied).unwrap();
    let failure = cluster.try_start(&[]).failure(1);
    assert!(failure.contains("cannot start file-1"), "{failure}");
    for name in ["metadata", "file-0", "file-1"] {
        assert!(!cluster.pid_file(name).exists(), "{name} was left");
    }
    fs::remove_dir_all(&stripes).unwrap();
    fs::rename(&emptied, &stripes).unwrap();
    let answer = cluster.try_start(&[]).success();
    assert_eq!(answer.lines().count(), 2);
}

#[test]
fn servers_run_in_the_foreground_until_a_signal() {
    let cluster = Cluster::start(1);
    cluster.stop().success();
    let ready = cluster.local("ready");
    let store = cluster.dir().join("metadata");
    let mut command = pfs(["server", "metadata", "--dir", text(&store), "--ready-file", text(&ready)]);
    let mut server = command.args(["--secret-file", &cluster.secret_file]).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !ready.exists() {
        assert!(server.try_wait().unwrap().is_none() && std::time::Instant::now() < deadline, "not ready");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(rustix::process::Pid::from_child(&server), Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(!ready.exists());

    let missing = cluster.local("missing");
    let mut command = pfs(["server", "metadata", "--dir", text(&store), "--secret-file", text(&missing)]);
    let failure = run(&mut command, b"").failure(1);
    assert!(failure.contains("missing"), "{failure}");
}
