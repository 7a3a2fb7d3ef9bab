//! The raw TCP reference behind the same loop as everybody: what plain sockets do that move, check and store the same bytes.
//!
//! - By itself each rank has a file, `HOST:PORT,HOST:PORT…/NAME.RANK`: a part of the store of the server whose turn it is.
//! - A shared file, `HOST:PORT,HOST:PORT…/NAME`, is of pieces of one length that ranks have in turn. A piece lies in the part
//!   of its rank, from a block's start on. Before each transfer ranks tell each other in two reductions that they are there and
//!   how many bytes they have, which is the least that a collective call does to find out what the others want.
//!
//! It has no names: a file is there as soon as somebody opens it, and to remove it empties the stores that it is in, so that
//! what is written next is new to the server as it is to everybody else's.

use crate::aiori::{Backend, Handle, Purpose, Request, Space};
use crate::ior::plan::Call;
use anyhow::{Context, Result, bail, ensure};
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_bench_datapath::raw::RawClient;
use std::net::SocketAddr;

/// Bytes of one request, as of this file system's.
const REQUEST_BYTES: usize = 1 << 20;
/// The part of a store that is one rank's.
const PART_BYTES: u64 = 1 << 30;
/// Checksums are of blocks of so many bytes.
const BLOCK_BYTES: u64 = 4096;

/// The interface.
pub struct Raw {
    /// For a shared file of pieces in turn.
    pub shared: bool,
}

/// A rank's own file.
struct Own {
    client: RawClient,
    start: u64,
    writes: bool,
}

/// A shared file, and the ranks that move its pieces together.
struct Shared {
    pieces: Pieces,
    ranks: SimpleCommunicator,
}

/// Pieces of one length, on servers.
struct Pieces {
    servers: Vec<RawClient>,
    /// Servers that were written to and not synced.
    changed: Vec<bool>,
    ranks: u64,
}

/// The servers that a file name begins with, and the rest of it.
fn servers(path: &str) -> Result<(Vec<SocketAddr>, &str)> {
    let (servers, name) = path.split_once('/').context("a raw file name is HOST:PORT,HOST:PORT…/NAME")?;
    let address = |text: &str| text.parse().with_context(|| format!("{text:?} is no address"));
    Ok((servers.split(',').map(address).collect::<Result<_>>()?, name))
}

/// The server of a rank's own file, and where the file begins in its store.
fn place(path: &str) -> Result<(SocketAddr, u64)> {
    let (servers, name) = servers(path)?;
    let rank = name.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
    let rank = rank.context("RAWTCP has files of single ranks only; use -F")?;
    let (server, start) = part(rank, servers.len());
    Ok((servers[server], start))
}

/// Which of the servers has a rank's part, and where it begins.
fn part(rank: u64, servers: usize) -> (usize, u64) {
    let count = servers as u64;
    ((rank % count) as usize, rank / count * PART_BYTES)
}

fn connect(address: SocketAddr) -> Result<RawClient> {
    RawClient::connect(address).with_context(|| format!("connecting to {address}"))
}

impl Backend for Raw {
    fn open(&self, comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        if self.shared {
            let ranks = comm.duplicate();
            let pieces = Pieces::connect(&servers(path)?.0, u64::try_from(ranks.size())?)?;
            return Ok(Box::new(Shared { pieces, ranks }));
        }
        let (address, start) = place(path)?;
        Ok(Box::new(Own { client: connect(address)?, start, writes: request.purpose != Purpose::Read }))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let of_file = if self.shared { servers(path)?.0 } else { vec![place(path)?.0] };
        of_file.into_iter().try_for_each(|address| connect(address)?.empty())
    }

    fn size(&self, _path: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    fn exists(&self, _path: &str) -> Result<bool> {
        Ok(true)
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

impl Own {
    fn check(call: &Call, length: usize) -> Result<()> {
        let whole = call.offset.is_multiple_of(BLOCK_BYTES) && (length as u64).is_multiple_of(BLOCK_BYTES);
        ensure!(whole, "RAWTCP moves whole blocks of {BLOCK_BYTES} bytes only");
        ensure!(call.offset + length as u64 <= PART_BYTES, "RAWTCP has files of at most {PART_BYTES} bytes");
        Ok(())
    }
}

impl Handle for Own {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        Own::check(call, data.len())?;
        self.client.write_at(self.start + call.offset, data, REQUEST_BYTES)?;
        Ok(data.len() as u64)
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        Own::check(call, data.len())?;
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

impl Pieces {
    /// Connects to all servers, for any of them may have what is read.
    fn connect(servers: &[SocketAddr], ranks: u64) -> Result<Pieces> {
        let servers: Vec<RawClient> = servers.iter().map(|address| connect(*address)).collect::<Result<_>>()?;
        Ok(Pieces { changed: vec![false; servers.len()], servers, ranks })
    }

    /// Which server has the piece at an offset of the file, and where.
    fn place(&self, offset: u64, length: usize) -> Result<(usize, u64)> {
        let length = length as u64;
        ensure!(length > 0 && offset.is_multiple_of(length), "RAWTCPSHARED moves pieces of one length only");
        let (piece, room) = (offset / length, length.next_multiple_of(BLOCK_BYTES));
        let (server, start) = part(piece % self.ranks, self.servers.len());
        let within = piece / self.ranks * room;
        ensure!(within + room <= PART_BYTES, "RAWTCPSHARED has at most {PART_BYTES} bytes of a rank");
        Ok((server, start + within))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let (server, at) = self.place(offset, data.len())?;
        self.changed[server] = true;
        self.servers[server].write_at(at, data, REQUEST_BYTES)
    }

    fn read(&mut self, offset: u64, data: &mut [u8]) -> Result<()> {
        let (server, at) = self.place(offset, data.len())?;
        self.servers[server].read_at(at, data, REQUEST_BYTES)
    }

    fn sync(&mut self) -> Result<()> {
        let changed = self.servers.iter_mut().zip(&mut self.changed).filter(|(_, changed)| **changed);
        changed.into_iter().try_for_each(|(server, changed)| {
            *changed = false;
            server.sync()
        })
    }
}

impl Shared {
    /// The two reductions.
    fn agree(&self, length: usize) {
        let (mut absent, mut most) = (0u64, 0u64);
        self.ranks.all_reduce_into(&0u64, &mut absent, SystemOperation::sum());
        self.ranks.all_reduce_into(&(length as u64), &mut most, SystemOperation::max());
    }
}

impl Handle for Shared {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        self.agree(data.len());
        self.pieces.write(call.offset, data)?;
        Ok(data.len() as u64)
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        self.agree(data.len());
        self.pieces.read(call.offset, data)?;
        Ok(data.len() as u64)
    }

    fn sync(&mut self) -> Result<()> {
        self.pieces.sync()
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.pieces.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_bench_datapath::raw::Server;
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;

    fn serve(directory: &Path) -> SocketAddr {
        let server = Server::open(directory, 2 * PART_BYTES, [127, 0, 0, 1].into()).unwrap();
        let address = server.address().unwrap();
        // It serves until the test program ends.
        std::thread::spawn(move || server.serve());
        address
    }

    fn two_servers() -> (Vec<TempDir>, Vec<SocketAddr>) {
        let stores: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
        let addresses = stores.iter().map(|store| serve(store.path())).collect();
        (stores, addresses)
    }

    #[test]
    fn ranks_take_servers_in_turn() {
        let of = |rank: u64| place(&format!("127.0.0.1:7,127.0.0.1:8/x.{rank:08}")).unwrap();
        assert_eq!((of(0).0.port(), of(0).1), (7, 0));
        assert_eq!((of(3).0.port(), of(3).1), (8, PART_BYTES));
        assert!(place("127.0.0.1:7/x").unwrap_err().to_string().contains("use -F"));
    }

    /// Three ranks have the pieces of a small file in turn; each rank's lie together at its server, and another client reads
    /// all of them as they were written.
    #[test]
    fn pieces_are_read_from_where_their_rank_has_written_them() {
        const PIECE: usize = 47_008;
        const RANKS: u64 = 3;
        let (stores, addresses) = two_servers();
        let piece = |number: u64| (0..PIECE).map(|at| (at as u64 * 31 + number * 7 + 1) as u8).collect::<Vec<u8>>();
        for rank in 0..RANKS {
            let mut pieces = Pieces::connect(&addresses, RANKS).unwrap();
            for number in (rank..12).step_by(RANKS as usize) {
                pieces.write(number * PIECE as u64, &piece(number)).unwrap();
            }
            pieces.sync().unwrap();
        }
        let mut reader = Pieces::connect(&addresses, RANKS).unwrap();
        let mut read = vec![0; PIECE];
        for number in 0..12 {
            reader.read(number * PIECE as u64, &mut read).unwrap();
            assert!(read == piece(number), "piece {number}");
        }
        // Ranks 0 and 2 share the first server; rank 1 has the second one, its second piece behind its first.
        let stored = fs::read(stores[1].path().join("data")).unwrap();
        let at = PIECE.next_multiple_of(BLOCK_BYTES as usize);
        assert!(stored[at..at + PIECE] == piece(4));
        assert!(reader.read(1, &mut read).is_err(), "a piece begins at a multiple of its length");
    }

    #[test]
    fn a_removed_file_is_empty_at_its_servers() {
        let (stores, addresses) = two_servers();
        let names: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let length = |store: usize| fs::metadata(stores[store].path().join("data")).unwrap().len();
        let fill = || {
            let mut pieces = Pieces::connect(&addresses, 2).unwrap();
            (0..2).for_each(|number| pieces.write(number * 8192, &[7; 8192]).unwrap());
        };
        fill();
        Raw { shared: false }.remove(&format!("{}/x.00000001", names.join(","))).unwrap();
        assert_eq!([0, 1].map(length), [8192, 0]);
        fill();
        Raw { shared: true }.remove(&format!("{}/x", names.join(","))).unwrap();
        assert_eq!([0, 1].map(length), [0, 0]);
    }
}
