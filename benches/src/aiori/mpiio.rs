//! The MPI library's own `MPI_File`; names through the operating system, which it works on.

use crate::aiori::posix::Posix;
use crate::aiori::types::{self, UNIT_BYTES};
use crate::aiori::{Backend, Handle, Purpose, Request, Space, View};
use crate::ior::plan::Call;
use anyhow::{Context, Result, bail};
use mpi::ffi;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int};

/// The interface.
pub struct Mpiio;

struct Open {
    file: ffi::MPI_File,
    view: Option<View>,
    collective: bool,
}

/// An info object, freed at the end.
struct Info(ffi::MPI_Info);

impl Backend for Mpiio {
    fn open(&self, comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        Ok(Box::new(Open::new(comm, path, request)?))
    }

    fn remove(&self, path: &str) -> Result<()> {
        let name = CString::new(path).context("a file name has no zero byte")?;
        // SAFETY: the name lives during the call.
        check(unsafe { ffi::MPI_File_delete(name.as_ptr(), ffi::RSMPI_INFO_NULL) })
            .with_context(|| format!("could not remove {path}"))
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        Posix.size(path)
    }

    fn exists(&self, path: &str) -> Result<bool> {
        Posix.exists(path)
    }

    fn stat_file(&self, path: &str) -> Result<()> {
        let own = SimpleCommunicator::self_comm();
        let mut open = Open::new(&own, path, &Request::new(Purpose::Read))?;
        let mut bytes = 0;
        // SAFETY: the file is open, the variable lives during the call.
        check(unsafe { ffi::MPI_File_get_size(open.file, &mut bytes) })?;
        open.end()
    }

    fn stat_directory(&self, path: &str) -> Result<()> {
        Posix.stat_directory(path)
    }

    fn make_node(&self, path: &str) -> Result<()> {
        Posix.make_node(path)
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        Posix.make_directory(path)
    }

    fn remove_directory(&self, path: &str) -> Result<()> {
        Posix.remove_directory(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        Posix.rename(from, to)
    }

    fn space(&self, path: &str) -> Result<Space> {
        Posix.space(path)
    }

    fn sync_all(&self) -> Result<()> {
        Posix.sync_all()
    }

    fn version(&self) -> String {
        let (major, minor) = mpi::environment::version();
        format!("({major}.{minor})")
    }
}

impl Open {
    fn new(comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Open> {
        let name = CString::new(path).context("a file name has no zero byte")?;
        let amode = match request.purpose {
            Purpose::Write => ffi::MPI_MODE_CREATE | ffi::MPI_MODE_WRONLY,
            Purpose::Read => ffi::MPI_MODE_RDONLY,
            Purpose::WriteRead => ffi::MPI_MODE_CREATE | ffi::MPI_MODE_RDWR,
        };
        let info = Info::of(&request.hints)?;
        let amode = c_int::try_from(amode | ffi::MPI_MODE_UNIQUE_OPEN)?;
        // SAFETY: the name, the info and the handle live during the call; files return errors unless told otherwise.
        let file = unsafe {
            let mut file = ffi::RSMPI_FILE_NULL;
            let code = ffi::MPI_File_open(comm.as_raw(), name.as_ptr(), amode, info.0, &mut file);
            check(code).with_context(|| format!("could not open {path}"))?;
            file
        };
        let open = Open { file, view: request.view, collective: request.collective };
        if request.show_hints {
            let hints = open.info()?;
            if comm.rank() == 0 {
                show("returned from opened file", hints.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            }
        }
        if let Some(bytes) = request.preallocate {
            // SAFETY: the file is open.
            check(unsafe { ffi::MPI_File_preallocate(open.file, i64::try_from(bytes)?) })
                .with_context(|| format!("could not reserve {bytes} bytes for {path}"))?;
        }
        if !matches!(open.view, Some(View::Strided { .. })) {
            open.set_view(None)?;
        }
        Ok(open)
    }

    fn end(&mut self) -> Result<()> {
        // SAFETY: the file is open; the handle is not used again.
        check(unsafe { ffi::MPI_File_close(&mut self.file) })
    }

    fn info(&self) -> Result<Vec<(String, String)>> {
        // SAFETY: the file is open, the variable lives during the call.
        let info = unsafe {
            let mut info = ffi::RSMPI_INFO_NULL;
            check(ffi::MPI_File_get_info(self.file, &mut info))?;
            Info(info)
        };
        info.pairs()
    }

    fn set_view(&self, call: Option<&Call>) -> Result<()> {
        let Some(view) = &self.view else { return Ok(()) };
        let (displacement, filetype) = types::filetype(view, call)?;
        let unit = u64::equivalent_datatype();
        let displacement = i64::try_from(displacement)?;
        // SAFETY: the file is open, the types and the name live during the call.
        check(unsafe {
            let (unit, filetype, name) = (unit.as_raw(), filetype.as_raw(), c"native".as_ptr());
            ffi::MPI_File_set_view(self.file, displacement, unit, filetype, name, ffi::RSMPI_INFO_NULL)
        })
        .context("could not set the view")
    }

    /// Where a call's data begins, in the view's units.
    fn place(&self, call: &Call) -> Result<i64> {
        let place = match self.view {
            None => call.offset,
            Some(View::Strided { .. }) => {
                self.set_view(Some(call))?;
                0
            }
            Some(_) => call.position / UNIT_BYTES,
        };
        Ok(i64::try_from(place)?)
    }
}

impl Handle for Open {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        let (place, count) = (self.place(call)?, c_int::try_from(data.len())?);
        let access = if self.collective { ffi::MPI_File_write_at_all } else { ffi::MPI_File_write_at };
        // SAFETY: the file is open, `data` has `count` bytes, the status lives during the call.
        unsafe {
            let mut status = std::mem::zeroed();
            let bytes = ffi::RSMPI_UINT8_T;
            check(access(self.file, place, data.as_ptr().cast(), count, bytes, &mut status))?;
            Ok(moved_bytes(&status))
        }
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        let (place, count) = (self.place(call)?, c_int::try_from(data.len())?);
        let access = if self.collective { ffi::MPI_File_read_at_all } else { ffi::MPI_File_read_at };
        // SAFETY: the file is open, `data` has room for `count` bytes, the status lives during the call.
        unsafe {
            let mut status = std::mem::zeroed();
            let bytes = ffi::RSMPI_UINT8_T;
            check(access(self.file, place, data.as_mut_ptr().cast(), count, bytes, &mut status))?;
            Ok(moved_bytes(&status))
        }
    }

    fn sync(&mut self) -> Result<()> {
        // SAFETY: the file is open.
        check(unsafe { ffi::MPI_File_sync(self.file) })
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        self.end()
    }
}

impl Info {
    fn of(hints: &[(String, String)]) -> Result<Info> {
        // SAFETY: the variable and the texts live during the calls.
        unsafe {
            let mut raw = ffi::RSMPI_INFO_NULL;
            check(ffi::MPI_Info_create(&mut raw))?;
            let info = Info(raw);
            for (key, value) in hints {
                let (key, value) = (CString::new(key.as_str())?, CString::new(value.as_str())?);
                check(ffi::MPI_Info_set(info.0, key.as_ptr(), value.as_ptr()))?;
            }
            Ok(info)
        }
    }

    fn pairs(&self) -> Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        let mut count = 0;
        // SAFETY: the info is alive, the variable lives during the call.
        check(unsafe { ffi::MPI_Info_get_nkeys(self.0, &mut count) })?;
        for number in 0..count {
            let (mut key, mut value) = ([0 as c_char; 512], [0 as c_char; 4096]);
            let mut found = 0;
            // SAFETY: the buffers are larger than any MPI's MPI_MAX_INFO_KEY and the length that is named.
            let pair = unsafe {
                check(ffi::MPI_Info_get_nthkey(self.0, number, key.as_mut_ptr()))?;
                check(ffi::MPI_Info_get(self.0, key.as_ptr(), 4095, value.as_mut_ptr(), &mut found))?;
                (CStr::from_ptr(key.as_ptr()), CStr::from_ptr(value.as_ptr()))
            };
            pairs.push((pair.0.to_string_lossy().into_owned(), pair.1.to_string_lossy().into_owned()));
        }
        Ok(pairs)
    }
}

impl Drop for Info {
    fn drop(&mut self) {
        // SAFETY: the info is alive and not used again.
        unsafe { ffi::MPI_Info_free(&mut self.0) };
    }
}

/// Prints hints as IOR does.
pub fn show<'a>(what: &str, hints: impl Iterator<Item = (&'a str, &'a str)>) {
    println!("\nhints {what} {{");
    for (key, value) in hints {
        println!("\t{key} = {value}");
    }
    println!("}}");
}

/// # Safety
/// The status is that of a finished access of bytes.
unsafe fn moved_bytes(status: &ffi::MPI_Status) -> u64 {
    let mut count = 0;
    // SAFETY: as promised by the caller.
    unsafe { ffi::MPI_Get_count(status, ffi::RSMPI_UINT8_T, &mut count) };
    u64::try_from(count).unwrap_or(0)
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
