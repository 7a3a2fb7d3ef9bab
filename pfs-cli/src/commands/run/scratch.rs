//! A temporary directory of the program's own, whose names lead to the file system when they are opened by MPI.
//!
//! Invariant: nothing that was there before is hidden: the directory is new, and goes with the run.

use super::MAP_VARIABLE;
use crate::failure::Failure;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// The directory.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in the directory of the run.
    pub fn make(home: &TempDir) -> Result<Self, Failure> {
        let cannot = |error| Failure::cannot("make a temporary directory for the program", &error);
        let path = fs::canonicalize(home.path()).map_err(cannot)?.join("tmp");
        fs::create_dir(&path).map_err(cannot)?;
        Ok(Scratch(path))
    }

    /// What tells the program and the library.
    pub fn variables(&self) -> [(&'static str, OsString); 2] {
        let mut map = self.0.clone().into_os_string();
        map.push("=pfs:/");
        [("TMPDIR", self.0.clone().into()), (MAP_VARIABLE, map)]
    }
}
