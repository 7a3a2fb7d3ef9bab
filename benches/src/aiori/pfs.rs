//! This file system through `pfs_mpiio`; names of directories through the client library, which MPI-IO has no calls for.

use crate::aiori::client::Client;
use crate::aiori::types::{self, UNIT_BYTES};
use crate::aiori::{Backend, Handle, Purpose, Request, Space, View};
use crate::ior::plan::Call;
use anyhow::Result;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, Info};

/// The interface.
#[derive(Default)]
pub struct Pfs {
    names: Client,
}

struct Open {
    file: pfs_mpiio::File,
    view: Option<View>,
    collective: bool,
}

impl Backend for Pfs {
    fn open(&self, comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        let amode = match request.purpose {
            Purpose::Write => AccessMode::CREATE | AccessMode::WRONLY,
            Purpose::Read => AccessMode::RDONLY,
            Purpose::WriteRead => AccessMode::CREATE | AccessMode::RDWR,
        };
        let hints: Info = request.hints.iter().map(|(key, value)| (key.clone(), value)).collect();
        let file = pfs_mpiio::File::open(comm, path, amode, &hints)?;
        if request.show_hints && comm.rank() == 0 {
            super::mpiio::show("returned from opened file", file.get_info().iter());
        }
        if let Some(bytes) = request.preallocate {
            file.preallocate(bytes)?;
        }
        let open = Open { file, view: request.view, collective: request.collective };
        if !matches!(open.view, Some(View::Strided { .. })) {
            open.set_view(None)?;
        }
        Ok(Box::new(open))
    }

    fn remove(&self, path: &str) -> Result<()> {
        Ok(pfs_mpiio::delete(path)?)
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        self.names.size(path)
    }

    fn exists(&self, path: &str) -> Result<bool> {
        self.names.exists(path)
    }

    fn stat_file(&self, path: &str) -> Result<()> {
        let own = SimpleCommunicator::self_comm();
        let file = pfs_mpiio::File::open(&own, path, AccessMode::RDONLY, &Info::new())?;
        file.get_size()?;
        Ok(file.close()?)
    }

    fn stat_directory(&self, path: &str) -> Result<()> {
        self.names.stat_directory(path)
    }

    fn make_node(&self, path: &str) -> Result<()> {
        self.names.make_node(path)
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        self.names.make_directory(path)
    }

    fn remove_directory(&self, path: &str) -> Result<()> {
        self.names.remove_directory(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.names.rename(from, to)
    }

    fn space(&self, path: &str) -> Result<Space> {
        self.names.space(path)
    }

    fn sync_all(&self) -> Result<()> {
        // Every close has made its file durable.
        Ok(())
    }

    fn version(&self) -> String {
        format!("pfs_mpiio {}", env!("CARGO_PKG_VERSION"))
    }
}

impl Open {
    fn set_view(&self, call: Option<&Call>) -> Result<()> {
        if let Some(view) = &self.view {
            let (displacement, filetype) = types::filetype(view, call)?;
            self.file.set_view(displacement, &u64::equivalent_datatype(), &filetype, "native")?;
        }
        Ok(())
    }

    /// Where a call's data begins, in the view's units.
    fn place(&self, call: &Call) -> Result<u64> {
        Ok(match self.view {
            None => call.offset,
            Some(View::Strided { .. }) => {
                self.set_view(Some(call))?;
                0
            }
            Some(_) => call.position / UNIT_BYTES,
        })
    }
}

impl Handle for Open {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        let place = self.place(call)?;
        let status = match self.collective {
            true => self.file.write_at_all(place, data)?,
            false => self.file.write_at(place, data)?,
        };
        Ok(status.bytes())
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        let place = self.place(call)?;
        let status = match self.collective {
            true => self.file.read_at_all(place, data)?,
            false => self.file.read_at(place, data)?,
        };
        Ok(status.bytes())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.file.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.file.close()?)
    }
}
