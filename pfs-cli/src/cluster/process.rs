//! Server processes: which one was started, whether it still runs, and how it is ended.
//!
//! A process id alone names nothing for long: the number is used again. A record holds what makes it unique: the
//! host, the kernel's boot and the process's start time. A process is signalled through a pidfd that was opened
//! before its identity was checked, so the signal can only reach the process that was checked.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Names one process of one boot of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    pid: i32,
    /// Clock ticks between the host's boot and the process's start.
    start_ticks: u64,
    boot_id: String,
    host: String,
}

/// What became of a recorded process.
#[derive(Debug)]
pub enum Presence {
    /// There is no record.
    NeverStarted,
    /// It has ended, or the host was started again since.
    Gone,
    /// It runs.
    Running(ServerProcess),
    /// It was started on this other host, which cannot be looked into from here.
    OtherHost(String),
}

/// A process that was recognised.
#[derive(Debug)]
pub struct ServerProcess {
    pid: i32,
    pidfd: OwnedFd,
}

impl ProcessRecord {
    /// The record of a process that certainly exists: a child that was not waited for.
    pub fn of_child(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let Some(state) = ProcessState::read(pid)? else {
            return Err(io::Error::new(ErrorKind::NotFound, format!("there is no process {pid}")));
        };
        Ok(ProcessRecord { pid, start_ticks: state.start_ticks, boot_id: boot_id()?, host: host_name() })
    }

    /// Looks for the process.
    pub fn find(&self) -> io::Result<Presence> {
        if self.host != host_name() {
            return Ok(Presence::OtherHost(self.host.clone()));
        }
        let Some(pid) = Some(self.pid).filter(|pid| *pid > 0).and_then(Pid::from_raw) else {
            return Ok(Presence::Gone);
        };
        if self.boot_id != boot_id()? {
            return Ok(Presence::Gone);
        }
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(Presence::Gone),
            Err(error) => return Err(error.into()),
        };
        match ProcessState::read(self.pid)? {
            Some(state) if state.start_ticks == self.start_ticks && !state.ended => {
                Ok(Presence::Running(ServerProcess { pid: self.pid, pidfd }))
            }
            _ => Ok(Presence::Gone),
        }
    }
}

impl ServerProcess {
    /// The process id, for messages.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Asks it to end.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it at once.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended; false when it still runs at the deadline.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut waited_for = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut waited_for, Some(&timespec(left))) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessState {
    start_ticks: u64,
    /// Ended, though not yet waited for by its parent.
    ended: bool,
}

impl ProcessState {
    fn read(pid: i32) -> io::Result<Option<Self>> {
        let file = format!("/proc/{pid}/stat");
        match fs::read_to_string(&file) {
            Ok(text) => match Self::parse(&text) {
                Some(state) => Ok(Some(state)),
                None => Err(io::Error::new(ErrorKind::InvalidData, format!("{file} is not understood"))),
            },
            Err(error)
                if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Field 3 is the state, field 22 the start time; field 2, the name in parentheses, may hold anything.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X" | "x");
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some(ProcessState { start_ticks, ended })
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let text = "17 (a) Z 1 (b) S 1 17 17 0 -1 4194560 97 0 0 0 0 0 0 0 20 0 1 0 8800 3 4";
        assert_eq!(ProcessState::parse(text), Some(ProcessState { start_ticks: 8800, ended: false }));
        assert_eq!(ProcessState::parse("17 (x) Z 1"), None);
    }

    #[test]
    fn a_running_process_is_found_and_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let record = ProcessRecord::of_child(child.id()).unwrap();
        let Presence::Running(process) = record.find().unwrap() else { panic!("not found") };
        assert!(!process.wait_until(Instant::now()).unwrap());
        process.terminate().unwrap();
        assert!(process.wait_until(Instant::now() + Duration::from_secs(10)).unwrap());
        assert!(matches!(record.find().unwrap(), Presence::Gone), "an ended process that nobody waited for was found");
        child.wait().unwrap();
        assert!(matches!(record.find().unwrap(), Presence::Gone));
        process.kill().unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_is_not_ours() {
        let own = ProcessRecord::of_child(std::process::id()).unwrap();
        assert!(matches!(own.find().unwrap(), Presence::Running(_)));
        for stranger in [
            ProcessRecord { start_ticks: own.start_ticks + 1, ..own.clone() },
            ProcessRecord { boot_id: "another boot".to_owned(), ..own.clone() },
            ProcessRecord { pid: 0, ..own.clone() },
            ProcessRecord { pid: -1, ..own.clone() },
        ] {
            assert!(matches!(stranger.find().unwrap(), Presence::Gone), "{stranger:?}");
        }
        let elsewhere = ProcessRecord { host: "elsewhere".to_owned(), ..own };
        assert!(matches!(elsewhere.find().unwrap(), Presence::OtherHost(host) if host == "elsewhere"));
    }
}
