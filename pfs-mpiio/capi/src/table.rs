//! Which handles are files of ours.
//!
//! Invariants: a handle is in the table from before the program gets it until it is closed, and MPI gives it to nobody else
//! meanwhile. The counters say for each part of the table how many handles lie in it: a handle whose part has none is not
//! ours, so for files of others this is one load. Whoever has a handle of ours has got it after it was counted.

use crate::split::Splits;
use crate::view::Types;
use mpi::ffi::MPI_File;
use pfs_mpiio::File;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

/// A file of ours that is open.
pub struct Entry {
    /// MPI's handle.
    pub handle: Handle,
    /// What it was opened as.
    pub name: String,
    /// The types of its view.
    pub types: Types,
    /// A split access under way.
    pub splits: Splits,
    /// Later opens have larger ones.
    number: u64,
    file: File,
}

impl Deref for Entry {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Entry {
    pub fn new(handle: MPI_File, name: String, file: File) -> Entry {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Entry { handle: Handle(handle), name, types: Types::default(), splits: Splits::default(), number, file }
    }

    /// The file, at its end.
    pub fn into_file(self) -> File {
        let Entry { file, splits, .. } = self;
        // An access that was begun and not ended uses the file.
        drop(splits);
        file
    }
}

/// MPI's handle of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle(pub MPI_File);

// SAFETY: a handle may be used by every thread that may call MPI.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

const PARTS: usize = 256;
static COUNTS: [AtomicU32; PARTS] = [const { AtomicU32::new(0) }; PARTS];
static FILES: RwLock<BTreeMap<usize, Arc<Entry>>> = RwLock::new(BTreeMap::new());

/// Handles are addresses of structures, which differ in the middle.
fn count(handle: MPI_File) -> &'static AtomicU32 {
    let address = handle as usize;
    &COUNTS[(address >> 4 ^ address >> 12) % PARTS]
}

/// Whether there is a file of ours in the part of the table that a handle belongs to.
#[inline]
pub fn may_be_ours(handle: MPI_File) -> bool {
    count(handle).load(Ordering::Relaxed) > 0
}

/// The file of a handle, if it is one of ours.
pub fn find(handle: MPI_File) -> Option<Arc<Entry>> {
    if !may_be_ours(handle) {
        return None;
    }
    FILES.read().unwrap_or_else(PoisonError::into_inner).get(&(handle as usize)).cloned()
}

/// Adds a file.
pub fn insert(entry: Entry) {
    let handle = entry.handle.0;
    count(handle).fetch_add(1, Ordering::Relaxed);
    FILES.write().unwrap_or_else(PoisonError::into_inner).insert(handle as usize, Arc::new(entry));
}

/// Takes a file out. Calls of other threads that are using it come to their ends first.
pub fn remove(handle: MPI_File) -> Option<Entry> {
    let mut entry = FILES.write().unwrap_or_else(PoisonError::into_inner).remove(&(handle as usize))?;
    count(handle).fetch_sub(1, Ordering::Relaxed);
    loop {
        match Arc::try_unwrap(entry) {
            Ok(entry) => return Some(entry),
            Err(shared) => entry = shared,
        }
        thread::yield_now();
    }
}

/// Takes all files out, in the order in which they were opened.
pub fn remove_all() -> Vec<Entry> {
    let handles: Vec<Handle> = {
        let files = FILES.read().unwrap_or_else(PoisonError::into_inner);
        files.values().map(|entry| entry.handle).collect()
    };
    let mut left: Vec<Entry> = handles.into_iter().filter_map(|handle| remove(handle.0)).collect();
    left.sort_by_key(|entry| entry.number);
    left
}
