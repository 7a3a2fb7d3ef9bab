//! `pfs top`, and the address of the page.

use crate::harness::{Cluster, noise, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn started() -> Cluster {
    let mut cluster = Cluster::unstarted();
    cluster.start_with(&["--file-servers", "2", "--heartbeat-ms", "200"]);
    cluster
}

#[test]
fn top_shows_who_does_what() {
    let cluster = started();
    let content = noise((3 << 20) + 5, 9);
    run(&mut cluster.command(["cp", "-", "pfs:/hot"]), &content).success();
    let deadline = Instant::now() + DEADLINE;
    let seen = |now: &Value| {
        let servers = now["servers"].as_array().unwrap();
        let written = servers.iter().map(|server| server["counters"]["written_bytes"].as_u64().unwrap()).sum::<u64>();
        // The file was closed at once, so perhaps before anybody asked for its name.
        let hot = now["hottest_files"].as_array().unwrap();
        written == content.len() as u64 && hot.iter().any(|file| file["written_bytes_per_s"].as_f64().unwrap() > 1000.0)
    };
    loop {
        let now = cluster.json(["top", "--once", "--json"]);
        if seen(&now) {
            assert_eq!(now["sessions_connected"], now["sessions_open"]);
            break;
        }
        assert!(Instant::now() < deadline, "the writes do not show: {now}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = cluster.ok(["top", "--once"]);
    for word in ["2 of 2 file servers up", "file-0", "file-1", "FILE SERVER", "REVOKES", "CLIENT"] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
    let refused = cluster.fails(["top"]);
    assert!(refused.contains("no terminal") && refused.contains("--once"), "{refused}");
    let usage = cluster.run(["top", "--interval", "0"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(usage.stderr.contains("between 0.1 and 3600"), "{}", usage.stderr);
}

/// One object a line, until it is told to end; then its session has ended in good order.
#[test]
fn top_goes_on_until_it_is_told_to_end() {
    let cluster = started();
    let mut command = cluster.command(["top", "--json", "--interval", "0.1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.take(3) {
        let now: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(now["servers"].as_array().unwrap().len(), 2);
        assert!(now["history"].is_array());
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(cluster.json(["status", "--json"])["sessions"].as_array().unwrap().len(), 1, "only who asks");
}

#[test]
fn status_tells_where_the_page_is() {
    let cluster = started();
    let status = cluster.json(["status", "--json"]);
    let page = status["page"].as_str().unwrap();
    assert!(page.starts_with(&format!("http://{}/?key=", cluster.metadata)), "{page}");
    assert!(cluster.ok(["status"]).contains(page));
}
