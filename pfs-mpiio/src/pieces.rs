//! How a rank's own pieces go to the servers and come from them, as the hints say.
//!
//! * As a **list**: many pieces in a request. This is what is done unless a hint says otherwise.
//! * **One by one** (`pfs_list_io=disable`): a request for each piece, `pfs_io_depth` of them under way.
//! * **Sieved** (`romio_ds_read`, `romio_ds_write`): large ranges with the pieces and all that lies between them. A write reads
//!   such a range, changes the pieces in it and writes it back, so nobody else may write in it meanwhile.
//!
//! Pieces are disjoint and in order, and the token covers them; it covers all between them where they are sieved.

use crate::access::{place, read_list};
use crate::error::Error;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use pfs_client::{FileDescriptor, Token};
use pfs_core::collective::Piece;
use pfs_core::extent::Extent;
use pfs_core::hints::{Hints, Switch};
use std::sync::Arc;

/// Writes pieces, each from its place in the data.
pub(crate) async fn write(
    io: &FileDescriptor,
    token: &Arc<Token>,
    hints: &Hints,
    pieces: &[Piece],
    bytes: &[u8],
) -> Result<(), Error> {
    if hints.list_io == Switch::Disable {
        // SAFETY: these futures are dropped with this one, which is not forgotten, see `access`.
        let one = |piece: &Piece| unsafe { io.write_under(token, &bytes[place(piece)], piece.extent.start()) };
        let all: Vec<_> = pieces.iter().map(one).collect();
        return Ok(stream::iter(all).buffer_unordered(depth(hints)).try_collect::<()>().await?);
    }
    let extents: Vec<Extent> = pieces.iter().map(|piece| piece.extent).collect();
    let parts: Vec<&[u8]> = pieces.iter().map(|piece| &bytes[place(piece)]).collect();
    // SAFETY: as above.
    Ok(unsafe { io.write_list_under(token, &extents, &parts).await }?)
}

/// Reads pieces, each to its place in the data.
pub(crate) async fn read(
    io: &FileDescriptor,
    token: &Arc<Token>,
    hints: &Hints,
    pieces: &[Piece],
    bytes: &mut [u8],
) -> Result<(), Error> {
    if hints.list_io != Switch::Disable {
        return read_list(io, token, pieces, bytes).await;
    }
    let one = |(piece, part)| async move {
        let alone = Piece { at: 0, ..piece };
        read_list(io, token, &[alone], part).await
    };
    let all: Vec<_> = parts(pieces, bytes).into_iter().map(one).collect();
    stream::iter(all).buffer_unordered(depth(hints)).try_collect::<()>().await
}

/// Reads pieces by ranges of `ind_rd_buffer_size` with all that lies between them.
pub(crate) async fn read_sieved(
    io: &FileDescriptor,
    token: &Arc<Token>,
    hints: &Hints,
    pieces: &[Piece],
    bytes: &mut [u8],
) -> Result<(), Error> {
    let mut buffer = Vec::new();
    for sieve in sieves(pieces, hints.ind_read_bytes) {
        fill(io, token, sieve.range, &mut buffer).await?;
        for piece in sieve.pieces(pieces) {
            bytes[place(&piece)].copy_from_slice(&buffer[sieve.place(&piece)]);
        }
    }
    Ok(())
}

/// Writes pieces by ranges of `ind_wr_buffer_size`, each read before and written back.
pub(crate) async fn write_sieved(
    io: &FileDescriptor,
    token: &Arc<Token>,
    hints: &Hints,
    pieces: &[Piece],
    bytes: &[u8],
) -> Result<(), Error> {
    let mut buffer = Vec::new();
    for sieve in sieves(pieces, hints.ind_write_bytes) {
        fill(io, token, sieve.range, &mut buffer).await?;
        for piece in sieve.pieces(pieces) {
            buffer[sieve.place(&piece)].copy_from_slice(&bytes[place(&piece)]);
        }
        // SAFETY: this future is not forgotten, see `access`.
        unsafe { io.write_under(token, &buffer, sieve.range.start()).await }?;
    }
    Ok(())
}

/// Reads a range, with zeros past the end of the file.
async fn fill(io: &FileDescriptor, token: &Arc<Token>, range: Extent, buffer: &mut Vec<u8>) -> Result<(), Error> {
    buffer.resize(usize::try_from(range.len()).expect("bounded by a hint"), 0);
    read_list(io, token, &[Piece { extent: range, at: 0 }], buffer).await
}

fn depth(hints: &Hints) -> usize {
    hints.io_depth.max(1) as usize
}

/// The place of each piece in the data, to write to.
fn parts<'a>(pieces: &[Piece], bytes: &'a mut [u8]) -> Vec<(Piece, &'a mut [u8])> {
    let (mut rest, mut at) = (bytes, 0);
    let part = |piece: &Piece| {
        let place = place(piece);
        let (_, from) = std::mem::take(&mut rest).split_at_mut(place.start - at);
        let (part, after) = from.split_at_mut(place.len());
        (rest, at) = (after, place.end);
        (*piece, part)
    };
    pieces.iter().map(part).collect()
}

/// A range that is moved as a whole, and the first piece in it.
#[derive(Debug, PartialEq, Eq)]
struct Sieve {
    range: Extent,
    first: usize,
}

impl Sieve {
    /// The pieces in the range, cut to it.
    fn pieces<'a>(&self, all: &'a [Piece]) -> impl Iterator<Item = Piece> + 'a {
        let range = self.range;
        all[self.first..].iter().map_while(move |piece| piece.within(range))
    }

    fn place(&self, piece: &Piece) -> std::ops::Range<usize> {
        let at = |offset: u64| usize::try_from(offset - self.range.start()).expect("inside the range");
        at(piece.extent.start())..at(piece.extent.end())
    }
}

/// Ranges of at most `bytes_max` with all pieces in them; each begins and ends with bytes of a piece.
fn sieves(pieces: &[Piece], bytes_max: u64) -> Vec<Sieve> {
    let mut found = Vec::new();
    let (mut first, mut from) = (0, pieces.first().map_or(0, |piece| piece.extent.start()));
    while first < pieces.len() {
        let limit = from.saturating_add(bytes_max);
        let next = first + pieces[first..].partition_point(|piece| piece.extent.start() < limit);
        let last = &pieces[next - 1].extent;
        let end = last.end().min(limit);
        found.extend(Extent::new(from, end).map(|range| Sieve { range, first }));
        (first, from) = match last.end() > limit {
            true => (next - 1, limit),
            false => (next, pieces.get(next).map_or(end, |piece| piece.extent.start())),
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sieves_have_all_pieces_and_no_gap_at_their_ends() {
        let extents = [(0, 10), (20, 30), (35, 90), (200, 210)];
        let mut at = 0;
        let pieces = extents.map(|(start, end)| {
            let piece = Piece { extent: Extent::new(start, end).unwrap(), at };
            at += end - start;
            piece
        });
        let ranges = |max| sieves(&pieces, max).iter().map(|s| s.range.to_string()).collect::<Vec<_>>();
        assert_eq!(ranges(1000), ["[0, 210)"]);
        assert_eq!(ranges(40), ["[0, 40)", "[40, 80)", "[80, 90)", "[200, 210)"]);
        assert_eq!(ranges(35), ["[0, 30)", "[35, 70)", "[70, 90)", "[200, 210)"]);
        for max in 1..300 {
            let cut: Vec<Piece> = sieves(&pieces, max).iter().flat_map(|sieve| sieve.pieces(&pieces)).collect();
            assert_eq!(cut.iter().map(|piece| piece.extent.len()).sum::<u64>(), 85, "{max}");
            assert!(cut.windows(2).all(|pair| pair[0].at + pair[0].extent.len() == pair[1].at), "{max}");
        }
        assert_eq!(sieves(&[], 10), []);
    }
}
