//! The shared file pointer: a log of all ranks, ordered accesses, views, and what is refused.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::collective::SystemOperation;
use mpi::datatype::UserDatatype;
use mpi::request::scope;
use mpi::traits::*;
use pfs_mpiio::{ErrorClass, File, Info, Whence, wait_all};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a log by the shared pointer", log),
    ("ordered accesses", ordered),
    ("a log by requests at the shared pointer", log_by_requests),
    ("split ordered accesses", split_ordered),
    ("the shared pointer of a view", in_a_view),
    ("seeking the shared pointer", seeks),
    ("impossible uses of the shared pointer", refused),
];

/// Records of each rank.
const RECORDS: u64 = 40;

/// What a rank writes: who, which, and a sum.
fn record(rank: u64, number: u64) -> [u64; 3] {
    [rank, number, rank * 1_000_003 + number]
}

/// What all ranks have written is seen by all.
pub(super) fn settle(context: &Context, file: &File) -> Result<()> {
    file.sync()?;
    context.world.barrier();
    Ok(file.sync()?)
}

/// Every record is in the log once and whole, the ones of a rank in their order; then the ranks share the reading of it.
fn log(context: &Context) -> Result<()> {
    let file = context.create("log", &Info::new())?;
    let all = RECORDS * context.ranks();
    for number in 0..RECORDS {
        ensure!(file.write_shared(&record(context.rank(), number)[..])?.count::<u64>() == Some(3));
    }
    settle(context, &file)?;
    ensure!(file.get_position_shared()? == all * 24 && file.get_size()? == all * 24);
    let mut seen = vec![0u64; 3 * usize::try_from(all)?];
    file.read_at(0, &mut seen[..])?;
    let mut next = vec![0; usize::try_from(context.ranks())?];
    for found in seen.chunks_exact(3) {
        let expected = usize::try_from(found[0])?;
        ensure!(expected < next.len() && found == record(found[0], next[expected]), "{found:?} in the log");
        next[expected] += 1;
    }
    ensure!(next.iter().all(|count| *count == RECORDS), "{next:?} records");

    file.seek_shared(0, Whence::Set)?;
    let (mut sum, mut one) = ([0u64; 2], [0u64; 3]);
    while file.read_shared(&mut one[..])?.bytes() == 24 {
        sum = [sum[0] + 1, sum[1] + one[2]];
    }
    let mut sums = [0u64; 2];
    context.world.all_reduce_into(&sum[..], &mut sums[..], SystemOperation::sum());
    let expected: u64 = seen.chunks_exact(3).map(|found| found[2]).sum();
    ensure!(sums == [all, expected], "the ranks read {sums:?} records together");
    Ok(file.close()?)
}

/// Parts of all ranks lie behind each other by rank, empty ones too; others read them in other parts.
fn ordered(context: &Context) -> Result<()> {
    let file = context.create("ordered", &Info::new())?;
    // Rank 1 of the first turn has nothing.
    let length = |turn: u64, rank: u64| if (turn, rank) == (0, 1) { 0 } else { 30_000 * (turn + 1) + 777 * rank };
    let place = |turn: u64, rank: u64| {
        let turns = (0..turn).flat_map(|turn| (0..context.ranks()).map(move |rank| (turn, rank)));
        let before = turns.chain((0..rank).map(|rank| (turn, rank)));
        before.map(|(turn, rank)| length(turn, rank)).sum::<u64>()
    };
    for turn in 0..3 {
        let bytes = pattern::bytes(9, place(turn, context.rank()), usize::try_from(length(turn, context.rank()))?);
        ensure!(file.write_ordered(&bytes[..])?.bytes() == length(turn, context.rank()));
    }
    let all = place(3, 0);
    ensure!(file.get_position_shared()? == all);
    let mut whole = vec![0; usize::try_from(all)?];
    file.read_at_all(0, &mut whole[..])?;
    check_bytes(&whole, &pattern::bytes(9, 0, whole.len()))?;

    file.seek_shared(1000, Whence::Set)?;
    let own = 50_000 + 100 * usize::try_from(context.rank())?;
    let start = 1000 + context.rank() * 50_000 + 100 * context.rank() * context.rank().saturating_sub(1) / 2;
    let mut part = vec![0; own];
    let read = usize::try_from(file.read_ordered(&mut part[..])?.bytes())?;
    ensure!(read as u64 == (own as u64).min(all.saturating_sub(start)), "{read} bytes");
    check_bytes(&part[..read], &pattern::bytes(9, start, read))?;
    Ok(file.close()?)
}

/// Records are in the order in which their rank began them, also when several are under way.
fn log_by_requests(context: &Context) -> Result<()> {
    let file = context.create("log-requests", &Info::new())?;
    let records: Vec<_> = (0..RECORDS).map(|number| record(context.rank(), number)).collect();
    scope(|scope| {
        let begun = records.iter().map(|record| file.iwrite_shared(scope, &record[..]));
        wait_all(begun.collect::<Result<Vec<_>, _>>()?).into_iter().try_for_each(|result| result.map(drop))
    })?;
    settle(context, &file)?;
    let all = RECORDS * context.ranks();
    ensure!(file.get_position_shared()? == 24 * all);
    let mut seen = vec![0u64; 3 * usize::try_from(all)?];
    file.read_at_all(0, &mut seen[..])?;
    for rank in 0..context.ranks() {
        let of_rank = seen.chunks_exact(3).filter(|found| found[0] == rank).map(|found| found[1]);
        ensure!(of_rank.eq(0..RECORDS), "the records of rank {rank} are not all there in their order");
    }
    file.seek_shared(0, Whence::Set)?;
    let mut read = vec![[0u64; 3]; RECORDS as usize];
    scope(|scope| {
        let begun = read.iter_mut().map(|record| file.iread_shared(scope, &mut record[..]));
        wait_all(begun.collect::<Result<Vec<_>, _>>()?).into_iter().try_for_each(|result| result.map(drop))
    })?;
    // One more, of which nothing is there.
    context.world.barrier();
    let mut none = [0u8; 5];
    let nothing = scope(|scope| file.iread_shared(scope, &mut none[..])?.wait())?;
    ensure!(nothing.bytes() == 0);
    let sum = read.iter().map(|record| record[2]).sum::<u64>();
    let mut sums = 0;
    context.world.all_reduce_into(&sum, &mut sums, SystemOperation::sum());
    ensure!(
        sums == seen.chunks_exact(3).map(|found| found[2]).sum::<u64>(),
        "the ranks have not read each record once"
    );
    Ok(file.close()?)
}

/// Ranks lie behind each other as in what blocks, behind what was begun before, and one split access is under way at a time.
fn split_ordered(context: &Context) -> Result<()> {
    let file = context.create("split-ordered", &Info::new())?;
    let length = |rank: u64| if rank == 1 { 0 } else { 40_000 + 777 * rank };
    let place = |rank: u64| (0..rank).map(length).sum::<u64>();
    let (own, all) = (place(context.rank()), place(context.ranks()));
    let bytes = |turn| pattern::bytes(11, turn * all + own, length(context.rank()) as usize);
    let data = [bytes(0), bytes(1), bytes(2)];
    scope(|scope| {
        let before = file.iwrite_at_all(scope, 2 * all + own, &data[2][..])?;
        for (turn, bytes) in (1..).zip(&data[..2]) {
            let begun = file.write_ordered_begin(scope, &bytes[..])?;
            ensure!(file.get_position_shared()? == turn * all, "it has moved when the begin has returned");
            context.same_error(ErrorClass::Io, || file.write_ordered(&bytes[..]))?;
            context.same_error(ErrorClass::Io, || file.write_ordered_begin(scope, &bytes[..]).map(drop))?;
            ensure!(begun.end()?.bytes() == length(context.rank()));
        }
        ensure!(before.wait()?.bytes() == length(context.rank()));
        Ok(())
    })?;
    file.seek_shared(0, Whence::Set)?;
    for (turn, expected) in (1..).zip(&data) {
        let mut back = vec![0; expected.len()];
        scope(|scope| {
            let begun = file.read_ordered_begin(scope, &mut back[..])?;
            ensure!(file.get_position_shared()? == turn * all);
            ensure!(begun.end()?.bytes() == expected.len() as u64);
            Ok(())
        })?;
        check_bytes(&back, expected)?;
    }
    // An error of one rank is one of all, from the begin, and nothing was drawn.
    let (int, last) = (i32::equivalent_datatype(), context.rank() + 1 == context.ranks());
    file.set_view(0, &int, &int, "native")?;
    let odd = [1u8; 8];
    let odd = if last { &odd[..6] } else { &odd[..] };
    context.same_error(ErrorClass::Arg, || scope(|scope| file.write_ordered_begin(scope, odd).map(drop)))?;
    ensure!(file.get_position_shared()? == 0);
    Ok(file.close()?)
}

/// The pointer counts in the data of the view, and a view puts it to its start.
fn in_a_view(context: &Context) -> Result<()> {
    let file = context.create("shared-view", &Info::new())?;
    file.write_shared(&[7u8; 100][..])?;
    context.world.barrier();
    let int = i32::equivalent_datatype();
    // Two of every four numbers, from byte 8 on.
    let half = UserDatatype::vector(1, 2, 4, &int);
    let filetype = UserDatatype::contiguous(1, &half);
    let filetype = super::datareps::resized(&filetype, 0, 16);
    file.set_view(8, &int, &filetype, "native")?;
    ensure!(file.get_position_shared()? == 0, "a view puts the pointer to its start");
    let own = [context.rank() as i32; 6];
    file.write_ordered(&own[..])?;
    ensure!(file.get_position_shared()? == 6 * context.ranks());
    settle(context, &file)?;
    let count = 6 * usize::try_from(context.ranks())?;
    file.set_view(0, &int, &int, "native")?;
    let mut seen = vec![-1i32; 2 * count + 8];
    file.read_at_all(0, &mut seen[..])?;
    for number in 0..count {
        let at = 2 + number / 2 * 4 + number % 2;
        ensure!(seen[at] == i32::try_from(number / 6)?, "number {number} is {}", seen[at]);
    }
    Ok(file.close()?)
}

fn seeks(context: &Context) -> Result<()> {
    let file = context.create("seeks", &Info::new())?;
    file.write_at_all(context.rank() * 8, &[context.rank()][..])?;
    settle(context, &file)?;
    file.seek_shared(-8, Whence::End)?;
    let size = 8 * context.ranks();
    ensure!(file.get_position_shared()? == size - 8);
    context.world.barrier();
    file.seek_shared(3, Whence::Current)?;
    ensure!(file.get_position_shared()? == size - 5);
    context.world.barrier();
    context.same_error(ErrorClass::Arg, || file.seek_shared(-1, Whence::Set))?;
    ensure!(file.get_position_shared()? == size - 5, "a seek that fails moves nothing");
    if context.ranks() > 1 {
        let own = i64::try_from(context.rank())?;
        context.same_error(ErrorClass::NotSame, || file.seek_shared(own, Whence::Set))?;
    }
    Ok(file.close()?)
}

/// Ranks with different views have no shared pointer; half an etype is none.
fn refused(context: &Context) -> Result<()> {
    let file = context.create("refused", &Info::new())?;
    let (byte, int) = (u8::equivalent_datatype(), i32::equivalent_datatype());
    file.set_view(0, &int, &int, "native")?;
    let class = |result: Result<_, pfs_mpiio::Error>| result.err().map(|error| error.class());
    ensure!(class(file.write_shared(&[1u8; 6][..])) == Some(ErrorClass::Arg));
    context.same_error(ErrorClass::Arg, || file.write_ordered(&[1u8; 6][..]))?;
    ensure!(file.get_position_shared()? == 0, "nothing was drawn");
    context.world.barrier();
    if context.ranks() > 1 {
        file.set_view(context.rank(), &byte, &byte, "native")?;
        ensure!(class(file.write_shared(&[1u8; 6][..])) == Some(ErrorClass::NotSame));
        context.same_error(ErrorClass::NotSame, || file.write_ordered(&[1u8; 6][..]))?;
        context.same_error(ErrorClass::NotSame, || file.seek_shared(0, Whence::Set))?;
    }
    file.set_view(0, &byte, &byte, "native")?;
    file.write_ordered(&[1u8; 6][..])?;
    Ok(file.close()?)
}
