//! What users do with files: in, out, around, and looking at them.

use crate::harness::{Cluster, noise, run, text};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

const BYTES: usize = (20 << 20) + 12_345;

fn names(listing: &Value) -> Vec<&str> {
    listing.as_array().expect("a list").iter().map(|entry| entry["path"].as_str().expect("a path")).collect()
}

#[test]
fn a_file_goes_in_and_comes_out() {
    let cluster = Cluster::start(4);
    let (source, copy) = (cluster.local("source"), cluster.local("copy"));
    let content = noise(BYTES, 1);
    fs::write(&source, &content).unwrap();

    cluster.ok(["mkdir", "-p", "pfs:/a/b"]);
    cluster.ok(["cp", "--stripe-unit", "64K", "--stripe-count", "4", text(&source), "pfs:/a/b/"]);
    let status = cluster.json(["stat", "--json", "pfs:/a/b/source"]);
    assert_eq!(status["size_bytes"], BYTES);
    assert_eq!(status["stripe_unit_bytes"], 65_536);
    assert_eq!(status["stripe_count"], 4);
    assert_eq!(status["kind"], "file");
    assert!(cluster.ok(["stat", "/a/b/source"]).contains(&format!("{BYTES} bytes")));

    cluster.ok(["cp", "pfs:/a/b/source", text(&copy)]);
    assert!(fs::read(&copy).unwrap() == content, "the copy differs");
    assert_eq!(names(&cluster.json(["ls", "--json", "pfs:/a"])), ["pfs:/a/b"]);
    assert_eq!(cluster.ok(["ls", "/a"]), "b/\n");
    assert_eq!(cluster.ok(["ls"]), "a/\n");
    let long = cluster.ok(["ls", "-l", "pfs:/a/b"]);
    assert!(long.contains(&BYTES.to_string()) && long.contains("source"), "{long}");
    assert_eq!(names(&cluster.json(["ls", "--json", &format!("pfs://{}/a/b", cluster.metadata)])).len(), 1);
}

#[test]
fn a_layout_tells_where_every_byte_lies() {
    let cluster = Cluster::start(4);
    let bytes: u64 = 5 * 65_536 + 100;
    let source = cluster.local("source");
    fs::write(&source, noise(usize::try_from(bytes).unwrap(), 2)).unwrap();
    cluster.ok(["cp", "--stripe-unit", "64KiB", "--stripe-count", "4", text(&source), "pfs:/x"]);

    let layout = cluster.json(["layout", "--json", "pfs:/x"]);
    let slots = layout["slots"].as_array().unwrap();
    let column = |key: &str| -> Vec<u64> { slots.iter().map(|slot| slot[key].as_u64().unwrap()).collect() };
    assert_eq!(column("slot"), [0, 1, 2, 3]);
    assert_eq!(column("object_bytes"), [131_072, 65_536 + 100, 65_536, 65_536]);
    assert_eq!(column("units"), [2, 2, 1, 1]);
    let mut servers = column("server_id");
    servers.sort_unstable();
    servers.dedup();
    assert_eq!(servers.len(), 4, "two slots on one server");
    assert!(slots.iter().all(|slot| slot["live"] == true && slot["address"].is_string()));
    let text = cluster.ok(["layout", "pfs:/x"]);
    assert!(text.contains("file-3") && text.contains("(b / 65536) mod 4"), "{text}");
}

#[test]
fn names_change_and_go() {
    let cluster = Cluster::start(1);
    let source = cluster.local("source");
    fs::write(&source, "content").unwrap();
    cluster.ok(["mkdir", "/d", "/e"]);
    cluster.ok(["cp", text(&source), "pfs:/x"]);
    cluster.ok(["mv", "pfs:/x", "pfs:/y"]);
    cluster.ok(["mv", "pfs:/y", "/d"]);
    assert_eq!(names(&cluster.json(["ls", "--json", "/d"])), ["pfs:/d/y"]);
    cluster.ok(["mv", "/d", "/e/f"]);
    assert_eq!(cluster.ok(["cp", "pfs:/e/f/y", "-"]), "content");

    let refused = cluster.fails(["rm", "/e"]);
    assert!(refused.contains("-r"), "{refused}");
    cluster.ok(["rm", "-r", "/e"]);
    assert_eq!(cluster.ok(["ls", "/"]), "");
    cluster.ok(["rm", "-f", "/e"]);
    cluster.fails(["rm", "/e"]);
    cluster.fails(["rm", "-r", "-f", "/"]);
}

#[test]
fn pipes_carry_files_both_ways() {
    let cluster = Cluster::start(3);
    let content = noise(BYTES, 3);
    run(&mut cluster.command(["cp", "--block-size", "1M", "-", "pfs:/piped"]), &content).success();
    let out = cluster.run(["cp", "--block-size", "1M", "pfs:/piped", "-"]);
    assert!(out.status.success() && out.stdout == content, "the piped copy differs: {}", out.stderr);
    run(&mut cluster.command(["cp", "-", "pfs:/nothing"]), b"").success();
    assert_eq!(cluster.json(["stat", "--json", "/nothing"])["size_bytes"], 0);
    assert_eq!(cluster.ok(["cp", "pfs:/nothing", "-"]), "");

    // A reader that leaves early ends the copy, soon and without a panic.
    let mut reader = cluster.command(["cp", "pfs:/piped", "-"]);
    let mut child = reader.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("pfs: cannot copy pfs:/piped to -"));
}

#[test]
fn copies_within_and_of_trees() {
    let cluster = Cluster::start(2);
    let (tree, back) = (cluster.local("tree"), cluster.local("back"));
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    let content = noise(3 << 20, 4);
    fs::write(tree.join("one"), &content).unwrap();
    fs::write(tree.join("sub/two"), "two").unwrap();

    let refused = cluster.fails(["cp", text(&tree), "pfs:/tree"]);
    assert!(refused.contains("-r"), "{refused}");
    cluster.ok(["cp", "-r", text(&tree), "pfs:/tree"]);
    cluster.ok(["cp", "-r", "pfs:/tree", "pfs:/again"]);
    cluster.fails(["cp", "-r", "pfs:/tree", "pfs:/tree/itself"]);
    cluster.ok(["cp", "-r", "pfs:/again", text(&back)]);
    assert!(fs::read(back.join("one")).unwrap() == content);
    assert_eq!(fs::read(back.join("sub/two")).unwrap(), b"two");
    assert!(back.join("sub/empty").is_dir());

    cluster.ok(["cp", "pfs:/tree/sub/two", "pfs:/again/one"]);
    assert_eq!(cluster.ok(["cp", "pfs:/again/one", "-"]), "two", "a shorter file must cut the longer one");
    let same = cluster.fails(["cp", "pfs:/again/one", "pfs:/again/one"]);
    assert!(same.contains("same file"), "{same}");
    assert_eq!(cluster.ok(["cp", "pfs:/again/one", "-"]), "two");
}

#[test]
fn existing_files_are_overwritten_or_spared() {
    let cluster = Cluster::start(2);
    let (one, two) = (cluster.local("one"), cluster.local("two"));
    fs::write(&one, "one").unwrap();
    fs::write(&two, "twotwo").unwrap();
    cluster.ok(["cp", "--stripe-unit", "4K", text(&one), text(&two), "pfs:/"]);
    cluster.ok(["cp", "-n", text(&two), "pfs:/one"]);
    assert_eq!(cluster.ok(["cp", "pfs:/one", "-"]), "one");
    cluster.ok(["cp", text(&two), "pfs:/one"]);
    assert_eq!(cluster.ok(["cp", "pfs:/one", "-"]), "twotwo");
    cluster.ok(["cp", "-n", "pfs:/one", text(&one)]);
    assert_eq!(fs::read(&one).unwrap(), b"one");
    cluster.ok(["cp", "pfs:/one", text(&one)]);
    assert_eq!(fs::read(&one).unwrap(), b"twotwo");
    let fixed = cluster.fails(["cp", "--stripe-unit", "8K", text(&two), "pfs:/one"]);
    assert!(fixed.contains("layout"), "{fixed}");
}

#[test]
fn the_cluster_tells_about_itself() {
    let cluster = Cluster::start(4);
    run(&mut cluster.command(["cp", "-", "pfs:/x"]), b"content").success();
    let status = cluster.json(["status", "--json"]);
    let servers = status["file_servers"].as_array().unwrap();
    assert_eq!(servers.len(), 4);
    assert!(servers.iter().all(|server| server["live"] == true && server["total_bytes"].as_u64() > Some(0)));
    assert_eq!(status["files"], 1);
    assert_eq!(status["metadata_address"], cluster.metadata.as_str());
    assert_eq!(status["sessions"].as_array().unwrap().len(), 1, "only this command: {status}");
    assert!(status["tokens"]["requests"].as_u64() >= Some(1), "{status}");
    let text = cluster.ok(["status"]);
    assert!(text.contains("file-3") && text.contains(" up "), "{text}");

    let space = cluster.json(["df", "--json"]);
    let total: u64 = space["servers"].as_array().unwrap().iter().map(|one| one["total_bytes"].as_u64().unwrap()).sum();
    assert_eq!(space["total_bytes"], total);
    assert!(cluster.ok(["df"]).contains("total"));
}

#[test]
fn tokens_show_who_holds_a_file_now() {
    let cluster = Cluster::start(1);
    run(&mut cluster.command(["cp", "-", "pfs:/x"]), b"content").success();
    let idle = cluster.json(["tokens", "--json", "pfs:/x"]);
    assert_eq!((&idle["tokens"], &idle["waiting"]), (&json!([]), &json!(0)));
    assert!(cluster.ok(["tokens", "/x"]).contains("nobody holds a token"));

    // A copy from a pipe that is still open holds its token while we look.
    let mut copying = cluster.command(["cp", "--block-size", "4K", "--threads", "1", "-", "pfs:/y"]);
    let mut child = copying.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), &[7; 8192]).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let held = loop {
        let answer = cluster.run(["tokens", "--json", "pfs:/y"]);
        let tokens = serde_json::from_slice::<Value>(&answer.stdout).unwrap_or_default();
        if tokens["tokens"].as_array().is_some_and(|tokens| !tokens.is_empty()) {
            break tokens;
        }
        assert!(std::time::Instant::now() < deadline, "no token seen: {answer:?}");
    };
    assert_eq!(held["tokens"][0]["mode"], "exclusive");
    assert_eq!(held["tokens"][0]["holders"][0]["kind"], "client");
    assert_eq!(held["tokens"][0]["end"], Value::Null, "the sole user has all of the file: {held}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_shell_can_eval_the_answer_of_start() {
    let cluster = Cluster::start(1);
    let script = format!(". '{}' && \"$PFS\" ls pfs:/", text(&cluster.dir().join("env")).replace('\'', r"'\''"));
    run(Command::new("sh").args(["-ec", &script]).env("PFS", env!("CARGO_BIN_EXE_pfs")), b"").success();
}
