//! Reading and writing.

use super::{Case, Context, check_bytes};
use crate::{agree, pattern};
use anyhow::{Result, ensure};
use mpi::datatype::{UserDatatype, View};
use mpi::topology::Color;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info};

pub(super) const CASES: &[(&str, Case)] = &[
    ("interleaved blocks, read by fewer ranks", interleaved_blocks),
    ("independent access", independent_access),
    ("typed buffers", typed_buffers),
    ("reads at the end of the file", reads_at_the_end),
    ("holes read as zeros", holes_read_as_zeros),
    ("what one rank wrote, all read after sync", visible_after_sync),
];

/// Blocks of all ranks in turns, over several collective calls; then one rank fewer reads all of it.
fn interleaved_blocks(context: &Context) -> Result<()> {
    const BLOCK: u64 = 100_000;
    const TURNS: u64 = 5;
    let (rank, ranks) = (context.rank(), context.ranks());
    let file = context.create("interleaved", &Info::new())?;
    for turn in 0..TURNS {
        let offset = (turn * ranks + rank) * BLOCK;
        let status = file.write_at_all(offset, &pattern::bytes(7, offset, BLOCK as usize)[..])?;
        ensure!(status.bytes() == BLOCK, "{status:?}");
    }
    file.close()?;

    let readers = (ranks - 1).max(1);
    let color = if rank < readers { Color::with_value(0) } else { Color::undefined() };
    let read = match context.world.split_by_color(color) {
        Some(fewer) => read_whole(&fewer, &context.name("interleaved"), ranks * TURNS * BLOCK),
        None => Ok(()),
    };
    agree::all_fine(context.world, "reading by fewer ranks", read)
}

fn read_whole(comm: &mpi::topology::SimpleCommunicator, name: &str, bytes: u64) -> Result<()> {
    let (rank, ranks) = (u64::try_from(comm.rank())?, u64::try_from(comm.size())?);
    let part = bytes.div_ceil(ranks);
    let start = rank * part;
    let length = part.min(bytes - start);
    let file = File::open(comm, name, AccessMode::RDONLY, &Info::new())?;
    let mut buffer = vec![0; usize::try_from(length)?];
    let status = file.read_at_all(start, &mut buffer[..])?;
    ensure!(status.bytes() == length, "{status:?}");
    file.close()?;
    check_bytes(&buffer, &pattern::bytes(7, start, buffer.len()))
}

fn independent_access(context: &Context) -> Result<()> {
    const BLOCK: u64 = 70_001;
    let file = context.create("independent", &Info::new())?;
    let offset = context.rank() * BLOCK;
    let own = pattern::bytes(1, offset, BLOCK as usize);
    file.write_at(offset, &own[..])?;
    // A rank sees its own writes at once.
    let mut back = vec![0; own.len()];
    ensure!(file.read_at(offset, &mut back[..])?.bytes() == BLOCK);
    check_bytes(&back, &own)?;
    // And those of others after sync, barrier, sync.
    file.sync()?;
    context.world.barrier();
    file.sync()?;
    let other = (context.rank() + 1) % context.ranks() * BLOCK;
    file.read_at(other, &mut back[..])?;
    check_bytes(&back, &pattern::bytes(1, other, back.len()))?;
    file.close()?;
    Ok(())
}

/// Buffers of numbers, and of a contiguous type made of numbers.
fn typed_buffers(context: &Context) -> Result<()> {
    const COUNT: u64 = 12_345;
    let file = context.create("typed", &Info::new())?;
    let own: Vec<f64> = (0..COUNT).map(|i| (context.rank() * COUNT + i) as f64).collect();
    let offset = context.rank() * COUNT * 8;
    file.write_at_all(offset, &own[..])?;
    let mut back = vec![0f64; own.len()];
    let status = file.read_at_all(offset, &mut back[..])?;
    ensure!(status.count::<f64>() == Some(COUNT) && back == own, "numbers changed");

    let triple = UserDatatype::contiguous(3, &i32::equivalent_datatype());
    let numbers: Vec<i32> = (0..30).collect();
    // SAFETY: ten triples are the thirty numbers of the vector.
    let view = unsafe { View::with_count_and_datatype(&numbers[..], 10, &triple) };
    let status = file.write_at_all(context.rank() * 120, &view)?;
    ensure!(status.bytes() == 120, "{status:?}");
    let mut back = vec![0i32; 30];
    file.read_at_all(context.rank() * 120, &mut back[..])?;
    ensure!(back == numbers, "triples changed");
    file.close()?;
    Ok(())
}

/// A read that passes the end is short, one behind it is empty, and the rest of the buffer stays.
fn reads_at_the_end(context: &Context) -> Result<()> {
    const SIZE: u64 = 150_000;
    let file = context.create("end", &Info::new())?;
    let whole = pattern::bytes(3, 0, SIZE as usize);
    file.write_at_all(0, if context.rank() == 0 { &whole[..] } else { &[] })?;
    let start = SIZE - 10_000 * context.rank();
    let mut buffer = vec![0xee; 20_000];
    let expected = (10_000 * context.rank()).min(20_000);
    let status = file.read_at_all(start, &mut buffer[..])?;
    ensure!(status.bytes() == expected, "{status:?} from {start}");
    let (read, rest) = buffer.split_at(expected as usize);
    check_bytes(read, &whole[start as usize..][..expected as usize])?;
    ensure!(rest.iter().all(|&byte| byte == 0xee), "bytes behind the end were touched");
    ensure!(file.read_at(SIZE + 5, &mut buffer[..])?.bytes() == 0);
    ensure!(file.get_size()? == SIZE);
    file.close()?;
    Ok(())
}

fn holes_read_as_zeros(context: &Context) -> Result<()> {
    let file = context.create("holes", &Info::new())?;
    let far = 1_000_000 * (1 + context.rank());
    file.write_at_all(far, &[context.rank() as u8 + 1; 10][..])?;
    let mut buffer = vec![1; 2000];
    file.read_at_all(far - 1000, &mut buffer[..])?;
    let expected = buffer.len().min(1010);
    ensure!(buffer[..1000].iter().all(|&byte| byte == 0), "a hole is not zero");
    ensure!(buffer[1000..expected].iter().all(|&byte| byte == context.rank() as u8 + 1), "bytes after a hole");
    file.close()?;
    Ok(())
}

fn visible_after_sync(context: &Context) -> Result<()> {
    let file = context.create("visible", &Info::new())?;
    for writer in 0..context.ranks() {
        let bytes = pattern::bytes(writer, 0, 10_000);
        if context.rank() == writer {
            file.write_at(0, &bytes[..])?;
        }
        file.sync()?;
        let mut back = vec![0; bytes.len()];
        file.read_at(0, &mut back[..])?;
        check_bytes(&back, &bytes)?;
        context.world.barrier();
    }
    file.close()?;
    Ok(())
}
