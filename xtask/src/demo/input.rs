//! The demo's input: real files of this machine, put into one.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use crc_fast::{CrcAlgorithm, Digest};

use crate::interrupt;

/// A file larger than this gives only its beginning, so that the input is made of many.
const PER_FILE_BYTES_MAX: u64 = 16 << 20;
const COPY_BYTES: usize = 1 << 20;

/// What the input was made of.
#[derive(Debug)]
pub struct Input {
    /// The one file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// How many files went into it.
    pub files: u64,
    /// CRC-64/NVME of its bytes.
    pub checksum: u64,
}

/// Fills `path` with `bytes` bytes from the programs and libraries of this machine and its Rust toolchain.
pub fn collect(path: PathBuf, bytes: u64) -> Result<Input> {
    let mut sink = Sink {
        file: File::create(&path).with_context(|| format!("making {}", path.display()))?,
        digest: Digest::new(CrcAlgorithm::Crc64Nvme),
        missing_bytes: bytes,
        files: 0,
        buffer: vec![0; COPY_BYTES],
    };
    let sources = sources();
    for source in &sources {
        add_directory(source, &mut sink)?;
    }
    if sink.missing_bytes > 0 {
        bail!(
            "found {} MiB of files in {sources:?}, which is too little; give a smaller --size-mib",
            (bytes - sink.missing_bytes) >> 20
        );
    }
    Ok(Input { path, bytes, files: sink.files, checksum: sink.digest.finalize() })
}

fn sources() -> Vec<PathBuf> {
    let toolchain =
        std::env::var_os("CARGO").map(PathBuf::from).and_then(|cargo| Some(cargo.parent()?.parent()?.join("lib")));
    toolchain.into_iter().chain(["/usr/lib", "/usr/bin", "/usr/share"].map(PathBuf::from)).collect()
}

struct Sink {
    file: File,
    digest: Digest,
    missing_bytes: u64,
    files: u64,
    buffer: Vec<u8>,
}

/// Adds the regular files below `directory` in the order of their names until nothing is missing.
fn add_directory(directory: &Path, sink: &mut Sink) -> Result<()> {
    // What cannot be listed or opened is left out: any files will do.
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    let mut paths: Vec<(PathBuf, fs::FileType)> =
        entries.flatten().filter_map(|entry| Some((entry.path(), entry.file_type().ok()?))).collect();
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, kind) in paths {
        if sink.missing_bytes == 0 {
            return Ok(());
        }
        interrupt::check()?;
        if kind.is_dir() {
            add_directory(&path, sink)?;
        } else if kind.is_file() {
            sink.add_file(&path)?;
        }
    }
    Ok(())
}

impl Sink {
    fn add_file(&mut self, path: &Path) -> Result<()> {
        let Ok(file) = File::open(path) else { return Ok(()) };
        let mut source = file.take(self.missing_bytes.min(PER_FILE_BYTES_MAX));
        loop {
            let count = match source.read(&mut self.buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            self.file.write_all(&self.buffer[..count]).context("writing the input")?;
            self.digest.update(&self.buffer[..count]);
            self.missing_bytes -= count as u64;
        }
        self.files += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_real_and_has_the_size_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let input = collect(directory.path().join("input"), 3 << 20).unwrap();
        let content = fs::read(&input.path).unwrap();
        assert_eq!(content.len(), 3 << 20);
        assert_eq!(input.checksum, crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &content));
        let values: std::collections::HashSet<u8> = content.iter().copied().collect();
        assert!(values.len() > 100, "{} different bytes", values.len());
    }
}
