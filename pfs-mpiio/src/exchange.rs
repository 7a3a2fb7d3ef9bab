//! The rounds of a planned exchange.
//!
//! In each round every rank sends at most one message to each aggregator, or gets one from it; ranks that have
//! nothing for each other do not talk. Errors of I/O are kept to the end: all messages of all rounds are passed
//! whatever happens, unless the group is lost.

use crate::access::{place, read_list};
use crate::comm::Parcel;
use crate::error::Error;
use crate::file::File;
use crate::pin::Pinned;
use pfs_core::collective::{CollectivePlan, Message, Piece, Round};
use pfs_core::extent::Extent;

/// Gathers the bytes of all ranks at the aggregators, which write them.
pub(crate) fn write(file: &File, plan: &CollectivePlan, pinned: &Pinned, bytes: &[u8]) -> Result<(), Error> {
    let rank = file.group.rank();
    let mut result = Ok(());
    let mut block = Block::default();
    for round in plan.rounds(rank) {
        block.reset(&round.io);
        let outgoing = pack(&round.own, rank, |piece| &bytes[place(piece)]);
        let incoming = file.group.pass(outgoing, empty(&round.served, rank))?;
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
        result = result.and_then(|()| write_block(file, pinned, &round, &block));
    }
    result
}

/// Has the aggregators read for all ranks and spreads the bytes.
pub(crate) fn read(file: &File, plan: &CollectivePlan, pinned: &Pinned, bytes: &mut [u8]) -> Result<(), Error> {
    let rank = file.group.rank();
    let mut result = Ok(());
    let mut block = Block::default();
    for round in plan.rounds(rank) {
        block.reset(&round.io);
        result = result.and_then(|()| read_block(file, pinned, &round, &mut block));
        let outgoing = pack(&round.served, rank, |piece| block.bytes(piece.extent));
        let incoming = file.group.pass(outgoing, empty(&round.own, rank))?;
        for message in &round.own {
            match incoming.iter().find(|parcel| parcel.peer == message.peer) {
                Some(parcel) => unpack(message, &parcel.bytes, |piece, part| bytes[place(piece)].copy_from_slice(part)),
                None => message.pieces.iter().for_each(|piece| {
                    bytes[place(piece)].copy_from_slice(block.bytes(piece.extent));
                }),
            }
        }
    }
    result
}

fn write_block(file: &File, pinned: &Pinned, round: &Round, block: &Block) -> Result<(), Error> {
    if round.io.is_empty() {
        return Ok(());
    }
    let parts: Vec<&[u8]> = round.io.iter().map(|&extent| block.bytes(extent)).collect();
    Ok(file.io().write_list_under(pinned.token()?, &round.io, &parts)?)
}

fn read_block(file: &File, pinned: &Pinned, round: &Round, block: &mut Block) -> Result<(), Error> {
    if round.io.is_empty() {
        return Ok(());
    }
    let pieces: Vec<Piece> = block.extents.iter().map(|&(extent, at)| Piece { extent, at: at as u64 }).collect();
    read_list(&file.io(), pinned.token()?, &pieces, &mut block.bytes)
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

/// Room for the messages of other ranks.
fn empty(messages: &[Message], own: u32) -> Vec<Parcel> {
    let others = messages.iter().filter(|message| message.peer != own);
    let length = |message: &Message| usize::try_from(message.bytes()).expect("a round fits in memory");
    others.map(|message| Parcel { peer: message.peer, bytes: vec![0; length(message)] }).collect()
}

fn unpack(message: &Message, bytes: &[u8], mut put: impl FnMut(&Piece, &[u8])) {
    let mut rest = bytes;
    for piece in &message.pieces {
        let (part, after) = rest.split_at(bytes_of(piece.extent));
        put(piece, part);
        rest = after;
    }
}
