//! A client process and what it tells.

use crate::clock::now_ns;
use crate::record::{Record, parse};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What a process has told so far, with the lines that made no sense.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Records with their times.
    pub records: Vec<(u64, Record)>,
    /// Lines, as they were.
    pub lines: Vec<String>,
    /// What could not be understood.
    pub nonsense: Vec<String>,
}

impl Told {
    /// Takes over one whole line.
    pub fn add(&mut self, line: &str) {
        self.lines.push(line.to_owned());
        match parse(line) {
            Ok(record) => self.records.push(record),
            Err(error) => self.nonsense.push(format!("{error:#}")),
        }
    }
}

/// A worker that has ended: its number, when something was done to it, when it was killed, and what it has told.
pub type Ended = (u64, Vec<u64>, Option<u64>, Told);

/// A worker's process; it never outlives this value.
pub struct WorkerProcess {
    /// The worker's number.
    pub number: u64,
    /// When something was done to it that may end its session.
    pub faults: Vec<u64>,
    /// When it was killed, if it was.
    pub killed: Option<u64>,
    child: Child,
    told: Arc<Mutex<Told>>,
    reader: Option<JoinHandle<()>>,
}

impl WorkerProcess {
    /// Starts a worker; its standard error goes to a file.
    pub fn start(mut command: Command, number: u64, errors: &Path) -> Result<Self> {
        let log = std::fs::File::create(errors).with_context(|| format!("cannot make {}", errors.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let output = child.stdout.take().context("a worker without an output")?;
        let told: Arc<Mutex<Told>> = Arc::default();
        let collected = told.clone();
        let reader = std::thread::spawn(move || collect(BufReader::new(output), &collected));
        Ok(WorkerProcess { number, faults: Vec::new(), killed: None, child, told, reader: Some(reader) })
    }

    /// What it has told.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has told something like this.
    pub fn has_told(&self, wanted: impl Fn(&Record) -> bool) -> bool {
        self.told().records.iter().any(|(_, record)| wanted(record))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to worker {}", self.number))
    }

    /// Ends it by SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill worker {}", self.number))?;
        self.child.wait().context("cannot wait for a worker")?;
        let now = now_ns();
        self.faults.push(now);
        self.killed = Some(now);
        Ok(())
    }

    /// Asks it to end when it is in order.
    pub fn ask_to_end(&mut self) {
        if let Some(mut input) = self.child.stdin.take() {
            // One that has ended needs no asking.
            let _ = input.write_all(b"end\n");
        }
    }

    /// Whether it has ended, and how it should not have.
    pub fn ended(&mut self) -> Result<Option<bool>> {
        Ok(self.child.try_wait().context("cannot look at a worker")?.map(|status| status.success()))
    }

    /// All it has told, once it has ended.
    pub fn into_told(mut self) -> Ended {
        self.end();
        let told = std::mem::take(&mut *self.told());
        (self.number, std::mem::take(&mut self.faults), self.killed, told)
    }

    fn end(&mut self) {
        // It can only fail for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            // A panic of the reader was printed.
            let _ = reader.join();
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        self.end();
    }
}

fn collect(mut output: impl BufRead, told: &Mutex<Told>) {
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|length| length > 0) {
        // A line without an end is of one that was killed while it wrote it.
        if let Some(whole) = line.strip_suffix('\n') {
            told.lock().unwrap_or_else(PoisonError::into_inner).add(whole);
        }
        line.clear();
    }
}
