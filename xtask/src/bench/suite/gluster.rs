//! GlusterFS on this machine by hand-made volume files, without its management daemon: bricks in memory, distributed by name
//! and sharded, mounted by FUSE over loopback.
//!
//! Invariant: when a [`Gluster`] is gone, so are its mount, its processes and its directory, however it went.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::step::{self, Step};

const MOUNT_LIMIT: Duration = Duration::from_secs(30);
const UMOUNT_LIMIT: Duration = Duration::from_secs(30);

/// A mounted volume.
pub struct Gluster {
    directory: TempDir,
    mount: PathBuf,
    processes: Vec<Child>,
}

impl Gluster {
    /// Starts so many bricks in `parent`, and mounts the volume.
    pub fn start(parent: &Path, bricks: u32) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pfs-gluster-").tempdir_in(parent)?;
        let mount = directory.path().join("mount");
        fs::create_dir(&mount)?;
        let mut gluster = Gluster { directory, mount, processes: Vec::new() };
        let ports = (0..bricks).map(|_| free_port()).collect::<Result<Vec<u16>>>()?;
        for (number, port) in ports.iter().enumerate() {
            let brick = gluster.path(&format!("brick{number}"));
            fs::create_dir(&brick)?;
            let volume = gluster.path(&format!("brick{number}.vol"));
            fs::write(&volume, brick_volume(&brick, *port))?;
            gluster.spawn("glusterfsd", &volume, None)?;
        }
        let volume = gluster.path("client.vol");
        fs::write(&volume, client_volume(&ports))?;
        let mount = gluster.mount.clone();
        gluster.spawn("glusterfs", &volume, Some(&mount))?;
        gluster.wait()?;
        Ok(gluster)
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// Takes it down.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn spawn(&mut self, program: &str, volume: &Path, mount: Option<&Path>) -> Result<()> {
        let log = volume.with_extension("log");
        let mut command = Command::new(program);
        // In the foreground, so that it is this program's child.
        command.arg("-N").arg("-f").arg(volume).arg("-l").arg(log).args(mount);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.processes.push(command.spawn().with_context(|| format!("starting {program}"))?);
        Ok(())
    }

    /// Until all bricks answer: then a directory can be listed and a file made.
    fn wait(&mut self) -> Result<()> {
        let started = Instant::now();
        let probe = self.mount().join("probe");
        while !(self.is_mounted() && fs::write(&probe, b"x").is_ok() && fs::remove_file(&probe).is_ok()) {
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!("a process of Gluster ended with {status}; logs are in {}", self.directory.path().display());
                }
            }
            ensure!(started.elapsed() < MOUNT_LIMIT, "Gluster was not mounted after {} s", MOUNT_LIMIT.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn is_mounted(&self) -> bool {
        let mount = self.mount().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        mounts.lines().any(|line| line.split(' ').nth(1) == Some(mount.as_str()))
    }

    fn end(&mut self) -> Result<()> {
        let unmounted = if self.is_mounted() {
            let mut command = Command::new("umount");
            command.arg("-l").arg(self.mount());
            Step::new("umount", command, UMOUNT_LIMIT).cleaning_up().run().map(drop)
        } else {
            Ok(())
        };
        self.processes.drain(..).for_each(|mut process| step::end(&mut process));
        unmounted
    }
}

impl Drop for Gluster {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("taking Gluster down: {error:#}");
        }
    }
}

fn free_port() -> Result<u16> {
    // Given back at once; nobody else here asks for a port in between.
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn brick_volume(brick: &Path, port: u16) -> String {
    let directory = brick.display();
    format!(
        "volume posix\n type storage/posix\n option directory {directory}\n option shared-brick-count 1\nend-volume\n\
         volume locks\n type features/locks\n subvolumes posix\nend-volume\n\
         volume threads\n type performance/io-threads\n subvolumes locks\nend-volume\n\
         volume brick\n type protocol/server\n option transport-type tcp\n\
         \x20option transport.socket.bind-address 127.0.0.1\n option transport.socket.listen-port {port}\n\
         \x20option auth.addr.threads.allow 127.0.0.1\n subvolumes threads\nend-volume\n"
    )
}

fn client_volume(ports: &[u16]) -> String {
    let mut text = String::new();
    for (number, port) in ports.iter().enumerate() {
        text += &format!(
            "volume client{number}\n type protocol/client\n option transport-type tcp\n option remote-host 127.0.0.1\n\
             \x20option remote-port {port}\n option remote-subvolume threads\nend-volume\n"
        );
    }
    let all: Vec<String> = (0..ports.len()).map(|number| format!("client{number}")).collect();
    // Shards are what spreads a shared file over the bricks.
    text + &format!(
        "volume spread\n type cluster/distribute\n subvolumes {}\nend-volume\n\
         volume shard\n type features/shard\n option shard-block-size 4MB\n subvolumes spread\nend-volume\n\
         volume behind\n type performance/write-behind\n subvolumes shard\nend-volume\n\
         volume names\n type performance/md-cache\n subvolumes behind\nend-volume\n",
        all.join(" ")
    )
}
