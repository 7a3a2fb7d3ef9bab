//! Views: random ones, on all ranks at once, against plain arrays.
//!
//! What a view shows is found here by MPI itself: a copy of the file type is packed from memory in which every byte tells
//! its own place.

use super::datatypes::Random;
use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Context as _, Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint, MPI_Datatype};
use mpi::raw::FromRaw;
use mpi::traits::*;
use pfs_mpiio::{ErrorClass, File, Info, Whence};
use std::os::raw::c_int;

pub(super) const CASES: &[(&str, Case)] =
    &[("random views", random_views), ("file pointers", file_pointers), ("impossible views", impossible_views)];

/// Random accesses for each way to write and to read.
const TURNS: u64 = 6;

/// A rank's view and what it writes through it.
struct Part {
    displacement: u64,
    filetype: UserDatatype,
    /// Etypes of 4 bytes before the access, and in it.
    offset: u64,
    count: u64,
    /// Places of the bytes of one file type, in their order.
    places: Vec<u64>,
    extent: u64,
}

const ETYPE_BYTES: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    AtAll,
    All,
    At,
    Pointer,
}

impl Part {
    /// The place in the file of each byte of the access.
    fn file_places(&self) -> Vec<u64> {
        let size = self.places.len() as u64;
        let place = |position: u64| {
            let (turn, at) = (position / size, usize::try_from(position % size).expect("a small type"));
            self.displacement + turn * self.extent + self.places[at]
        };
        (self.offset * ETYPE_BYTES..(self.offset + self.count) * ETYPE_BYTES).map(place).collect()
    }
}

/// Calls MPI to make a type, and commits it.
pub(super) fn made(make: impl FnOnce(&mut MPI_Datatype) -> c_int) -> UserDatatype {
    let mut raw = i32::equivalent_datatype().as_raw();
    let code = make(&mut raw);
    assert!(code == ffi::MPI_SUCCESS as c_int, "MPI makes no such type");
    // SAFETY: the handle was made just now, and nobody else frees it.
    unsafe {
        ffi::MPI_Type_commit(&mut raw);
        UserDatatype::from_raw(raw)
    }
}

/// A part of a matrix that is dealt to all ranks: no two have a byte in common.
fn dealt(random: &mut Random, context: &Context, rank: c_int) -> UserDatatype {
    let ranks = context.world.size();
    let rows = [ranks * random.between(1, 4), random.between(1, 9)];
    let (whole, none) = (ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int, ffi::MPI_DISTRIBUTE_NONE as c_int);
    let kinds = [ffi::MPI_DISTRIBUTE_BLOCK as c_int, ffi::MPI_DISTRIBUTE_CYCLIC as c_int];
    let kind = kinds[random.below(2) as usize];
    let order = [ffi::MPI_ORDER_C as c_int, ffi::MPI_ORDER_FORTRAN as c_int][random.below(2) as usize];
    let (deals, arguments, grid) = ([kind, none], [whole, whole], [ranks, 1]);
    let (s, d, a, g) = (rows.as_ptr(), deals.as_ptr(), arguments.as_ptr(), grid.as_ptr());
    let int = i32::equivalent_datatype().as_raw();
    // SAFETY: four lists of two dimensions.
    made(|raw| unsafe { ffi::MPI_Type_create_darray(ranks, rank, 2, s, d, a, g, order, int, raw) })
}

/// Blocks in order with gaps, wherever they come; those of ranks overlap.
fn scattered(random: &mut Random) -> UserDatatype {
    let count = random.between(1, 6);
    let lengths = random.list(count, 1, 300);
    let mut at = 0;
    let places: Vec<MPI_Aint> = lengths
        .iter()
        .map(|&length| {
            let place = at + random.between(0, 900);
            at = place + 4 * length;
            place as MPI_Aint
        })
        .collect();
    let (l, p, int) = (lengths.as_ptr(), places.as_ptr(), i32::equivalent_datatype().as_raw());
    // SAFETY: two lists of `count` entries.
    let blocks = made(|raw| unsafe { ffi::MPI_Type_create_hindexed(count, l, p, int, raw) });
    let extent = (at + random.between(0, 900)) as MPI_Aint;
    // SAFETY: the type is alive.
    made(|raw| unsafe { ffi::MPI_Type_create_resized(blocks.as_raw(), 0, extent, raw) })
}

/// Where the bytes of a file type are, in their order, as MPI packs them.
fn places(context: &Context, filetype: &UserDatatype) -> Result<(Vec<u64>, u64)> {
    let (mut lower, mut extent): (MPI_Aint, MPI_Aint) = (0, 0);
    let mut size: c_int = 0;
    // SAFETY: the type is alive, the variables live during the calls.
    unsafe {
        ffi::MPI_Type_get_extent(filetype.as_raw(), &mut lower, &mut extent);
        ffi::MPI_Type_size(filetype.as_raw(), &mut size);
    }
    let mut found = vec![0u64; usize::try_from(size)?];
    for digit in 0..3 {
        let memory: Vec<u8> = (0..extent as u64).map(|at| (at >> (8 * digit)).to_le_bytes()[0]).collect();
        let mut packed = vec![0u8; found.len() + 64];
        let (mut position, room) = (0, c_int::try_from(packed.len())?);
        // SAFETY: a value of the type lies between 0 and its extent, and `packed` has room for its bytes.
        unsafe {
            let (from, to) = (memory.as_ptr().cast(), packed.as_mut_ptr().cast());
            ffi::MPI_Pack(from, 1, filetype.as_raw(), to, room, &mut position, context.world.as_raw());
        }
        ensure!(position == size, "MPI packs {position} of {size} bytes");
        found.iter_mut().zip(&packed).for_each(|(place, byte)| *place |= u64::from(*byte) << (8 * digit));
    }
    Ok((found, u64::try_from(extent)?))
}

/// The parts of all ranks: every rank makes the same ones.
fn parts(context: &Context, seed: u64, way: Way) -> Result<Vec<Part>> {
    let part = |rank: u64| {
        // What ranks have in common comes from the same numbers.
        let mut random = Random(seed);
        let is_dealt = matches!(way, Way::At | Way::Pointer) || random.below(2) == 0;
        let number = c_int::try_from(rank)?;
        let filetype =
            if is_dealt { dealt(&mut random, context, number) } else { scattered(&mut Random(seed * 1000 + rank + 1)) };
        let displacement = if is_dealt { 4 * u64::from(random.below(500).unsigned_abs()) } else { rank * 77 };
        let mut own = Random(seed * 77 + rank + 5);
        let mut number = |bound| u64::from(own.below(bound).unsigned_abs());
        let (offset, count) = (number(300), number(3000));
        let (places, extent) = places(context, &filetype)?;
        let count = if places.is_empty() { 0 } else { count };
        Ok(Part { displacement, filetype, offset, count, places, extent })
    };
    (0..context.ranks()).map(part).collect()
}

fn random_views(context: &Context) -> Result<()> {
    let hints = [
        Info::new(),
        Info::new().with("romio_cb_write", "enable").with("romio_cb_read", "enable").with("cb_buffer_size", 8192),
        Info::new().with("romio_cb_write", "disable").with("romio_cb_read", "disable"),
        Info::new().with("cb_nodes", 1).with("romio_cb_write", "enable"),
    ];
    for (number, hints) in (0u64..).zip(&hints) {
        let file = context.create(&format!("views-{number}"), &hints.clone().with("striping_unit", 4096))?;
        for turn in 0..TURNS {
            for way in [Way::AtAll, Way::All, Way::At, Way::Pointer] {
                let seed = 1 + turn * 100 + number * 10_000 + way as u64;
                random_view(context, &file, seed, way)
                    .with_context(|| format!("hints {number}, turn {turn}, {way:?}, seed {seed}"))?;
            }
        }
        file.close()?;
    }
    Ok(())
}

fn random_view(context: &Context, file: &File, seed: u64, way: Way) -> Result<()> {
    let parts = parts(context, seed, way)?;
    let own = &parts[usize::try_from(context.rank())?];
    let int = i32::equivalent_datatype();
    file.set_view(0, &u8::equivalent_datatype(), &u8::equivalent_datatype(), "native")?;
    file.set_size(0)?;
    file.set_view(own.displacement, &int, &own.filetype, "native")?;
    let bytes_of = |rank: u64, part: &Part| pattern::bytes(seed * 100 + rank, 0, (part.count * ETYPE_BYTES) as usize);
    write(file, way, own.offset, &bytes_of(context.rank(), own))?;
    let mut expected = Vec::new();
    for (rank, part) in (0..).zip(&parts) {
        for (place, byte) in part.file_places().into_iter().zip(bytes_of(rank, part)) {
            let place = usize::try_from(place)?;
            expected.resize(expected.len().max(place + 1), 0);
            expected[place] = byte;
        }
    }
    // Collective writes are seen after the call; others after a sync, a barrier and a sync.
    file.sync()?;
    ensure!(file.get_size()? == expected.len() as u64, "a size of {} bytes", file.get_size()?);
    let there = own.file_places();
    let seen = there.iter().take_while(|place| **place < expected.len() as u64).count();
    let mut back = vec![0xee; there.len()];
    let read = read(file, way, own.offset, &mut back)?;
    ensure!(read == seen as u64, "{read} bytes instead of {seen}");
    let shown: Vec<u8> = there[..seen].iter().map(|&place| expected[place as usize]).collect();
    check_bytes(&back[..seen], &shown)?;
    file.set_view(0, &u8::equivalent_datatype(), &u8::equivalent_datatype(), "native")?;
    let mut whole = vec![0; expected.len()];
    file.read_at(0, &mut whole[..])?;
    check_bytes(&whole, &expected).context("the whole file")
}

fn write(file: &File, way: Way, offset: u64, bytes: &[u8]) -> Result<()> {
    match way {
        Way::AtAll => file.write_at_all(offset, bytes)?,
        Way::At => file.write_at(offset, bytes)?,
        Way::All | Way::Pointer => {
            file.seek(i64::try_from(offset)?, Whence::Set)?;
            let status = if way == Way::All { file.write_all(bytes)? } else { file.write(bytes)? };
            ensure!(file.get_position() == offset + bytes.len() as u64 / ETYPE_BYTES);
            status
        }
    };
    Ok(())
}

fn read(file: &File, way: Way, offset: u64, bytes: &mut [u8]) -> Result<u64> {
    let status = match way {
        Way::AtAll => file.read_at_all(offset, bytes)?,
        Way::At => file.read_at(offset, bytes)?,
        Way::All | Way::Pointer => {
            file.seek(i64::try_from(offset)?, Whence::Set)?;
            if way == Way::All { file.read_all(bytes)? } else { file.read(bytes)? }
        }
    };
    Ok(status.bytes())
}

fn file_pointers(context: &Context) -> Result<()> {
    let file = context.create("pointers", &Info::new())?;
    let int = i32::equivalent_datatype();
    let ranks = i32::try_from(context.ranks())?;
    // Every rank sees its own of each `ranks` numbers.
    let one = UserDatatype::contiguous(1, &int);
    // SAFETY: the type is alive.
    let own = made(|raw| unsafe { ffi::MPI_Type_create_resized(one.as_raw(), 0, 4 * ranks as MPI_Aint, raw) });
    file.set_view(4 * context.rank(), &int, &own, "native")?;
    let numbers: Vec<i32> = (0..100).map(|i| i * ranks + context.world.rank()).collect();
    file.write_all(&numbers[..60])?;
    file.write_all(&numbers[60..])?;
    ensure!(file.get_position() == 100);
    ensure!(file.get_byte_offset(3)? == 4 * (3 * context.ranks() + context.rank()));
    file.seek(-40, Whence::End)?;
    ensure!(file.get_position() == 60, "the end of the view is at its 100th number");
    file.seek(-10, Whence::Current)?;
    let mut back = [0; 60];
    let status = file.read_all(&mut back[..])?;
    ensure!(status.count::<i32>() == Some(50) && back[..50] == numbers[50..], "the last 50 numbers");
    ensure!(file.get_position() == 100, "the pointer stops at the end");
    ensure!(file.seek(-1, Whence::Set).is_err(), "before the start");
    ensure!(file.get_position() == 100, "a pointer that is not moved stays");
    file.sync()?;
    file.set_view(0, &int, &int, "native")?;
    ensure!(file.get_position() == 0, "a view begins at its start");
    let mut all = vec![0; 100 * context.ranks() as usize];
    file.read(&mut all[..])?;
    ensure!(all.iter().copied().eq(0..100 * ranks), "all numbers in order");
    file.close()?;
    Ok(())
}

fn impossible_views(context: &Context) -> Result<()> {
    let file = context.create("impossible-views", &Info::new())?;
    let (byte, int) = (u8::equivalent_datatype(), i32::equivalent_datatype());
    let backwards = UserDatatype::indexed(&[1, 1], &[4, 0], &int);
    let twice = UserDatatype::indexed(&[2, 2], &[0, 1], &int);
    context.same_error(ErrorClass::Io, || file.set_view(0, &int, &backwards, "native"))?;
    context.same_error(ErrorClass::Io, || file.set_view(0, &int, &twice, "native"))?;
    context.same_error(ErrorClass::Arg, || file.set_view(0, &int, &byte, "native"))?;
    context.same_error(ErrorClass::UnsupportedDatarep, || file.set_view(0, &int, &int, "runes"))?;
    if context.ranks() > 1 {
        context.same_error(ErrorClass::NotSame, || match context.rank() {
            0 => file.set_view(0, &byte, &byte, "native"),
            _ => file.set_view(0, &int, &int, "native"),
        })?;
    }
    file.set_view(0, &int, &int, "native")?;
    context.same_error(ErrorClass::Arg, || file.write_at_all(0, &[0u8; 7][..]))?;
    ensure!(file.write_at(0, &[0u8; 7][..]).is_err(), "no whole number of etypes");
    file.close()?;
    Ok(())
}
