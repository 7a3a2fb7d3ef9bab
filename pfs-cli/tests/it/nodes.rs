//! File servers on several nodes. `env` is the launcher: it runs a command on no other machine, but under another name.

use crate::harness::{Cluster, is_running, noise, pfs, run, text, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

const EACH: &str = "env SLURMD_NODENAME={node}";
/// One process for all nodes.
const AT_ONCE: &str = "env SLURMD_NODENAME=all-of-{count} LIST={nodes}";

/// A cluster on nodes with these flags besides.
fn start(cluster: &mut Cluster, names: &str, more: &[&str]) {
    let (file, directory) = (cluster.local("nodes"), cluster.local("node-local"));
    fs::write(&file, names).unwrap();
    let flags = [&["--nodefile", text(&file), "--node-dir", text(&directory)], more].concat();
    cluster.start_with(&flags);
}

#[test]
fn nodes_keep_their_files_over_a_stop() {
    let mut cluster = Cluster::unstarted();
    start(&mut cluster, "n1 slots=2\nn2\n", &["--launch", EACH, "--file-servers", "2"]);
    let status = cluster.json(["status", "--json"]);
    let mut names: Vec<&str> =
        status["file_servers"].as_array().unwrap().iter().map(|server| server["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["n1-0", "n1-1", "n2-0", "n2-1"]);
    let content = noise((5 << 20) + 1, 3);
    run(&mut cluster.command(["cp", "-", "pfs:/x"]), &content).success();
    cluster.stop().success();
    assert!(cluster.local("node-local/n2/file-1").is_dir(), "the stores stay");

    cluster.start_with(&[]);
    assert!(cluster.run(["cp", "pfs:/x", "-"]).stdout == content);
    let refused = cluster.try_start(&["--file-servers", "3"]).failure(1);
    assert!(refused.contains("running already"), "{refused}");
    let secret = fs::read_to_string(&cluster.secret_file).unwrap();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&words).contains(secret.trim()), "the secret is on a command line");
    }
    cluster.stop().success();
    run(pfs(["stop", "--remove", "--dir"]).arg(cluster.dir()), b"").success();
}

#[test]
fn a_removed_cluster_leaves_nothing_on_its_nodes() {
    let mut cluster = Cluster::unstarted();
    start(&mut cluster, "n1\nn2\n", &["--launch", EACH]);
    run(pfs(["stop", "--remove", "--dir"]).arg(cluster.dir()), b"").success();
    assert!(!cluster.local("node-local").exists() && !cluster.dir().exists());

    start(&mut cluster, "n1\n", &["--launch", AT_ONCE, "--ephemeral"]);
    assert!(cluster.local("node-local/all-of-1").is_dir());
    cluster.stop().success();
    assert!(!cluster.local("node-local").exists(), "ephemeral stores stay");
}

/// A batch system ends the servers of a job whose script was killed: nobody is left to stop the cluster.
#[test]
fn a_cluster_whose_owner_was_killed_ends_with_its_nodes() {
    let mut cluster = Cluster::unstarted();
    let mut owner = Command::new("sleep").arg("600").spawn().unwrap();
    let number = owner.id().to_string();
    start(&mut cluster, "n1\n", &["--launch", EACH, "--ephemeral", "--owner", &number]);
    let (metadata, node) = (cluster.pid("metadata"), cluster.pid("node-n1"));
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(is_running(metadata) && is_running(node), "a node may be ended later");
    kill_process(node, Signal::TERM).unwrap();
    [metadata, node].into_iter().for_each(wait_until_gone);
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.dir().exists() || cluster.local("node-local").exists() {
        assert!(Instant::now() < deadline, "something is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn whoever_waits_hears_of_the_end_of_a_server() {
    let mut cluster = Cluster::unstarted();
    start(&mut cluster, "n1\n", &["--launch", EACH]);
    let mut waiting = pfs(["wait", "--dir"]).arg(cluster.dir()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // It is there when it holds the process open; until then killing a server is found at once.
    assert!(waiting.try_wait().unwrap().is_none());
    let node: Pid = cluster.pid("node-n1");
    kill_process(node, Signal::KILL).unwrap();
    wait_until_gone(node);
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("node-n1"), "{ended:?}");
    let note = cluster.stop();
    assert!(note.status.success() && note.stderr.contains("node-n1 had ended already"), "{note:?}");
}

#[test]
fn nodes_that_can_not_be_are_refused() {
    let cluster = Cluster::unstarted();
    let (file, empty) = (cluster.local("nodes"), cluster.local("empty"));
    fs::write(&file, "n1\n").unwrap();
    fs::write(&empty, "# none\n").unwrap();
    let fails = |flags: &[&str], status: i32, word: &str| {
        let line = cluster.try_start(flags).failure(status);
        assert!(line.contains(word), "{word} is not in: {line}");
    };
    fails(&["--nodefile", text(&empty), "--node-dir", "/tmp/x"], 1, "names no node");
    fails(&["--nodefile", text(&file)], 2, "--node-dir");
    let file = text(&file);
    // Nobody by this name runs anything; its words are shown.
    let flags = ["--nodefile", file, "--node-dir", "/tmp/x", "--launch", "false {node}"];
    let outcome = cluster.try_start(&flags);
    assert!(outcome.stderr.contains("node-n1"), "{}", outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1));
}
