//! Datatypes: the bytes that are found for one are the bytes that MPI itself packs, and buffers may have gaps.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Context as _, Result, ensure};
use mpi::datatype::{UserDatatype, View};
use mpi::ffi::{self, MPI_Aint, MPI_Datatype};
use mpi::raw::FromRaw;
use mpi::traits::*;
use pfs_mpiio::{Info, datatype};
use std::os::raw::c_int;

pub(super) const CASES: &[(&str, Case)] = &[
    ("datatypes have the bytes that MPI packs", like_pack),
    ("buffers with gaps", buffers_with_gaps),
    ("buffers with gaps, collectively", collective_buffers_with_gaps),
];

/// Random types of each rank.
const TYPES: u64 = 400;
/// Larger ones are not compared.
const BYTES_MAX: i64 = 100_000;

/// Numbers that depend on a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> c_int {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        c_int::try_from((self.0 >> 33) % bound).expect("a small bound")
    }

    pub(super) fn between(&mut self, low: c_int, high: c_int) -> c_int {
        low + self.below(u64::from(low.abs_diff(high)) + 1)
    }

    pub(super) fn list(&mut self, length: c_int, low: c_int, high: c_int) -> Vec<c_int> {
        (0..length).map(|_| self.between(low, high)).collect()
    }
}

fn predefined(random: &mut Random) -> UserDatatype {
    match random.below(4) {
        0 => u8::equivalent_datatype().dup(),
        1 => i16::equivalent_datatype().dup(),
        2 => i32::equivalent_datatype().dup(),
        _ => f64::equivalent_datatype().dup(),
    }
}

fn bytes_of(made: &UserDatatype) -> c_int {
    let mut size: c_int = 0;
    // SAFETY: the type is alive, the variable lives during the call.
    unsafe { ffi::MPI_Type_size(made.as_raw(), &mut size) };
    size
}

/// A type made by a random constructor of types that are nested up to `depth`.
fn nested(random: &mut Random, depth: u32) -> UserDatatype {
    if depth == 0 {
        return predefined(random);
    }
    let mut inner = nested(random, depth - 1);
    if bytes_of(&inner) == 0 {
        // Open MPI refuses to distribute arrays of nothing.
        inner = predefined(random);
    }
    let (of, mut raw) = (inner.as_raw(), inner.as_raw());
    let (count, length, stride) = (random.below(4), random.below(4), random.between(-6, 9));
    let lengths = random.list(count, 0, 3);
    let places = random.list(count, -5, 12);
    let addresses: Vec<MPI_Aint> = places.iter().map(|&place| place as MPI_Aint * 3).collect();
    let (l, p, a) = (lengths.as_ptr(), places.as_ptr(), addresses.as_ptr());
    // SAFETY: every list has `count` entries, or as many as there are dimensions, and lives during the call.
    let code = unsafe {
        match random.below(12) {
            0 => ffi::MPI_Type_contiguous(count, of, &mut raw),
            1 => ffi::MPI_Type_vector(count, length, stride, of, &mut raw),
            2 => ffi::MPI_Type_create_hvector(count, length, stride as MPI_Aint * 5, of, &mut raw),
            3 => ffi::MPI_Type_indexed(count, l, p, of, &mut raw),
            4 => ffi::MPI_Type_create_hindexed(count, l, a, of, &mut raw),
            5 => ffi::MPI_Type_create_indexed_block(count, length, p, of, &mut raw),
            6 => ffi::MPI_Type_create_hindexed_block(count, length, a, of, &mut raw),
            7 => {
                let others: Vec<UserDatatype> = (0..count).map(|_| nested(random, depth - 1)).collect();
                let types: Vec<MPI_Datatype> = others.iter().map(|other| other.as_raw()).collect();
                ffi::MPI_Type_create_struct(count, l, a, types.as_ptr(), &mut raw)
            }
            8 | 9 => subarray(random, of, &mut raw),
            10 => darray(random, of, &mut raw),
            _ => {
                let extent = random.between(0, 40) as MPI_Aint;
                ffi::MPI_Type_create_resized(of, MPI_Aint::from(random.between(-9, 9) as i16), extent, &mut raw)
            }
        }
    };
    assert!(code == ffi::MPI_SUCCESS as c_int, "MPI makes no such type");
    // SAFETY: the handle was made just now, and nobody else frees it.
    unsafe { UserDatatype::from_raw(raw) }
}

fn order(random: &mut Random) -> c_int {
    [ffi::MPI_ORDER_C as c_int, ffi::MPI_ORDER_FORTRAN as c_int][random.below(2) as usize]
}

/// # Safety
/// `of` is a datatype.
unsafe fn subarray(random: &mut Random, of: MPI_Datatype, raw: &mut MPI_Datatype) -> c_int {
    let dimensions = random.between(1, 3);
    let sizes = random.list(dimensions, 1, 5);
    let parts: Vec<c_int> = sizes.iter().map(|&size| random.between(1, size)).collect();
    let starts: Vec<c_int> = sizes.iter().zip(&parts).map(|(size, part)| random.between(0, size - part)).collect();
    let (s, p, at) = (sizes.as_ptr(), parts.as_ptr(), starts.as_ptr());
    // SAFETY: three lists of as many entries as there are dimensions.
    unsafe { ffi::MPI_Type_create_subarray(dimensions, s, p, at, order(random), of, raw) }
}

/// # Safety
/// `of` is a datatype.
unsafe fn darray(random: &mut Random, of: MPI_Datatype, raw: &mut MPI_Datatype) -> c_int {
    let dimensions = random.between(1, 3);
    let grid = random.list(dimensions, 1, 3);
    let sizes: Vec<c_int> = grid.iter().map(|&places| places * random.between(1, 3)).collect();
    let whole = ffi::MPI_DISTRIBUTE_DFLT_DARG as c_int;
    let mut deals = Vec::new();
    let mut arguments = Vec::new();
    for &places in &grid {
        let (deal, argument) = match random.below(if places == 1 { 4 } else { 3 }) {
            0 => (ffi::MPI_DISTRIBUTE_BLOCK as c_int, whole),
            1 => (ffi::MPI_DISTRIBUTE_CYCLIC as c_int, whole),
            2 => (ffi::MPI_DISTRIBUTE_CYCLIC as c_int, 2),
            _ => (ffi::MPI_DISTRIBUTE_NONE as c_int, whole),
        };
        deals.push(deal);
        arguments.push(argument);
    }
    let ranks: c_int = grid.iter().product();
    let rank = random.between(0, ranks - 1);
    let (s, d, a, g) = (sizes.as_ptr(), deals.as_ptr(), arguments.as_ptr(), grid.as_ptr());
    // SAFETY: four lists of as many entries as there are dimensions.
    unsafe { ffi::MPI_Type_create_darray(ranks, rank, dimensions, s, d, a, g, order(random), of, raw) }
}

fn like_pack(context: &Context) -> Result<()> {
    let mut compared = 0;
    for seed in 0..TYPES {
        let mut random = Random(seed * context.ranks() + context.rank() + 1);
        let depth = 1 + random.below(4).unsigned_abs();
        let made = nested(&mut random, depth);
        // SAFETY: the type is alive.
        unsafe { ffi::MPI_Type_commit(&mut made.as_raw()) };
        let flat = datatype::flatten(&made)?;
        if flat.true_extent() > BYTES_MAX || flat.size() > BYTES_MAX.unsigned_abs() {
            continue;
        }
        compare(context, &made, &flat).with_context(|| format!("type {seed}"))?;
        compared += 1;
    }
    ensure!(compared >= TYPES / 2, "only {compared} types were small enough");
    Ok(())
}

/// Packs memory by MPI and by the flat type.
fn compare(context: &Context, made: &UserDatatype, flat: &pfs_core::datatype::Datatype) -> Result<()> {
    let size = bytes_of(made);
    let (mut lower, mut extent): (MPI_Aint, MPI_Aint) = (0, 0);
    // SAFETY: the type is alive, the variables live during the calls.
    unsafe {
        ffi::MPI_Type_get_extent(made.as_raw(), &mut lower, &mut extent);
    }
    ensure!(flat.size() == u64::try_from(size)?, "{} bytes instead of {size}", flat.size());
    ensure!((flat.lower_bound(), flat.extent()) == (lower as i64, extent as i64), "other bounds");
    let first = flat.true_lower_bound();
    let memory = pattern::bytes(7, 0, usize::try_from(flat.true_extent())?.max(1));
    let mut packed = vec![0u8; usize::try_from(size)? + 64];
    let mut position: c_int = 0;
    // SAFETY: all bytes of one value lie between its true bounds, and `packed` has room for them.
    let code = unsafe {
        let from = memory.as_ptr().wrapping_offset(-isize::try_from(first)?).cast();
        let room = c_int::try_from(packed.len())?;
        let (to, world) = (packed.as_mut_ptr().cast(), context.world.as_raw());
        ffi::MPI_Pack(from, 1, made.as_raw(), to, room, &mut position, world)
    };
    ensure!(code == ffi::MPI_SUCCESS as c_int && position == size, "MPI packs {position} of {size} bytes");
    let mut own = Vec::new();
    for segment in flat.segments(0, flat.size()) {
        let start = usize::try_from(segment.displacement - first)?;
        own.extend_from_slice(&memory[start..start + usize::try_from(segment.length)?]);
    }
    check_bytes(&own, &packed[..usize::try_from(size)?])
}

/// Every other number of each rank goes to the file and comes back, and the numbers between stay as they were.
fn buffers_with_gaps(context: &Context) -> Result<()> {
    let file = context.create("memory-gaps", &Info::new())?;
    let strided = UserDatatype::vector(500, 1, 2, &u64::equivalent_datatype());
    let numbers: Vec<u64> = (0..1000).map(|i| i + 1000 * context.rank()).collect();
    let offset = 4000 * context.rank();
    // SAFETY: one strided value lies inside of the thousand numbers.
    file.write_at(offset, &unsafe { View::with_count_and_datatype(&numbers[..], 1, &strided) })?;
    let mut dense = vec![0u64; 500];
    ensure!(file.read_at(offset, &mut dense[..])?.bytes() == 4000);
    ensure!(dense.iter().copied().eq(numbers.iter().copied().step_by(2)), "every other number is in the file");
    let mut back = vec![u64::MAX; 1000];
    // SAFETY: as above.
    let mut view = unsafe { mpi::datatype::MutView::with_count_and_datatype(&mut back[..], 1, &strided) };
    file.read_at(offset, &mut view)?;
    let right = |(at, &number): (usize, &u64)| number == if at.is_multiple_of(2) { numbers[at] } else { u64::MAX };
    ensure!(back.iter().enumerate().all(right), "gaps stay as they were");
    file.close()?;
    Ok(())
}

fn collective_buffers_with_gaps(context: &Context) -> Result<()> {
    let file = context.create("memory-gaps-all", &Info::new())?;
    let strided = UserDatatype::vector(500, 1, 2, &u64::equivalent_datatype());
    let numbers: Vec<u64> = (0..1000).map(|i| i + 1000 * context.rank()).collect();
    let offset = 4000 * context.rank();
    // SAFETY: one strided value lies inside of the thousand numbers.
    file.write_at_all(offset, &unsafe { View::with_count_and_datatype(&numbers[..], 1, &strided) })?;
    // The file ends in the middle of what the last rank asks for.
    file.set_size(4000 * context.ranks() - 2000)?;
    let mut back = vec![u64::MAX; 1000];
    // SAFETY: as above.
    let mut view = unsafe { mpi::datatype::MutView::with_count_and_datatype(&mut back[..], 1, &strided) };
    let read = file.read_at_all(offset, &mut view)?.bytes();
    let whole = context.rank() + 1 < context.ranks();
    ensure!(read == if whole { 4000 } else { 2000 }, "{read} bytes");
    let there = |at: usize| at.is_multiple_of(2) && (whole || at < 500);
    let right = |(at, &number): (usize, &u64)| number == if there(at) { numbers[at] } else { u64::MAX };
    ensure!(back.iter().enumerate().all(right), "what was not read stays as it was");
    file.close()?;
    Ok(())
}
