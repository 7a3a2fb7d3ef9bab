//! Servers of the raw TCP reference, one for each rank of a job.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::step;

const BYTES_MAX: u64 = 4 << 30;

/// They run until this is dropped.
pub struct RawServers {
    servers: Vec<Child>,
    addresses: Vec<String>,
    _stores: TempDir,
}

impl RawServers {
    /// Starts so many, their stores in `parent`.
    pub fn start(parent: &Path, program: &Path, count: u32) -> Result<Self> {
        let stores = tempfile::Builder::new().prefix("pfs-raw-").tempdir_in(parent)?;
        let mut all = RawServers { servers: Vec::new(), addresses: Vec::new(), _stores: stores };
        for number in 0..count {
            let store = all._stores.path().join(number.to_string());
            std::fs::create_dir(&store)?;
            let mut command = Command::new(program);
            command.args(["serve", "--bytes-max", &BYTES_MAX.to_string(), "--dir"]).arg(store);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            all.servers.push(command.spawn().context("starting a raw TCP server")?);
            let output = all.servers.last_mut().and_then(|server| server.stdout.take()).context("it has no output")?;
            let mut address = String::new();
            BufReader::new(output).read_line(&mut address).context("reading a raw TCP server's address")?;
            all.addresses.push(address.trim().to_owned());
        }
        Ok(all)
    }

    /// All addresses, as a file name of `pfs-ior`.
    pub fn addresses(&self) -> String {
        self.addresses.join(",")
    }

    /// Ends them.
    pub fn stop(self) {}
}

impl Drop for RawServers {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(step::end);
    }
}
