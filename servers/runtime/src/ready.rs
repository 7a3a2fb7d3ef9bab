//! The ready file: how a server tells who started it that it serves, and where.
//!
//! The file appears whole and only when the server answers; its content is one line of JSON.

use crate::durable::write_durably;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

/// What a ready file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Its process.
    pub pid: u32,
}

/// Says that this process serves at `address`.
pub fn write_ready_file(path: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let ready = Ready { address, pid: std::process::id() };
    let mut line = serde_json::to_vec(&ready).context("cannot encode the ready file")?;
    line.push(b'\n');
    write_durably(path, &line)
}

/// What a ready file says, or nothing as long as there is none.
pub fn read_ready_file(path: &Path) -> anyhow::Result<Option<Ready>> {
    match fs::read(path) {
        Ok(bytes) => {
            let ready = serde_json::from_slice(&bytes);
            ready.map(Some).with_context(|| format!("{} is not a ready file", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the ready file {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_starter_reads_what_the_server_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready");
        assert_eq!(read_ready_file(&path).unwrap(), None);
        let address = "127.0.0.1:7100".parse().unwrap();
        write_ready_file(&path, address).unwrap();
        assert_eq!(read_ready_file(&path).unwrap(), Some(Ready { address, pid: std::process::id() }));
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        fs::write(&path, "{}").unwrap();
        assert!(read_ready_file(&path).unwrap_err().to_string().contains("is not a ready file"));
    }
}
