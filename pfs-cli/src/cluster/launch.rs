//! Starting servers as background processes and waiting until they are ready.
//!
//! Invariants: every process that was started is either kept by [`Launch::keep`] or ended before [`Launch`] is gone.
//! A server is ready when its ready file is there; the file of an earlier start is removed before the launch.

use super::directory::ClusterDirectory;
use super::nodes::Launcher;
use super::process::{Presence, ProcessRecord, ServerProcess};
use crate::failure::Failure;
use crate::signals::Signals;
use pfs_server_runtime::read_ready_file;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::env;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// What is asked over a connection is asked less often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a server that is not wanted after all may take to end by itself.
const GIVE_UP_GRACE: Duration = Duration::from_secs(3);
const LOG_TAIL_LINES: usize = 12;
const LOG_TAIL_BYTES: u64 = 8 << 10;

/// Servers that are being started. Dropped without [`Launch::keep`], it ends them all.
pub struct Launch<'a> {
    directory: &'a ClusterDirectory,
    deadline: Instant,
    signals: Signals,
    servers: Vec<StartedServer>,
}

struct StartedServer {
    name: String,
    child: Child,
    /// Where in its log this run begins.
    log_start: u64,
}

impl<'a> Launch<'a> {
    /// A launch that gives up at `deadline`, or when the user interrupts it.
    pub fn new(directory: &'a ClusterDirectory, deadline: Instant) -> Result<Self, Failure> {
        let signals = Signals::catch().map_err(|error| Failure::cannot("watch for signals", &error))?;
        Ok(Launch { directory, deadline, signals, servers: Vec::new() })
    }

    /// Starts `pfs server ARGUMENTS…` in a session of its own.
    pub fn start(&mut self, name: &str, arguments: &[OsString]) -> Result<(), Failure> {
        self.directory.remove_run_files(name)?;
        let server =
            self.spawn(name, arguments).map_err(|error| Failure::cannot(format_args!("start {name}"), &error))?;
        let pid = server.child.id();
        self.servers.push(server);
        ProcessRecord::of_child(pid)
            .and_then(|record| self.directory.write_pid_file(name, &record))
            .map_err(|error| Failure::cannot(format_args!("record the process of {name}"), &error))
    }

    /// Starts a launcher in a session of its own. Its input has one line, and stays open as long as it lives.
    pub fn start_launcher(&mut self, launcher: &Launcher, line: &str) -> Result<(), Failure> {
        let Launcher { name, command, .. } = launcher;
        self.directory.remove_run_files(name)?;
        let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
        let tried = format!("run `{}`", words.join(" "));
        let input = self.input(name, line).map_err(|error| Failure::cannot(&tried, &error))?;
        let mut program = Command::new(&command[0]);
        program.args(&command[1..]).stdin(input);
        let server = self.spawn_command(name, program).map_err(|error| Failure::cannot(&tried, &error))?;
        let pid = server.child.id();
        self.servers.push(server);
        ProcessRecord::of_child(pid)
            .and_then(|record| self.directory.write_pid_file(name, &record))
            .map_err(|error| Failure::cannot(format_args!("record the process of {name}"), &error))
    }

    /// A FIFO that is open for both, so that whoever reads it meets no end before it ends itself.
    fn input(&self, name: &str, line: &str) -> io::Result<File> {
        let path = self.directory.input_file(name);
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
        let mut input = OpenOptions::new().read(true).write(true).open(&path)?;
        // It is far shorter than what a FIFO takes without a reader.
        input.write_all(line.as_bytes())?;
        Ok(input)
    }

    fn spawn(&self, name: &str, arguments: &[OsString]) -> io::Result<StartedServer> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("server").args(arguments).stdin(Stdio::null());
        self.spawn_command(name, command)
    }

    fn spawn_command(&self, name: &str, mut command: Command) -> io::Result<StartedServer> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.directory.log_file(name))?;
        let log_start = log.metadata()?.len();
        command.current_dir("/").stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec only setsid is called, which is async-signal-safe and takes no memory.
        unsafe {
            command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
        }
        Ok(StartedServer { name: name.to_owned(), child: command.spawn()?, log_start })
    }

    /// Waits until the server is ready and returns the address that it listens at.
    pub async fn wait_ready(&mut self, name: &str) -> Result<SocketAddr, Failure> {
        loop {
            self.check_all_live()?;
            if let Some(address) = self.ready_address(name)? {
                return Ok(address);
            }
            if Instant::now() >= self.deadline {
                return Err(self.explain(
                    name,
                    "it was not ready in time",
                    "look at its log, or give it longer with --timeout-s",
                ));
            }
            tokio::select! {
                () = self.signals.next() => return Err(Failure::because("start the cluster", "interrupted")),
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Waits until `done` says so, as long as everything lives that was started.
    pub async fn wait_until(
        &mut self,
        name: &str,
        mut done: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        loop {
            self.check_all_live()?;
            if done()? {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                let next_step =
                    "see its log, whether the nodes reach --listen or --advertise, or give it longer with --timeout-s";
                return Err(self.explain(name, "not all file servers were up in time", next_step));
            }
            tokio::select! {
                () = self.signals.next() => return Err(Failure::because("start the cluster", "interrupted")),
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    fn ready_address(&self, name: &str) -> Result<Option<SocketAddr>, Failure> {
        let ready = read_ready_file(&self.directory.ready_file(name))
            .map_err(|error| Failure::cannot(format_args!("start {name}"), error.as_ref()))?;
        Ok(ready.map(|ready| ready.address))
    }

    /// A server that died fails the launch at once, whichever one is being waited for.
    fn check_all_live(&mut self) -> Result<(), Failure> {
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            let name = server.name.clone();
            match server.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    return Err(self.explain(&name, &format!("it ended with {status}"), "its log says why"));
                }
                Err(error) => return Err(Failure::cannot(format_args!("watch {name}"), &error)),
            }
        }
        Ok(())
    }

    /// Prints the end of a server's log and makes a failure of the rest.
    fn explain(&self, name: &str, problem: &str, next_step: &str) -> Failure {
        let log = self.directory.log_file(name);
        let log_start = self.servers.iter().find(|server| server.name == name).map_or(0, |server| server.log_start);
        match log_tail(&log, log_start) {
            Ok(lines) => {
                eprintln!("the end of {}:", log.display());
                lines.iter().for_each(|line| eprintln!("  {line}"));
            }
            Err(error) => eprintln!("{} cannot be read: {error}", log.display()),
        }
        Failure::because(format_args!("start {name}"), problem).next(format_args!("{next_step} ({})", log.display()))
    }

    /// Lets the servers run on without this process.
    pub fn keep(mut self) {
        self.servers.clear();
    }
}

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        let processes: Vec<_> = self.servers.iter().rev().filter_map(|server| recognised(&server.child)).collect();
        for process in &processes {
            let _ = process.terminate();
        }
        let deadline = Instant::now() + GIVE_UP_GRACE;
        for process in &processes {
            if !matches!(process.wait_until(deadline), Ok(true)) {
                let _ = process.kill();
            }
        }
        for server in &mut self.servers {
            let _ = server.child.kill();
            let _ = server.child.wait();
            let _ = self.directory.remove_run_files(&server.name);
        }
    }
}

fn recognised(child: &Child) -> Option<ServerProcess> {
    match ProcessRecord::of_child(child.id()).and_then(|record| record.find()) {
        Ok(Presence::Running(process)) => Some(process),
        _ => None,
    }
}

/// The last lines of a log, at most from `start` on.
fn log_tail(log: &Path, start: u64) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let end = file.metadata()?.len();
    let from = start.max(end.saturating_sub(LOG_TAIL_BYTES));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_of_this_run() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        log.write_all(b"old line\n").unwrap();
        for number in 0..20 {
            writeln!(log, "line {number}").unwrap();
        }
        let path = log.path().to_owned();
        let lines = log_tail(&path, 9).unwrap();
        assert_eq!((lines.len(), lines[0].as_str(), lines[11].as_str()), (12, "line 8", "line 19"));
        let end = log.as_file().metadata().unwrap().len();
        assert_eq!(log_tail(&path, end - 8).unwrap(), ["line 19"]);
    }
}
