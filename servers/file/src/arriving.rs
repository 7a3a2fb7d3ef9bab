//! The payload of a write as it arrives: every piece is checked while it is in the processor's cache, and only whole
//! pieces go on to the store, where they lie, without a copy.
//!
//! Invariants: what goes on agrees with the checksums that came with it; the tail of a batch that is no whole piece yet
//! is kept in memory of its own, less than a block, so that no frame of the transport is kept for it.

use crate::chunks::Position;
use bytes::Bytes;
use pfs_core::checksum::{BLOCK_BYTES, Checksum, Checksummer, Piece};
use pfs_proto::data::{ObjectExtent, pieces};
use smallvec::SmallVec;

/// A piece does not have the checksum that came with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} bytes at {} came with checksum {:08x} and have {:08x}", piece.length, piece.offset, given.0, found.0
)]
pub struct WrongChecksum {
    /// Where it was to go.
    pub piece: Piece,
    /// What was sent with it.
    pub given: Checksum,
    /// What the bytes say.
    pub found: Checksum,
}

/// Where the parts of a chunk lie; most have few.
pub type Slices<'a> = SmallVec<[&'a [u8]; 8]>;

/// A payload that arrives.
#[derive(Debug)]
pub struct Arriving {
    extents: Vec<ObjectExtent>,
    /// Of the first pieces, and of each that is summed; or none at all.
    given: Vec<Checksum>,
    pieces_summed: usize,
    summed: Position,
    written: Position,
    /// The piece that is there in part.
    piece: Option<Piece>,
    /// What of it was there before the present batch.
    held: Vec<u8>,
    /// Bytes of it that are summed.
    piece_bytes: usize,
    summer: Checksummer,
    /// Of the present batch: checksums of its whole pieces, and where they go.
    checksums: Vec<Checksum>,
    chunk: Vec<ObjectExtent>,
}

impl Arriving {
    /// A payload for these extents, with one checksum for each piece, or none: then they come with the bytes
    /// ([`expect`](Self::expect)), or are made here.
    pub fn new(extents: Vec<ObjectExtent>, given: Vec<Checksum>) -> Self {
        Arriving {
            extents,
            given,
            pieces_summed: 0,
            summed: Position::default(),
            written: Position::default(),
            piece: None,
            held: Vec::new(),
            piece_bytes: 0,
            summer: Checksummer::new(),
            checksums: Vec::new(),
            chunk: Vec::new(),
        }
    }

    /// Checksums of the next pieces that have none yet; before their bytes.
    pub fn expect(&mut self, checksums: &[Checksum]) {
        self.given.extend_from_slice(checksums);
    }

    /// Checks the next bytes; tells how many bytes, of what was held and of these, are whole pieces now. They are to be
    /// written as [`ready`](Self::ready) has them; then comes [`settle`](Self::settle).
    ///
    /// # Panics
    /// When there are more bytes than the extents have.
    pub fn check(&mut self, parts: &[Bytes]) -> Result<usize, WrongChecksum> {
        self.checksums.clear();
        self.chunk.clear();
        let mut whole = 0;
        let mut before = self.held.len();
        for part in parts {
            if let Some(end) = self.sum(part)? {
                whole = before + end;
            }
            before += part.len();
        }
        self.written.take(&self.extents, whole, &mut self.chunk);
        Ok(whole)
    }

    /// The pieces that are whole: the first `whole` bytes, where they go, and their checksums.
    pub fn ready<'a>(&'a self, parts: &'a [Bytes], whole: usize) -> (&'a [ObjectExtent], Slices<'a>, &'a [Checksum]) {
        (&self.chunk, leading(&self.held, parts, whole), &self.checksums)
    }

    /// The first `whole` bytes are written: keeps what comes after them.
    pub fn settle(&mut self, parts: &[Bytes], whole: usize) {
        let mut skip = whole;
        if whole > 0 {
            skip -= self.held.len();
            self.held.clear();
        }
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            self.held.extend_from_slice(&part[skipped..]);
        }
        debug_assert!((self.held.len() as u64) < BLOCK_BYTES);
    }

    /// Sums one part; tells where its last whole piece ends.
    fn sum(&mut self, part: &[u8]) -> Result<Option<usize>, WrongChecksum> {
        let mut at = 0;
        let mut whole = None;
        while at < part.len() {
            let piece = match self.piece {
                Some(piece) => piece,
                None => self.summed.next_piece(&self.extents).expect("a payload is as long as its extents"),
            };
            let missing = piece.length - self.piece_bytes;
            let bytes = &part[at..part.len().min(at + missing)];
            at += bytes.len();
            if bytes.len() < missing {
                self.summer.update(bytes);
                self.piece_bytes += bytes.len();
                self.piece = Some(piece);
                break;
            }
            let found = if self.piece_bytes == 0 {
                Checksum::of(bytes)
            } else {
                self.summer.update(bytes);
                self.summer.finish()
            };
            (self.piece, self.piece_bytes) = (None, 0);
            self.agree(piece, found)?;
            self.checksums.push(found);
            whole = Some(at);
        }
        Ok(whole)
    }

    fn agree(&mut self, piece: Piece, found: Checksum) -> Result<(), WrongChecksum> {
        let given = self.given.get(self.pieces_summed).copied();
        self.pieces_summed += 1;
        agree(piece, given.unwrap_or(found), found)
    }
}

/// The first `whole` bytes of all.
fn leading<'a>(held: &'a [u8], parts: &'a [Bytes], whole: usize) -> Slices<'a> {
    let mut left = whole;
    let all = std::iter::once(held).chain(parts.iter().map(|part| &part[..]));
    let cut = all.map(|part| {
        let length = left.min(part.len());
        left -= length;
        &part[..length]
    });
    cut.filter(|part| !part.is_empty()).collect()
}

fn agree(piece: Piece, given: Checksum, found: Checksum) -> Result<(), WrongChecksum> {
    if given == found { Ok(()) } else { Err(WrongChecksum { piece, given, found }) }
}

/// Checks a payload that is all there. Without checksums they are made and put into `checksums`.
pub fn check_whole(
    extents: &[ObjectExtent],
    checksums: &mut Vec<Checksum>,
    mut payload: &[u8],
) -> Result<(), WrongChecksum> {
    let given = !checksums.is_empty();
    for (index, piece) in pieces(extents).enumerate() {
        let (bytes, rest) = payload.split_at(piece.length);
        payload = rest;
        let found = Checksum::of(bytes);
        match checksums.get(index) {
            Some(&sent) if given => agree(piece, sent, found)?,
            _ => checksums.push(found),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "arriving_tests.rs"]
mod tests;
