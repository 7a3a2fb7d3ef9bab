//! Accesses that are started without a borrow of their memory, as a library for C starts them.

use super::shared::settle;
use super::{Case, Context};
use anyhow::{Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::traits::*;
use pfs_mpiio::{At, Error, ErrorClass, File, Info, Operation, RawBuffer, RawBufferMut, SplitOperation, Whence};
use std::thread::yield_now;

pub(super) const CASES: &[(&str, Case)] = &[
    ("nonblocking accesses without borrows", nonblocking),
    ("split collectives without borrows", split),
    ("nonblocking accesses without borrows that end early", short),
];

/// Numbers of an access.
const COUNT: u64 = 5000;

/// Memory of which every second number is for the file.
fn memory(number: impl Fn(u64) -> i32) -> Vec<i32> {
    (0..COUNT).flat_map(|at| [number(at), -1]).collect()
}

/// What a rank writes by an access.
fn data(rank: u64, kind: usize) -> Vec<i32> {
    memory(|at| ((rank * 16 + kind as u64) * COUNT + at) as i32)
}

/// The datatype that takes every second number.
fn every_second() -> UserDatatype {
    UserDatatype::vector(COUNT as i32, 1, 2, &i32::equivalent_datatype())
}

/// Begins a write of this rank or of all. The datatype's handle is freed before the operation is complete.
fn write(file: &File, at: At, all: bool, from: &[i32]) -> Result<Operation, Error> {
    let datatype = every_second();
    // SAFETY: the memory has that many numbers, and the cases keep it until the operation is complete.
    unsafe {
        let buffer = RawBuffer::new(from.as_ptr().cast(), 1, datatype.as_raw());
        if all { file.start_write_all(at, &buffer) } else { file.start_write(at, &buffer) }
    }
}

/// The same for a read.
fn read(file: &File, at: At, all: bool, to: &mut [i32]) -> Result<Operation, Error> {
    let datatype = every_second();
    // SAFETY: as above.
    unsafe {
        let mut buffer = RawBufferMut::new(to.as_mut_ptr().cast(), 1, datatype.as_raw());
        if all { file.start_read_all(at, &mut buffer) } else { file.start_read(at, &mut buffer) }
    }
}

fn complete(operations: Vec<Operation>) -> Result<()> {
    for (number, operation) in operations.into_iter().enumerate() {
        // Every second one is tested, the others are waited for.
        let status = match number % 2 {
            0 => operation.wait()?,
            _ => loop {
                match operation.test() {
                    Some(result) => break result?,
                    None => yield_now(),
                }
            },
        };
        let (datatype, int) = (every_second(), i32::equivalent_datatype());
        // SAFETY: both datatypes are alive.
        let (counts, elements) = unsafe {
            let counts = [status.count_of(datatype.as_raw())?, status.count_of(int.as_raw())?];
            (counts, status.elements_of(datatype.as_raw())?)
        };
        ensure!(counts == [Some(1), Some(COUNT)] && elements == Some(COUNT), "{status:?}: {counts:?}, {elements:?}");
    }
    Ok(())
}

/// All kinds at once: at offsets and the individual and the shared pointer, of one rank and of all.
fn nonblocking(context: &Context) -> Result<()> {
    let file = context.create("start", &Info::new())?;
    let (rank, ranks, int) = (context.rank(), context.ranks(), i32::equivalent_datatype());
    file.set_view(0, &int, &int, "native")?;
    let own = rank * 4 * COUNT;
    let kinds = [
        (At::Offset(own), false),
        (At::Offset(own + COUNT), true),
        (At::Pointer, false),
        (At::Pointer, true),
        (At::SharedPointer, false),
        (At::SharedPointer, true),
    ];
    let shared = 4 * COUNT * ranks;
    let place_pointers = || {
        file.seek((own + 2 * COUNT) as i64, Whence::Set)?;
        file.seek_shared(shared as i64, Whence::Set)
    };
    place_pointers()?;
    let written: Vec<_> = (0..kinds.len()).map(|kind| data(rank, kind)).collect();
    let begin = |((at, all), from): (_, &Vec<i32>)| write(&file, at, all, from);
    let operations = kinds.into_iter().zip(&written).map(begin).collect::<Result<Vec<_>, _>>()?;
    ensure!(file.get_position() == own + 4 * COUNT);
    ensure!(file.get_position_shared()? == shared + 2 * COUNT * ranks, "it has moved when the last call has returned");
    complete(operations)?;
    settle(context, &file)?;

    place_pointers()?;
    let mut seen = vec![memory(|_| -1); kinds.len()];
    let begin = |((at, all), to): (_, &mut Vec<i32>)| read(&file, at, all, to);
    let operations = kinds.into_iter().zip(&mut seen).map(begin).collect::<Result<Vec<_>, _>>()?;
    complete(operations)?;
    // The fifth is of whichever rank was at that place.
    let fifth = (0..ranks).find(|rank| seen[4] == data(*rank, 4));
    ensure!(fifth.is_some(), "what one rank wrote at the shared pointer is not in one piece");
    seen[4].clone_from(&written[4]);
    let wrong = (0..kinds.len()).find(|kind| seen[*kind] != written[*kind]);
    ensure!(wrong.is_none(), "what was read by kind {wrong:?} is not what was written");
    Ok(file.close()?)
}

fn split(context: &Context) -> Result<()> {
    let file = context.create("start-split", &Info::new())?;
    let (rank, ranks, int) = (context.rank(), context.ranks(), i32::equivalent_datatype());
    file.set_view(0, &int, &int, "native")?;
    let places = [At::Offset(rank * COUNT), At::Pointer, At::SharedPointer];
    let begin_write = |at, from: &[i32]| -> Result<SplitOperation, Error> {
        let datatype = every_second();
        // SAFETY: the memory is kept until the access is ended.
        unsafe { file.start_split_write(at, &RawBuffer::new(from.as_ptr().cast(), 1, datatype.as_raw())) }
    };
    let begin_read = |at, to: &mut [i32]| -> Result<SplitOperation, Error> {
        let datatype = every_second();
        // SAFETY: as above.
        unsafe { file.start_split_read(at, &mut RawBufferMut::new(to.as_mut_ptr().cast(), 1, datatype.as_raw())) }
    };
    let place_pointers = || {
        file.seek(((ranks + rank) * COUNT) as i64, Whence::Set)?;
        file.seek_shared((2 * ranks * COUNT) as i64, Whence::Set)
    };
    place_pointers()?;
    for (kind, at) in places.into_iter().enumerate() {
        let from = data(rank, kind);
        let begun = begin_write(at, &from)?;
        for other in places {
            context.same_error(ErrorClass::Io, || begin_write(other, &from).map(drop))?;
        }
        ensure!(begun.end()?.bytes() == 4 * COUNT);
    }
    ensure!(file.get_position() == (ranks + rank + 1) * COUNT, "an access that was refused has moved the pointer");
    settle(context, &file)?;
    ensure!(
        file.get_position_shared()? == 3 * ranks * COUNT,
        "an access that was refused has moved the shared pointer"
    );
    place_pointers()?;
    for (kind, at) in places.into_iter().enumerate() {
        let mut to = memory(|_| -1);
        begin_read(at, &mut to)?.end()?;
        ensure!(to == data(rank, kind), "what was read by kind {kind} is not what was written");
    }
    Ok(file.close()?)
}

/// A read that meets the file's end inside of a value.
fn short(context: &Context) -> Result<()> {
    let file = context.create("start-short", &Info::new())?;
    file.set_size(14)?;
    let (mut to, datatype) = (memory(|_| 7), every_second());
    let status = read(&file, At::Offset(0), false, &mut to)?.wait()?;
    // SAFETY, for both: the datatype is alive.
    ensure!(status.bytes() == 14 && unsafe { status.elements_of(datatype.as_raw()) }?.is_none());
    let status = read(&file, At::Offset(2), true, &mut to)?.wait()?;
    ensure!(status.bytes() == 12 && unsafe { status.elements_of(datatype.as_raw()) }? == Some(3));
    // SAFETY: as above.
    ensure!(unsafe { status.count_of(datatype.as_raw()) }?.is_none());
    ensure!(to[..8] == [0, -1, 0, -1, 0, -1, 0, -1] || to[..8] == [0, -1, 0, -1, 0, -1, 7, -1], "{:?}", &to[..8]);
    Ok(file.close()?)
}
