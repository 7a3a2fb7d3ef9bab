//! A client that is stopped in the middle of a write for longer than its lease, and goes on as a zombie.
//!
//! Symptom, if the fence were none: the rest of its write lands over what somebody else has written and synced since, long
//! after the token was taken away. So here a client is stopped (SIGSTOP) when a part of one of its writes has reached the file
//! servers; its lease runs out; another client overwrites everything and syncs; then the first goes on (SIGCONT). Its write
//! must end in an error, and not one byte of the objects on the file servers' disks may change.
//!
//! The objects are read from the disks and not through the file system, so nothing that a server does can hide a byte.

use anyhow::{Context, Result, bail, ensure};
use pfs_testkit::ProcessCluster;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const FILE_SERVERS: usize = 3;
const UNIT_BYTES: usize = 64;
/// 16 MiB.
const UNITS: usize = (16 << 20) / UNIT_BYTES;
const LEASE_MS: u64 = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker of the fault harness, and its words.
struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(cluster: &ProcessCluster, number: u64, task: &str, data_path: &str) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pfs-faults"));
        command.args(["worker", "--metadata", &cluster.metadata_address(), "--path", "/zombie", "--task", task]);
        command.arg("--secret-file").arg(cluster.secret_file());
        command.args(["--data-path", data_path]);
        for (flag, value) in [("--units", UNITS as u64), ("--worker", number), ("--seed", number)] {
            command.arg(flag).arg(value.to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let (tell, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(|line| line.ok()).try_for_each(|line| tell.send(line)));
        Ok(Worker { child, lines })
    }

    /// The next line that begins so.
    fn line(&self, beginning: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(rest).with_context(|| format!("no line {beginning:?} came"))?;
            if line.starts_with(beginning) {
                return Ok(line);
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Runs a worker to its own end.
    fn finish(cluster: &ProcessCluster, number: u64, task: &str) -> Result<()> {
        let mut worker = Worker::start(cluster, number, task, "auto")?;
        worker.line("done")?;
        ensure!(worker.child.wait()?.success(), "the worker {task} failed");
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The objects of all file servers, as they are on their disks.
fn objects(cluster: &ProcessCluster) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for index in 0..FILE_SERVERS {
        collect(&cluster.files().file_server_store(index).join("objects"), &mut found)?;
    }
    Ok(found)
}

fn collect(directory: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.file_stem().is_some_and(|file| file.len() == 16) {
            // Not their checksums, and not the store's own files.
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(())
}

/// Which writes of a session the objects have units of.
fn writes_of(objects: &BTreeMap<PathBuf, Vec<u8>>, writer: u64) -> BTreeSet<u64> {
    let word = |unit: &[u8], at: usize| unit.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let units = objects.values().flat_map(|bytes| bytes.chunks_exact(UNIT_BYTES));
    units.filter(|unit| word(unit, 0) == Some(writer)).filter_map(|unit| word(unit, 8)).collect()
}

/// What has changed, in words.
fn difference(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut texts = Vec::new();
    for (path, bytes) in after {
        let old = before.get(path).map_or(&[][..], Vec::as_slice);
        let changed = |at: &usize| old.get(*at) != bytes.get(*at);
        let offsets: Vec<usize> = (0..bytes.len().max(old.len())).filter(changed).collect();
        if let (Some(first), Some(last)) = (offsets.first(), offsets.last()) {
            let unit = first - first % UNIT_BYTES;
            let now = &bytes[unit.min(bytes.len())..(unit + 24).min(bytes.len())];
            let count = offsets.len();
            texts.push(format!("{}: {count} bytes from {first} to {last}, now {now:?}", path.display()));
        }
    }
    texts.join("; ")
}

/// The newest write of a session of which an object's first unit is.
fn newest(directory: &Path, writer: u64) -> Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            newest = newest.max(self::newest(&path, writer)?);
            continue;
        }
        let mut words = [[0; 8]; 2];
        // What is shorter is no object, or has no unit yet.
        if fs::File::open(&path)?.read_exact(words.as_flattened_mut()).is_ok() {
            let [of_writer, sequence] = words.map(u64::from_le_bytes);
            newest = newest.max(if of_writer == writer { sequence } else { 0 });
        }
    }
    Ok(newest)
}

/// Stops the worker in the middle of a write. Its session's number.
fn stop_in_a_write(cluster: &ProcessCluster, worker: &Worker) -> Result<u64> {
    let session = worker.line("session ")?;
    let writer: u64 = session.split(' ').nth(2).context("a session has a writer")?.parse()?;
    // The first write makes the objects.
    worker.line("end ")?;
    let directory = cluster.files().file_server_store(0).join("objects");
    for _ in 0..500 {
        // Another one begins.
        let (before, deadline) = (newest(&directory, writer)?, Instant::now() + PATIENCE);
        while newest(&directory, writer)? <= before {
            ensure!(Instant::now() < deadline, "no write begins");
            std::thread::yield_now();
        }
        worker.signal(rustix::process::Signal::STOP)?;
        // Two writes are there in part: the one that is under way and the one before it.
        if writes_of(&objects(cluster)?, writer).len() > 1 {
            return Ok(writer);
        }
        worker.signal(rustix::process::Signal::CONT)?;
    }
    bail!("no write could be stopped halfway")
}

#[test]
fn a_zombie_never_changes_a_byte_after_its_fence() -> Result<()> {
    let cluster = ProcessCluster::builder(FILE_SERVERS).lease_ms(LEASE_MS).stripe_unit(64 << 10).start_processes()?;
    Worker::finish(&cluster, 1, "make")?;
    for (round, data_path) in (0..).zip(["bulk", "small", "unary"]) {
        let mut zombie = Worker::start(&cluster, 10 + round, "flood", data_path)?;
        let writer = stop_in_a_write(&cluster, &zombie)?;
        Worker::finish(&cluster, 20 + round, "overwrite")?;
        let before = objects(&cluster)?;
        ensure!(writes_of(&before, writer).is_empty(), "the other client has overwritten everything");
        // So that it does not begin again as a new client.
        zombie.child.stdin.take().context("no input")?.write_all(b"end\n")?;
        zombie.signal(rustix::process::Signal::CONT)?;
        let end = zombie.line("end ")?;
        ensure!(end.contains(" error "), "the zombie's write must fail: {end}");
        zombie.line("lost ")?;
        zombie.line("done")?;
        zombie.child.wait()?;
        let after = objects(&cluster)?;
        ensure!(before == after, "{data_path}: after the fence of {writer}: {}", difference(&before, &after));
    }
    cluster.stop()
}
