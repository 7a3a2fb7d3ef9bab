//! An MPI job that takes part in a round: how it is launched, what is done to its ranks, and what they have told.
//!
//! The ranks run the program `pfs-fault-ranks` on one host, and each tells what it does in a file of its own. A launcher ends a
//! job when one of its processes dies, so a shell stays in the place of each; the job is over when every rank that was not
//! killed has said its last word.
//!
//! What a rank gave to another one in a collective write may be written as long as any rank lives. So nothing of a session that
//! did not end in good order is taken to be over before the job is.

use crate::clock::now_ns;
use crate::plan::FaultKind;
use crate::process::{Ended, Told};
use crate::record::Record;
use anyhow::{Context, Result, bail};
use pfs_client::DataPath;
use pfs_testkit::ProcessCluster;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The launcher: the workspace's programs are built for Open MPI unless they are asked for otherwise.
pub const MPIRUN: &str = "mpirun.openmpi";
/// The program of a rank; it lies beside this one.
const PROGRAM: &str = "pfs-fault-ranks";
/// Sessions and calls in each: about as much work as the faults of a round need.
const SESSIONS: u64 = 3;
const TURNS: u64 = 40;
/// How often the files of the ranks are looked at.
const POLL: Duration = Duration::from_millis(10);
/// Seconds for which ranks wait for each other at an open or a close.
const GROUP_PATIENCE_S: &str = "20";

/// What the ranks are to do.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The number of rank 0 among all workers.
    pub first: u64,
    /// How many.
    pub ranks: usize,
    /// The file.
    pub path: &'a str,
    /// Units of the file.
    pub units: u64,
    /// What they do is drawn from this.
    pub seed: u64,
    /// How bytes go to and from file servers.
    pub data_path: DataPath,
}

/// A job; none of its processes outlives this value.
pub struct RankJob {
    launcher: Child,
    directory: PathBuf,
    first: u64,
    /// By rank: when it was killed, if it was.
    killed: Vec<Option<u64>>,
    /// When something was done to any of them.
    faults: Vec<u64>,
}

impl RankJob {
    /// Launches the job: `command` is the launcher on the ranks' host.
    pub fn start(mut command: Command, job: &Job<'_>, cluster: &ProcessCluster, directory: &Path) -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this executable is")?;
        let program = own.with_file_name(PROGRAM);
        if !program.exists() {
            bail!("{} is missing; build it with `cargo build -p {PROGRAM}`", program.display());
        }
        let log = directory.join(format!("ranks-{}.log", job.first));
        let log = fs::File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", &job.ranks.to_string()]);
        command.args(["/bin/sh", "-c", r#""$0" "$@"; exec sleep 600"#]).arg(program);
        command.args(["--path", job.path]).arg("--records").arg(directory);
        let numbers = [
            ("--units", job.units),
            ("--worker", job.first),
            ("--seed", job.seed),
            ("--sessions", SESSIONS),
            ("--turns", TURNS),
        ];
        for (flag, value) in numbers {
            command.arg(flag).arg(value.to_string());
        }
        command.env("PFS_METADATA", cluster.metadata_address()).env("PFS_SECRET_FILE", cluster.secret_file());
        command.env("PFS_DATA_PATH", job.data_path.name()).env("PFS_GROUP_PATIENCE_S", GROUP_PATIENCE_S);
        command.env("OMPI_MCA_mpi_yield_when_idle", "1");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .process_group(0);
        let launcher = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let killed = vec![None; job.ranks];
        Ok(RankJob { launcher, directory: directory.to_owned(), first: job.first, killed, faults: Vec::new() })
    }

    /// Whether every rank has the file open.
    pub fn has_begun(&self) -> Result<bool> {
        let begun = |rank| Ok(self.told(rank)?.records.iter().any(|(_, record)| is_session(record)));
        self.ranks().map(begun).try_fold(true, |all, one: Result<bool>| Ok(all && one?))
    }

    /// Begins or ends what is done to one rank.
    pub fn fault(&mut self, rank: usize, kind: FaultKind, begins: bool) -> Result<()> {
        if self.killed[rank].is_some() {
            return Ok(());
        }
        let signal = match (kind, begins) {
            (FaultKind::KillRank, true) => Signal::KILL,
            (FaultKind::StopRank, true) => Signal::STOP,
            (FaultKind::StopRank, false) => Signal::CONT,
            (FaultKind::KillRank, false) => return Ok(()),
            (kind, _) => bail!("{} can not be done to rank {rank}", kind.name()),
        };
        let told = self.told(rank)?;
        if told.records.iter().any(|(_, record)| is_last(record)) {
            return Ok(());
        }
        let process = told.records.iter().find_map(|(_, record)| match record {
            Record::Session { process, .. } => i32::try_from(*process).ok(),
            _ => None,
        });
        let process = process.and_then(Pid::from_raw).with_context(|| format!("rank {rank} has told no process id"))?;
        match kill_process(process, signal) {
            Ok(()) => {}
            // It has just said its last word.
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => bail!("cannot send {signal:?} to rank {rank}: {error}"),
        }
        if kind == FaultKind::KillRank {
            self.killed[rank] = Some(now_ns());
        }
        Ok(())
    }

    /// Something has just been done to a rank, or to all.
    pub fn note_fault(&mut self) {
        self.faults.push(now_ns());
    }

    /// Waits for the last words of all ranks, and ends the job. `hangs` gets those that do not come.
    pub fn finish(mut self, patience: Duration, hangs: &mut Vec<String>) -> Result<Vec<Ended>> {
        let deadline = Instant::now() + patience;
        let mut late = self.unfinished()?;
        while !late.is_empty() && Instant::now() < deadline {
            crate::interrupt::check()?;
            sleep(POLL);
            late = self.unfinished()?;
        }
        for rank in late {
            let told = self.told(rank)?;
            let words = told.lines.last().map(|line| line.chars().take(300).collect::<String>());
            hangs.push(format!("rank {rank} did not end within {patience:?} after all faults were over: {words:?}"));
        }
        self.end();
        let over = now_ns();
        let ended = |rank: usize| {
            let mut told = self.told(rank)?;
            for (time, _) in told.records.iter_mut().filter(|(_, record)| matches!(record, Record::Lost(_))) {
                *time = over;
            }
            let gone = self.killed[rank].map(|_| over);
            Ok((self.first + rank as u64, self.faults.iter().map(|_| over).collect(), gone, told))
        };
        self.ranks().map(ended).collect()
    }

    fn ranks(&self) -> std::ops::Range<usize> {
        0..self.killed.len()
    }

    fn unfinished(&self) -> Result<Vec<usize>> {
        let mut late = Vec::new();
        for rank in self.ranks().filter(|rank| self.killed[*rank].is_none()) {
            if !self.told(rank)?.records.iter().any(|(_, record)| is_last(record)) {
                late.push(rank);
            }
        }
        Ok(late)
    }

    /// What a rank has told so far.
    fn told(&self, rank: usize) -> Result<Told> {
        let path = self.directory.join(format!("worker-{}.txt", self.first + rank as u64));
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut told = Told::default();
        // A line without an end is being written, or is of a rank that was killed meanwhile.
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).for_each(|line| told.add(line));
        Ok(told)
    }

    fn end(&mut self) {
        // The ranks are in groups of their own; the launcher ends them when it is asked to.
        for signal in [Signal::TERM, Signal::KILL] {
            let Some(group) = i32::try_from(self.launcher.id()).ok().and_then(Pid::from_raw) else { return };
            // It can only fail for one that has ended.
            let _ = kill_process_group(group, signal);
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline {
                if !matches!(self.launcher.try_wait(), Ok(None)) {
                    return;
                }
                sleep(POLL);
            }
        }
    }
}

impl Drop for RankJob {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_session(record: &Record) -> bool {
    matches!(record, Record::Session { .. })
}

fn is_last(record: &Record) -> bool {
    matches!(record, Record::Lost(_) | Record::Done)
}
