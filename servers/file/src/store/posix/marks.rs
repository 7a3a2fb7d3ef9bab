//! The open marks of a store: which regions of which objects may have blocks that differ from their stored checksums.
//!
//! ```text
//! objects/marks
//!      0  "PFSMARKS"                      a header of 512 bytes, the rest of it zeros
//!      8  u32 version, 1
//!     12  u32 1: the store is in use, or was when it ended; 2: it was shut down, and nothing is open
//!     16  u64 bytes of a region
//!     24  u32 zeros
//!     28  u32 CRC32C of the bytes before
//!    512  marks of 32 bytes each; a free one is all zeros
//!         0  u64 file id
//!         8  u64 region, counted from the object's start; with the highest bit: this region and all after it
//!        16  u32 slot
//!        20  u64 zeros
//!        28  u32 CRC32C of the bytes before
//! ```
//! Numbers are little-endian. No mark lies across two sectors of the disk, so writing one never harms another.
//!
//! Invariants:
//! * a mark is durable before anything that it announces is written; those who wait for marks at the same time share a
//!   sync of the file;
//! * a mark that was cleared may be there again after a loss of power: the clearing is not waited for. What it was about is
//!   then summed again though it need not be;
//! * marks that could not be made durable are written anew with the next one, since the system forgets them.

use super::super::disk::{Disk, DiskFile};
use super::super::sync_ledger::{PieceCount, Standing, SyncLedger};
use super::regions::{REGION_BYTES, Region};
use parking_lot::Mutex;
use pfs_core::checksum::Checksum;
use pfs_core::extent::Extent;
use pfs_core::ids::{FileId, ObjectId};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"PFSMARKS";
const VERSION: u32 = 1;
const IN_USE: u32 = 1;
const SHUT_DOWN: u32 = 2;
const HEADER_BYTES: usize = 512;
const MARK_BYTES: usize = 32;
/// The checksum of 32 bytes is their last 4.
const SUMMED_BYTES: usize = 28;
/// Space that is taken ahead: for 2,032 marks.
const RESERVED_BYTES: u64 = 64 << 10;
/// The file's name in the store's directory.
pub(super) const NAME: &str = "marks";

/// One mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) object: ObjectId,
    pub(super) region: Region,
}

/// Where a mark is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

/// What the last run has left.
#[derive(Debug)]
pub(super) struct LastRun {
    /// It ended as it should: nothing is open, and every object has its checksums.
    pub(super) was_shut_down: bool,
    /// What was open.
    pub(super) marks: Vec<Mark>,
}

/// The file of marks.
#[derive(Debug)]
pub(super) struct MarkFile<D: Disk> {
    path: PathBuf,
    file: D::File,
    ledger: SyncLedger,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    marks: Vec<Option<Mark>>,
    free: Vec<usize>,
}

impl<D: Disk> MarkFile<D> {
    /// Opens the file, or makes it, and tells what it says. Nothing is changed yet in a file that is there.
    pub(super) fn open(disk: &D, directory: &Path) -> io::Result<(Self, LastRun)> {
        let path = directory.join(NAME);
        let (file, last) = match disk.open(&path) {
            Ok(file) => {
                let last = read(&file)?;
                (file, last)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = disk.create(&path)?;
                file.write_all(&header(IN_USE), 0)?;
                file.sync_data()?;
                disk.sync_directory(directory)?;
                (file, LastRun { was_shut_down: false, marks: Vec::new() })
            }
            Err(error) => return Err(error),
        };
        let ledger = SyncLedger::new(PieceCount::default());
        Ok((MarkFile { path, file, ledger, places: Mutex::default() }, last))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the marks of the last run, and says that the store is in use. Durable when it returns.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.restart(IN_USE)?;
        // On a full disk what is there can be overwritten as long as there is space for marks.
        if let Err(error) = self.file.allocate(0, RESERVED_BYTES) {
            tracing::debug!(%error, path = %self.path.display(), "no space is taken ahead for open marks");
        }
        Ok(())
    }

    /// Says that the store was shut down. To be called when nothing is open, and before nothing else.
    pub(super) fn end(&self) -> io::Result<()> {
        self.restart(SHUT_DOWN)
    }

    fn restart(&self, state: u32) -> io::Result<()> {
        self.file.set_len(HEADER_BYTES as u64)?;
        self.file.write_all(&header(state), 0)?;
        self.file.sync_data()
    }

    /// Whether any region is marked.
    pub(super) fn is_empty(&self) -> bool {
        let places = self.places.lock();
        places.free.len() == places.marks.len()
    }

    /// Writes a mark, which is durable after the next [`sync`](Self::sync).
    pub(super) fn put(&self, mark: Mark) -> io::Result<Place> {
        let place = self.places.lock().take(mark);
        self.write(place, &record(mark)).inspect_err(|_| self.places.lock().give_back(place))?;
        Ok(Place(place))
    }

    /// Makes all marks durable that were put before.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.ledger.standing() == Standing::Lost {
            self.write_all()?;
        }
        self.ledger.commit(|| self.file.sync_data()).map_err(|loss| loss.source)
    }

    /// Takes a mark away, some time.
    pub(super) fn clear(&self, Place(place): Place) {
        if let Err(error) = self.write(place, &[0; MARK_BYTES]) {
            tracing::warn!(%error, path = %self.path.display(), "an open mark stays, though it is not needed any more");
        }
        self.places.lock().give_back(place);
    }

    fn write(&self, place: usize, bytes: &[u8]) -> io::Result<()> {
        let start = (HEADER_BYTES + place * MARK_BYTES) as u64;
        let extent = || Extent::new(start, start + bytes.len() as u64).into_iter();
        let ticket = self.ledger.begin_write(extent());
        let written = self.file.write_all(bytes, start);
        self.ledger.end_write(ticket, extent(), written.is_ok());
        written
    }

    fn write_all(&self) -> io::Result<()> {
        let places = self.places.lock();
        let mark = |mark: &Option<Mark>| mark.map_or([0; MARK_BYTES], record);
        let bytes: Vec<u8> = places.marks.iter().flat_map(mark).collect();
        self.write(0, &bytes)
    }
}

impl Places {
    fn take(&mut self, mark: Mark) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.marks.push(None);
            self.marks.len() - 1
        });
        self.marks[place] = Some(mark);
        place
    }

    fn give_back(&mut self, place: usize) {
        self.marks[place] = None;
        self.free.push(place);
    }
}

fn header(state: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&state.to_le_bytes());
    bytes[16..24].copy_from_slice(&REGION_BYTES.to_le_bytes());
    seal(&mut bytes[..MARK_BYTES]);
    bytes
}

fn record(mark: Mark) -> [u8; MARK_BYTES] {
    let mut bytes = [0; MARK_BYTES];
    bytes[..8].copy_from_slice(&mark.object.file.get().to_le_bytes());
    bytes[8..16].copy_from_slice(&mark.region.to_bits().to_le_bytes());
    bytes[16..20].copy_from_slice(&mark.object.slot.to_le_bytes());
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let sum = Checksum::of(&bytes[..SUMMED_BYTES]);
    bytes[SUMMED_BYTES..].copy_from_slice(&sum.0.to_le_bytes());
}

fn is_sealed(bytes: &[u8]) -> bool {
    bytes[SUMMED_BYTES..] == Checksum::of(&bytes[..SUMMED_BYTES]).0.to_le_bytes()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has this length")
}

fn read<F: DiskFile>(file: &F) -> io::Result<LastRun> {
    let length = usize::try_from(file.status()?.length).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_to_end(&mut bytes, 0)?;
    parse(&bytes[..read]).map_err(|problem| io::Error::new(ErrorKind::InvalidData, problem))
}

/// What the bytes of a file say. Those of a file whose making was cut off are zeros, or none.
fn parse(bytes: &[u8]) -> Result<LastRun, String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(LastRun { was_shut_down: false, marks: Vec::new() });
    }
    let (header, marks) = bytes.split_at_checked(HEADER_BYTES).ok_or("the file of open marks is too short")?;
    let header = &header[..MARK_BYTES];
    if !header.starts_with(MAGIC) || !is_sealed(header) {
        return Err("the header of the file of open marks is damaged".into());
    }
    let version = u32::from_le_bytes(number(header, 8));
    let region_bytes = u64::from_le_bytes(number(header, 16));
    if version != VERSION || region_bytes != REGION_BYTES {
        return Err(format!(
            "the file of open marks has version {version} and regions of {region_bytes} bytes; this program knows \
             version {VERSION} and regions of {REGION_BYTES}; start the program that has written it, and stop it in order"
        ));
    }
    let was_shut_down = u32::from_le_bytes(number(header, 12)) == SHUT_DOWN;
    Ok(LastRun { was_shut_down, marks: marks.chunks_exact(MARK_BYTES).filter_map(parse_mark).collect() })
}

/// A mark, if there is one. One that is not whole was not durable, so nothing was done under it.
fn parse_mark(bytes: &[u8]) -> Option<Mark> {
    let file = FileId::new(u64::from_le_bytes(number(bytes, 0)))?;
    let object = ObjectId { file, slot: u32::from_le_bytes(number(bytes, 16)) };
    let region = Region::from_bits(u64::from_le_bytes(number(bytes, 8)));
    is_sealed(bytes).then_some(Mark { object, region })
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
