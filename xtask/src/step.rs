//! One launched command with a name, a time limit and its output kept.
//!
//! Invariants: a step ends. Past its time limit, or on a signal, the command and every descendant gets SIGTERM, then
//! SIGKILL. Output goes to files and not to pipes, so a server that outlives its launcher keeps no reader waiting.
//! Standard input is closed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;

use crate::{interrupt, processes};

/// How long a command has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(8);
/// How often a waiting step looks at its child.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A step that says nothing for this long is reported as still running.
const STILL_RUNNING_EVERY: Duration = Duration::from_secs(60);

/// Where the command's output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// Standard output into a file, standard error shown: for programs that report progress there.
    StderrShown,
    /// Into a file, returned at the end.
    Kept,
}

/// A command about to be run.
pub struct Step {
    name: String,
    command: Command,
    limit: Duration,
    output: Output,
    heeds_interrupt: bool,
}

/// What a command that ran to its own end left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output.
    pub stdout: String,
    /// Standard error; empty if it was shown.
    pub stderr: String,
}

impl Step {
    /// A step that keeps the output of `command` and may run for `limit`.
    pub fn new(name: impl Into<String>, command: Command, limit: Duration) -> Self {
        Self { name: name.into(), command, limit, output: Output::Kept, heeds_interrupt: true }
    }

    /// Lets the command write its standard error to the terminal as it goes.
    pub fn showing_stderr(mut self) -> Self {
        self.output = Output::StderrShown;
        self
    }

    /// Part of a clean-up: a signal that already came does not end it, only its time limit does.
    pub fn cleaning_up(mut self) -> Self {
        self.heeds_interrupt = false;
        self
    }

    /// Runs the command to its end; an exit status other than 0 is an error that carries the output.
    pub fn run(self) -> Result<Finished> {
        let name = self.name.clone();
        let finished = self.run_any_status()?;
        if !finished.status.success() {
            bail!("{name}: {}{}", finished.status, finished.indented_output());
        }
        Ok(finished)
    }

    /// Runs the command to its end and returns whatever exit status it had.
    pub fn run_any_status(mut self) -> Result<Finished> {
        if self.heeds_interrupt {
            interrupt::check()?;
        }
        let (mut stdout, mut stderr) = (temporary_file()?, temporary_file()?);
        self.command.stdin(Stdio::null()).stdout(stdout.try_clone()?).process_group(0);
        if self.output == Output::Kept {
            self.command.stderr(stderr.try_clone()?);
        }
        let started = Instant::now();
        let program = self.command.get_program().to_string_lossy().into_owned();
        let mut child = self.command.spawn().with_context(|| format!("{}: starting {program}", self.name))?;
        let waited = self.wait(&mut child, started);
        let (stdout, stderr) = (contents(&mut stdout)?, contents(&mut stderr)?);
        match waited {
            Ok(status) => Ok(Finished { status, stdout, stderr }),
            // What it said explains a time limit; a signal needs no explanation.
            Err(error) if self.output == Output::Kept && !interrupt::requested() => {
                Err(anyhow!("{error:#}{}", indented(&stdout, &stderr)))
            }
            Err(error) => Err(error),
        }
    }

    fn wait(&self, child: &mut Child, started: Instant) -> Result<ExitStatus> {
        let mut reported = started;
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("{}: waiting", self.name))? {
                return Ok(status);
            }
            if self.heeds_interrupt && interrupt::requested() {
                end(child);
                bail!("{}: interrupted by a signal", self.name);
            }
            if started.elapsed() > self.limit {
                end(child);
                bail!("{}: not done after {} s, ended", self.name, self.limit.as_secs());
            }
            if self.output == Output::Kept && reported.elapsed() > STILL_RUNNING_EVERY {
                reported = Instant::now();
                eprintln!("    {} has been running for {} s", self.name, started.elapsed().as_secs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Finished {
    /// Both outputs, indented for a report; empty if there was none.
    pub fn indented_output(&self) -> String {
        indented(&self.stdout, &self.stderr)
    }
}

/// Ends a child and all its descendants: asks, waits, then insists.
pub fn end(child: &mut Child) {
    let mut tree = processes::tree(child.id());
    for process in &tree {
        process.signal(Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < GRACE {
        let child_runs = matches!(child.try_wait(), Ok(None));
        if !child_runs && !tree.iter().any(|process| process.runs()) {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    tree.extend(processes::tree(child.id()));
    for process in &tree {
        process.signal(Signal::KILL);
    }
    // Its status no longer matters; waiting only takes it off the process table.
    let _status = child.wait();
}

fn temporary_file() -> Result<File> {
    tempfile::tempfile().context("making a temporary file for a command's output")
}

fn contents(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).context("rewinding a command's output")?;
    file.read_to_end(&mut bytes).context("reading a command's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn indented(stdout: &str, stderr: &str) -> String {
    let lines = [("stdout", stdout), ("stderr", stderr)].into_iter().filter(|(_, text)| !text.trim().is_empty());
    lines
        .flat_map(|(stream, text)| {
            std::iter::once(format!("\n  {stream}:")).chain(text.lines().map(|l| format!("\n    {l}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_are_kept() {
        let finished = Step::new("both", shell("echo out; echo err >&2"), Duration::from_secs(10)).run().unwrap();
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        let failed = Step::new("bad", shell("echo why; exit 3"), Duration::from_secs(10)).run().unwrap_err();
        assert!(format!("{failed}").contains("why"), "{failed}");
    }

    /// A rank launcher that hangs must not stop the suite, and its ranks must not stay behind.
    #[test]
    fn a_step_past_its_limit_is_ended_with_its_descendants() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let script = format!("setsid sleep 1000 & echo $! > {}; wait", pid_file.display());
        let error = Step::new("hang", shell(&script), Duration::from_millis(500)).run().unwrap_err();
        assert!(format!("{error}").contains("not done after"), "{error}");
        let pid = std::fs::read_to_string(pid_file).unwrap();
        assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).join("exe").exists());
    }

    /// A server started by a step keeps its output open; the step must end all the same.
    #[test]
    fn a_descendant_that_keeps_the_output_open_delays_nobody() {
        let started = Instant::now();
        let finished = Step::new("daemon", shell("sleep 30 & echo $!"), Duration::from_secs(20)).run().unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        let id: u32 = finished.stdout.trim().parse().unwrap();
        for process in processes::tree(id) {
            process.signal(Signal::KILL);
        }
    }
}
