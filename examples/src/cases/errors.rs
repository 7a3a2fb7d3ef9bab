//! Errors: the same on every rank whichever rank has it, soon, and nothing else is lost.

use super::{Case, Context, check_bytes};
use crate::pattern;
use anyhow::{Result, ensure};
use pfs_mpiio::{AccessMode, ErrorClass, File, Info};

pub(super) const CASES: &[(&str, Case)] = &[
    ("a file that does not exist", not_found),
    ("an exclusive create of a file that exists", exclusive_create),
    ("impossible names, modes and hints", impossible_opens),
    ("ranks that disagree about an open", disagreement_about_an_open),
    ("ranges beyond limits on one rank", beyond_limits),
    ("access against the mode", against_the_mode),
    ("ranks that make different calls", different_calls),
    ("more servers than there are", too_many_servers),
];

fn not_found(context: &Context) -> Result<()> {
    for amode in [AccessMode::RDONLY, AccessMode::RDWR, AccessMode::WRONLY] {
        let name = context.name("missing");
        context.same_error(ErrorClass::NoSuchFile, || File::open(context.world, &name, amode, &Info::new()))?;
    }
    Ok(())
}

fn exclusive_create(context: &Context) -> Result<()> {
    let bytes = pattern::bytes(1, context.rank() * 1000, 1000);
    let file = context.create("exists", &Info::new())?;
    file.write_at_all(context.rank() * 1000, &bytes[..])?;
    let name = context.name("exists");
    let amode = AccessMode::CREATE | AccessMode::EXCL | AccessMode::RDWR;
    context.same_error(ErrorClass::FileExists, || File::open(context.world, &name, amode, &Info::new()))?;
    // The file that was there is as it was.
    let mut back = vec![0; 1000];
    file.read_at_all(context.rank() * 1000, &mut back[..])?;
    check_bytes(&back, &bytes)?;
    file.close()?;
    Ok(())
}

fn impossible_opens(context: &Context) -> Result<()> {
    let open = |name: &str, amode, hints: &Info| File::open(context.world, name, amode, hints);
    let (good, create) = (context.name("impossible"), AccessMode::CREATE | AccessMode::RDWR);
    context.same_error(ErrorClass::BadFile, || open("pfs:/a/../b", create, &Info::new()))?;
    context.same_error(ErrorClass::Amode, || open(&good, AccessMode::RDONLY | AccessMode::WRONLY, &Info::new()))?;
    let one_rank_has = |hint: &str, value: u64| {
        if context.rank() + 1 == context.ranks() { Info::new().with(hint, value) } else { Info::new() }
    };
    context.same_error(ErrorClass::InfoValue, || open(&good, create, &one_rank_has("striping_unit", 5000)))?;
    context.same_error(ErrorClass::InfoValue, || open(&good, create, &one_rank_has("cb_nodes", 0)))?;
    context.same_error(ErrorClass::NoSuchFile, || open(&good, AccessMode::RDONLY, &Info::new()))
}

fn disagreement_about_an_open(context: &Context) -> Result<()> {
    if context.ranks() == 1 {
        return Ok(());
    }
    let last = context.rank() + 1 == context.ranks();
    let (name, create) = (context.name("disagreed"), AccessMode::CREATE | AccessMode::RDWR);
    let amode = if last { AccessMode::RDONLY } else { create };
    context.same_error(ErrorClass::NotSame, || File::open(context.world, &name, amode, &Info::new()))?;
    let name = if last { context.name("another") } else { name };
    context.same_error(ErrorClass::NotSame, || File::open(context.world, &name, create, &Info::new()))
}

fn beyond_limits(context: &Context) -> Result<()> {
    let file = context.create("limits", &Info::new())?;
    let own = context.rank() * 1000;
    let bytes = pattern::bytes(4, own, 1000);
    file.write_at_all(own, &bytes[..])?;
    let last = context.rank() + 1 == context.ranks();
    for beyond in [i64::MAX as u64, u64::MAX - 10, u64::MAX] {
        let offset = if last { beyond } else { own };
        context.same_error(ErrorClass::Arg, || file.write_at_all(offset, &[0u8; 1000][..]))?;
        context.same_error(ErrorClass::Arg, || file.read_at_all(offset, &mut [0u8; 1000][..]))?;
    }
    let alone = file.write_at(i64::MAX as u64, &[0u8; 1][..]).err().map(|error| error.class());
    ensure!(alone == Some(ErrorClass::Arg), "{alone:?}");
    context.same_error(ErrorClass::Arg, || file.set_size(u64::MAX))?;
    // Nothing was written by anybody, and the file can still be used.
    let mut back = vec![0; 1000];
    file.read_at_all(own, &mut back[..])?;
    check_bytes(&back, &bytes)?;
    ensure!(file.get_size()? == context.ranks() * 1000);
    file.close()?;
    Ok(())
}

fn against_the_mode(context: &Context) -> Result<()> {
    context.create("modes", &Info::new())?.close()?;
    let name = context.name("modes");
    let file = File::open(context.world, &name, AccessMode::RDONLY, &Info::new())?;
    context.same_error(ErrorClass::ReadOnly, || file.write_at_all(0, &[1u8][..]))?;
    context.same_error(ErrorClass::ReadOnly, || file.write_at(0, &[1u8][..]))?;
    context.same_error(ErrorClass::ReadOnly, || file.set_size(7))?;
    file.close()?;
    let file = File::open(context.world, &name, AccessMode::WRONLY, &Info::new())?;
    context.same_error(ErrorClass::Access, || file.read_at_all(0, &mut [1u8][..]))?;
    context.same_error(ErrorClass::Access, || file.read_at(0, &mut [1u8][..]))?;
    file.close()?;
    Ok(())
}

fn different_calls(context: &Context) -> Result<()> {
    if context.ranks() == 1 {
        return Ok(());
    }
    let file = context.create("calls", &Info::new())?;
    let last = context.rank() + 1 == context.ranks();
    context.same_error(ErrorClass::NotSame, || {
        if last { file.sync() } else { file.write_at_all(0, &[1u8][..]).map(drop) }
    })?;
    context.same_error(ErrorClass::NotSame, || file.set_size(if last { 5 } else { 6 }))?;
    ensure!(file.get_size()? == 0);
    file.close()?;
    Ok(())
}

fn too_many_servers(context: &Context) -> Result<()> {
    let hints = Info::new().with("striping_factor", 4096);
    let (name, create) = (context.name("wide"), AccessMode::CREATE | AccessMode::RDWR);
    context.same_error(ErrorClass::Arg, || File::open(context.world, &name, create, &hints))
}
