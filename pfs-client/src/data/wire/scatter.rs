//! Checks the bytes of a reply, piece by piece, and puts them where they belong.
//!
//! A part of a piece that comes in two is put before the whole is checked; the call fails then all the same.

use crate::data::memory::destination::Destination;
use crate::data::plan::DataRequest;
use crate::error::Error;
use pfs_core::checksum::{self, Checksum, Checksummer};
use pfs_core::copy::Way;
use pfs_proto::data::{ObjectExtent, pieces};
use std::collections::VecDeque;

/// Shorter parts are copied by way of the caches, which put the lines together that two of them share.
const STREAMED_PART_MIN: usize = 16 << 10;

/// Why bytes of a reply were not taken.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// A piece does not have its checksum.
    Damaged(ObjectExtent),
    /// The reply is not what was asked for.
    Malformed(&'static str),
    /// Nobody wants them any more, or the call failed.
    Failed(Error),
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Unusable::Failed(error)
    }
}

/// The bytes of one request on their way to a destination.
pub(crate) struct Scatter<'a> {
    request: &'a DataRequest,
    destination: &'a Destination,
    /// The next byte in the file: an index into the request's file pieces, and bytes of it that are there.
    at: (usize, u64),
    pieces: Box<dyn Iterator<Item = checksum::Piece> + Send + 'a>,
    piece: Option<checksum::Piece>,
    /// Bytes of the current piece that are there.
    piece_bytes: usize,
    sum: Checksummer,
    expected: VecDeque<u32>,
    /// Bytes that are to come.
    left: u64,
}

impl<'a> Scatter<'a> {
    pub(crate) fn new(request: &'a DataRequest, destination: &'a Destination) -> Self {
        let mut pieces = Box::new(pieces(&request.extents));
        let piece = pieces.next();
        let (at, piece_bytes, sum) = ((0, 0), 0, Checksummer::new());
        let (expected, left) = (VecDeque::new(), request.bytes);
        Scatter { request, destination, at, pieces, piece, piece_bytes, sum, expected, left }
    }

    /// The checksums of the bytes that come next.
    pub(crate) fn expect(&mut self, checksums: Vec<u32>) {
        self.expected = checksums.into();
    }

    /// The bytes that were expected are all there.
    pub(crate) fn end_of_payload(&self) -> Result<(), Unusable> {
        match self.expected.is_empty() && self.piece_bytes == 0 {
            true => Ok(()),
            false => Err(Unusable::Malformed("a payload is not of whole pieces")),
        }
    }

    /// All that was asked for is there.
    pub(crate) fn end(&self) -> Result<(), Unusable> {
        match self.left {
            0 => Ok(()),
            _ => Err(Unusable::Malformed("it has fewer bytes than were asked for")),
        }
    }

    /// Takes the next bytes.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Unusable> {
        self.left = match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => left,
            None => return Err(Unusable::Malformed("it has more bytes than were asked for")),
        };
        let mut unchecked = bytes;
        while !unchecked.is_empty() {
            let length = self.piece_left().min(unchecked.len());
            self.check(unchecked.split_off(..length).expect("not longer"))?;
        }
        let whole = Way::of(self.request.bytes);
        while !bytes.is_empty() {
            let (index, done) = self.at;
            let place = self.request.pieces[index];
            let run = usize::try_from(place.length - done).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (mut now, rest) = bytes.split_at(run);
            self.destination.fill(place.file_offset + done, run, |part| {
                let way = if part.len() < STREAMED_PART_MIN { Way::Cached } else { whole };
                way.copy(now.split_off(..part.len()).expect("the parts are the range"), part);
            })?;
            let done = done + run as u64;
            self.at = if done == place.length { (index + 1, 0) } else { (index, done) };
            bytes = rest;
        }
        whole.finish();
        Ok(())
    }

    fn piece_left(&self) -> usize {
        self.piece.map_or(0, |piece| piece.length - self.piece_bytes)
    }

    /// Takes note of bytes of one piece.
    fn check(&mut self, bytes: &[u8]) -> Result<(), Unusable> {
        let piece = self.piece.expect("as many pieces as bytes");
        self.piece_bytes += bytes.len();
        let sum = if bytes.len() == piece.length {
            Checksum::of(bytes)
        } else {
            self.sum.update(bytes);
            if self.piece_bytes < piece.length {
                return Ok(());
            }
            self.sum.finish()
        };
        (self.piece, self.piece_bytes) = (self.pieces.next(), 0);
        match self.expected.pop_front() {
            Some(expected) if expected == sum.0 => Ok(()),
            Some(_) => {
                let extent = ObjectExtent::new(piece.offset, piece.length as u64).expect("a piece of a valid extent");
                Err(Unusable::Damaged(extent))
            }
            None => Err(Unusable::Malformed("it has fewer checksums than pieces")),
        }
    }
}
