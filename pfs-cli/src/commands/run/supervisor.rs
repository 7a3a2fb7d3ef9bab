//! Children of `pfs run`: started, told of signals, and waited for.
//!
//! Invariants: a child that was started has ended when [`Supervisor::run`] returns. A signal that comes between two
//! children keeps the next one from starting. A child leads no process group of its own, so it may read the terminal; a
//! terminal's own Ctrl-C reaches it without us, and is not sent a second time.

use crate::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// How often a child is looked at: SIGCHLD would need tokio's own processes, and this is soon enough.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What shells return for a program that is there and cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// What shells return for a program that is not there.
const NOT_FOUND: u8 = 127;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this status.
    Status(u8),
    /// By this signal.
    Signal(i32),
}

impl Ending {
    /// The ending that is no failure.
    pub const SUCCESS: Ending = Ending::Status(0);

    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Status(u8::try_from(code).unwrap_or(u8::MAX)),
            (None, signal) => Ending::Signal(signal.unwrap_or(0)),
        }
    }

    /// The exit status that a shell would give.
    pub fn status(self) -> u8 {
        match self {
            Ending::Status(status) => status,
            Ending::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Status(status) => write!(f, "exit status {status}"),
            Ending::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// Runs children one after the other, and catches signals from its making on.
pub struct Supervisor {
    runtime: Runtime,
    signals: Caught,
    told: Option<Signal>,
    grace: Duration,
}

impl Supervisor {
    /// One that kills a child `grace` after a signal that it did not heed.
    pub fn new(grace: Duration) -> Result<Self, Failure> {
        let cannot = |error: io::Error| Failure::cannot("watch for signals", &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let signals = {
            let _entered = runtime.enter();
            Caught::new().map_err(cannot)?
        };
        Ok(Supervisor { runtime, signals, told: None, grace })
    }

    /// Whether a signal has asked for the end.
    pub fn was_told_to_end(&self) -> bool {
        self.told.is_some()
    }

    /// Runs a child to its end, and says how that was.
    pub fn run(&mut self, mut command: Command) -> Result<Ending, Failure> {
        let Supervisor { runtime, signals, told, grace } = self;
        runtime.block_on(async {
            if told.is_none() {
                *told = signals.pending().await;
            }
            if let Some(signal) = *told {
                return Ok(Ending::Signal(signal.as_raw()));
            }
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return refused(&command, &error),
            };
            watch(&mut child, signals, told, *grace).await
        })
    }
}

/// A program that was not started is told and has a status of its own.
fn refused(command: &Command, error: &io::Error) -> Result<Ending, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        io::ErrorKind::PermissionDenied => NOT_EXECUTABLE,
        _ => return Err(Failure::cannot(format_args!("run {program}"), error)),
    };
    Failure::cannot(format_args!("run {program}"), error).report();
    Ok(Ending::Status(status))
}

async fn watch(
    child: &mut Child,
    signals: &mut Caught,
    told: &mut Option<Signal>,
    grace: Duration,
) -> Result<Ending, Failure> {
    let cannot = |error: io::Error| Failure::cannot("wait for the program", &error);
    let mut deadline = None;
    loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            return Ok(Ending::of(status));
        }
        if deadline.is_some_and(|deadline| tokio::time::Instant::now() >= deadline) {
            eprintln!("pfs: the program did not end within {} s and is killed", grace.as_secs());
            child.kill().map_err(cannot)?;
            deadline = None;
        }
        tokio::select! {
            signal = signals.next() => {
                told.get_or_insert(signal);
                deadline.get_or_insert_with(|| tokio::time::Instant::now() + grace);
                tell(child, signal).map_err(cannot)?;
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn tell(child: &Child, signal: Signal) -> io::Result<()> {
    if signal == Signal::INT && terminal_is_ours() {
        return Ok(());
    }
    // Not waited for yet, so the number is still the child's.
    Ok(kill_process(Pid::from_child(child), signal)?)
}

/// Whether what is typed at the terminal goes to our process group, and so to the child.
fn terminal_is_ours() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// The signals that ask a program to end, and which one it was.
struct Caught([(Signal, tokio::signal::unix::Signal); 3]);

impl Caught {
    fn new() -> io::Result<Self> {
        Ok(Caught([
            (Signal::INT, signal(SignalKind::interrupt())?),
            (Signal::TERM, signal(SignalKind::terminate())?),
            (Signal::HUP, signal(SignalKind::hangup())?),
        ]))
    }

    async fn next(&mut self) -> Signal {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.1.recv() => interrupt.0,
            _ = terminate.1.recv() => terminate.0,
            _ = hang_up.1.recv() => hang_up.0,
        }
    }

    /// A signal that has come already.
    async fn pending(&mut self) -> Option<Signal> {
        tokio::select! {
            biased;
            signal = self.next() => Some(signal),
            () = tokio::task::yield_now() => None,
        }
    }
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
    fn an_ending_is_the_programs_own() {
        let mut supervisor = Supervisor::new(Duration::from_secs(5)).unwrap();
        assert_eq!(supervisor.run(shell("exit 7")).unwrap(), Ending::Status(7));
        let killed = supervisor.run(shell("kill -KILL $$")).unwrap();
        assert_eq!((killed, killed.status()), (Ending::Signal(9), 137));
        assert_eq!(supervisor.run(Command::new("/nonexistent/x")).unwrap(), Ending::Status(127));
        assert_eq!(supervisor.run(Command::new("/")).unwrap(), Ending::Status(126));
        assert_eq!(supervisor.run(shell("true")).unwrap(), Ending::SUCCESS);
        assert!(!supervisor.was_told_to_end());
    }
}
