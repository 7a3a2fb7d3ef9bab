//! Launches groups of ranks by the real `mpirun`, bounded in time, and reads the servers' counters.
//!
//! `PFS_MPIRUN` is the launcher with its options, `PFS_TEST_RANKS` the group sizes to test (`2,3,4`).

#![allow(dead_code)] // every test program uses a part of this

use anyhow::{Context, Result, bail, ensure};
use pfs_client::ClientConfig;
use pfs_client::blocking::Client;
use pfs_testkit::ProcessCluster;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a group of ranks may take unless a test says otherwise.
pub const LAUNCH_TIME_MAX: Duration = Duration::from_secs(240);
/// How long the launcher may take to end its ranks.
const END_TIME_MAX: Duration = Duration::from_secs(10);

const MPIRUN_DEFAULT: &str = "mpirun.openmpi --allow-run-as-root --oversubscribe";

/// The group sizes to test.
pub fn group_sizes() -> Vec<u32> {
    let sizes = std::env::var("PFS_TEST_RANKS").unwrap_or_else(|_| "2,3,4".to_owned());
    sizes.split(',').map(|size| size.trim().parse().expect("PFS_TEST_RANKS is a list of numbers")).collect()
}

/// The largest group to test.
pub fn largest_group() -> u32 {
    group_sizes().into_iter().max().expect("PFS_TEST_RANKS names a size")
}

/// A client of the test itself.
pub fn client(cluster: &ProcessCluster) -> Result<Client> {
    Ok(Client::connect(ClientConfig::new(vec![cluster.metadata_address()], cluster.secret_file()))?)
}

/// What the metadata server has counted: token requests and revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub requests: u64,
    pub revokes: u64,
}

impl Traffic {
    pub fn of(client: &Client) -> Result<Traffic> {
        let tokens = client.cluster_status(false)?.tokens.context("the status has token counters")?;
        Ok(Traffic { requests: tokens.requests, revokes: tokens.revokes })
    }

    /// What was counted since `before`.
    pub fn since(self, before: Traffic) -> Traffic {
        Traffic { requests: self.requests - before.requests, revokes: self.revokes - before.revokes }
    }
}

/// A running group of ranks. Ended by force when dropped or when its time is over.
pub struct Ranks {
    name: String,
    launcher: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    errors: Option<JoinHandle<String>>,
    deadline: Instant,
}

/// What a group of ranks has printed, and how it ended.
pub struct Finished {
    pub status: ExitStatus,
    pub output: String,
    pub errors: String,
}

impl Ranks {
    /// Launches `ranks` ranks of a program against a cluster.
    pub fn launch(cluster: &ProcessCluster, ranks: u32, program: &str, arguments: &[&str]) -> Result<Ranks> {
        Ranks::launch_with(cluster, ranks, program, arguments, &[])
    }

    /// The same with more in the environment of every rank.
    pub fn launch_with(
        cluster: &ProcessCluster,
        ranks: u32,
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Ranks> {
        let mpirun = std::env::var("PFS_MPIRUN").unwrap_or_else(|_| MPIRUN_DEFAULT.to_owned());
        let mut words = mpirun.split_whitespace();
        let mut command = Command::new(words.next().context("PFS_MPIRUN is empty")?);
        command.args(words).args(["-n", &ranks.to_string()]).arg(program).args(arguments);
        command.env("PFS_METADATA", cluster.metadata_address()).env("PFS_SECRET_FILE", cluster.secret_file());
        command.envs(variables.iter().copied());
        // With more ranks than cores, Open MPI's waiting ranks must let the others run.
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut launcher = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (output, errors) = (launcher.stdout.take(), launcher.stderr.take());
        let (send, lines) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(output.expect("standard output is a pipe")).lines();
            lines.map_while(std::io::Result::ok).try_for_each(|line| send.send(line))
        });
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            // What can not be read is not shown.
            let _ = errors.expect("standard error is a pipe").read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let name = format!("{ranks} ranks of {program} {}", arguments.join(" "));
        let input = launcher.stdin.take();
        let deadline = Instant::now() + LAUNCH_TIME_MAX;
        Ok(Ranks { name, launcher, input, lines, seen: Vec::new(), errors: Some(errors), deadline })
    }

    /// Gives the group another time limit from now on.
    pub fn within(mut self, limit: Duration) -> Ranks {
        self.deadline = Instant::now() + limit;
        self
    }

    /// Waits until the group prints this line.
    pub fn wait_for(&mut self, wanted: &str) -> Result<()> {
        loop {
            match self.next_line()? {
                Some(line) if line == wanted => return Ok(()),
                Some(_) => {}
                None => {
                    let finished = self.collect()?;
                    bail!("{}: ended without printing {wanted:?}\n{}{}", self.name, finished.output, finished.errors);
                }
            }
        }
    }

    /// Waits until the group has printed a line that starts like this, which may have been before; returns its rest.
    pub fn wait_for_start(&mut self, wanted: &str) -> Result<String> {
        let rest = |line: &String| line.strip_prefix(wanted).map(str::to_owned);
        if let Some(rest) = self.seen.iter().find_map(rest) {
            return Ok(rest);
        }
        loop {
            match self.next_line()? {
                Some(line) => match rest(&line) {
                    Some(rest) => return Ok(rest),
                    None => continue,
                },
                None => {
                    let finished = self.collect()?;
                    bail!("{}: ended without printing {wanted:?}…\n{}{}", self.name, finished.output, finished.errors);
                }
            }
        }
    }

    /// Sends rank 0 an empty line.
    pub fn go_on(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("the input was closed")?;
        writeln!(input).and_then(|()| input.flush()).with_context(|| format!("{}: does not listen", self.name))
    }

    /// Waits for the end of the group.
    ///
    /// Its input stays open until then: MPICH's launcher at times fails when its input ends while its ranks do.
    pub fn finish(mut self) -> Result<Finished> {
        while self.next_line()?.is_some() {}
        self.collect()
    }

    /// Waits for the end of the group, which must be success.
    pub fn succeed(self) -> Result<String> {
        let name = self.name.clone();
        let finished = self.finish()?;
        ensure!(finished.status.success(), "{name}: {}\n{}{}", finished.status, finished.output, finished.errors);
        Ok(finished.output)
    }

    /// The next line of the output; nothing when the output has ended.
    fn next_line(&mut self) -> Result<Option<String>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
                bail!("{}: did not end in time\n{}\n{errors}", self.name, self.seen.join("\n"))
            }
        }
    }

    /// Collects what is left when the output has ended.
    fn collect(&mut self) -> Result<Finished> {
        let status = self.wait_until(self.deadline)?;
        let status = status.with_context(|| format!("{}: closed its output and did not end", self.name))?;
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Finished { status, output: self.seen.join("\n"), errors })
    }

    fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.launcher.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends launcher and ranks: first by asking the launcher, which knows its ranks, then by force.
    fn end(&mut self) {
        let group = i32::try_from(self.launcher.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
        for signal in [Signal::TERM, Signal::KILL] {
            // It fails only if all of them have ended.
            let _ = kill_process_group(group, signal);
            if matches!(self.wait_until(Instant::now() + END_TIME_MAX), Ok(Some(_))) {
                return;
            }
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        if matches!(self.launcher.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
