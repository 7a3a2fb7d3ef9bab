//! Access modes and what they allow, space, and what a file tells of itself.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::topology::GroupRelation;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, DISPLACEMENT_CURRENT, Error, ErrorClass, File, Info, Whence};

pub(super) const CASES: &[(&str, Case)] = &[
    ("append", append),
    ("sequential", sequential),
    ("impossible modes", impossible),
    ("exclusive with a layout", exclusive),
    ("preallocate", preallocate),
    ("group and extents", group_and_extents),
];

fn open(context: &Context, case: &str, amode: AccessMode) -> Result<File, Error> {
    File::open(context.world, &context.name(case), amode, &Info::new())
}

/// All pointers begin at the end, until a view is set.
fn append(context: &Context) -> Result<()> {
    let file = context.create("append", &Info::new())?;
    file.write_at_all(0, &pattern::bytes(3, 0, 1000)[..])?;
    file.close()?;
    let file = open(context, "append", AccessMode::RDWR | AccessMode::APPEND)?;
    ensure!(file.get_position() == 1000 && file.get_position_shared()? == 1000);
    let own = pattern::bytes(3, 1000 + 500 * context.rank(), 500);
    file.write_ordered(&own[..])?;
    let size = 1000 + 500 * usize::try_from(context.ranks())?;
    let mut whole = vec![0; size];
    ensure!(file.read_at_all(0, &mut whole[..])?.bytes() == size as u64);
    check_bytes(&whole, &pattern::bytes(3, 0, size))?;
    let byte = u8::equivalent_datatype();
    file.set_view(0, &byte, &byte, "native")?;
    ensure!(file.get_position() == 0 && file.get_position_shared()? == 0);
    Ok(file.close()?)
}

/// Only the shared pointer, and only onwards.
fn sequential(context: &Context) -> Result<()> {
    let write = AccessMode::CREATE | AccessMode::WRONLY | AccessMode::SEQUENTIAL;
    let file = open(context, "sequential", write)?;
    let own = pattern::bytes(4, 100 * context.rank(), 100);
    file.write_ordered(&own[..])?;
    let class = |result: Result<(), Error>| result.err().map(|error| error.class());
    let refused = Some(ErrorClass::UnsupportedOperation);
    ensure!(class(file.write_at(0, &own[..]).map(drop)) == refused);
    ensure!(class(file.write(&own[..]).map(drop)) == refused);
    ensure!(class(file.seek(0, Whence::Set)) == refused);
    ensure!(class(file.get_position_shared().map(drop)) == refused);
    context.same_error(ErrorClass::UnsupportedOperation, || file.write_at_all(0, &own[..]))?;
    context.same_error(ErrorClass::UnsupportedOperation, || file.write_all(&own[..]))?;
    context.same_error(ErrorClass::UnsupportedOperation, || file.seek_shared(0, Whence::Set))?;
    context.same_error(ErrorClass::UnsupportedOperation, || file.set_size(5))?;
    context.same_error(ErrorClass::UnsupportedOperation, || file.preallocate(5))?;
    let byte = u8::equivalent_datatype();
    context.same_error(ErrorClass::Arg, || file.set_view(0, &byte, &byte, "native"))?;
    let int = i32::equivalent_datatype();
    file.set_view(DISPLACEMENT_CURRENT, &int, &int, "native")?;
    ensure!(file.get_view().displacement() == 100 * context.ranks());
    file.write_ordered(&[context.rank() as i32][..])?;
    file.close()?;

    let file = open(context, "sequential", AccessMode::RDONLY | AccessMode::SEQUENTIAL)?;
    let mut seen = vec![0; 100];
    file.read_ordered(&mut seen[..])?;
    check_bytes(&seen, &own)?;
    let mut numbers = [-1i32];
    file.read_ordered(&mut numbers[..])?;
    ensure!(u64::try_from(numbers[0]) == Ok(context.rank()), "{numbers:?}");
    ensure!(file.read_shared(&mut seen[..])?.bytes() == 0, "the end");
    file.close()?;
    let plain = context.create("not-sequential", &Info::new())?;
    context.same_error(ErrorClass::Arg, || plain.set_view(DISPLACEMENT_CURRENT, &byte, &byte, "native"))?;
    Ok(plain.close()?)
}

/// The same error on all ranks, also if only one has the impossible mode.
fn impossible(context: &Context) -> Result<()> {
    type Mode = AccessMode;
    for amode in [
        Mode::CREATE,
        Mode::RDONLY | Mode::WRONLY,
        Mode::RDONLY | Mode::WRONLY | Mode::RDWR,
        Mode::RDONLY | Mode::CREATE,
        Mode::RDONLY | Mode::CREATE | Mode::EXCL,
        Mode::RDWR | Mode::CREATE | Mode::SEQUENTIAL,
        Mode::APPEND | Mode::UNIQUE_OPEN | Mode::DELETE_ON_CLOSE,
    ] {
        context.same_error(ErrorClass::Amode, || open(context, "impossible", amode))?;
    }
    let last = context.rank() + 1 == context.ranks();
    let own = if last { Mode::RDONLY | Mode::CREATE } else { Mode::RDWR | Mode::CREATE };
    context.same_error(ErrorClass::Amode, || open(context, "impossible", own))?;
    context.same_error(ErrorClass::NoSuchFile, || open(context, "impossible", Mode::RDONLY))?;
    let all = Mode::CREATE | Mode::EXCL | Mode::RDWR | Mode::UNIQUE_OPEN | Mode::APPEND | Mode::DELETE_ON_CLOSE;
    let file = open(context, "fleeting-and-more", all)?;
    ensure!(file.get_amode() == all);
    file.close()?;
    context.same_error(ErrorClass::NoSuchFile, || open(context, "fleeting-and-more", Mode::RDONLY))
}

/// Making a file and giving it a layout is one request: it is there with its layout, or was there before.
fn exclusive(context: &Context) -> Result<()> {
    let hints = Info::new().with("striping_unit", 1 << 20).with("striping_factor", 1);
    let amode = AccessMode::CREATE | AccessMode::EXCL | AccessMode::RDWR;
    let file = File::open(context.world, &context.name("exclusive"), amode, &hints)?;
    let info = file.get_info();
    ensure!(info.get("striping_unit") == Some("1048576") && info.get("striping_factor") == Some("1"), "{info:?}");
    file.close()?;
    let other = Info::new().with("striping_unit", 4096);
    let again = || File::open(context.world, &context.name("exclusive"), amode, &other);
    context.same_error(ErrorClass::FileExists, again)?;
    let file = File::open(context.world, &context.name("exclusive"), AccessMode::CREATE | AccessMode::RDWR, &other)?;
    ensure!(file.get_info().get("striping_unit") == Some("1048576"), "a file keeps its layout");
    Ok(file.close()?)
}

/// Space is reserved, the file grows and never shrinks, bytes stay.
fn preallocate(context: &Context) -> Result<()> {
    let file = context.create("preallocated", &Info::new())?;
    file.write_at_all(context.rank() * 1000, &pattern::bytes(5, context.rank() * 1000, 1000)[..])?;
    file.preallocate(300_000)?;
    ensure!(file.get_size()? == 300_000);
    file.preallocate(10)?;
    ensure!(file.get_size()? == 300_000, "it does not shrink");
    let mut seen = vec![9; 300_000];
    ensure!(file.read_at_all(0, &mut seen[..])?.bytes() == 300_000);
    let written = 1000 * usize::try_from(context.ranks())?;
    check_bytes(&seen[..written], &pattern::bytes(5, 0, written))?;
    check_bytes(&seen[written..], &vec![0; 300_000 - written])?;
    if context.ranks() > 1 {
        context.same_error(ErrorClass::NotSame, || file.preallocate(context.rank()))?;
    }
    file.close()?;
    let file = open(context, "preallocated", AccessMode::RDONLY)?;
    ensure!(file.get_size()? == 300_000);
    context.same_error(ErrorClass::ReadOnly, || file.preallocate(10))?;
    Ok(file.close()?)
}

fn group_and_extents(context: &Context) -> Result<()> {
    let file = context.create("group", &Info::new())?;
    let relation = file.get_group().compare(&context.world.group());
    ensure!(relation == GroupRelation::Identical, "{relation:?}");
    let double = f64::equivalent_datatype();
    ensure!(file.get_type_extent(&double)? == 8 && file.get_datarep() == "native");
    let spread = super::datareps::resized(&double, 0, 24);
    file.set_view(16, &double, &spread, "internal")?;
    ensure!(file.get_type_extent(&spread)? == 24 && file.get_datarep() == "internal");
    ensure!(file.get_byte_offset(2)? == 16 + 2 * 24);
    file.close()?;
    if context.rank() == 0 {
        pfs_mpiio::delete(&context.name("group"))?;
        let gone = pfs_mpiio::delete(&context.name("group")).err().map(|error| error.class());
        ensure!(gone == Some(ErrorClass::NoSuchFile), "{gone:?}");
    }
    context.world.barrier();
    Ok(())
}
