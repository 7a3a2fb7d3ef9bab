//! The interfaces that `pfs-ior` and `pfs-mdtest` work through, behind two traits, as IOR has them.
//!
//! Invariants: a call moves all of its bytes or says how many; what is collective is called by all ranks of the communicator
//! that the file was opened on.

mod client;
mod hints;
mod mpiio;
mod pfs;
mod posix;
mod raw;
mod types;

pub use hints::gathered as gathered_hints;

use crate::ior::plan::{Box3, Call};
use anyhow::Result;
use mpi::topology::SimpleCommunicator;

/// Which interface the bytes and names go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// This file system's MPI-IO library.
    Pfs,
    /// This file system's client library, each rank by itself.
    Client,
    /// The MPI library's own MPI-IO.
    Mpiio,
    /// The operating system's files.
    Posix,
    /// The raw TCP reference of the benches, a file for each rank.
    Raw,
    /// The same for pieces of a shared file, after two reductions over all ranks each.
    RawShared,
}

const APIS: [Api; 6] = [Api::Pfs, Api::Client, Api::Mpiio, Api::Posix, Api::Raw, Api::RawShared];

impl Api {
    /// The name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Api::Pfs => "PFS",
            Api::Client => "PFSCLIENT",
            Api::Mpiio => "MPIIO",
            Api::Posix => "POSIX",
            Api::Raw => "RAWTCP",
            Api::RawShared => "RAWTCPSHARED",
        }
    }

    /// The interface of this name.
    pub fn parse(text: &str) -> Result<Api, String> {
        let found = APIS.into_iter().find(|api| api.name().eq_ignore_ascii_case(text));
        let names = APIS.map(Api::name).join(", ");
        found.ok_or_else(|| format!("Unrecognized I/O API {text:?}; it must be one of {names}"))
    }

    /// The interface itself.
    pub fn backend(self) -> Box<dyn Backend> {
        match self {
            Api::Pfs => Box::new(pfs::Pfs::default()),
            Api::Client => Box::new(client::Client::default()),
            Api::Mpiio => Box::new(mpiio::Mpiio),
            Api::Posix => Box::new(posix::Posix),
            Api::Raw => Box::new(raw::Raw { shared: false }),
            Api::RawShared => Box::new(raw::Raw { shared: true }),
        }
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Make it if needed, and write.
    Write,
    /// Read.
    Read,
    /// Make it if needed, write and read.
    WriteRead,
}

/// What a rank sees of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Blocks of so many bytes, at a distance, from a start on.
    Blocks {
        /// Bytes of a block.
        block: u64,
        /// From block to block.
        stride: u64,
        /// The first one.
        start: u64,
    },
    /// The same, set anew for each call, at its offset.
    Strided {
        /// Bytes of a transfer.
        transfer: u64,
        /// From one to the next.
        stride: u64,
    },
    /// A box of an array, again and again.
    Array(Box3),
}

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct Request {
    /// What for.
    pub purpose: Purpose,
    /// Through which view.
    pub view: Option<View>,
    /// Whether calls are collective.
    pub collective: bool,
    /// Space to reserve.
    pub preallocate: Option<u64>,
    /// Hints as key and value.
    pub hints: Vec<(String, String)>,
    /// Whether rank 0 tells the hints that are in effect.
    pub show_hints: bool,
    /// Past the page cache.
    pub direct: bool,
}

impl Request {
    /// A plain open.
    pub fn new(purpose: Purpose) -> Request {
        let (view, preallocate, hints) = (None, None, Vec::new());
        Request { purpose, view, collective: false, preallocate, hints, show_hints: false, direct: false }
    }
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Space {
    /// All bytes.
    pub bytes: u64,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// All inodes; 0 if there is no such number.
    pub inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
}

/// An interface.
pub trait Backend {
    /// Opens a file. Collective over `comm` if the interface is.
    fn open(&self, comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<()>;
    /// A file's size, or nothing if it does not exist.
    fn size(&self, path: &str) -> Result<Option<u64>>;
    /// Whether a file or directory is there. An interface without names takes every file to be.
    fn exists(&self, path: &str) -> Result<bool>;
    /// Looks at a file, which must be there: its size, too. Through MPI-IO that is an open and a question.
    fn stat_file(&self, path: &str) -> Result<()>;
    /// Looks at a directory, which must be there.
    fn stat_directory(&self, path: &str) -> Result<()>;
    /// Makes an empty file without opening it.
    fn make_node(&self, path: &str) -> Result<()>;
    /// Makes a directory.
    fn make_directory(&self, path: &str) -> Result<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, path: &str) -> Result<()>;
    /// Gives a file or directory another name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// The room where a file is.
    fn space(&self, path: &str) -> Result<Space>;
    /// Makes everything durable that this rank has written.
    fn sync_all(&self) -> Result<()>;
    /// The interface's own version.
    fn version(&self) -> String;
}

/// An open file.
pub trait Handle {
    /// Writes a call's transfers; returns how many bytes.
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64>;
    /// Reads a call's transfers; returns how many bytes.
    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64>;
    /// Makes what was written durable.
    fn sync(&mut self) -> Result<()>;
    /// Closes the file.
    fn close(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_found_by_name() {
        for api in APIS {
            assert_eq!(Api::parse(&api.name().to_lowercase()).unwrap(), api);
        }
        assert!(Api::parse("HDF5").unwrap_err().contains("Unrecognized I/O API"));
    }
}
