//! The rounds of a planned exchange.
//!
//! In each round every rank has at most one message for each aggregator, or gets one from it; ranks that have
//! nothing for each other do not talk. How messages go from node to node is in [`relay`](crate::relay). Errors of I/O are kept to the end: all messages of all rounds are passed
//! whatever happens, unless the group is lost.
//!
//! An aggregator has two blocks, each as large as one round: while the bytes of one are read or written at the servers,
//! those of the other come from the ranks or go to them. So at most two rounds are under way, and an aggregator's memory
//! is twice `cb_buffer_size` and the messages of one round.

use crate::access::{place, read_list};
use crate::comm::Parcel;
use crate::error::Error;
use crate::file::OpenFile;
use crate::pin::Pinned;
use crate::relay::{self, Route};
use crate::times::{Counter, Phase};
use futures::future::join;
use pfs_core::collective::{CollectivePlan, Message, Piece, Round};
use pfs_core::extent::Extent;
use std::mem::swap;

/// Gathers the bytes of all ranks at the aggregators, which write them: those of one round while the next are gathered.
pub(crate) async fn write(file: &OpenFile, plan: &CollectivePlan, pinned: &Pinned, bytes: &[u8]) -> Result<(), Error> {
    let mut result = Ok(());
    let (mut filling, mut leaving) = (Block::default(), Block::default());
    let route = Route::of(plan, file.group.rank());
    for round in plan.rounds(route.rank) {
        filling.reset(&round.io);
        // The write is polled first, so its bytes are on their way while this rank packs.
        let write = write_block(file, pinned, &leaving, result);
        let (written, gathered) = join(write, gather(file, &route, &round, bytes, &mut filling)).await;
        result = written;
        gathered?;
        swap(&mut filling, &mut leaving);
    }
    write_block(file, pinned, &leaving, result).await
}

/// Has the aggregators read for all ranks and spreads the bytes: those of one round while the next are read.
pub(crate) async fn read(
    file: &OpenFile,
    plan: &CollectivePlan,
    pinned: &Pinned,
    bytes: &mut [u8],
) -> Result<(), Error> {
    let route = Route::of(plan, file.group.rank());
    let mut rounds = plan.rounds(route.rank);
    let (mut filling, mut leaving) = (Block::default(), Block::default());
    let mut next = rounds.next();
    filling.reset(io_of(next.as_ref()));
    let mut result = read_block(file, pinned, &mut filling, Ok(())).await;
    while let Some(round) = next {
        swap(&mut filling, &mut leaving);
        next = rounds.next();
        filling.reset(io_of(next.as_ref()));
        let read = read_block(file, pinned, &mut filling, result);
        let (read, spread) = join(read, spread(file, &route, &round, &leaving, bytes)).await;
        result = read;
        spread?;
    }
    result
}

fn io_of(round: Option<&Round>) -> &[Extent] {
    round.map_or(&[], |round| &round.io)
}

/// Passes the messages of one round of a write; the block gets what this rank writes.
async fn gather(
    file: &OpenFile,
    route: &Route<'_>,
    round: &Round,
    bytes: &[u8],
    block: &mut Block,
) -> Result<(), Error> {
    let mut watch = file.times.laps();
    let own = pack(&round.own, route.rank, |piece| &bytes[place(piece)]);
    watch.end(Phase::Pack);
    let incoming = relay::gather(file, route, round, own).await;
    watch.end(Phase::Exchange);
    let incoming = incoming?;
    for message in &round.served {
        match incoming.iter().find(|parcel| parcel.peer == message.peer) {
            Some(parcel) => {
                unpack(message, &parcel.bytes, |piece, part| block.bytes_mut(piece.extent).copy_from_slice(part));
            }
            None => message.pieces.iter().for_each(|piece| {
                block.bytes_mut(piece.extent).copy_from_slice(&bytes[place(piece)]);
            }),
        }
    }
    watch.end(Phase::Pack);
    Ok(())
}

/// Passes the messages of one round of a read; the block has what this rank has read.
async fn spread(
    file: &OpenFile,
    route: &Route<'_>,
    round: &Round,
    block: &Block,
    bytes: &mut [u8],
) -> Result<(), Error> {
    let mut watch = file.times.laps();
    let served = pack(&round.served, route.rank, |piece| block.bytes(piece.extent));
    watch.end(Phase::Pack);
    let incoming = relay::spread(file, route, round, served).await;
    watch.end(Phase::Exchange);
    let incoming = incoming?;
    for message in &round.own {
        match incoming.iter().find(|parcel| parcel.peer == message.peer) {
            Some(parcel) => unpack(message, &parcel.bytes, |piece, part| bytes[place(piece)].copy_from_slice(part)),
            None => message.pieces.iter().for_each(|piece| {
                bytes[place(piece)].copy_from_slice(block.bytes(piece.extent));
            }),
        }
    }
    watch.end(Phase::Pack);
    Ok(())
}

/// Writes a block, unless something has failed before.
async fn write_block(file: &OpenFile, pinned: &Pinned, block: &Block, before: Result<(), Error>) -> Result<(), Error> {
    before?;
    if block.extents.is_empty() {
        return Ok(());
    }
    let extents: Vec<Extent> = block.extents.iter().map(|&(extent, _)| extent).collect();
    let parts: Vec<&[u8]> = extents.iter().map(|&extent| block.bytes(extent)).collect();
    file.times.add(Counter::ServerBytesWritten, block.bytes.len() as u64);
    let (io, token) = (file.io(), pinned.token()?);
    // SAFETY: this future is not forgotten, see `access`.
    let write = unsafe { io.write_list_under(token, &extents, &parts) };
    Ok(file.times.during(Phase::ServerWrite, write).await?)
}

/// Reads a block, unless something has failed before.
async fn read_block(
    file: &OpenFile,
    pinned: &Pinned,
    block: &mut Block,
    before: Result<(), Error>,
) -> Result<(), Error> {
    before?;
    if block.extents.is_empty() {
        return Ok(());
    }
    let pieces: Vec<Piece> = block.extents.iter().map(|&(extent, at)| Piece { extent, at: at as u64 }).collect();
    file.times.add(Counter::ServerBytesRead, block.bytes.len() as u64);
    let (io, token) = (file.io(), pinned.token()?);
    file.times.during(Phase::ServerRead, read_list(&io, token, &pieces, &mut block.bytes)).await
}

/// The bytes of one round at an aggregator: its extents one after the other.
#[derive(Default)]
struct Block {
    /// Each extent with its place in `bytes`, in order.
    extents: Vec<(Extent, usize)>,
    bytes: Vec<u8>,
}

impl Block {
    fn reset(&mut self, extents: &[Extent]) {
        self.extents.clear();
        let mut length = 0;
        for &extent in extents {
            self.extents.push((extent, length));
            length += bytes_of(extent);
        }
        self.bytes.resize(length, 0);
    }

    fn place(&self, extent: Extent) -> std::ops::Range<usize> {
        let after = self.extents.partition_point(|(other, _)| other.start() <= extent.start());
        let (around, at) = self.extents[after - 1];
        let start = at + usize::try_from(extent.start() - around.start()).expect("inside the block");
        start..start + bytes_of(extent)
    }

    fn bytes(&self, extent: Extent) -> &[u8] {
        &self.bytes[self.place(extent)]
    }

    fn bytes_mut(&mut self, extent: Extent) -> &mut [u8] {
        let place = self.place(extent);
        &mut self.bytes[place]
    }
}

fn bytes_of(extent: Extent) -> usize {
    usize::try_from(extent.len()).expect("an extent of a buffer fits in memory")
}

/// The messages for other ranks with their bytes.
fn pack<'a>(messages: &[Message], own: u32, bytes: impl Fn(&Piece) -> &'a [u8]) -> Vec<Parcel> {
    let others = messages.iter().filter(|message| message.peer != own);
    let parcel = |message: &Message| {
        let parts: Vec<&[u8]> = message.pieces.iter().map(&bytes).collect();
        Parcel { peer: message.peer, bytes: parts.concat() }
    };
    others.map(parcel).collect()
}

fn unpack(message: &Message, bytes: &[u8], mut put: impl FnMut(&Piece, &[u8])) {
    let mut rest = bytes;
    for piece in &message.pieces {
        let (part, after) = rest.split_at(bytes_of(piece.extent));
        put(piece, part);
        rest = after;
    }
}
