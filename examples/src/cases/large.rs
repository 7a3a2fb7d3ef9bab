//! Large single accesses: of more bytes than 2 GiB if there is the time for them, and in any case of more values than counts of
//! 31 bits could say.

use crate::pattern;
use anyhow::{Result, ensure};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use pfs_mpiio::{AccessMode, File, Info, Large, LargeMut, RawBufferMut};

/// Values of a buffer that is read into, most of which the file has not; its memory is not touched.
const VALUES: usize = 5 << 29;
/// Where the bytes begin in the file: not at the start of anything.
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

    /// The bytes from one place on.
    fn all(&self, from: usize, length: usize) -> Vec<u8> {
        let byte = |at: usize| self.part(at / PART_BYTES, PART_BYTES)[at % PART_BYTES];
        (from..from + length).map(byte).collect()
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let wrong = |(number, part): &(usize, &[u8])| *part != self.part(*number, part.len());
        let wrong = bytes.chunks(PART_BYTES).enumerate().find(wrong);
        ensure!(wrong.is_none(), "part {} of {PART_BYTES} bytes is wrong", wrong.map_or(0, |(number, _)| number));
        Ok(())
    }
}

/// Rank 0 writes so many bytes at once (a multiple of 8, at least 64 KiB), as bytes, and reads them at once, as doubles. The
/// others take part with nothing. It takes as much memory.
pub fn large(world: &SimpleCommunicator, name: &str, whole: usize) -> Result<()> {
    let hints = Info::new().with("striping_unit", 4 << 20);
    let file = File::open(world, name, AccessMode::CREATE | AccessMode::RDWR, &hints)?;
    let own = if world.rank() == 0 { whole } else { 0 };
    let (filling, mut bytes) = (Filling::new(), vec![0u8; own]);
    filling.fill(&mut bytes);
    let status = file.write_at_all(OFFSET, &Large(&bytes))?;
    ensure!(status.bytes() == own as u64 && status.count::<f64>() == Some(own as u64 / 8), "{status:?}");
    ensure!(file.get_size()? == OFFSET + whole as u64);

    // A read of more values than 31 bits count, of which few are there.
    if own > 0 {
        let mut many = vec![0u8; VALUES];
        let status = file.read_at(OFFSET + (whole - PART_BYTES) as u64, &mut LargeMut(&mut many))?;
        ensure!(status.bytes() == PART_BYTES as u64, "{status:?}");
        ensure!(many[..PART_BYTES] == filling.all(whole - PART_BYTES, PART_BYTES)[..], "the last part is wrong");
        ensure!(many[PART_BYTES..2 * PART_BYTES].iter().all(|byte| *byte == 0), "more came than is there");
    }

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
