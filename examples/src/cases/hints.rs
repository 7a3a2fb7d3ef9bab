//! Hints: each way in which pieces can go gives the same bytes, and hints come from where they should.

use super::views::made;
use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Context as _, Result, ensure};
use mpi::datatype::UserDatatype;
use mpi::ffi::{self, MPI_Aint};
use mpi::request::scope;
use mpi::traits::*;
use pfs_mpiio::{ErrorClass, File, Info};

pub(super) const CASES: &[(&str, Case)] = &[
    ("pieces go in every way", pieces_go_in_every_way),
    ("a sieved write keeps what lies between", sieved_write_keeps_the_rest),
    ("hints of the environment", hints_of_the_environment),
    ("hints that change", hints_that_change),
];

/// Bytes of a piece, of which each rank has `PIECES`, in turn with the others.
const PIECE_BYTES: usize = 700;
const PIECES: usize = 24;

/// What the pieces' ways are called in hints.
const WAYS: [&[(&str, &str)]; 6] = [
    &[],
    &[("pfs_list_io", "disable")],
    &[("pfs_list_io", "disable"), ("pfs_io_depth", "16")],
    &[("romio_ds_read", "enable"), ("ind_rd_buffer_size", "5000")],
    &[("romio_ds_read", "enable"), ("romio_ds_write", "enable"), ("ind_wr_buffer_size", "4096")],
    &[("romio_no_indep_rw", "true"), ("cb_config_list", "*:1")],
];

fn pieces_go_in_every_way(context: &Context) -> Result<()> {
    for (number, way) in WAYS.into_iter().enumerate() {
        for is_atomic in [false, true] {
            let hints: Info = way.iter().copied().collect();
            let file =
                context.create(&format!("ways-{number}-{is_atomic}"), &hints.with("romio_cb_write", "disable"))?;
            file.set_atomicity(is_atomic)?;
            one_way(context, &file).with_context(|| format!("with {way:?}, atomic {is_atomic}"))?;
            file.close()?;
        }
    }
    Ok(())
}

/// Independent and collective writes and reads of interleaved pieces, and a read past the end.
fn one_way(context: &Context, file: &File) -> Result<()> {
    let byte = u8::equivalent_datatype();
    let ranks = context.ranks() as usize;
    let filetype = interleaved(ranks);
    file.set_view(context.rank() * PIECE_BYTES as u64, &byte, &filetype, "native")?;
    let data = |seed: u64| pattern::bytes(seed + context.rank(), 0, PIECES * PIECE_BYTES);
    let mut read = vec![0; PIECES * PIECE_BYTES];
    file.write_at(0, &data(10)[..])?;
    file.sync()?;
    ensure!(file.read_at(0, &mut read[..])?.bytes() == read.len() as u64);
    check_bytes(&read, &data(10))?;
    file.write_at_all(0, &data(20)[..])?;
    file.read_at_all(0, &mut read[..])?;
    check_bytes(&read, &data(20))?;
    let there = file.read_at((PIECES * PIECE_BYTES - 1000) as u64, &mut read[..2000])?.bytes();
    ensure!(there == 1000, "{there} bytes before the end");
    check_bytes(&read[..1000], &data(20)[PIECES * PIECE_BYTES - 1000..])?;
    file.set_view(0, &byte, &byte, "native")?;
    Ok(())
}

/// A piece, and room for those of the other ranks.
fn interleaved(ranks: usize) -> UserDatatype {
    let piece = UserDatatype::contiguous(PIECE_BYTES as i32, &u8::equivalent_datatype());
    let extent = (ranks * PIECE_BYTES) as MPI_Aint;
    // SAFETY: the piece is a datatype, and the room for the new one is given.
    made(|raw| unsafe { ffi::MPI_Type_create_resized(piece.as_raw(), 0, extent, raw) })
}

/// Every rank sieves its own pieces at once, in atomic mode: nobody writes back what another has changed.
fn sieved_write_keeps_the_rest(context: &Context) -> Result<()> {
    let hints = Info::new().with("romio_ds_write", "enable").with("ind_wr_buffer_size", 4096);
    let file = context.create("sieved", &hints)?;
    let all = context.ranks() as usize * PIECES * PIECE_BYTES;
    if context.rank() == 0 {
        file.write_at(0, &vec![200u8; all + 10][..])?;
    }
    file.sync()?;
    file.set_atomicity(true)?;
    let byte = u8::equivalent_datatype();
    file.set_view(context.rank() * PIECE_BYTES as u64, &byte, &interleaved(context.ranks() as usize), "native")?;
    // The last piece of each rank stays as it was.
    file.write_at(0, &vec![context.rank() as u8; (PIECES - 1) * PIECE_BYTES][..])?;
    file.sync()?;
    file.set_view(0, &byte, &byte, "native")?;
    let mut read = vec![0; all + 10];
    file.read_at_all(0, &mut read[..])?;
    let written = all - context.ranks() as usize * PIECE_BYTES;
    for (at, &byte) in read.iter().enumerate() {
        let expected = if at < written { (at / PIECE_BYTES % context.ranks() as usize) as u8 } else { 200 };
        ensure!(byte == expected, "byte {at} is {byte} instead of {expected}");
    }
    file.close()?;
    Ok(())
}

/// The value in effect is the environment's if it has one, else the program's.
fn hints_of_the_environment(context: &Context) -> Result<()> {
    let file = context.create("from-outside", &Info::new().with("pfs_io_depth", 3))?;
    let outside = std::env::var("PFS_HINTS").unwrap_or_default();
    let expected = outside.strip_prefix("pfs_io_depth=").unwrap_or("3");
    let info = file.get_info();
    ensure!(info.get("pfs_io_depth") == Some(expected), "{info:?}");
    let of_site = if std::env::var_os("ROMIO_HINTS").is_some() { "262144" } else { "524288" };
    ensure!(info.get("ind_wr_buffer_size") == Some(of_site), "{info:?}");
    file.close()?;
    Ok(())
}

/// One file goes through all ways, one after the other; a bad value changes nothing, and what acts on creation is passed over.
fn hints_that_change(context: &Context) -> Result<()> {
    let file = context.create("changing", &Info::new().with("cb_nodes", 1))?;
    for way in WAYS {
        let hints: Info = way.iter().copied().collect();
        // Rank 0's count; the other ranks may say less.
        let own = if context.rank() == 0 { hints.clone() } else { Info::new() };
        file.set_info(&own)?;
        let info = file.get_info();
        let is_in_effect =
            |key: &str, value: &str| std::env::var_os("PFS_HINTS").is_some() || info.get(key) == Some(value);
        ensure!(way.iter().all(|(key, value)| is_in_effect(key, value)), "{info:?} after {way:?}");
        ensure!(info.get("cb_nodes") == Some("1"), "what is not named stays");
        one_way(context, &file).with_context(|| format!("with {way:?}"))?;
    }
    let before = file.get_info();
    file.set_info(&Info::new().with("striping_unit", 4096).with("striping_factor", 77).with("nb_proc", 99))?;
    ensure!(file.get_info() == before, "{:?}", file.get_info());
    let bad = |key: &str| Info::new().with("pfs_list_io", "automatic").with(key, "none");
    context.same_error(ErrorClass::InfoValue, || file.set_info(&bad("cb_nodes")))?;
    let last = context.rank() + 1 == context.ranks();
    let of_last = if last { bad("cb_buffer_size") } else { Info::new() };
    context.same_error(ErrorClass::InfoValue, || file.set_info(&of_last))?;
    ensure!(file.get_info() == before, "a change that was refused has changed {:?}", file.get_info());
    // What was begun before a change has the hints of before, on all ranks.
    let data = pattern::bytes(30, context.rank() * 90_000, 90_000);
    scope(|scope| {
        let begun = file.iwrite_at_all(scope, context.rank() * 90_000, &data[..])?;
        file.set_info(&Info::new().with("cb_config_list", "*:*").with("cb_nodes", context.ranks()))?;
        begun.wait()
    })?;
    let mut read = vec![0; data.len()];
    file.read_at_all(context.rank() * 90_000, &mut read[..])?;
    check_bytes(&read, &data)?;
    Ok(file.close()?)
}
