//! Collective accesses by every path: direct, exchanged, in one round and in many.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Context as _, Result, ensure};
use mpi::traits::*;
use pfs_mpiio::Info;
use std::collections::BTreeSet;
use std::fs;

pub(super) const CASES: &[(&str, Case)] = &[
    ("unaligned pieces of 47,008 bytes", unaligned_pieces),
    ("ranks without bytes", ranks_without_bytes),
    ("overlaps are settled by rank", overlaps_settled_by_rank),
    ("all ranks read the same bytes", all_read_the_same),
    ("one big collective", one_big_collective),
    ("the next file has the memory of the last one", memory_is_kept),
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

/// Ranks of a node share memory in an exchange, and files that are open one after the other have the same, as long as it is
/// fit. Bytes are right through all of them.
fn memory_is_kept(context: &Context) -> Result<()> {
    const PIECE: u64 = 3000;
    let enable = Info::new().with("romio_cb_write", "enable").with("romio_cb_read", "enable");
    let small = enable.clone().with("cb_buffer_size", 65_536);
    let mut seen = Vec::new();
    for (number, hints) in [&enable, &small, &small, &enable].into_iter().enumerate() {
        let file = context.create(&format!("kept-{number}"), hints)?;
        for turn in 0..40 {
            let offset = (turn * context.ranks() + context.rank()) * PIECE;
            file.write_at_all(offset, &pattern::bytes(number as u64, offset, PIECE as usize)[..])?;
        }
        let mut buffer = vec![0; (40 * context.ranks() * PIECE) as usize];
        file.read_at_all(0, &mut buffer[..])?;
        check_bytes(&buffer, &pattern::bytes(number as u64, 0, buffer.len()))?;
        let is_shared = file.get_info().get("pfs_node_memory") != Some("disable");
        file.close()?;
        if is_shared {
            seen.push(shared_memory()?);
        }
    }
    // One rank has no neighbours, nor have ranks that are said to be on nodes of their own.
    ensure!(context.ranks() == 1 || seen.is_empty() || !seen[0].is_empty(), "ranks of a node share no memory");
    ensure!(seen.windows(2).all(|pair| pair[0] == pair[1]), "memory is made again for each file: {seen:?}");
    Ok(())
}

/// The inodes of the memory for exchanges that this process has.
fn shared_memory() -> Result<BTreeSet<u64>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let of_exchanges = maps.lines().filter(|line| line.contains("memfd:pfs-mpiio"));
    of_exchanges.map(|line| Ok(line.split_whitespace().nth(4).context("a line has an inode")?.parse()?)).collect()
}
