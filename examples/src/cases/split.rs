//! Split collective accesses.

use super::{Case, Context, check_bytes, exchange};
use crate::pattern;
use anyhow::{Result, ensure};
use mpi::request::scope;
use pfs_mpiio::{ErrorClass, Info, Whence};

pub(super) const CASES: &[(&str, Case)] = &[
    ("split collectives at offsets and pointers", split),
    ("one split collective at a time", one_at_a_time),
    ("a split collective that is dropped", dropped),
];

const LENGTH: usize = 100_000;

fn split(context: &Context) -> Result<()> {
    for (path, hints) in exchange::paths() {
        let file = context.create(&format!("split-{path}"), &hints)?;
        let offset = |turn: u64| (turn * context.ranks() + context.rank()) * LENGTH as u64;
        let data = [0, 1].map(|turn| pattern::bytes(1, offset(turn), LENGTH));
        let mut back = vec![vec![0; LENGTH]; 2];
        let [one, other] = &mut back[..] else { unreachable!("two buffers") };
        scope(|scope| {
            let begun = file.write_at_all_begin(scope, offset(0), &data[0][..])?;
            ensure!(begun.end()?.bytes() == LENGTH as u64);
            file.seek(offset(1) as i64, Whence::Set)?;
            let begun = file.write_all_begin(scope, &data[1][..])?;
            ensure!(file.get_position() == offset(1) + LENGTH as u64);
            begun.end()?;
            file.seek(offset(0) as i64, Whence::Set)?;
            let begun = file.read_all_begin(scope, &mut one[..])?;
            ensure!(begun.end()?.bytes() == LENGTH as u64);
            ensure!(file.get_position() == offset(0) + LENGTH as u64);
            file.read_at_all_begin(scope, offset(1), &mut other[..])?.end()?;
            Ok(())
        })?;
        ensure!(back == data, "{path}");
        file.close()?;
    }
    Ok(())
}

fn one_at_a_time(context: &Context) -> Result<()> {
    let file = context.create("split-single", &Info::new())?;
    let offset = context.rank() * LENGTH as u64;
    let (data, mut unused) = (pattern::bytes(2, offset, LENGTH), [0u8; 10]);
    scope(|scope| {
        let begun = file.write_at_all_begin(scope, offset, &data[..])?;
        context.same_error(ErrorClass::Io, || file.write_all_begin(scope, &data[..]).map(drop))?;
        context.same_error(ErrorClass::Io, || file.write_at_all(offset, &data[..]))?;
        context.same_error(ErrorClass::Io, || file.iread_at_all(scope, offset, &mut unused[..])?.wait())?;
        // Others are allowed, and so is a rank's own.
        file.write_at(offset, &data[..10])?;
        file.sync()?;
        begun.end()?;
        Ok::<_, anyhow::Error>(())
    })?;
    let mut back = vec![0; LENGTH];
    file.read_at_all(offset, &mut back[..])?;
    check_bytes(&back, &data)?;
    file.close()?;
    Ok(())
}

fn dropped(context: &Context) -> Result<()> {
    let file = context.create("split-dropped", &Info::new())?;
    let offset = context.rank() * LENGTH as u64;
    let data = pattern::bytes(3, offset, LENGTH);
    scope(|scope| file.write_at_all_begin(scope, offset, &data[..]).map(drop))?;
    let mut back = vec![0; LENGTH];
    scope(|scope| file.read_at_all_begin(scope, offset, &mut back[..])?.end())?;
    check_bytes(&back, &data)?;
    file.close()?;
    Ok(())
}
