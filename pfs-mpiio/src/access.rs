//! Independent access: each rank for itself, under the group's token or, in atomic mode, its own.
//!
//! One token covers all pieces of an access, so in atomic mode others see all of it or nothing.
//!
//! Futures of this crate are never forgotten: [`drive`](crate::drive) has them on its stack, and operations that nobody
//! waits for are dropped when they are done, before anybody is told. So memory can be lent to the client here.

use crate::buffer::{self, Bytes, Destination, Source, Target};
use crate::error::Error;
use crate::file::{File, OpenFile};
use crate::pieces;
use crate::status::Status;
use crate::times::{Counter, Phase};
use pfs_client::{FileDescriptor, Token};
use pfs_core::collective::{Access, Piece};
use pfs_core::extent::{Extent, ExtentSet};
use pfs_core::hints::{Hints, Switch};
use pfs_core::token::message::Mode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// With more pieces than this a token is asked for from the first to the last.
const RANGES_MAX: usize = 1024;

impl File {
    /// Reads into `buf` from an offset in etypes of the view on. Short only at the end of the file.
    pub fn read_at<B: Destination + ?Sized>(&self, offset: u64, buf: &mut B) -> Result<Status, Error> {
        self.read_some(buf, |bytes| self.open.access_at(offset, bytes))
    }

    /// Writes `buf` from an offset in etypes of the view on.
    pub fn write_at<B: Source + ?Sized>(&self, offset: u64, buf: &B) -> Result<Status, Error> {
        self.write_some(buf, |bytes| self.open.access_at(offset, bytes))
    }

    /// Reads into `buf` from where the individual file pointer is, which moves on by what was read.
    pub fn read<B: Destination + ?Sized>(&self, buf: &mut B) -> Result<Status, Error> {
        let status = self.read_some(buf, |bytes| self.open.access_here(bytes))?;
        self.open.move_on(status.file_bytes());
        Ok(status)
    }

    /// Writes `buf` from where the individual file pointer is, which moves on by it.
    pub fn write<B: Source + ?Sized>(&self, buf: &B) -> Result<Status, Error> {
        let status = self.write_some(buf, |bytes| self.open.access_here(bytes))?;
        self.open.move_on(status.file_bytes());
        Ok(status)
    }

    fn read_some<B: Destination + ?Sized>(
        &self,
        buf: &mut B,
        access: impl FnOnce(usize) -> Result<Access, Error>,
    ) -> Result<Status, Error> {
        let open = &self.open;
        open.check_readable()?;
        open.times.note(Counter::IndependentReads);
        let mut target = open.target(buf)?;
        let access = access(target.bytes().len())?;
        let read = self.run(open.read_access(&access, target.bytes()))?;
        open.finish(target, read)
    }

    fn write_some<B: Source + ?Sized>(
        &self,
        buf: &B,
        access: impl FnOnce(usize) -> Result<Access, Error>,
    ) -> Result<Status, Error> {
        let open = &self.open;
        open.check_writable()?;
        open.times.note(Counter::IndependentWrites);
        let bytes = open.bytes(buf)?;
        let access = access(bytes.len())?;
        self.run(open.write_access(&access, &bytes))?;
        Ok(bytes.status())
    }
}

impl OpenFile {
    /// The bytes of this file that a buffer to be written makes.
    pub(crate) fn bytes<'b, B: Source + ?Sized>(&self, buf: &'b B) -> Result<Bytes<'b>, Error> {
        self.times.within(Phase::Pack, || buffer::bytes(buf, &self.views.representation(), &self.group))
    }

    /// The bytes of this file that a buffer to be read into takes.
    pub(crate) fn target<'b, B: Destination + ?Sized>(&self, buf: &'b mut B) -> Result<Target<'b>, Error> {
        self.times.within(Phase::Pack, || buffer::target(buf, &self.views.representation(), &self.group))
    }

    /// So many bytes were read into what [`target`](Self::target) has given.
    pub(crate) fn finish(&self, target: Target<'_>, read: usize) -> Result<Status, Error> {
        self.times.within(Phase::Pack, || target.finish(read))
    }

    /// Moves the individual file pointer on, to the start of an etype.
    pub(crate) fn move_on(&self, bytes: u64) {
        let etype = self.views.own().etype_bytes();
        self.views.set_pointer(self.views.pointer() + bytes.next_multiple_of(etype));
    }

    /// Writes the data of an access for this rank alone.
    pub(crate) async fn write_access(&self, access: &Access, bytes: &[u8]) -> Result<(), Error> {
        self.write_collecting(access, bytes).await?;
        if self.has_to_show() && access.bytes() > 0 {
            self.file.flush_cache().await?;
        }
        Ok(())
    }

    /// Whether the other ranks use the file under the same token, and yet are to see what this one does.
    fn has_to_show(&self) -> bool {
        self.is_visible_at_once.load(Ordering::Acquire) && self.group.size() > 1 && !self.atomic.is_on()
    }

    /// The same; small writes may stay in this rank's memory.
    async fn write_collecting(&self, access: &Access, bytes: &[u8]) -> Result<(), Error> {
        let mut watch = self.times.watch(Phase::Write);
        let io = self.own_io()?;
        let Some(hull) = access.hull() else { return Ok(()) };
        if hull.len() == access.bytes() {
            let token = Arc::new(io.acquire(Mode::Exclusive, &[hull]).await?);
            watch.end(Phase::TokenWait);
            // SAFETY: this future is not forgotten, see the module.
            unsafe { io.write_through(&token, bytes, hull.start()).await }?;
            watch.end(Phase::ServerWrite);
            self.note_written(access, bytes.len());
            return Ok(());
        }
        let pieces: Vec<Piece> = access.pieces().collect();
        let extents: Vec<Extent> = pieces.iter().map(|piece| piece.extent).collect();
        // Ranks of a group are one holder in non-atomic mode: no token keeps one from writing what another sieves.
        let is_alone = self.atomic.is_on() || self.group.size() == 1;
        let hints = self.hints();
        let is_sieved = hints.ds_write == Switch::Enable && self.amode.can_read() && is_alone;
        let needs = if is_sieved { vec![hull] } else { ranges(&extents, hull) };
        watch.end(Phase::Plan);
        let token = Arc::new(io.acquire(Mode::Exclusive, &needs).await?);
        watch.end(Phase::TokenWait);
        match is_sieved {
            true => pieces::write_sieved(&io, &token, &hints, &pieces, bytes).await?,
            false => pieces::write(&io, &token, &hints, &pieces, bytes).await?,
        }
        watch.end(Phase::ServerWrite);
        self.note_written(access, bytes.len());
        Ok(())
    }

    /// So many bytes of an access of this rank alone were written.
    fn note_written(&self, access: &Access, bytes: usize) {
        self.times.add(Counter::BytesWritten, access.bytes());
        self.times.add(Counter::ServerBytesWritten, bytes as u64);
    }

    /// The same of a read; returns them.
    fn note_read(&self, bytes: u64) -> usize {
        self.times.add(Counter::BytesRead, bytes);
        self.times.add(Counter::ServerBytesRead, bytes);
        usize::try_from(bytes).expect("at most the buffer's length")
    }

    /// Reads the data of an access for this rank alone. Returns how many bytes there were before the end of the file.
    pub(crate) async fn read_access(&self, access: &Access, bytes: &mut [u8]) -> Result<usize, Error> {
        if self.has_to_show() {
            self.file.drop_clean();
        }
        let mut watch = self.times.watch(Phase::Read);
        let io = self.own_io()?;
        let Some(hull) = access.hull() else { return Ok(0) };
        if hull.len() == access.bytes() && access.is_disjoint() {
            let token = Arc::new(io.acquire(Mode::Shared, &[hull]).await?);
            watch.end(Phase::TokenWait);
            // SAFETY: this future is not forgotten, see the module.
            let read = unsafe { io.read_through(&token, bytes, hull.start()).await }?;
            watch.end(Phase::ServerRead);
            return Ok(self.note_read(read as u64));
        }
        let hints = self.hints();
        let is_sieved = hints.ds_read == Switch::Enable && access.is_disjoint();
        let needs = if is_sieved { vec![hull] } else { ranges(&distinct(access), hull) };
        watch.end(Phase::Plan);
        let token = Arc::new(io.acquire(Mode::Shared, &needs).await?);
        watch.end(Phase::TokenWait);
        let known = io.known_size().bytes;
        let file_bytes = if hull.end() > known { io.size().await? } else { known };
        let there = access.clamped(file_bytes);
        match is_sieved {
            true => {
                let pieces: Vec<Piece> = there.pieces().collect();
                pieces::read_sieved(&io, &token, &hints, &pieces, bytes).await?;
            }
            false => read_pieces_under(&io, &token, &hints, &there, bytes).await?,
        }
        watch.end(Phase::ServerRead);
        Ok(self.note_read(there.bytes()))
    }
}

/// Reads all of an access under a token that covers it.
pub(crate) async fn read_pieces_under(
    io: &FileDescriptor,
    token: &Arc<Token>,
    hints: &Hints,
    access: &Access,
    bytes: &mut [u8],
) -> Result<(), Error> {
    if access.is_disjoint() {
        let pieces: Vec<Piece> = access.pieces().collect();
        return pieces::read(io, token, hints, &pieces, bytes).await;
    }
    let mut at = 0;
    let once: Vec<Piece> = distinct(access)
        .into_iter()
        .map(|extent| {
            let piece = Piece { extent, at };
            at += extent.len();
            piece
        })
        .collect();
    let mut packed = vec![0; usize::try_from(at).expect("at most the buffer's length")];
    pieces::read(io, token, hints, &once, &mut packed).await?;
    for piece in access.pieces() {
        let around = &once[once.partition_point(|other| other.extent.start() <= piece.extent.start()) - 1];
        let from = around.at + piece.extent.start() - around.extent.start();
        bytes[place(&piece)].copy_from_slice(&packed[place(&Piece { at: from, ..piece })]);
    }
    Ok(())
}

/// The bytes of an access in the file, in order. A view for reading may show a byte twice; here it is once.
fn distinct(access: &Access) -> Vec<Extent> {
    let extents = access.pieces().map(|piece| piece.extent);
    if access.is_disjoint() { extents.collect() } else { extents.collect::<ExtentSet>().extents().collect() }
}

/// Reads disjoint pieces in order, each to its place in the data.
pub(crate) async fn read_list(
    io: &FileDescriptor,
    token: &Arc<Token>,
    pieces: &[Piece],
    bytes: &mut [u8],
) -> Result<(), Error> {
    let extents: Vec<Extent> = pieces.iter().map(|piece| piece.extent).collect();
    let mut parts: Vec<&mut [u8]> = Vec::with_capacity(pieces.len());
    let (mut rest, mut at) = (bytes, 0);
    for piece in pieces {
        let place = place(piece);
        let (_, from) = std::mem::take(&mut rest).split_at_mut(place.start - at);
        let (part, after) = from.split_at_mut(place.len());
        parts.push(part);
        (rest, at) = (after, place.end);
    }
    // SAFETY: this future is not forgotten, see the module.
    Ok(unsafe { io.read_list_under(token, &extents, &mut parts).await }?)
}

/// What is asked for to cover all pieces.
fn ranges(extents: &[Extent], hull: Extent) -> Vec<Extent> {
    if extents.len() <= RANGES_MAX { extents.to_vec() } else { vec![hull] }
}

/// Where a piece lies in the data of its access.
pub(crate) fn place(piece: &Piece) -> std::ops::Range<usize> {
    let index = |at: u64| usize::try_from(at).expect("the data of an access lies in memory");
    index(piece.at)..index(piece.at + piece.extent.len())
}
