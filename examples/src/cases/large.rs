//! Single accesses of more than 2 GiB and of more than 2³¹ values, which counts of 31 bits could not say.

use anyhow::{Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info, Large, LargeMut, RawBufferMut};

/// 2.5 GiB and a little.
const BYTES: usize = (5 << 29) + 8 * 1001;
/// Where they begin in the file: not at the start of anything.
const OFFSET: u64 = 12_345;

/// Bytes that tell their place, cheaply: a number for each 8 of them.
fn fill(bytes: &mut [u8]) {
    for (number, part) in (0u64..).zip(bytes.chunks_exact_mut(8)) {
        part.copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
}

/// Where the first bytes are that are not as `fill` made them.
fn first_wrong(bytes: &[u8]) -> Option<u64> {
    let expected = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0u64..).zip(bytes.chunks_exact(8)).find(|(number, part)| **part != expected(*number)).map(|(number, _)| 8 * number)
}

/// Rank 0 writes 2.5 GiB at once, as bytes, and reads them: alone as bytes, with the others by one collective call as
/// doubles. The others have nothing.
pub fn large(world: &SimpleCommunicator, name: &str) -> Result<()> {
    let hints = Info::new().with("striping_unit", 4 << 20);
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    let own = if world.rank() == 0 { BYTES } else { 0 };
    let mut bytes = vec![0u8; own];
    fill(&mut bytes);
    let status = file.write_at_all(OFFSET, &Large(&bytes))?;
    ensure!(status.bytes() == own as u64 && status.count::<f64>() == Some(own as u64 / 8), "{status:?}");
    ensure!(file.get_size()? == OFFSET + BYTES as u64);

    bytes.fill(0);
    let status = file.read_at(OFFSET, &mut LargeMut(&mut bytes))?;
    ensure!(status.bytes() == own as u64, "{status:?}");
    ensure!(first_wrong(&bytes).is_none(), "byte {:?} of the bytes", first_wrong(&bytes));

    bytes.fill(0);
    let double = f64::equivalent_datatype();
    file.set_view(OFFSET, &double, &double, "native")?;
    // SAFETY: the memory has so many values, and nobody else uses it.
    let mut doubles = unsafe { RawBufferMut::new(bytes.as_mut_ptr().cast(), own as u64 / 8, double.as_raw()) };
    let status = file.read_all(&mut doubles)?;
    ensure!(status.bytes() == own as u64 && file.get_position() == own as u64 / 8, "{status:?}");
    ensure!(first_wrong(&bytes).is_none(), "byte {:?} of the doubles", first_wrong(&bytes));
    Ok(file.close()?)
}
