//! Collective accesses by every path: direct, exchanged, in one round and in many.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::traits::*;
use pfs_mpiio::Info;

pub(super) const CASES: &[(&str, Case)] = &[
    ("unaligned pieces of 47,008 bytes", unaligned_pieces),
    ("ranks without bytes", ranks_without_bytes),
    ("overlaps are settled by rank", overlaps_settled_by_rank),
    ("all ranks read the same bytes", all_read_the_same),
    ("one big collective", one_big_collective),
];

/// Collective buffering as it decides itself, always, never, always with little memory, and without memory that ranks share.
pub(super) fn paths() -> [(&'static str, Info); 6] {
    let with = |value: &str| Info::new().with("romio_cb_write", value).with("romio_cb_read", value);
    [
        ("automatic", with("automatic")),
        ("enable", with("enable")),
        ("disable", with("disable")),
        ("rounds", with("enable").with("cb_buffer_size", 10_000)),
        ("messages", with("enable").with("pfs_node_memory", "disable").with("cb_buffer_size", 50_000)),
        ("one", with("enable").with("cb_nodes", 1).with("cb_buffer_size", 100_000)),
    ]
}

fn unaligned_pieces(context: &Context) -> Result<()> {
    const PIECE: u64 = 47_008;
    let (rank, ranks) = (context.rank(), context.ranks());
    for (path, hints) in paths() {
        let file = context.create(&format!("pieces-{path}"), &hints)?;
        for turn in 0..4 {
            let offset = (turn * ranks + rank) * PIECE;
            file.write_at_all(offset, &pattern::bytes(11, offset, PIECE as usize)[..])?;
        }
        for turn in 0..4 {
            let offset = (turn * ranks + (rank + 1) % ranks) * PIECE;
            let mut buffer = vec![0; PIECE as usize];
            ensure!(file.read_at_all(offset, &mut buffer[..])?.bytes() == PIECE);
            check_bytes(&buffer, &pattern::bytes(11, offset, buffer.len()))?;
        }
        ensure!(file.get_size()? == 4 * ranks * PIECE);
        file.close()?;
    }
    Ok(())
}

fn ranks_without_bytes(context: &Context) -> Result<()> {
    for (path, hints) in paths() {
        let file = context.create(&format!("empty-{path}"), &hints)?;
        file.write_at_all(u64::MAX, &[0u8; 0][..])?;
        ensure!(file.get_size()? == 0, "nobody wrote anything");
        let last = context.ranks() - 1;
        let bytes = pattern::bytes(5, 1000, if context.rank() == last { 200_000 } else { 0 });
        ensure!(file.write_at_all(1000, &bytes[..])?.bytes() == bytes.len() as u64);
        let mut buffer = vec![0; if context.rank() == 0 { 200_000 } else { 0 }];
        file.read_at_all(1000, &mut buffer[..])?;
        check_bytes(&buffer, &pattern::bytes(5, 1000, buffer.len()))?;
        file.close()?;
    }
    Ok(())
}

/// Each rank's range overlaps the next one's by a half and more; the higher rank's bytes stay, every time.
fn overlaps_settled_by_rank(context: &Context) -> Result<()> {
    const STEP: u64 = 30_000;
    const LENGTH: u64 = 80_000;
    let ranks = context.ranks();
    for (path, hints) in paths() {
        let file = context.create(&format!("overlap-{path}"), &hints)?;
        for repetition in 0..3 {
            let seed = |rank: u64| repetition * 100 + rank;
            let offset = context.rank() * STEP;
            file.write_at_all(offset, &pattern::bytes(seed(context.rank()), offset, LENGTH as usize)[..])?;
            let mut buffer = vec![0; ((ranks - 1) * STEP + LENGTH) as usize];
            file.read_at_all(0, &mut buffer[..])?;
            let owner = |at: u64| (at / STEP).min(ranks - 1);
            let expected: Vec<u8> = (0..buffer.len() as u64).map(|at| pattern::byte(seed(owner(at)), at)).collect();
            check_bytes(&buffer, &expected)?;
            context.world.barrier();
        }
        file.close()?;
    }
    Ok(())
}

fn all_read_the_same(context: &Context) -> Result<()> {
    let bytes = pattern::bytes(9, 0, 500_000);
    for (path, hints) in paths() {
        let file = context.create(&format!("same-{path}"), &hints)?;
        file.write_at_all(0, if context.rank() == 0 { &bytes[..] } else { &[] })?;
        let mut buffer = vec![0; bytes.len() + 1000];
        let status = file.read_at_all(0, &mut buffer[..])?;
        ensure!(status.bytes() == bytes.len() as u64, "{status:?}");
        check_bytes(&buffer[..bytes.len()], &bytes)?;
        file.close()?;
    }
    Ok(())
}

fn one_big_collective(context: &Context) -> Result<()> {
    const LENGTH: usize = 6 << 20;
    for (path, hints) in paths() {
        let file = context.create(&format!("big-{path}"), &hints)?;
        let offset = context.rank() * LENGTH as u64;
        file.write_at_all(offset, &pattern::bytes(2, offset, LENGTH)[..])?;
        let other = (context.rank() + 1) % context.ranks() * LENGTH as u64;
        let mut buffer = vec![0; LENGTH];
        file.read_at_all(other, &mut buffer[..])?;
        check_bytes(&buffer, &pattern::bytes(2, other, LENGTH))?;
        file.close()?;
    }
    Ok(())
}
