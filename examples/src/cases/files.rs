//! Opening, sizes, hints, and the end of files.

use super::{Case, Context};
use anyhow::{Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, ErrorClass, File, Info};

pub(super) const CASES: &[(&str, Case)] = &[
    ("sizes", sizes),
    ("hints in effect", hints_in_effect),
    ("two files at once", two_files_at_once),
    ("a file of one rank", file_of_one_rank),
    ("delete", delete),
    ("delete on close", delete_on_close),
];

fn sizes(context: &Context) -> Result<()> {
    let file = context.create("sizes", &Info::new())?;
    ensure!(file.get_size()? == 0);
    file.set_size(300_000)?;
    ensure!(file.get_size()? == 300_000);
    file.write_at_all(context.rank() * 50_000, &[1u8; 50_000][..])?;
    file.set_size(60_000)?;
    ensure!(file.get_size()? == 60_000);
    file.set_size(100_000)?;
    let mut buffer = vec![9u8; 100_000];
    ensure!(file.read_at_all(0, &mut buffer[..])?.bytes() == 100_000);
    let ones = 60_000.min(50_000 * context.ranks() as usize);
    ensure!(buffer[..ones].iter().all(|&byte| byte == 1), "bytes before the cut are gone");
    ensure!(buffer[60_000..].iter().all(|&byte| byte == 0), "bytes behind the cut came back");
    file.close()?;
    let file = File::open(context.world, &context.name("sizes"), AccessMode::RDONLY, &Info::new())?;
    ensure!(file.get_size()? == 100_000, "the size after close and open");
    file.close()?;
    Ok(())
}

/// Hints are rank 0's, and come back with the values in effect.
fn hints_in_effect(context: &Context) -> Result<()> {
    let unit = if context.rank() == 0 { 128 << 10 } else { 4096 };
    let hints = Info::new()
        .with("striping_unit", unit)
        .with("striping_factor", 2)
        .with("cb_nodes", 1000)
        .with("romio_cb_write", "disable")
        .with("unknown_hint", "is passed over");
    let amode = AccessMode::CREATE | AccessMode::RDWR;
    let file = File::open(context.world, &context.name("hints"), amode, &hints)?;
    let info = file.get_info();
    ensure!(file.get_amode() == amode);
    ensure!(info.get("striping_unit") == Some("131072"), "{info:?}");
    ensure!(info.get("striping_factor") == Some("2"), "{info:?}");
    ensure!(info.get("romio_cb_write") == Some("disable"), "{info:?}");
    ensure!(info.get("cb_buffer_size") == Some("16777216"), "{info:?}");
    let aggregators: u64 = info.get("cb_nodes").unwrap_or("0").parse()?;
    ensure!((1..=context.ranks()).contains(&aggregators), "{info:?}");
    ensure!(info.get("unknown_hint").is_none(), "{info:?}");
    file.close()?;
    Ok(())
}

fn two_files_at_once(context: &Context) -> Result<()> {
    let (one, two) = (context.create("one", &Info::new())?, context.create("two", &Info::new())?);
    one.write_at_all(context.rank() * 8, &[context.rank()][..])?;
    two.write_at_all(context.rank() * 8, &[100 + context.rank()][..])?;
    one.close()?;
    let mut numbers = vec![0u64; context.ranks() as usize];
    two.read_at_all(0, &mut numbers[..])?;
    ensure!(numbers == (100..100 + context.ranks()).collect::<Vec<_>>(), "{numbers:?}");
    two.close()?;
    Ok(())
}

/// Every rank opens a file of its own while the others do the same.
fn file_of_one_rank(context: &Context) -> Result<()> {
    let own = SimpleCommunicator::self_comm();
    let name = context.name(&format!("own-{}", context.rank()));
    let file = File::open(&own, &name, AccessMode::CREATE | AccessMode::RDWR, &Info::new())?;
    file.write_at_all(5, &[context.rank()][..])?;
    let mut back = [0u64];
    file.read_at(5, &mut back[..])?;
    ensure!(back == [context.rank()]);
    file.close()?;
    Ok(())
}

fn delete(context: &Context) -> Result<()> {
    context.create("deleted", &Info::new())?.close()?;
    if context.rank() == 0 {
        File::delete(&context.name("deleted"))?;
        let again = File::delete(&context.name("deleted")).err().map(|error| error.class());
        ensure!(again == Some(ErrorClass::NoSuchFile), "{again:?}");
    }
    context.world.barrier();
    context.same_error(ErrorClass::NoSuchFile, || {
        File::open(context.world, &context.name("deleted"), AccessMode::RDWR, &Info::new())
    })
}

fn delete_on_close(context: &Context) -> Result<()> {
    let amode = AccessMode::CREATE | AccessMode::RDWR | AccessMode::DELETE_ON_CLOSE;
    let file = File::open(context.world, &context.name("fleeting"), amode, &Info::new())?;
    file.write_at_all(context.rank() * 8, &[1u64][..])?;
    file.close()?;
    context.same_error(ErrorClass::NoSuchFile, || {
        File::open(context.world, &context.name("fleeting"), AccessMode::RDONLY, &Info::new())
    })
}
