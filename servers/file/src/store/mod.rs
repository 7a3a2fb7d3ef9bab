//! Objects: where a file server keeps its pieces of files.
//!
//! [`ObjectStore`] carries the promises. There are two stores, [`PosixStore`] in a local directory, on a
//! [`disk::Disk`], and [`MemoryStore`] for tests of what lies above; one suite holds both to the same promises. For tests
//! there is also [`faulty::FaultyStore`], which does to any store what a test asks for.

pub mod disk;
mod error;
#[cfg(test)]
mod fault_tests;
pub mod faulty;
mod generations;
mod memory;
mod posix;
mod rules;
#[cfg(test)]
mod suite;
mod sum;
mod sync_ledger;

pub use error::{Attempt, StoreError};
pub use memory::MemoryStore;
pub use posix::{PosixOptions, PosixStore, Recovered};

use pfs_core::checksum::Checksum;
use pfs_core::ids::{FileId, ObjectId};
use pfs_proto::data::{ObjectExtent, pieces};
use pfs_proto::metadata::SpaceReport;
use std::ops::Range;

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    /// The first byte after the last one that was written or set by a truncation.
    pub length: u64,
    /// Bytes that it takes on the disk.
    pub allocated_bytes: u64,
}

/// A part of an object that does not agree with its checksums, or can not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Whole blocks, but for the object's end.
    pub extent: ObjectExtent,
    /// For people: what is wrong, and where on this server.
    pub problem: String,
}

/// Stores objects. All methods may be called from any thread at any time, and all of them may wait for a disk but
/// [`is_at_hand`](Self::is_at_hand), [`read_now`](Self::read_now) and [`write_now`](Self::write_now).
///
/// Promises:
/// * **Objects are made by [`create`](Self::create) only.** Nothing else makes one, so a caller decides which may be.
/// * **Bytes are sparse.** A byte that was never written reads as zero, inside an object and past its end.
/// * **A write that has returned is seen** by every later read. Writes of the same byte at the same time are not
///   ordered by the store; tokens keep them apart.
/// * **A failed write may have written a part** of its own extents, and nothing else.
/// * **A commit that has succeeded makes durable**, against a loss of power too, every write that had returned when the
///   commit was called, and the object's name. Until then written bytes may be lost.
/// * **A failed commit stays failed**: when the disk could not take bytes, every commit of that object fails until
///   those very bytes have been written again, truncated or removed. (The operating system reports such an error
///   once, and forgets both the error and the bytes.)
/// * **Truncations and removals are durable** when they return.
pub trait ObjectStore: Send + Sync + 'static {
    /// Makes an empty object; one that is there already stays as it is.
    fn create(&self, object: ObjectId) -> Result<(), StoreError>;

    /// Whether the object is known to exist, told without touching the disk. False says nothing.
    fn is_at_hand(&self, object: ObjectId) -> bool;

    /// Writes the payload's bytes to the extents, in their order; the parts of the payload are as long as all of them
    /// together. There is one checksum for each piece ([`pfs_core::checksum`]), and the caller has checked them.
    /// Fails with [`StoreError::Missing`] if there is no such object.
    fn write(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<(), StoreError>;

    /// Fills `into`, which is as long as all extents together, with their bytes in their order, and appends the
    /// checksum of each piece to `checksums`. For a whole block that is the stored one, and whoever uses the bytes has
    /// to check them; a part of a block is checked here, and its checksum is made anew.
    /// Fails with [`StoreError::Missing`] if there is no such object, and leaves `into` as it was.
    fn read(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<(), StoreError>;

    /// The same as [`write`](Self::write), unless that has to wait for a disk or for another call: then it returns false.
    /// A part of the bytes may have been written by then, so the caller has to call `write` with all of them.
    fn write_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        payload: &[&[u8]],
        checksums: &[Checksum],
    ) -> Result<bool, StoreError>;

    /// The same as [`read`](Self::read), unless that has to wait for a disk or for another call: then it returns false,
    /// `into` has arbitrary content, and `checksums` is as it was. An object that was not used for long is such a case.
    fn read_now(
        &self,
        object: ObjectId,
        extents: &[ObjectExtent],
        into: &mut [u8],
        checksums: &mut Vec<Checksum>,
    ) -> Result<bool, StoreError>;

    /// Takes space for all of the extent, so that writing it will not find the disk full, as far as the file system
    /// below can promise that. Neither the bytes nor the object's length change. The next commit makes it durable.
    /// Fails with [`StoreError::Missing`] if there is no such object.
    fn allocate(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError>;

    /// Makes a hole of the extent: its bytes are zeros, as if they were written, and whole blocks of it take no space
    /// if the file system below has holes. The object's length does not change. The next commit makes it durable.
    /// Fails with [`StoreError::Missing`] if there is no such object.
    fn punch(&self, object: ObjectId, extent: ObjectExtent) -> Result<(), StoreError>;

    /// Compares stored blocks with their checksums, `blocks` counted from the object's start in units of
    /// [`BLOCK_BYTES`](pfs_core::checksum::BLOCK_BYTES), and tells which differ or can not be read, in order. A block that is
    /// written meanwhile is compared before or after, never in between. Past the object's end only a checksum is damage:
    /// somebody else has cut the object.
    /// Fails with [`StoreError::Missing`] if there is no such object.
    fn verify(&self, object: ObjectId, blocks: Range<u64>) -> Result<Vec<Damage>, StoreError>;

    /// Makes durable what was written, and tells the object's length; nothing for an object that does not exist.
    fn commit(&self, object: ObjectId) -> Result<Option<u64>, StoreError>;

    /// Sets an object's length; what lies past it is gone, what is new is a hole. `generation` counts the truncations
    /// of the file: one that was applied already, or a later one, makes this call an ignored repetition. The memory
    /// of that ends with the store: repetitions that were on their way to it end with it too. An object that does not
    /// exist is all hole at any length, so there is nothing to do for it.
    fn truncate(&self, object: ObjectId, length: u64, generation: u64) -> Result<(), StoreError>;

    /// Removes all objects of a file and tells how many there were.
    fn remove_file(&self, file: FileId) -> Result<u64, StoreError>;

    /// Length and size on disk; nothing for an object that does not exist.
    fn stat(&self, object: ObjectId) -> Result<Option<ObjectStatus>, StoreError>;

    /// All objects, in no particular order.
    fn list(&self) -> Result<Vec<ObjectId>, StoreError>;

    /// Space of the file system below, and the number of objects.
    fn space(&self) -> Result<SpaceReport, StoreError>;
}

/// The checksums of the pieces of `extents`, whose bytes are `bytes`.
pub fn checksums_of<'a>(extents: &'a [ObjectExtent], bytes: &'a [u8]) -> impl Iterator<Item = Checksum> + 'a {
    pieces(extents).scan(0, move |at, piece| {
        let start = *at;
        *at += piece.length;
        Some(Checksum::of(&bytes[start..*at]))
    })
}
