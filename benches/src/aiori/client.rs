//! This file system through `pfs-client`: each rank is a client and a holder of its own, as programs without MPI are.

use crate::aiori::{Backend, Handle, Purpose, Request, Space};
use crate::ior::plan::Call;
use anyhow::{Result, bail};
use mpi::topology::SimpleCommunicator;
use pfs_client::blocking;
use pfs_client::{Access, ClientConfig, EntryKind, ErrorKind, OpenOptions, parse_url};
use pfs_core::path::PfsPath;
use std::cell::RefCell;

/// The interface. A session begins with the first call.
#[derive(Default)]
pub struct Client {
    session: RefCell<Option<(Option<String>, blocking::Client)>>,
}

struct Open(blocking::File);

impl Client {
    /// The session with a name's metadata server, and the name there.
    fn place(&self, path: &str) -> Result<(blocking::Client, PfsPath)> {
        let (address, path) = parse_url(path)?;
        let mut session = self.session.borrow_mut();
        if let Some((known, client)) = &*session
            && *known == address
        {
            return Ok((client.clone(), path));
        }
        let config = match &address {
            Some(address) => ClientConfig::from_addresses(address)?,
            None => ClientConfig::from_env()?,
        };
        let client = blocking::Client::connect(config)?;
        if let Some((_, before)) = session.replace((address, client.clone())) {
            before.shutdown()?;
        }
        Ok((client, path))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some((_, client)) = self.session.take()
            && let Err(error) = client.shutdown()
        {
            eprintln!("WARNING: the session was not ended in order: {error}");
        }
    }
}

impl Backend for Client {
    fn open(&self, _comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        let (client, path) = self.place(path)?;
        let (access, create) = match request.purpose {
            Purpose::Write => (Access::Write, true),
            Purpose::Read => (Access::Read, false),
            Purpose::WriteRead => (Access::ReadWrite, true),
        };
        let file = client.open(&path, &OpenOptions { access, create, ..OpenOptions::default() })?;
        if let Some(bytes) = request.preallocate {
            file.allocate(0, bytes)?;
        }
        Ok(Box::new(Open(file)))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let (client, path) = self.place(path)?;
        Ok(client.remove(&path, Some(EntryKind::File))?)
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        let (client, path) = self.place(path)?;
        match client.stat(&path) {
            Ok(status) => Ok(Some(status.size_bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.size(path)?.is_some())
    }

    fn stat_file(&self, path: &str) -> Result<()> {
        let (client, path) = self.place(path)?;
        client.stat(&path)?;
        Ok(())
    }

    fn stat_directory(&self, path: &str) -> Result<()> {
        self.stat_file(path)
    }

    fn make_node(&self, path: &str) -> Result<()> {
        bail!("{path} can not be made by mknod here");
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        let (client, path) = self.place(path)?;
        Ok(client.make_directory(&path, false)?)
    }

    fn remove_directory(&self, path: &str) -> Result<()> {
        let (client, path) = self.place(path)?;
        Ok(client.remove(&path, Some(EntryKind::Directory))?)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (client, from) = self.place(from)?;
        let (_, to) = parse_url(to)?;
        Ok(client.rename(&from, &to)?)
    }

    fn space(&self, path: &str) -> Result<Space> {
        let (client, _) = self.place(path)?;
        let status = client.cluster_status(false)?;
        let spaces = || status.file_servers.iter().filter_map(|server| server.space.as_ref());
        let bytes = spaces().map(|space| space.total_bytes).sum();
        let free_bytes = spaces().map(|space| space.free_bytes).sum();
        Ok(Space { bytes, free_bytes, inodes: 0, free_inodes: 0 })
    }

    fn sync_all(&self) -> Result<()> {
        // Every close has made its file durable.
        Ok(())
    }

    fn version(&self) -> String {
        format!("pfs-client {}", env!("CARGO_PKG_VERSION"))
    }
}

impl Handle for Open {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        self.0.write_at(data, call.offset)?;
        Ok(data.len() as u64)
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        Ok(self.0.read_at(data, call.offset)? as u64)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.0.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}
