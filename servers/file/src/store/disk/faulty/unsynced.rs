//! What files were at their last sync, to make them so again.

use super::super::DiskFile;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What was overwritten since the last sync, by file.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    files: BTreeMap<PathBuf, Overwritten>,
}

#[derive(Debug)]
struct Overwritten {
    length: u64,
    /// Offset and bytes, in the order of the writes.
    bytes: Vec<(u64, Vec<u8>)>,
}

impl Unsynced {
    /// To be called before a write.
    pub(super) fn note(&mut self, path: &Path, file: &impl DiskFile, offset: u64, count: usize) -> io::Result<()> {
        let length = file.status()?.length;
        let mut old = vec![0; count];
        let read = file.read_to_end(&mut old, offset)?;
        old.truncate(read);
        let files = self.files.entry(path.to_owned());
        files.or_insert_with(|| Overwritten { length, bytes: Vec::new() }).bytes.push((offset, old));
        Ok(())
    }

    /// Makes the bytes what they were. Lengths that were set since stay.
    pub(super) fn undo(&mut self, path: &Path, file: &impl DiskFile) -> io::Result<()> {
        let Some(Overwritten { length, bytes }) = self.files.remove(path) else { return Ok(()) };
        bytes.iter().rev().try_for_each(|(offset, old)| file.write_all(old, *offset))?;
        if file.status()?.length > length {
            file.set_len(length)?;
        }
        Ok(())
    }

    /// The file was synced, or is gone.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(path);
    }
}
