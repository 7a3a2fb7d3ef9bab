//! The three interfaces behind one trait.

use crate::ior::options::Api;
use anyhow::{Context, Result, bail, ensure};
use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, Info};
use std::ffi::CString;
use std::fs;
use std::os::raw::{c_char, c_int};
use std::os::unix::fs::FileExt;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Make it if needed, and write.
    Write,
    /// Read.
    Read,
}

/// An open file of one interface.
pub trait Backend {
    /// Writes a transfer; with the other ranks if collective.
    fn write(&mut self, offset: u64, data: &[u8], collective: bool) -> Result<()>;
    /// Reads a transfer whole; with the other ranks if collective.
    fn read(&mut self, offset: u64, data: &mut [u8], collective: bool) -> Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> Result<()>;
    /// Closes the file.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Opens a file on all ranks of a communicator.
pub fn open(api: Api, comm: &SimpleCommunicator, path: &str, purpose: Purpose) -> Result<Box<dyn Backend>> {
    Ok(match api {
        Api::Pfs => Box::new(Pfs::open(comm, path, purpose)?),
        Api::Posix => Box::new(Posix::open(path, purpose)?),
        Api::Mpiio => Box::new(Mpiio::open(comm, path, purpose)?),
    })
}

/// Removes a file. One rank calls it.
pub fn remove(api: Api, path: &str) -> Result<()> {
    match api {
        Api::Pfs => pfs_mpiio::File::delete(path)?,
        Api::Posix => fs::remove_file(path).with_context(|| format!("could not remove {path}"))?,
        Api::Mpiio => Mpiio::remove(path)?,
    }
    Ok(())
}

struct Pfs(pfs_mpiio::File);

impl Pfs {
    fn open(comm: &SimpleCommunicator, path: &str, purpose: Purpose) -> Result<Pfs> {
        let amode = match purpose {
            Purpose::Write => AccessMode::CREATE | AccessMode::WRONLY,
            Purpose::Read => AccessMode::RDONLY,
        };
        Ok(Pfs(pfs_mpiio::File::open(comm, path, amode, &Info::new())?))
    }
}

impl Backend for Pfs {
    fn write(&mut self, offset: u64, data: &[u8], collective: bool) -> Result<()> {
        if collective {
            self.0.write_at_all(offset, data)?
        } else {
            self.0.write_at(offset, data)?
        };
        Ok(())
    }

    fn read(&mut self, offset: u64, data: &mut [u8], collective: bool) -> Result<()> {
        let status = if collective { self.0.read_at_all(offset, data)? } else { self.0.read_at(offset, data)? };
        check_whole(status.bytes(), data.len(), offset)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.0.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}

struct Posix(fs::File);

impl Posix {
    fn open(path: &str, purpose: Purpose) -> Result<Posix> {
        let mut options = fs::OpenOptions::new();
        match purpose {
            Purpose::Write => options.write(true).create(true).truncate(false),
            Purpose::Read => options.read(true),
        };
        Ok(Posix(options.open(path).with_context(|| format!("could not open {path}"))?))
    }
}

impl Backend for Posix {
    fn write(&mut self, offset: u64, data: &[u8], _collective: bool) -> Result<()> {
        self.0.write_all_at(data, offset).with_context(|| format!("could not write at offset {offset}"))
    }

    fn read(&mut self, offset: u64, data: &mut [u8], _collective: bool) -> Result<()> {
        self.0.read_exact_at(data, offset).with_context(|| format!("could not read at offset {offset}"))
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync_all().context("could not sync")
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// The MPI library's own `MPI_File`.
struct Mpiio(ffi::MPI_File);

impl Mpiio {
    #[allow(clippy::cast_possible_wrap)] // flags below 512
    fn open(comm: &SimpleCommunicator, path: &str, purpose: Purpose) -> Result<Mpiio> {
        let name = CString::new(path).context("a file name has no zero byte")?;
        let amode = match purpose {
            Purpose::Write => ffi::MPI_MODE_CREATE | ffi::MPI_MODE_WRONLY,
            Purpose::Read => ffi::MPI_MODE_RDONLY,
        };
        // SAFETY: the name and the handle live during the call; files return errors unless told otherwise.
        let file = unsafe {
            let mut file = ffi::RSMPI_FILE_NULL;
            let code =
                ffi::MPI_File_open(comm.as_raw(), name.as_ptr(), amode as c_int, ffi::RSMPI_INFO_NULL, &mut file);
            check(code).with_context(|| format!("could not open {path}"))?;
            file
        };
        Ok(Mpiio(file))
    }

    fn remove(path: &str) -> Result<()> {
        let name = CString::new(path).context("a file name has no zero byte")?;
        // SAFETY: the name lives during the call.
        check(unsafe { ffi::MPI_File_delete(name.as_ptr(), ffi::RSMPI_INFO_NULL) })
            .with_context(|| format!("could not remove {path}"))
    }
}

impl Backend for Mpiio {
    fn write(&mut self, offset: u64, data: &[u8], collective: bool) -> Result<()> {
        let call = if collective { ffi::MPI_File_write_at_all } else { ffi::MPI_File_write_at };
        let (offset, count) = (i64::try_from(offset)?, c_int::try_from(data.len())?);
        // SAFETY: the file is open, `data` has `count` bytes, the status lives during the call.
        let moved = unsafe {
            let mut status = std::mem::zeroed();
            let bytes = ffi::RSMPI_UINT8_T;
            check(call(self.0, offset, data.as_ptr().cast(), count, bytes, &mut status))?;
            moved_bytes(&status)
        };
        check_whole(moved, data.len(), offset.unsigned_abs())
    }

    fn read(&mut self, offset: u64, data: &mut [u8], collective: bool) -> Result<()> {
        let call = if collective { ffi::MPI_File_read_at_all } else { ffi::MPI_File_read_at };
        let (offset, count) = (i64::try_from(offset)?, c_int::try_from(data.len())?);
        // SAFETY: the file is open, `data` has room for `count` bytes, the status lives during the call.
        let moved = unsafe {
            let mut status = std::mem::zeroed();
            let bytes = ffi::RSMPI_UINT8_T;
            check(call(self.0, offset, data.as_mut_ptr().cast(), count, bytes, &mut status))?;
            moved_bytes(&status)
        };
        check_whole(moved, data.len(), offset.unsigned_abs())
    }

    fn sync(&mut self) -> Result<()> {
        // SAFETY: the file is open.
        check(unsafe { ffi::MPI_File_sync(self.0) })
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        // SAFETY: the file is open; the handle is not used again.
        check(unsafe { ffi::MPI_File_close(&mut self.0) })
    }
}

/// # Safety
/// The status is that of a finished access of bytes.
unsafe fn moved_bytes(status: &ffi::MPI_Status) -> u64 {
    let mut count = 0;
    // SAFETY: as promised by the caller.
    unsafe { ffi::MPI_Get_count(status, ffi::RSMPI_UINT8_T, &mut count) };
    u64::try_from(count).unwrap_or(0)
}

fn check_whole(moved: u64, wanted: usize, offset: u64) -> Result<()> {
    ensure!(moved == wanted as u64, "only {moved} of {wanted} bytes were moved at offset {offset}");
    Ok(())
}

/// MPI's error text.
fn check(code: c_int) -> Result<()> {
    if i64::from(code) == i64::from(ffi::MPI_SUCCESS) {
        return Ok(());
    }
    let mut text = [0u8; 4096];
    let mut length = 0;
    // SAFETY: the buffer is larger than any MPI's MPI_MAX_ERROR_STRING.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr().cast::<c_char>(), &mut length) };
    let length = usize::try_from(length).unwrap_or(0).min(text.len());
    bail!("{}", String::from_utf8_lossy(&text[..length]))
}
