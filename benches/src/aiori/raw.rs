//! The raw TCP reference behind the same loop as everybody: a file name is `HOST:PORT,HOST:PORT…/NAME.RANK`, and a rank's file
//! is a part of the store of the server whose turn it is. What plain sockets do that move, check and store the same bytes.
//!
//! It has no names: a file is there as soon as somebody opens it, and nothing removes it.

use crate::aiori::{Backend, Handle, Request, Space};
use crate::ior::plan::Call;
use anyhow::{Context, Result, bail, ensure};
use mpi::topology::SimpleCommunicator;
use pfs_bench_datapath::raw::RawClient;
use std::net::SocketAddr;

/// Bytes of one request, as of this file system's.
const REQUEST_BYTES: usize = 1 << 20;
/// The part of a store that is one rank's.
const PART_BYTES: u64 = 1 << 30;
/// Checksums are of blocks of so many bytes.
const BLOCK_BYTES: u64 = 4096;

/// The interface.
pub struct Raw;

struct Open {
    client: RawClient,
    start: u64,
    writes: bool,
}

/// The server of a file, and where the file begins in its store.
fn place(path: &str) -> Result<(SocketAddr, u64)> {
    let (servers, name) = path.split_once('/').context("a raw file name is HOST:PORT,HOST:PORT…/NAME")?;
    let rank = name.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
    let rank = rank.context("RAWTCP has files of single ranks only; use -F")?;
    let servers: Vec<&str> = servers.split(',').collect();
    let count = servers.len() as u64;
    let address = servers[(rank % count) as usize];
    Ok((address.parse().with_context(|| format!("{address:?} is no address"))?, rank / count * PART_BYTES))
}

impl Backend for Raw {
    fn open(&self, _comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        let (address, start) = place(path)?;
        let client = RawClient::connect(address).with_context(|| format!("connecting to {address}"))?;
        Ok(Box::new(Open { client, start, writes: request.purpose != crate::aiori::Purpose::Read }))
    }

    fn remove(&self, _path: &str) -> Result<()> {
        Ok(())
    }

    fn size(&self, _path: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    fn exists(&self, _path: &str) -> Result<bool> {
        Ok(false)
    }

    fn stat_file(&self, _path: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn stat_directory(&self, _path: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn make_node(&self, _path: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn make_directory(&self, _path: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn remove_directory(&self, _path: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn rename(&self, _from: &str, _to: &str) -> Result<()> {
        bail!("RAWTCP has no names")
    }

    fn space(&self, _path: &str) -> Result<Space> {
        Ok(Space { bytes: 0, free_bytes: 0, inodes: 0, free_inodes: 0 })
    }

    fn sync_all(&self) -> Result<()> {
        bail!("RAWTCP syncs open files only")
    }

    fn version(&self) -> String {
        String::new()
    }
}

impl Open {
    fn check(call: &Call, length: usize) -> Result<()> {
        let whole = call.offset.is_multiple_of(BLOCK_BYTES) && (length as u64).is_multiple_of(BLOCK_BYTES);
        ensure!(whole, "RAWTCP moves whole blocks of {BLOCK_BYTES} bytes only");
        ensure!(call.offset + length as u64 <= PART_BYTES, "RAWTCP has files of at most {PART_BYTES} bytes");
        Ok(())
    }
}

impl Handle for Open {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        Open::check(call, data.len())?;
        self.client.write_at(self.start + call.offset, data, REQUEST_BYTES)?;
        Ok(data.len() as u64)
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        Open::check(call, data.len())?;
        self.client.read_at(self.start + call.offset, data, REQUEST_BYTES)?;
        Ok(data.len() as u64)
    }

    fn sync(&mut self) -> Result<()> {
        self.client.sync()
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        // As a close of this file system makes all of it last.
        if self.writes { self.client.sync() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_take_servers_in_turn() {
        let of = |rank: u64| place(&format!("127.0.0.1:7,127.0.0.1:8/x.{rank:08}")).unwrap();
        assert_eq!((of(0).0.port(), of(0).1), (7, 0));
        assert_eq!((of(3).0.port(), of(3).1), (8, PART_BYTES));
        assert!(place("127.0.0.1:7/x").unwrap_err().to_string().contains("use -F"));
    }
}
