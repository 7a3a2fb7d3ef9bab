//! Single accesses of more than 2 GiB and of more than 2³¹ values, which counts of 31 bits could not say.

use crate::pattern;
use anyhow::{Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info, Large, LargeMut, RawBufferMut};

/// 2.5 GiB and a little.
const BYTES: usize = (5 << 29) + 8 * 1001;
/// Where they begin in the file: not at the start of anything.
const OFFSET: u64 = 12_345;

/// Every part is a stretch of the same bytes that begins elsewhere, so that no two near each other are alike.
const PART_BYTES: usize = 64 << 10;

struct Filling {
    bytes: Vec<u8>,
}

impl Filling {
    fn new() -> Filling {
        Filling { bytes: pattern::bytes(8, 0, 2 * PART_BYTES) }
    }

    fn part(&self, number: usize, length: usize) -> &[u8] {
        let start = number.wrapping_mul(7919) % PART_BYTES;
        &self.bytes[start..start + length]
    }

    fn fill(&self, bytes: &mut [u8]) {
        for (number, part) in bytes.chunks_mut(PART_BYTES).enumerate() {
            part.copy_from_slice(self.part(number, part.len()));
        }
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let wrong = |(number, part): &(usize, &[u8])| *part != self.part(*number, part.len());
        let wrong = bytes.chunks(PART_BYTES).enumerate().find(wrong);
        ensure!(wrong.is_none(), "part {} of {PART_BYTES} bytes is wrong", wrong.map_or(0, |(number, _)| number));
        Ok(())
    }
}

/// Rank 0 writes 2.5 GiB at once, as bytes, and reads them: alone as bytes, with the others by one collective call as
/// doubles. The others have nothing.
pub fn large(world: &SimpleCommunicator, name: &str) -> Result<()> {
    let hints = Info::new().with("striping_unit", 4 << 20);
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    let own = if world.rank() == 0 { BYTES } else { 0 };
    let (filling, mut bytes) = (Filling::new(), vec![0u8; own]);
    filling.fill(&mut bytes);
    let status = file.write_at_all(OFFSET, &Large(&bytes))?;
    ensure!(status.bytes() == own as u64 && status.count::<f64>() == Some(own as u64 / 8), "{status:?}");
    ensure!(file.get_size()? == OFFSET + BYTES as u64);

    bytes.fill(0);
    let status = file.read_at(OFFSET, &mut LargeMut(&mut bytes))?;
    ensure!(status.bytes() == own as u64, "{status:?}");
    filling.check(&bytes)?;

    bytes.fill(0);
    let double = f64::equivalent_datatype();
    file.set_view(OFFSET, &double, &double, "native")?;
    // SAFETY: the memory has so many values, and nobody else uses it.
    let mut doubles = unsafe { RawBufferMut::new(bytes.as_mut_ptr().cast(), own as u64 / 8, double.as_raw()) };
    let status = file.read_all(&mut doubles)?;
    ensure!(status.bytes() == own as u64 && file.get_position() == own as u64 / 8, "{status:?}");
    filling.check(&bytes)?;
    Ok(file.close()?)
}
