//! A Slurm of its own on this machine: controller, several nodes and munge, all in one temporary directory.
//!
//! Invariants: nothing outside the directory is written, no port is fixed and munge has its own key and socket, so it
//! disturbs no Slurm that is installed for use. When a [`Slurm`] is gone, so are its daemons, its job steps and its
//! directory.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::step::{self, Step};
use crate::{interrupt, processes, workspace};

/// How many virtual nodes there are; a job of two leaves others free for one that runs beside it.
pub const NODES: u32 = 4;
const CPUS_PER_NODE: u32 = 8;
/// How long credentials last, and how long a requeued job waits.
const CREDENTIAL_SECONDS: u32 = 8;
const READY_LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longer than the 107 bytes of a Unix socket's name would not do for munge's.
const DIRECTORY_BYTES_MAX: usize = 80;

/// A running batch system.
pub struct Slurm {
    // Dropped in this order: daemons first, newest first, and the directory last.
    daemons: Vec<Daemon>,
    directory: TempDir,
}

impl Slurm {
    /// Starts munge, the controller and [`NODES`] nodes, and waits until all nodes are idle.
    pub fn start(pfs: &Path) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("pfs-slurm-").tempdir().context("making a directory for Slurm")?;
        let mut slurm = Self { daemons: Vec::new(), directory };
        slurm.prepare_directory()?;
        slurm.start_munge()?;
        fs::write(slurm.configuration(), slurm.configuration_text()?).context("writing slurm.conf")?;
        let script = workspace::root()?.join("slurm/burst_buffer.lua");
        fs::copy(&script, slurm.directory().join("burst_buffer.lua")).context("copying the burst buffer's script")?;
        fs::create_dir(slurm.burst_buffers()).context("making a folder for burst buffers")?;
        let mut controller = slurm.daemon_command("slurmctld");
        controller.env("PFS_BIN", pfs).env("PFS_BB_DIR", slurm.burst_buffers());
        slurm.daemon("slurmctld", controller)?;
        for node in 1..=NODES {
            let mut command = slurm.daemon_command("slurmd");
            command.args(["-N", &format!("n{node}")]);
            slurm.daemon(&format!("slurmd-n{node}"), command)?;
        }
        slurm.wait_until_idle()?;
        Ok(slurm)
    }

    /// The directory of this Slurm, in which jobs may keep theirs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the burst buffer makes file systems.
    pub fn burst_buffers(&self) -> PathBuf {
        self.directory.path().join("bb")
    }

    /// A Slurm command (`sbatch`, `scancel`, …) that speaks to this Slurm.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    /// Runs a Slurm command to its end and returns what it printed.
    pub fn answer(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        command.args(arguments);
        Ok(Step::new(program, command, COMMAND_LIMIT).run()?.stdout.trim().to_owned())
    }

    fn prepare_directory(&self) -> Result<()> {
        let root = self.directory.path();
        if root.as_os_str().len() > DIRECTORY_BYTES_MAX {
            bail!(
                "the temporary directory {} has too long a name for a socket in it; set TMPDIR to a shorter one",
                root.display()
            );
        }
        for name in ["munge", "state", "spool", "log"] {
            fs::create_dir(root.join(name)).with_context(|| format!("making {name} in {}", root.display()))?;
        }
        for node in 1..=NODES {
            fs::create_dir_all(root.join(format!("tmp/n{node}")))?;
        }
        // Munge wants a way to its socket that every user can go.
        for directory in [root.to_path_buf(), root.join("munge")] {
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn configuration(&self) -> PathBuf {
        self.directory.path().join("slurm.conf")
    }

    fn start_munge(&mut self) -> Result<()> {
        let munge = self.directory.path().join("munge");
        let mut key = [0u8; 1024];
        random(&mut key)?;
        fs::write(munge.join("key"), key).context("writing munge's key")?;
        fs::set_permissions(munge.join("key"), fs::Permissions::from_mode(0o600))?;
        let mut command = Command::new(daemon_path("munged"));
        command.arg("--foreground");
        for (option, file) in
            [("socket", "socket"), ("key-file", "key"), ("pid-file", "pid"), ("seed-file", "seed"), ("log-file", "log")]
        {
            command.arg(format!("--{option}={}", munge.join(file).display()));
        }
        self.daemon("munged", command)?;
        self.wait("munge's socket", || Ok(munge.join("socket").exists()))
    }

    fn daemon_command(&self, program: &str) -> Command {
        let mut command = self.command(daemon_path(program));
        command.args(["-D", "-f"]).arg(self.configuration());
        command
    }

    fn daemon(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = fs::File::create(self.directory.path().join(format!("log/{name}.out")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        self.daemons.insert(0, Daemon(child));
        Ok(())
    }

    fn wait_until_idle(&self) -> Result<()> {
        self.wait("all nodes to be idle", || {
            let mut command = self.command("sinfo");
            command.args(["--noheader", "--Node", "--format=%T"]);
            let answer = Step::new("sinfo", command, COMMAND_LIMIT).run_any_status()?;
            let idle = answer.stdout.lines().filter(|state| state.trim() == "idle").count();
            Ok(u32::try_from(idle).is_ok_and(|idle| idle == NODES))
        })
    }

    fn wait(&self, what: &str, ready: impl Fn() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        while !ready()? {
            interrupt::check()?;
            if started.elapsed() > READY_LIMIT {
                bail!("waited {} s for {what}:\n{}", READY_LIMIT.as_secs(), self.logs());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The last lines of every daemon's log, for messages.
    pub fn logs(&self) -> String {
        let Ok(entries) = fs::read_dir(self.directory.path().join("log")) else { return String::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| last_lines(path)).collect()
    }

    fn configuration_text(&self) -> Result<String> {
        let directory = self.directory.path().display();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let user = if rustix::process::geteuid().is_root() { "root".to_owned() } else { std::env::var("USER")? };
        let ports = free_ports(NODES as usize + 1)?;
        let mut text = format!(
            "ClusterName=pfs
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket,cred_expire={CREDENTIAL_SECONDS}
CredType=cred/munge
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
TmpFS={directory}/tmp/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/log/slurmctld.log
SlurmdLogFile={directory}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
BurstBufferType=burst_buffer/lua
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldTimeout=60
SlurmdTimeout=60
KillWait=10
MinJobAge=300
PropagateResourceLimits=NONE
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
",
            controller_port = ports[0],
        );
        for (node, port) in (1..=NODES).zip(&ports[1..]) {
            text += &format!(
                "NodeName=n{node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS_PER_NODE} RealMemory=1000 State=UNKNOWN\n"
            );
        }
        Ok(text)
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let mut cancel = self.command("scancel");
        cancel.args(["--partition=debug", "--quiet"]);
        // Steps that a cancel does not reach are ended below with everything else.
        let _cancelled = Step::new("scancel", cancel, COMMAND_LIMIT).cleaning_up().run();
        let asked = Instant::now();
        let step_runs =
            || processes::naming(self.directory.path()).iter().any(|p| processes::describe(*p).contains("slurmstepd"));
        while step_runs() && asked.elapsed() < Duration::from_secs(15) {
            std::thread::sleep(LOOK_EVERY);
        }
        self.daemons.clear();
        for process in processes::naming(self.directory.path()) {
            process.signal(Signal::KILL);
        }
    }
}

/// A daemon in the foreground, ended when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        step::end(&mut self.0);
    }
}

/// Daemons lie in a folder that is not on every user's path.
fn daemon_path(program: &str) -> &str {
    match program {
        "munged" => "/usr/sbin/munged",
        "slurmctld" => "/usr/sbin/slurmctld",
        "slurmd" => "/usr/sbin/slurmd",
        other => other,
    }
}

fn random(bytes: &mut [u8]) -> Result<()> {
    use std::io::Read as _;
    fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes)).context("reading /dev/urandom")
}

/// Ports that nobody listened on a moment ago.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<TcpListener>> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let listeners = listeners.context("looking for free ports on the loopback interface")?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<std::io::Result<_>>()?)
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let kept = &lines[lines.len().saturating_sub(8)..];
    if kept.is_empty() { String::new() } else { format!("  {}:\n    {}\n", path.display(), kept.join("\n    ")) }
}
