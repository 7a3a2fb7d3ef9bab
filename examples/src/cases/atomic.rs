//! Atomic mode: accesses that overlap are seen whole or not at all.

use super::exchange::paths;
use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::traits::*;
use pfs_mpiio::{AccessMode, ErrorClass, File, Info};

pub(super) const CASES: &[(&str, Case)] = &[
    ("atomic mode is agreed", mode_is_agreed),
    ("overlapping atomic collectives end in rank order", collectives_end_in_rank_order),
    ("overlapping atomic writes are never torn", independent_writes_are_whole),
    ("an atomic read sees all of a write or nothing", reads_see_all_or_nothing),
    ("atomic collectives and atomic writes of others are serial", collectives_and_others),
    ("what was written in one mode is seen in the other", modes_follow_each_other),
];

/// Several stripe units on several servers, in the middle of some.
const START: u64 = 50_000;
const LENGTH: usize = 200_000;
const ROUNDS: u64 = 15;

/// Which of these writes has left all of these bytes.
fn whole(bytes: &[u8], seeds: impl IntoIterator<Item = u64>) -> Option<u64> {
    seeds.into_iter().find(|&seed| pattern::first_wrong(seed, START, bytes).is_none())
}

fn mode_is_agreed(context: &Context) -> Result<()> {
    let file = context.create("agreed", &Info::new())?;
    ensure!(!file.atomicity(), "a file begins in non-atomic mode");
    if context.ranks() > 1 {
        context.same_error(ErrorClass::NotSame, || file.set_atomicity(context.rank() == 0))?;
        ensure!(!file.atomicity(), "a mode that was not agreed");
    }
    for mode in [true, true, false, true] {
        file.set_atomicity(mode)?;
        ensure!(file.atomicity() == mode);
    }
    file.close()?;
    Ok(())
}

fn collectives_end_in_rank_order(context: &Context) -> Result<()> {
    const STEP: u64 = 30_000;
    let ranks = context.ranks();
    for (path, hints) in paths() {
        let file = context.create(&format!("atomic-overlap-{path}"), &hints)?;
        file.set_atomicity(true)?;
        for repetition in 0..3 {
            let seed = |rank: u64| repetition * 100 + rank;
            let offset = context.rank() * STEP;
            let own = pattern::bytes(seed(context.rank()), offset, LENGTH);
            ensure!(file.write_at_all(offset, &own[..])?.bytes() == LENGTH as u64);
            // Without sync, barrier or collective: what was written is seen at once.
            let mut buffer = vec![0; (ranks - 1) as usize * STEP as usize + LENGTH];
            match repetition {
                0 => file.read_at(0, &mut buffer[..])?,
                _ => file.read_at_all(0, &mut buffer[..])?,
            };
            let owner = |at: u64| (at / STEP).min(ranks - 1);
            let expected: Vec<u8> = (0..buffer.len() as u64).map(|at| pattern::byte(seed(owner(at)), at)).collect();
            check_bytes(&buffer, &expected)?;
            context.world.barrier();
        }
        file.close()?;
    }
    Ok(())
}

fn independent_writes_are_whole(context: &Context) -> Result<()> {
    let file = context.create("torn", &Info::new())?;
    file.set_atomicity(true)?;
    let ranks = context.ranks();
    for round in 0..ROUNDS {
        let seeds = || (0..ranks).map(|rank| 1 + round * ranks + rank);
        let own = pattern::bytes(1 + round * ranks + context.rank(), START, LENGTH);
        file.write_at(START, &own[..])?;
        context.world.barrier();
        let mut bytes = vec![0; LENGTH];
        ensure!(file.read_at(START, &mut bytes[..])?.bytes() == LENGTH as u64);
        ensure!(whole(&bytes, seeds()).is_some(), "round {round}: no rank's write is whole");
        context.world.barrier();
    }
    file.close()?;
    Ok(())
}

/// Rank 0 writes again and again while the others read; each sees whole writes, and never an older one after a newer.
fn reads_see_all_or_nothing(context: &Context) -> Result<()> {
    let file = context.create("all-or-nothing", &Info::new())?;
    file.set_atomicity(true)?;
    if context.rank() == 0 {
        file.write_at(START, &pattern::bytes(1, START, LENGTH)[..])?;
    }
    context.world.barrier();
    let mut last = 1;
    for round in 1..=ROUNDS {
        if context.rank() == 0 {
            file.write_at(START, &pattern::bytes(1 + round, START, LENGTH)[..])?;
        } else {
            let mut bytes = vec![0; LENGTH];
            file.read_at(START, &mut bytes[..])?;
            let seen = whole(&bytes, 1..=ROUNDS + 1);
            ensure!(seen >= Some(last), "read {round}: {seen:?} after {last}");
            last = seen.unwrap_or(last);
        }
    }
    file.close()?;
    Ok(())
}

/// Half of the ranks write together, the other half one by one, to one file.
fn collectives_and_others(context: &Context) -> Result<()> {
    let amode = AccessMode::CREATE | AccessMode::RDWR;
    let together = context.rank().is_multiple_of(2);
    let half = context.world.split_by_color(mpi::topology::Color::with_value(i32::from(together)));
    let half = half.ok_or_else(|| anyhow::anyhow!("every rank has a color"))?;
    let hints = Info::new().with("striping_unit", 64 << 10);
    let file = File::open(&half, &context.name("mixed"), amode, &hints)?;
    file.set_atomicity(true)?;
    let (ranks, part) = (context.ranks(), LENGTH as u64 / u64::try_from(half.size())?);
    let length = part as usize * half.size() as usize;
    for round in 0..ROUNDS {
        let seed = |rank: u64| 1 + round * (ranks + 1) + rank;
        if together {
            // One write of the half: all ranks' parts have one seed.
            let start = START + part * u64::try_from(half.rank())?;
            file.write_at_all(start, &pattern::bytes(seed(ranks), start, part as usize)[..])?;
        } else {
            file.write_at(START, &pattern::bytes(seed(context.rank()), START, LENGTH)[..])?;
        }
        context.world.barrier();
        let mut bytes = vec![0; length];
        file.read_at(START, &mut bytes[..])?;
        let seeds = (0..ranks).map(seed).chain([seed(ranks)]);
        ensure!(whole(&bytes, seeds).is_some(), "round {round}: neither the collective nor one rank's write is whole");
        context.world.barrier();
    }
    file.close()?;
    Ok(())
}

fn modes_follow_each_other(context: &Context) -> Result<()> {
    let file = context.create("modes-in-turn", &Info::new())?;
    let ranks = context.ranks();
    for turn in 0..4 {
        let offset = |rank: u64| (turn * ranks + rank) * 10_000;
        file.set_atomicity(turn % 2 == 1)?;
        let own = offset(context.rank());
        file.write_at(own, &pattern::bytes(turn, own, 10_000)[..])?;
        // A switch is collective, and what was written before it is seen after it.
        file.set_atomicity(turn % 2 == 0)?;
        let other = offset((context.rank() + 1) % ranks);
        let mut bytes = vec![0; 10_000];
        if turn % 2 == 1 {
            file.sync()?;
            context.world.barrier();
            file.sync()?;
        }
        ensure!(file.read_at(other, &mut bytes[..])?.bytes() == 10_000);
        check_bytes(&bytes, &pattern::bytes(turn, other, bytes.len()))?;
        ensure!(file.get_size()? == (turn + 1) * ranks * 10_000, "the size in turn {turn}");
        context.world.barrier();
    }
    file.close()?;
    Ok(())
}
