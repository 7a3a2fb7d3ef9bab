//! One rank's part of an access that is measured: its file, its view and its call.

use anyhow::{Context, Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint};
use mpi::raw::FromRaw;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info, Times};
use std::os::raw::c_int;

/// Where each rank's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One run each, in a shared file.
    Segments,
    /// One run each, in a file of each rank's own.
    FilePerProcess,
    /// Pieces of so many bytes, in turn.
    Pieces(u64),
    /// A box of a 3-D array of 8-byte numbers, cut along its fast dimensions.
    Box,
}

/// An access that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its name in the figures.
    pub name: &'static str,
    /// Where the bytes lie.
    pub layout: Layout,
    /// Hints of its file.
    pub hints: &'static [(&'static str, &'static str)],
    /// In atomic mode.
    pub is_atomic: bool,
}

/// A contender with its file open.
pub struct Opened {
    file: File,
    offset: u64,
    bytes: usize,
}

impl Opened {
    /// Opens a new file. Collective. Each rank has about `bytes` bytes.
    pub fn new(world: &SimpleCommunicator, name: &str, contender: &Contender, bytes: u64) -> Result<Opened> {
        let (rank, ranks) = (u64::try_from(world.rank())?, u64::try_from(world.size())?);
        let hints: Info = contender.hints.iter().copied().collect();
        let hints = hints.with("striping_factor", 4);
        let amode = AccessMode::CREATE | AccessMode::RDWR | AccessMode::DELETE_ON_CLOSE;
        let file = match contender.layout {
            Layout::FilePerProcess => {
                File::open(&SimpleCommunicator::self_comm(), &format!("{name}-{rank}"), amode, &hints)?
            }
            _ => File::open(world, name, amode, &hints)?,
        };
        file.set_atomicity(contender.is_atomic)?;
        let byte = u8::equivalent_datatype();
        let (offset, length) = match contender.layout {
            Layout::Segments => (rank * bytes, bytes),
            Layout::FilePerProcess => (0, bytes),
            Layout::Pieces(piece) => {
                file.set_view(rank * piece, &byte, &interleaved(piece, ranks)?, "native")?;
                (0, bytes.div_ceil(piece) * piece)
            }
            Layout::Box => {
                let (part, length) = sub_box(rank, ranks, bytes)?;
                file.set_view(0, &byte, &part, "native")?;
                (0, length)
            }
        };
        Ok(Opened { file, offset, bytes: usize::try_from(length)? })
    }

    /// Bytes of one access of this rank.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes them from the beginning of a buffer that is not shorter. Collective.
    pub fn write(&self, buffer: &[u8]) -> Result<()> {
        self.file.write_at_all(self.offset, &buffer[..self.bytes])?;
        Ok(())
    }

    /// Reads them to the beginning of a buffer that is not shorter. Collective.
    pub fn read(&self, buffer: &mut [u8]) -> Result<()> {
        let read = self.file.read_at_all(self.offset, &mut buffer[..self.bytes])?.bytes();
        ensure!(read == self.bytes as u64, "{read} bytes were read of {}", self.bytes);
        Ok(())
    }

    /// What this rank did with the file, and how long it took.
    pub fn times(&self) -> Times {
        self.file.times()
    }

    /// Removes the file. Collective.
    pub fn close(self) -> Result<()> {
        Ok(self.file.close()?)
    }
}

/// A piece, and room for those of the other ranks.
fn interleaved(piece: u64, ranks: u64) -> Result<UserDatatype> {
    let one = UserDatatype::contiguous(c_int::try_from(piece)?, &u8::equivalent_datatype());
    let extent = MPI_Aint::try_from(piece * ranks)?;
    // SAFETY: the piece is a datatype; the new one is committed before it is wrapped.
    unsafe {
        let mut raw = one.as_raw();
        ffi::MPI_Type_create_resized(one.as_raw(), 0, extent, &mut raw);
        ffi::MPI_Type_commit(&mut raw);
        Ok(UserDatatype::from_raw(raw))
    }
}

/// A rank's box of a cube of doubles, and the box's bytes. The cube is cut along its last two dimensions.
fn sub_box(rank: u64, ranks: u64, bytes: u64) -> Result<(UserDatatype, u64)> {
    let columns = (1..=ranks).rev().find(|n| ranks.is_multiple_of(*n) && n * n <= ranks).context("there are ranks")?;
    let rows = ranks / columns;
    let side = ((bytes / 8) as f64).cbrt().ceil() as u64;
    let int = |numbers: [u64; 3]| -> Result<Vec<c_int>> {
        Ok(numbers.map(c_int::try_from).into_iter().collect::<Result<_, _>>()?)
    };
    let sizes = int([side, rows * side, columns * side])?;
    let (subsizes, starts) = (int([side; 3])?, int([0, rank / columns * side, rank % columns * side])?);
    let (order, double) = (ffi::MPI_ORDER_C as c_int, f64::equivalent_datatype().as_raw());
    // SAFETY: the lists have three entries; the new type is committed before it is wrapped.
    let part = unsafe {
        let mut raw = double;
        let (sizes, subsizes, starts) = (sizes.as_ptr(), subsizes.as_ptr(), starts.as_ptr());
        ffi::MPI_Type_create_subarray(3, sizes, subsizes, starts, order, double, &mut raw);
        ffi::MPI_Type_commit(&mut raw);
        UserDatatype::from_raw(raw)
    };
    Ok((part, side.pow(3) * 8))
}
