//! Collective access.
//!
//! 1. The ranks tell each other their ranges and what they know of the size. From here on every rank has entered;
//!    an error that a rank has already ends the call on all of them.
//! 2. Every rank makes the same plan.
//! 3. Every rank pins the token for what it will read or write at the servers; see [`pin`](crate::pin).
//! 4. Bytes are exchanged if the plan says so, and read or written. A rank that fails goes on with the exchange,
//!    so that no other rank waits for it.
//! 5. The ranks agree about the result and the size, and let go of their pins.

use crate::access::read_pieces_under;
use crate::buffer::{Bytes, Destination, Source, Target};
use crate::error::Error;
use crate::exchange;
use crate::file::{File, OpenFile};
use crate::group::{Call, ROOT};
use crate::pieces;
use crate::pin::Pinned;
use crate::status::Status;
use crate::times::{Counter, Phase, Watch};
use pfs_core::collective::{Access, CollectivePlan, Direction, Method};
use pfs_core::token::message::{FileSize, Mode};

/// What all ranks know after they entered.
struct Entered {
    /// By rank.
    accesses: Vec<Access>,
    /// What the ranks know of the file's size.
    size: FileSize,
}

impl File {
    /// Writes every rank's `buf` from its `offset` on, in etypes of its view. Collective. Where accesses overlap, the bytes
    /// of the highest rank stay.
    pub fn write_at_all<B: Source + ?Sized>(&self, offset: u64, buf: &B) -> Result<Status, Error> {
        self.write_together(buf, |bytes| self.open.access_at(offset, bytes))
    }

    /// Reads into every rank's `buf` from its `offset` on, in etypes of its view. Collective. Short only at the end of
    /// the file.
    pub fn read_at_all<B: Destination + ?Sized>(&self, offset: u64, buf: &mut B) -> Result<Status, Error> {
        self.read_together(buf, |bytes| self.open.access_at(offset, bytes))
    }

    /// Writes every rank's `buf` from where its individual file pointer is, which moves on by it. Collective.
    pub fn write_all<B: Source + ?Sized>(&self, buf: &B) -> Result<Status, Error> {
        let status = self.write_together(buf, |bytes| self.open.access_here(bytes))?;
        self.open.move_on(status.file_bytes());
        Ok(status)
    }

    /// Reads into every rank's `buf` from where its individual file pointer is, which moves on by what was read. Collective.
    pub fn read_all<B: Destination + ?Sized>(&self, buf: &mut B) -> Result<Status, Error> {
        let status = self.read_together(buf, |bytes| self.open.access_here(bytes))?;
        self.open.move_on(status.file_bytes());
        Ok(status)
    }

    fn write_together<B: Source + ?Sized>(
        &self,
        buf: &B,
        access: impl FnOnce(usize) -> Result<Access, Error>,
    ) -> Result<Status, Error> {
        let open = &self.open;
        let checked = open.check_free(Call::WriteAtAll).and_then(|()| open.check_writable());
        open.times.note(Counter::CollectiveWrites);
        let bytes = checked.and_then(|()| open.bytes(buf));
        let own = bytes.and_then(|bytes| Ok((access(bytes.len())?, bytes)));
        self.run_in_turn(open.write_buffers(Call::WriteAtAll, own))
    }

    fn read_together<B: Destination + ?Sized>(
        &self,
        buf: &mut B,
        access: impl FnOnce(usize) -> Result<Access, Error>,
    ) -> Result<Status, Error> {
        let open = &self.open;
        let checked = open.check_free(Call::ReadAtAll).and_then(|()| open.check_readable());
        open.times.note(Counter::CollectiveReads);
        let target = checked.and_then(|()| open.target(buf));
        let own = target.and_then(|mut target| Ok((access(target.bytes().len())?, target)));
        self.run_in_turn(open.read_buffers(Call::ReadAtAll, own))
    }
}

impl OpenFile {
    /// Writes every rank's buffer, or tells the ranks of this one's error.
    pub(crate) async fn write_buffers(
        &self,
        call: Call,
        own: Result<(Access, Bytes<'_>), Error>,
    ) -> Result<Status, Error> {
        let given = own.as_ref().map_err(Error::clone).map(|(access, bytes)| (access.clone(), &bytes[..]));
        self.write_collective(call, given).await?;
        own.map(|(_, bytes)| bytes.status())
    }

    /// Reads into every rank's buffer, or tells the ranks of this one's error.
    pub(crate) async fn read_buffers(
        &self,
        call: Call,
        mut own: Result<(Access, Target<'_>), Error>,
    ) -> Result<Status, Error> {
        let given = own.as_mut().map_err(|error| error.clone());
        let given = given.map(|(access, target)| (access.clone(), target.bytes()));
        let read = self.read_collective(call, given).await?;
        let finished = self.finish(own?.1, usize::try_from(read).expect("at most the buffer's length"));
        match self.views.representation().can_fail() {
            true => self.group.agree(finished).await,
            false => finished,
        }
    }

    /// Writes the data of every rank's access, or tells the ranks of this one's error.
    pub(crate) async fn write_collective(&self, call: Call, own: Result<(Access, &[u8]), Error>) -> Result<(), Error> {
        let (access, bytes) = own.map_or_else(|error| (Err(error), &[][..]), |(access, bytes)| (Ok(access), bytes));
        let mut watch = self.times.watch(Phase::Write);
        let entered = self.enter(call, access, &mut watch).await?;
        let size = entered.size;
        let plan = self.plan(Direction::Write, entered, &mut watch);
        let (pinned, _) = self.pin(Mode::Exclusive, &plan, size, &mut watch).await?;
        let written = match plan.method() {
            Method::Direct => {
                let written = self.write_direct(&plan, &pinned, bytes).await;
                watch.end(Phase::ServerWrite);
                written
            }
            Method::Exchange(exchange) => {
                let written = exchange::write(self, &plan, exchange, &pinned, bytes).await;
                watch.skip();
                written
            }
        };
        if written.is_ok() {
            self.times.add(Counter::BytesWritten, bytes.len() as u64);
        }
        let (agreed, bytes_known) = self.group.agree_with_max(written, self.size_in(size.generation)).await;
        watch.end(Phase::Agree);
        self.io().learn_size(FileSize { generation: size.generation, bytes: bytes_known });
        agreed
    }

    /// Reads the data of every rank's access, or tells the ranks of this one's error. Returns how many of its bytes there
    /// were before the end of the file.
    pub(crate) async fn read_collective(
        &self,
        call: Call,
        own: Result<(Access, &mut [u8]), Error>,
    ) -> Result<u64, Error> {
        let (access, bytes) = own.map_or_else(|error| (Err(error), &mut [][..]), |(access, bytes)| (Ok(access), bytes));
        let mut watch = self.times.watch(Phase::Read);
        let entered = self.enter(call, access, &mut watch).await?;
        let size = entered.size;
        let plan = self.plan(Direction::Read, entered, &mut watch);
        let (pinned, size) = self.pin(Mode::Shared, &plan, size, &mut watch).await?;
        let file_bytes = self.size_for(&plan, size).await?;
        watch.end(Phase::Agree);
        let plan = plan.clamped(file_bytes);
        let read = match plan.method() {
            Method::Direct => {
                let read = self.read_direct(&plan, &pinned, bytes).await;
                watch.end(Phase::ServerRead);
                read
            }
            Method::Exchange(exchange) => {
                let read = exchange::read(self, &plan, exchange, &pinned, bytes).await;
                watch.skip();
                read
            }
        };
        self.group.agree(read).await?;
        watch.end(Phase::Agree);
        let read = plan.access(self.group.rank()).bytes();
        self.times.add(Counter::BytesRead, read);
        Ok(read)
    }

    async fn enter(&self, call: Call, mut own: Result<Access, Error>, watch: &mut Watch<'_>) -> Result<Entered, Error> {
        let known = self.io().known_size();
        if own.is_ok() {
            // Others may write what this rank has collected or read: nothing of it stays.
            let emptied = self.empty_cache().await;
            own = own.and_then(|access| emptied.map(|()| access));
            watch.end(Phase::ServerWrite);
        }
        let own = own.map(|access| [access.position(), access.bytes(), known.generation, known.bytes]);
        let entries = self.group.enter(call, own).await;
        watch.end(Phase::Agree);
        let entries = entries?;
        let access = |(rank, &[position, length, ..]): (usize, &[u64; 4])| self.views.access(rank, position, length);
        let accesses = entries.iter().enumerate().map(access).collect::<Result<Vec<_>, Error>>()?;
        let sizes = entries.iter().map(|&[_, _, generation, bytes]| FileSize { generation, bytes });
        let size = sizes.fold(known, FileSize::max);
        self.io().learn_size(size);
        Ok(Entered { accesses, size })
    }

    /// What this rank knows of the file's size in a generation; 0 if it knows another one.
    fn size_in(&self, generation: u64) -> u64 {
        let known = self.io().known_size();
        if known.generation == generation { known.bytes } else { 0 }
    }

    fn plan(&self, direction: Direction, entered: Entered, watch: &mut Watch<'_>) -> CollectivePlan {
        let (hints, recipe) = (self.hints(), self.file.recipe());
        let plan = CollectivePlan::with_nodes(direction, entered.accesses, recipe, &hints, &self.nodes);
        self.times.note(if *plan.method() == Method::Direct { Counter::Direct } else { Counter::Exchanges });
        watch.end(Phase::Plan);
        plan
    }

    /// The size of the file, as far as it matters for a read under the token: exact if the read may pass its end. `known` is
    /// what all ranks know together, if they have said so under their pins. Else rank 0 decides whether the servers must be
    /// asked, as ranks can know different bounds.
    async fn size_for(&self, plan: &CollectivePlan, known: Option<FileSize>) -> Result<u64, Error> {
        let Some(hull) = plan.hull() else { return Ok(0) };
        if let Some(size) = known.filter(|size| hull.end() <= size.bytes) {
            self.io().learn_size(size);
            return Ok(size.bytes);
        }
        let ask = async {
            if hull.end() > self.io().known_size().bytes {
                self.io().size().await?;
            }
            Ok(encode_size(self.io().known_size()))
        };
        let size = self.group.ask(ROOT, ask).await?;
        let size = decode_size(&size);
        self.io().learn_size(size);
        Ok(size.bytes)
    }

    async fn write_direct(&self, plan: &CollectivePlan, pinned: &Pinned, bytes: &[u8]) -> Result<(), Error> {
        let pieces = plan.direct(self.group.rank());
        if pieces.is_empty() {
            return Ok(());
        }
        self.times.add(Counter::ServerBytesWritten, pieces.iter().map(|piece| piece.extent.len()).sum());
        pieces::write(&self.io(), pinned.token()?, &self.hints(), &pieces, bytes).await
    }

    async fn read_direct(&self, plan: &CollectivePlan, pinned: &Pinned, bytes: &mut [u8]) -> Result<(), Error> {
        let own = plan.access(self.group.rank());
        if own.bytes() == 0 {
            return Ok(());
        }
        self.times.add(Counter::ServerBytesRead, own.bytes());
        read_pieces_under(&self.io(), pinned.token()?, &self.hints(), own, bytes).await
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
