//! Nonblocking accesses: of one rank and of all, waited for in every way or not at all.

use super::{Case, Context, check_bytes, exchange};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::Threading;
use mpi::environment::threading_support;
use mpi::request::scope;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, Error, ErrorClass, File, Info, Status};
use pfs_mpiio::{test_all, test_any, test_some, wait_all, wait_any, wait_some};
use std::thread::yield_now;

pub(super) const CASES: &[(&str, Case)] = &[
    ("requests of one rank in every way", alone_in_every_way),
    ("requests that are tested until they are complete", tested),
    ("a request that goes on by itself", alone_by_itself),
    ("requests with memory that has gaps", gaps),
    ("requests in atomic mode", atomic),
    ("nonblocking collectives in order", collectives_in_order),
    ("nonblocking and blocking collectives mixed", mixed),
    ("nonblocking collectives of two files in other orders", two_files),
    ("a nonblocking collective goes on in other calls", collective_goes_on),
    ("requests that are dropped", dropped),
    ("a close with requests that are not waited for", closed_early),
    ("finalize waits for requests", finalized),
    ("the individual file pointer moves at the call", pointer_moves_at_the_call),
    ("errors of nonblocking accesses", errors),
    ("ranks that begin different collectives", disagreement),
];

const LENGTH: usize = 150_000;

/// Where a rank's bytes of a turn begin: pieces of all ranks in turn.
fn place(context: &Context, turn: u64) -> u64 {
    (turn * context.ranks() + context.rank()) * LENGTH as u64
}

fn bytes_of(results: Vec<Result<Status, Error>>) -> Result<u64> {
    Ok(results.into_iter().try_fold(0, |sum, result| Ok::<_, Error>(sum + result?.bytes()))?)
}

/// Every rank reads what the next one wrote in these turns by `iwrite_*`.
fn check(context: &Context, file: &File, seed: u64, turns: u64) -> Result<()> {
    let mut buffer = vec![0; LENGTH];
    for turn in 0..turns {
        let offset = (turn * context.ranks() + (context.rank() + 1) % context.ranks()) * LENGTH as u64;
        file.read_at_all(offset, &mut buffer[..])?;
        check_bytes(&buffer, &pattern::bytes(seed, offset, LENGTH))?;
    }
    Ok(())
}

fn buffers(context: &Context, seed: u64, turns: u64) -> Vec<Vec<u8>> {
    (0..turns).map(|turn| pattern::bytes(seed, place(context, turn), LENGTH)).collect()
}

fn alone_in_every_way(context: &Context) -> Result<()> {
    let file = context.create("i-alone", &Info::new())?;
    let data = buffers(context, 1, 6);
    scope(|scope| {
        let begin = |turn: u64| file.iwrite_at(scope, place(context, turn), &data[turn as usize][..]);
        let mut requests = (0..6).map(begin).collect::<Result<Vec<_>, _>>()?;
        ensure!(requests.remove(0).wait()?.bytes() == LENGTH as u64);
        let (at, result) = wait_any(&mut requests).expect("there are some");
        ensure!(at < 5 && result?.bytes() == LENGTH as u64 && requests.len() == 4);
        let some = wait_some(&mut requests);
        ensure!(!some.is_empty() && some.len() + requests.len() == 4);
        let some = bytes_of(some.into_iter().map(|(_, result)| result).collect())?;
        ensure!(some + bytes_of(wait_all(requests))? == 4 * LENGTH as u64);
        Ok(())
    })?;
    check(context, &file, 1, 6)?;
    let mut back = vec![vec![0; LENGTH]; 6];
    scope(|scope| {
        let begin = |(turn, buffer): (u64, _)| file.iread_at(scope, place(context, turn), buffer);
        let buffers = back.iter_mut().map(|buffer| &mut buffer[..]);
        let requests = (0..).zip(buffers).map(begin).collect::<Result<Vec<_>, _>>()?;
        ensure!(bytes_of(wait_all(requests))? == 6 * LENGTH as u64);
        Ok(())
    })?;
    ensure!(back == data);
    // Past the end there is nothing.
    let mut short = vec![7; 100];
    let end = 6 * context.ranks() * LENGTH as u64;
    let read = scope(|scope| file.iread_at(scope, end - 10, &mut short[..])?.wait())?;
    ensure!(read.bytes() == 10 && short[10..] == [7; 90]);
    file.close()?;
    Ok(())
}

fn tested(context: &Context) -> Result<()> {
    let file = context.create("i-tested", &Info::new())?;
    let data = buffers(context, 2, 6);
    scope(|scope| {
        let begin = |turn: u64| match turn % 2 {
            0 => file.iwrite_at(scope, place(context, turn), &data[turn as usize][..]),
            _ => file.iwrite_at_all(scope, place(context, turn), &data[turn as usize][..]),
        };
        let mut requests = (0..6).map(begin).collect::<Result<Vec<_>, _>>()?;
        let mut one = requests.remove(0);
        let status = loop {
            match one.test() {
                Ok(result) => break result?,
                Err(request) => one = request,
            }
            yield_now();
        };
        ensure!(status.bytes() == LENGTH as u64);
        let any = loop {
            if let Some((_, result)) = test_any(&mut requests) {
                break result?;
            }
            yield_now();
        };
        ensure!(any.bytes() == LENGTH as u64);
        let some = loop {
            let some = test_some(&mut requests);
            if !some.is_empty() {
                break some;
            }
            yield_now();
        };
        let mut bytes = bytes_of(some.into_iter().map(|(_, result)| result).collect())?;
        bytes += loop {
            if let Some(results) = test_all(&mut requests) {
                break bytes_of(results)?;
            }
            yield_now();
        };
        ensure!(bytes == 4 * LENGTH as u64 && requests.is_empty());
        Ok(())
    })?;
    check(context, &file, 2, 6)?;
    file.close()?;
    Ok(())
}

/// Nothing is called for it until it is complete.
fn alone_by_itself(context: &Context) -> Result<()> {
    let file = context.create("i-itself", &Info::new())?;
    let data = pattern::bytes(3, place(context, 0), LENGTH);
    scope(|scope| {
        let request = file.iwrite_at(scope, place(context, 0), &data[..])?;
        while !request.operation().is_complete() {
            yield_now();
        }
        request.wait()?;
        Ok::<_, Error>(())
    })?;
    check(context, &file, 3, 1)?;
    file.close()?;
    Ok(())
}

/// Every second byte of a buffer.
fn gaps(context: &Context) -> Result<()> {
    let file = context.create("i-gaps", &Info::new())?;
    let (rank, count) = (context.rank(), 20_000);
    let every_second = mpi::datatype::UserDatatype::vector(count, 1, 2, &u8::equivalent_datatype());
    let data = pattern::bytes(4, 0, 2 * count as usize);
    let taken: Vec<u8> = data.iter().step_by(2).copied().collect();
    // SAFETY, for both: the type names bytes inside of the buffer.
    let view = unsafe { mpi::datatype::View::with_count_and_datatype(&data[..], 1, &every_second) };
    let offsets = [2 * rank, 2 * rank + 1].map(|at| at * count as u64);
    scope(|scope| {
        let alone = file.iwrite_at(scope, offsets[0], &view)?;
        let together = file.iwrite_at_all(scope, offsets[1], &view)?;
        ensure!(alone.wait()?.bytes() + together.wait()?.bytes() == 2 * count as u64);
        Ok(())
    })?;
    let mut flat = vec![0; count as usize];
    let mut back = [vec![9u8; data.len()], vec![9u8; data.len()]];
    for offset in offsets {
        file.read_at_all(offset, &mut flat[..])?;
        check_bytes(&flat, &taken)?;
    }
    let [one, other] = &mut back;
    // SAFETY: as above.
    let mut one = unsafe { mpi::datatype::MutView::with_count_and_datatype(&mut one[..], 1, &every_second) };
    // SAFETY: as above.
    let mut other = unsafe { mpi::datatype::MutView::with_count_and_datatype(&mut other[..], 1, &every_second) };
    scope(|scope| {
        let alone = file.iread_at(scope, offsets[0], &mut one)?;
        let together = file.iread_at_all(scope, offsets[1], &mut other)?;
        wait_all(vec![together, alone]).into_iter().try_for_each(|result| result.map(drop))
    })?;
    for back in back {
        ensure!(back.iter().step_by(2).eq(&taken) && back.iter().skip(1).step_by(2).all(|gap| *gap == 9));
    }
    file.close()?;
    Ok(())
}

/// All ranks write the same bytes in pieces at the same time: one rank's are there in the end.
fn atomic(context: &Context) -> Result<()> {
    let file = context.create("i-atomic", &Info::new())?;
    file.set_atomicity(true)?;
    let data = vec![1 + context.rank() as u8; LENGTH];
    let mut back = vec![0; LENGTH];
    scope(|scope| {
        let writes = [file.iwrite_at(scope, 0, &data[..])?, file.iwrite_at(scope, 0, &data[..])?];
        let read = file.iread_at(scope, 0, &mut back[..])?;
        let read = read.wait()?.bytes();
        ensure!(read == 0 || read == LENGTH as u64, "{read} bytes of one write were seen");
        ensure!(bytes_of(wait_all(writes.into()))? == 2 * LENGTH as u64);
        Ok(())
    })?;
    ensure!(back.iter().all(|byte| *byte == back[0]), "a read has seen parts of two writes");
    // The highest rank's, by the order of a collective.
    scope(|scope| file.iwrite_at_all(scope, 0, &data[..])?.wait())?;
    context.world.barrier();
    scope(|scope| file.iread_at(scope, 0, &mut back[..])?.wait())?;
    check_bytes(&back, &vec![context.ranks() as u8; LENGTH])?;
    file.close()?;
    Ok(())
}

/// Several at once, each over the bytes of the one before: the last one's stay, by every path.
fn collectives_in_order(context: &Context) -> Result<()> {
    for (path, hints) in exchange::paths() {
        let file = context.create(&format!("i-order-{path}"), &hints)?;
        let offset = place(context, 0);
        let data: Vec<_> = (0..5).map(|seed| pattern::bytes(seed, offset, LENGTH)).collect();
        let mut back = vec![vec![0; LENGTH]; 2];
        let [early, late] = &mut back[..] else { unreachable!("two buffers") };
        scope(|scope| {
            let write = |bytes| file.iwrite_at_all(scope, offset, bytes);
            let mut requests = data[..3].iter().map(Vec::as_slice).map(write).collect::<Result<Vec<_>, _>>()?;
            requests.push(file.iread_at_all(scope, offset, &mut early[..])?);
            requests.extend(data[3..].iter().map(Vec::as_slice).map(write).collect::<Result<Vec<_>, _>>()?);
            requests.push(file.iread_at_all(scope, offset, &mut late[..])?);
            // Waited for from the last one on.
            requests.reverse();
            ensure!(bytes_of(wait_all(requests))? == 7 * LENGTH as u64);
            Ok(())
        })?;
        ensure!(back[0] == data[2] && back[1] == data[4], "{path}: an access has overtaken another one");
        check(context, &file, 4, 1)?;
        file.close()?;
    }
    Ok(())
}

/// What blocks comes after what was begun before.
fn mixed(context: &Context) -> Result<()> {
    let file = context.create("i-mixed", &Info::new())?;
    let offset = place(context, 0);
    let data: Vec<_> = (10..13).map(|seed| pattern::bytes(seed, offset, LENGTH)).collect();
    let mut back = vec![0; LENGTH];
    scope(|scope| {
        let first = file.iwrite_at_all(scope, offset, &data[0][..])?;
        file.write_at_all(offset, &data[1][..])?;
        ensure!(first.operation().is_complete(), "a blocking collective has overtaken one that was begun");
        let read = file.iread_at_all(scope, offset, &mut back[..])?;
        file.sync()?;
        let last = file.iwrite_at_all(scope, offset, &data[2][..])?;
        file.set_size(context.ranks() * LENGTH as u64)?;
        ensure!(read.operation().is_complete() && last.operation().is_complete());
        ensure!(bytes_of(vec![last.wait(), read.wait(), first.wait()])? == 3 * LENGTH as u64);
        Ok(())
    })?;
    ensure!(back == data[1]);
    check(context, &file, 12, 1)?;
    file.close()?;
    Ok(())
}

/// Ranks that begin and wait in different orders, and some that block in one file with something begun in the other.
fn two_files(context: &Context) -> Result<()> {
    let files = [context.create("i-one", &Info::new())?, context.create("i-two", &Info::new())?];
    let offset = place(context, 0);
    let data = pattern::bytes(20, offset, LENGTH);
    let other = (context.rank() % 2) as usize;
    scope(|scope| {
        let first = files[other].iwrite_at_all(scope, offset, &data[..])?;
        let second = files[1 - other].iwrite_at_all(scope, offset, &data[..])?;
        ensure!(first.wait()?.bytes() + second.wait()?.bytes() == 2 * LENGTH as u64);
        let begun = files[0].iwrite_at_all(scope, offset, &data[..])?;
        if other == 0 {
            begun.wait()?;
            files[1].write_at_all(offset, &data[..])?;
        } else {
            files[1].write_at_all(offset, &data[..])?;
            begun.wait()?;
        }
        Ok(())
    })?;
    for file in files {
        check(context, &file, 20, 1)?;
        file.close()?;
    }
    Ok(())
}

/// With `MPI_THREAD_MULTIPLE` it needs nothing at all, else any call of the library for any file.
fn collective_goes_on(context: &Context) -> Result<()> {
    let file = context.create("i-goes-on", &Info::new().with("romio_cb_write", "enable"))?;
    let other = context.create("i-other", &Info::new())?;
    let is_free = threading_support() == Threading::Multiple;
    let data = pattern::bytes(21, place(context, 0), LENGTH);
    scope(|scope| {
        let request = file.iwrite_at_all(scope, place(context, 0), &data[..])?;
        while !request.operation().is_complete() {
            if !is_free {
                other.get_size()?;
            }
            yield_now();
        }
        request.wait()
    })?;
    check(context, &file, 21, 1)?;
    file.close()?;
    other.close()?;
    Ok(())
}

fn dropped(context: &Context) -> Result<()> {
    let file = context.create("i-dropped", &Info::new())?;
    let data = buffers(context, 22, 2);
    scope(|scope| {
        let alone = file.iwrite_at(scope, place(context, 0), &data[0][..])?;
        let together = file.iwrite_at_all(scope, place(context, 1), &data[1][..])?;
        let operations = [alone.operation().clone(), together.operation().clone()];
        drop(alone);
        drop(together);
        ensure!(operations.iter().all(|operation| operation.result().is_some_and(|result| result.is_ok())));
        Ok(())
    })?;
    check(context, &file, 22, 2)?;
    file.close()?;
    Ok(())
}

fn closed_early(context: &Context) -> Result<()> {
    let file = context.create("i-closed", &Info::new())?;
    let data = buffers(context, 23, 3);
    scope(|scope| {
        let requests = vec![
            file.iwrite_at(scope, place(context, 0), &data[0][..])?,
            file.iwrite_at_all(scope, place(context, 1), &data[1][..])?,
            file.iwrite_at_all(scope, place(context, 2), &data[2][..])?,
        ];
        file.close()?;
        ensure!(bytes_of(wait_all(requests))? == 3 * LENGTH as u64);
        Ok(())
    })?;
    // A file that is dropped waits for the rank's own accesses, and its collectives go on.
    let file = File::open(context.world, &context.name("i-closed"), AccessMode::RDWR, &Info::new())?;
    let mut back = vec![vec![0; LENGTH]; 2];
    let [one, other] = &mut back[..] else { unreachable!("two buffers") };
    scope(|scope| {
        let requests = vec![
            file.iread_at(scope, place(context, 0), &mut one[..])?,
            file.iread_at_all(scope, place(context, 1), &mut other[..])?,
        ];
        drop(file);
        ensure!(bytes_of(wait_all(requests))? == 2 * LENGTH as u64);
        Ok(())
    })?;
    ensure!(back == data[..2]);
    let file = File::open(context.world, &context.name("i-closed"), AccessMode::RDWR, &Info::new())?;
    check(context, &file, 23, 3)?;
    file.close()?;
    Ok(())
}

/// The session of the cases ends with it; the next open begins another one.
fn finalized(context: &Context) -> Result<()> {
    let file = context.create("i-finalized", &Info::new())?;
    file.sync()?;
    let data = buffers(context, 25, 2);
    scope(|scope| {
        let alone = file.iwrite_at(scope, place(context, 0), &data[0][..])?;
        let together = file.iwrite_at_all(scope, place(context, 1), &data[1][..])?;
        pfs_mpiio::finalize()?;
        ensure!([&alone, &together].into_iter().all(|request| request.operation().is_complete()));
        ensure!(bytes_of(wait_all(vec![alone, together]))? == 2 * LENGTH as u64);
        Ok(())
    })?;
    ensure!(file.get_size().is_err(), "the session has ended");
    drop(file);
    context.create("i-after-finalize", &Info::new())?.close()?;
    Ok(())
}

fn pointer_moves_at_the_call(context: &Context) -> Result<()> {
    let file = context.create("i-pointer", &Info::new())?;
    let start = context.rank() * 4000;
    let data = pattern::bytes(24, start, 4000);
    let (mut one, mut other) = (vec![0; 1000], vec![0; 3000]);
    file.seek(start as i64, pfs_mpiio::Whence::Set)?;
    scope(|scope| {
        let alone = file.iwrite(scope, &data[..1000])?;
        ensure!(file.get_position() == start + 1000);
        let together = file.iwrite_all(scope, &data[1000..])?;
        ensure!(file.get_position() == start + 4000);
        wait_all(vec![alone, together]).into_iter().try_for_each(|result| result.map(drop))?;
        // Nobody else's bytes are wanted, but the file's end must be known to all.
        context.world.barrier();
        file.seek(start as i64, pfs_mpiio::Whence::Set)?;
        let alone = file.iread(scope, &mut one[..])?;
        let together = file.iread_all(scope, &mut other[..])?;
        ensure!(file.get_position() == start + 4000);
        wait_all(vec![alone, together]).into_iter().try_for_each(|result| result.map(drop))?;
        Ok(())
    })?;
    check_bytes(&[one, other].concat(), &data)?;
    file.close()?;
    Ok(())
}

fn errors(context: &Context) -> Result<()> {
    let name = context.name("i-errors");
    context.create("i-errors", &Info::new())?.close()?;
    let file = File::open(context.world, &name, AccessMode::RDONLY, &Info::new())?;
    let data = [0u8; 100];
    // Of one rank: at once.
    let begun = scope(|scope| file.iwrite_at(scope, 0, &data[..]).map(drop));
    ensure!(begun.err().map(|error| error.class()) == Some(ErrorClass::ReadOnly));
    // Of all: at the end, the same on all ranks, and what comes after is not harmed.
    let write = || scope(|scope| file.iwrite_at_all(scope, 0, &data[..])?.wait());
    context.same_error(ErrorClass::ReadOnly, write)?;
    let last = context.rank() + 1 == context.ranks();
    let offset = if last { u64::MAX } else { 0 };
    let mut buffers = [[1u8; 100]; 3];
    let [one, two, three] = &mut buffers;
    scope(|scope| {
        let good = file.iread_at_all(scope, 0, &mut one[..])?;
        let bad = file.iread_at_all(scope, offset, &mut two[..])?;
        let after = file.iread_at_all(scope, 0, &mut three[..])?;
        ensure!(after.wait()?.bytes() == 0);
        context.same_error(ErrorClass::Arg, || bad.wait())?;
        ensure!(good.wait()?.bytes() == 0);
        Ok(())
    })?;
    file.close()?;
    Ok(())
}

fn disagreement(context: &Context) -> Result<()> {
    if context.ranks() == 1 {
        return Ok(());
    }
    let file = context.create("i-disagree", &Info::new())?;
    let last = context.rank() + 1 == context.ranks();
    let (data, mut back) = ([0u8; 100], [0u8; 100]);
    let begin = || match last {
        true => scope(|scope| file.iread_at_all(scope, 0, &mut back[..])?.wait()),
        false => scope(|scope| file.iwrite_at_all(scope, 0, &data[..])?.wait()),
    };
    context.same_error(ErrorClass::NotSame, begin)?;
    // One that blocks is another call than one that does not.
    let begin = || match last {
        true => file.write_at_all(0, &data[..]),
        false => scope(|scope| file.iwrite_at_all(scope, 0, &data[..])?.wait()),
    };
    context.same_error(ErrorClass::NotSame, begin)?;
    file.write_at_all(0, &data[..])?;
    file.close()?;
    Ok(())
}
