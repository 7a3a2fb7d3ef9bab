//! What fails gives one clear error, the same on every rank, within seconds; what was there before is still there.

mod support;

use anyhow::{Context, Result, ensure};
use pfs_client::OpenOptions;
use pfs_core::path::PfsPath;
use pfs_examples::pattern;
use pfs_testkit::ProcessCluster;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::{Path, PathBuf};
use support::{Ranks, client, largest_group};

/// Bytes of the first write of rank 0, which is synced before anything fails.
const SYNCED_BYTES: usize = 1 << 20;

fn cases(cluster: &ProcessCluster, arguments: &[&str]) -> Result<Ranks> {
    Ranks::launch(cluster, largest_group(), env!("CARGO_BIN_EXE_rank_cases"), arguments)
}

/// The bytes that were synced before the failure are all there.
fn check_synced(cluster: &ProcessCluster, path: &str) -> Result<()> {
    let file = client(cluster)?.open(&PfsPath::parse(path)?, &OpenOptions::default())?;
    let mut bytes = vec![0; SYNCED_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    ensure!(length == SYNCED_BYTES, "only {length} bytes are left");
    let wrong = pattern::first_wrong(1, 0, &bytes);
    ensure!(wrong.is_none(), "the synced byte at {wrong:?} is wrong");
    Ok(())
}

#[test]
fn nobody_at_the_address() -> Result<()> {
    let cluster = ProcessCluster::start(1)?;
    let output =
        cases(&cluster, &["open-fails", "--file", "pfs://127.0.0.1:1/x", "--class", "MPI_ERR_IO"])?.succeed()?;
    ensure!(output.contains("127.0.0.1:1"), "the error names the address: {output}");
    cluster.stop()
}

#[test]
fn a_metadata_server_that_is_down() -> Result<()> {
    let mut cluster = ProcessCluster::start(1)?;
    cluster.kill_metadata();
    cases(&cluster, &["open-fails", "--file", "pfs:/x", "--class", "MPI_ERR_IO"])?.succeed()?;
    Ok(())
}

/// A file server dies between two collective writes.
#[test]
fn a_file_server_that_is_down() -> Result<()> {
    let mut cluster = ProcessCluster::start(2)?;
    let arguments = ["write-fails", "--file", "pfs:/x", "--class", "MPI_ERR_IO", "--limit", "64m", "--wait"];
    let mut group = cases(&cluster, &arguments)?;
    group.wait_for("ready")?;
    cluster.kill_file_server(1);
    group.go_on()?;
    group.succeed()?;
    cluster.start_file_server(1)?;
    check_synced(&cluster, "/x")?;
    cluster.stop()
}

/// One file server's disk is a small file system that fills up. Mounting it needs root.
#[test]
fn a_full_disk() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let small = SmallFileSystem::mount(directory.path(), 24 << 20)?;
    let cluster = ProcessCluster::builder(2).file_server_directory(1, small.path.join("store")).start_processes()?;
    let arguments = ["write-fails", "--file", "pfs:/x", "--class", "MPI_ERR_NO_SPACE", "--limit", "1g"];
    let output = cases(&cluster, &arguments)?.succeed()?;
    ensure!(output.contains("failed as it should"), "{output}");
    check_synced(&cluster, "/x")?;
    drop(cluster);
    Ok(())
}

/// A mounted tmpfs.
struct SmallFileSystem {
    path: PathBuf,
}

impl SmallFileSystem {
    fn mount(path: &Path, bytes: u64) -> Result<SmallFileSystem> {
        let options = std::ffi::CString::new(format!("size={bytes}"))?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), &*options)
            .context("cannot mount a tmpfs; run this test as root")?;
        Ok(SmallFileSystem { path: path.to_owned() })
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {error}", self.path.display());
        }
    }
}
