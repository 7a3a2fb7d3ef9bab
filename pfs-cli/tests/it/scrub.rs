//! Stores that were damaged behind their servers' backs: the scrub tells exactly what, and no read gives wrong bytes.

use crate::harness::{Cluster, noise, run};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const UNIT: usize = 65_536;
/// 1.5 stripe units in slot 0, one in slot 1.
const BYTES: usize = 2 * UNIT + UNIT / 2;

fn copy_in(cluster: &Cluster, name: &str, bytes: usize) -> Vec<u8> {
    let content = noise(bytes, name.len() as u64);
    let copy = ["cp", "--stripe-unit", "64K", "--stripe-count", "2", "-", name];
    run(&mut cluster.command(copy), &content).success();
    content
}

/// The answer of `pfs scrub --json`, and whether its exit status says that all is sound.
fn scrub<const N: usize>(cluster: &Cluster, paths: [&str; N]) -> (Value, bool) {
    let outcome = run(cluster.command(["scrub", "--json"]).args(paths), b"");
    let report = serde_json::from_slice(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {}", outcome.stderr));
    match outcome.status.code() {
        Some(0) => (report, true),
        Some(1) => (report, false),
        other => panic!("{other:?}: {}", outcome.stderr),
    }
}

/// The object file of a slot of a file, and the name of its server.
fn object_file(cluster: &Cluster, name: &str, slot: usize) -> (PathBuf, String) {
    let layout = cluster.json(["layout", "--json", name]);
    let server = layout["slots"][slot]["server_name"].as_str().unwrap().to_owned();
    let object = format!("{:016x}.{slot:04x}", layout["id"].as_u64().unwrap());
    let folders = fs::read_dir(cluster.dir().join(&server).join("objects")).unwrap();
    let mut paths = folders.map(|folder| folder.unwrap().path().join(&object));
    (paths.find(|path| path.exists()).expect("the object is there"), server)
}

fn flip(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, bytes: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn sums_of(object: &Path) -> PathBuf {
    let mut name = object.as_os_str().to_owned();
    name.push(".sums");
    PathBuf::from(name)
}

fn range(start: usize, end: usize) -> Value {
    json!({"start": start, "end": end})
}

/// What was found of a file: its ranges, each with its server; neighbours in the file are joined.
fn damage_of(report: &Value, path: &str) -> Vec<(Value, String)> {
    let damage = report["damage"].as_array().unwrap().iter().filter(|damage| damage["path"] == path);
    let ranges = damage.flat_map(|damage| {
        let server = damage["server"].as_str().unwrap().to_owned();
        damage["file_ranges"].as_array().unwrap().iter().map(move |range| (range.clone(), server.clone()))
    });
    ranges.collect()
}

#[test]
fn a_sound_cluster_is_sound() {
    let cluster = Cluster::start(3);
    assert!(scrub(&cluster, []).1, "an empty one too");
    cluster.ok(["mkdir", "pfs:/d"]);
    copy_in(&cluster, "pfs:/d/one", BYTES);
    copy_in(&cluster, "pfs:/two", 5 << 20);
    let (report, sound) = scrub(&cluster, []);
    assert!(sound && report["sound"] == true && report["damage"] == json!([]), "{report}");
    let sum =
        |key: &str| -> u64 { report["servers"].as_array().unwrap().iter().map(|s| s[key].as_u64().unwrap()).sum() };
    assert_eq!((sum("objects"), sum("bytes")), (4, (BYTES + (5 << 20)) as u64));
    let (report, sound) = scrub(&cluster, ["pfs:/d"]);
    let bytes = report["servers"].as_array().unwrap().iter().map(|s| s["bytes"].as_u64().unwrap()).sum::<u64>();
    assert_eq!((bytes, sound), (BYTES as u64, true));
    let text = cluster.ok(["scrub", "--rate", "1G"]);
    assert_eq!(text.matches("sound").count(), 3, "{text}");
    assert!(cluster.fails(["scrub", "pfs:/nothing"]).contains("pfs:/nothing"));
}

#[test]
fn damage_is_told_exactly_and_never_read() {
    let mut cluster = Cluster::start(2);
    let names = ["pfs:/bit", "pfs:/sum", "pfs:/no-sums", "pfs:/cut-sums", "pfs:/cut-object", "pfs:/gone"];
    let sound = copy_in(&cluster, "pfs:/sound", BYTES);
    for name in names {
        copy_in(&cluster, name, BYTES);
    }
    let (objects, servers): (Vec<PathBuf>, Vec<String>) =
        names.iter().map(|name| object_file(&cluster, name, 0)).unzip();
    cluster.stop().success();
    // Slot 0 has the file's first stripe unit and half of the third: object offsets from 64K on are file offsets from 128K on.
    flip(&objects[0], 3 * 4096 + 5);
    flip(&sums_of(&objects[1]), 2 * 4);
    fs::remove_file(sums_of(&objects[2])).unwrap();
    cut(&sums_of(&objects[3]), 20 * 4);
    cut(&objects[4], 10 * 4096);
    cluster.start_with(&[]);
    fs::remove_file(&objects[5]).unwrap();

    let (report, is_sound) = scrub(&cluster, []);
    assert!(!is_sound && report["sound"] == false);
    let whole = [range(0, UNIT), range(2 * UNIT, BYTES)];
    let expected = [
        vec![range(3 * 4096, 4 * 4096)],
        vec![range(2 * 4096, 3 * 4096)],
        whole.to_vec(),
        vec![range(2 * UNIT + 4 * 4096, BYTES)],
        vec![range(10 * 4096, UNIT), range(2 * UNIT, BYTES)],
    ];
    for ((name, server), expected) in names.iter().zip(&servers).zip(expected) {
        let expected: Vec<_> = expected.into_iter().map(|range| (range, server.clone())).collect();
        assert_eq!(damage_of(&report, name), expected, "{name} in {report:#}");
    }
    let gone = report["damage"].as_array().unwrap().iter().find(|damage| damage["path"] == "pfs:/gone");
    assert!(gone.is_some_and(|gone| gone["problem"].as_str().unwrap().contains("gone")), "{report:#}");
    assert_eq!(damage_of(&report, "pfs:/sound"), []);
    assert!(scrub(&cluster, ["pfs:/sound"]).1);
    assert!(!scrub(&cluster, ["pfs:/sound", "pfs:/sum"]).1);
    let said = run(&mut cluster.command(["scrub", "pfs:/bit"]), b"");
    assert_eq!(said.status.code(), Some(1));
    let table = String::from_utf8(said.stdout).unwrap();
    assert!(table.contains("[12288, 16384)") && table.contains(&servers[0]), "{table}");
    assert!(said.stderr.contains("1 damaged range in 1 file"), "{}", said.stderr);

    for (name, server) in names.iter().zip(&servers) {
        let read = cluster.run(["cp", name, "-"]);
        assert_eq!(read.status.code(), Some(1), "{name} was read: {}", read.stderr);
        // A client tells the number of a server, a server its name.
        let number = cluster.json(["layout", "--json", name])["slots"][0]["server_id"].to_string();
        let named = read.stderr.contains(server) || read.stderr.contains(&format!("server-{number} "));
        assert!(named, "{name} on {server}: {}", read.stderr);
    }
    let read = cluster.run(["cp", "pfs:/sound", "-"]);
    assert!(read.status.success() && read.stdout == sound);
}

#[test]
fn what_is_not_looked_at_is_not_called_sound() {
    let cluster = Cluster::start(2);
    copy_in(&cluster, "pfs:/x", BYTES);
    let pid = cluster.pid("file-1");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    crate::harness::wait_until_gone(pid);
    let (report, sound) = scrub(&cluster, []);
    assert!(!sound && report["damage"] == json!([]), "{report}");
    let problems: Vec<_> = report["servers"].as_array().unwrap().iter().filter(|s| !s["problem"].is_null()).collect();
    assert_eq!(problems.len(), 1, "{report}");
    assert_eq!(problems[0]["name"], "file-1");
}
