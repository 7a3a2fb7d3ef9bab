//! Collective access.
//!
//! 1. The ranks tell each other their ranges and what they know of the size. From here on every rank has entered;
//!    an error that a rank has already ends the call on all of them.
//! 2. Every rank makes the same plan.
//! 3. Every rank pins the token for what it will read or write at the servers; see [`pin`](crate::pin).
//! 4. Bytes are exchanged if the plan says so, and read or written. A rank that fails goes on with the exchange,
//!    so that no other rank waits for it.
//! 5. The ranks agree about the result and the size, and let go of their pins.

use crate::access::check_range;
use crate::buffer;
use crate::error::Error;
use crate::exchange;
use crate::file::File;
use crate::group::{Call, ROOT};
use crate::pin::Pinned;
use crate::status::Status;
use mpi::traits::*;
use pfs_core::collective::{CollectivePlan, Direction, Method, RankRange};
use pfs_core::extent::Extent;
use pfs_core::token::message::{FileSize, Mode};

/// What all ranks know after they entered.
struct Entered {
    ranges: Vec<RankRange>,
    /// What the ranks know of the file's size.
    size: FileSize,
}

impl File {
    /// Writes every rank's `buf` at its `offset`, in bytes from the start of the file. Collective. Where ranges
    /// overlap, the bytes of the highest rank stay.
    pub fn write_at_all<B: Buffer + ?Sized>(&self, offset: u64, buf: &B) -> Result<Status, Error> {
        let own = self.check_writable().and_then(|()| buffer::bytes(buf));
        let range = own.clone().and_then(|bytes| check_range(offset, bytes.len()));
        let entered = self.enter(Call::WriteAtAll, range)?;
        let bytes = own?;
        let plan = self.plan(Direction::Write, &entered)?;
        let pinned = self.pin(Mode::Exclusive, &plan)?;
        let written = match plan.method() {
            Method::Direct => self.write_direct(&plan, &pinned, &bytes, offset),
            Method::Exchange(_) => exchange::write(self, &plan, &pinned, &bytes, offset),
        };
        let (agreed, bytes_known) = self.group.agree_with_max(written, self.size_in(entered.size.generation));
        self.io().learn_size(FileSize { generation: entered.size.generation, bytes: bytes_known });
        agreed.map(|()| Status::new(bytes.len() as u64))
    }

    /// Reads into every rank's `buf` from its `offset`, in bytes from the start of the file. Collective. Short only
    /// at the end of the file.
    pub fn read_at_all<B: BufferMut + ?Sized>(&self, offset: u64, buf: &mut B) -> Result<Status, Error> {
        let mut own = self.check_readable().and_then(|()| buffer::target(buf));
        let range = match &mut own {
            Ok(target) => check_range(offset, target.bytes().len()),
            Err(error) => Err(error.clone()),
        };
        let entered = self.enter(Call::ReadAtAll, range)?;
        let mut target = own?;
        let bytes = target.bytes();
        let plan = self.plan(Direction::Read, &entered)?;
        let pinned = self.pin(Mode::Shared, &plan)?;
        let file_bytes = self.size_for(&plan)?;
        let plan = plan.clamped(file_bytes);
        let read = match plan.method() {
            Method::Direct => self.read_direct(&plan, &pinned, bytes, offset),
            Method::Exchange(_) => exchange::read(self, &plan, &pinned, bytes, offset),
        };
        self.group.agree(read)?;
        let there = (bytes.len() as u64).min(file_bytes.saturating_sub(offset));
        target.finish(usize::try_from(there).expect("at most the buffer's length"));
        Ok(Status::new(there))
    }

    fn enter(&self, call: Call, range: Result<RankRange, Error>) -> Result<Entered, Error> {
        let known = self.io().known_size();
        // Others may write what this rank has collected or read: nothing of it stays.
        let own = range.and_then(|range| self.empty_cache().map(|()| range));
        let own = own.map(|range| [range.offset, range.length, known.generation, known.bytes]);
        let entries = self.group.enter(call, own)?;
        let ranges = entries.iter().map(|&[offset, length, ..]| RankRange { offset, length }).collect();
        let sizes = entries.iter().map(|&[_, _, generation, bytes]| FileSize { generation, bytes });
        let size = sizes.fold(known, FileSize::max);
        self.io().learn_size(size);
        Ok(Entered { ranges, size })
    }

    /// What this rank knows of the file's size in a generation; 0 if it knows another one.
    fn size_in(&self, generation: u64) -> u64 {
        let known = self.io().known_size();
        if known.generation == generation { known.bytes } else { 0 }
    }

    /// The same plan on every rank, so its error needs no agreement.
    fn plan(&self, direction: Direction, entered: &Entered) -> Result<CollectivePlan, Error> {
        Ok(CollectivePlan::new(direction, &entered.ranges, self.file.recipe(), &self.hints)?)
    }

    /// The size of the file, as far as it matters for a read under the token: exact if the read may pass its end.
    /// Rank 0 decides whether the servers must be asked, as ranks can know different bounds.
    fn size_for(&self, plan: &CollectivePlan) -> Result<u64, Error> {
        let Some(hull) = plan.hull() else { return Ok(0) };
        let size = self.group.ask(ROOT, || {
            if hull.end() > self.io().known_size().bytes {
                self.io().size()?;
            }
            Ok(encode_size(self.io().known_size()))
        })?;
        let size = decode_size(&size);
        self.io().learn_size(size);
        Ok(size.bytes)
    }

    fn write_direct(&self, plan: &CollectivePlan, pinned: &Pinned, bytes: &[u8], offset: u64) -> Result<(), Error> {
        plan.direct(self.group.rank()).try_for_each(|extent| {
            let part = &bytes[place(extent, offset)];
            Ok(self.io().write_under(pinned.token()?, part, extent.start())?)
        })
    }

    fn read_direct(&self, plan: &CollectivePlan, pinned: &Pinned, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        plan.direct(self.group.rank()).try_for_each(|extent| {
            let part = &mut bytes[place(extent, offset)];
            self.io().read_under(pinned.token()?, part, extent.start())?;
            Ok(())
        })
    }
}

/// A size on its way to the other ranks.
pub(crate) fn encode_size(size: FileSize) -> Vec<u8> {
    [size.generation, size.bytes].map(u64::to_le_bytes).concat()
}

/// Reads what [`encode_size`] made.
pub(crate) fn decode_size(bytes: &[u8]) -> FileSize {
    let number = |at: usize| {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk()).expect("rank 0 sends two numbers");
        u64::from_le_bytes(*word)
    };
    FileSize { generation: number(0), bytes: number(8) }
}

/// Where an extent of the file lies in a buffer that starts at `offset`.
pub(crate) fn place(extent: Extent, offset: u64) -> std::ops::Range<usize> {
    let index = |at: u64| usize::try_from(at - offset).expect("an extent of a buffer lies in memory");
    index(extent.start())..index(extent.end())
}
