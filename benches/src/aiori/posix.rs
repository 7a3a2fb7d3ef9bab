//! The operating system's files.

use crate::aiori::{Backend, Handle, Purpose, Request, Space};
use crate::ior::plan::Call;
use anyhow::{Context, Result};
use mpi::topology::SimpleCommunicator;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The interface.
pub struct Posix;

struct Open(fs::File);

impl Backend for Posix {
    fn open(&self, _comm: &SimpleCommunicator, path: &str, request: &Request) -> Result<Box<dyn Handle>> {
        let mut options = fs::OpenOptions::new();
        match request.purpose {
            Purpose::Write => options.write(true).create(true).truncate(false),
            Purpose::Read => options.read(true),
            Purpose::WriteRead => options.read(true).write(true).create(true).truncate(false),
        };
        if request.direct {
            options.custom_flags(i32::try_from(rustix::fs::OFlags::DIRECT.bits())?);
        }
        let file = options.open(path).with_context(|| format!("could not open {path}"))?;
        if let Some(bytes) = request.preallocate {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
                .with_context(|| format!("could not reserve {bytes} bytes for {path}"))?;
        }
        Ok(Box::new(Open(file)))
    }

    fn remove(&self, path: &str) -> Result<()> {
        fs::remove_file(path).with_context(|| format!("could not remove {path}"))
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("could not look at {path}")),
        }
    }

    fn exists(&self, path: &str) -> Result<bool> {
        Ok(self.size(path)?.is_some())
    }

    fn stat_file(&self, path: &str) -> Result<()> {
        fs::metadata(path).map(drop).with_context(|| format!("could not look at {path}"))
    }

    fn stat_directory(&self, path: &str) -> Result<()> {
        self.stat_file(path)
    }

    fn make_node(&self, path: &str) -> Result<()> {
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::RegularFile, mode, 0)
            .with_context(|| format!("could not make {path} by mknod"))
    }

    fn make_directory(&self, path: &str) -> Result<()> {
        fs::create_dir(path).with_context(|| format!("could not make the directory {path}"))
    }

    fn remove_directory(&self, path: &str) -> Result<()> {
        fs::remove_dir(path).with_context(|| format!("could not remove the directory {path}"))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        fs::rename(from, to).with_context(|| format!("could not rename {from} to {to}"))
    }

    fn space(&self, path: &str) -> Result<Space> {
        // The file need not be there yet.
        let mut path = Path::new(path);
        while !path.exists() {
            path = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        }
        let stat =
            rustix::fs::statvfs(path).with_context(|| format!("could not ask for the room in {}", path.display()))?;
        let block = if stat.f_frsize > 0 { stat.f_frsize } else { stat.f_bsize };
        Ok(Space {
            bytes: stat.f_blocks * block,
            free_bytes: stat.f_bfree * block,
            inodes: stat.f_files,
            free_inodes: stat.f_ffree,
        })
    }

    fn sync_all(&self) -> Result<()> {
        rustix::fs::sync();
        Ok(())
    }

    fn version(&self) -> String {
        String::new()
    }
}

impl Handle for Open {
    fn write(&mut self, call: &Call, data: &[u8]) -> Result<u64> {
        let written = retried(|| self.0.write_at(data, call.offset));
        Ok(written.with_context(|| format!("could not write at offset {}", call.offset))? as u64)
    }

    fn read(&mut self, call: &Call, data: &mut [u8]) -> Result<u64> {
        let read = retried(|| self.0.read_at(data, call.offset));
        Ok(read.with_context(|| format!("could not read at offset {}", call.offset))? as u64)
    }

    fn sync(&mut self) -> Result<()> {
        self.0.sync_all().context("could not sync")
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
