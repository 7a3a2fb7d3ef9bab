//! What one rank brings to a collective access: a part of a view's data.
//!
//! Invariants: pieces come in the file's order, none is empty; going to the pieces in a range of the file takes time for
//! the depth of the view's datatype, not for what lies before.

use crate::datatype::{DecodeError, View};
use crate::extent::{Extent, FileOffset, INFINITY, MAX_FILE_BYTES};
use std::sync::Arc;

/// Up to this many pieces an access is walked through to know where it ends.
const WALKED_RUNS_MAX: u64 = 65_536;

/// A part of a view's data.
#[derive(Clone, Debug)]
pub struct Access {
    view: Arc<View>,
    /// First byte of the data.
    position: u64,
    /// Bytes.
    length: u64,
    /// From the first byte in the file to the last.
    hull: Option<Extent>,
}

/// From the first byte in the file to the last of a view that shows a byte twice, where the data may begin and end in the
/// middle; of many pieces a range with all of them in it.
fn reach(view: &View, position: u64, length: u64) -> Extent {
    if runs(view, position, length) <= WALKED_RUNS_MAX {
        return view.extents(position, length).reduce(Extent::hull).expect("an access with bytes has pieces");
    }
    let filetype = view.filetype();
    let tile = |position: u64| position / filetype.size() * filetype.extent().unsigned_abs();
    let first = view.displacement().saturating_add_signed(filetype.true_lower_bound());
    let start = first.saturating_add(tile(position));
    let end = first.saturating_add(tile(position + length - 1)).saturating_add(filetype.true_extent().unsigned_abs());
    Extent::new(start, end.min(MAX_FILE_BYTES)).expect("an access with bytes has a first and a last")
}

/// An upper bound of the pieces of a part of a view that is not contiguous.
fn runs(view: &View, position: u64, length: u64) -> u64 {
    let size = view.filetype().size();
    let copies = (position + length - 1) / size - position / size + 1;
    view.filetype().runs().saturating_mul(copies).min(length)
}

/// Bytes of an access that lie together in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they are in the file.
    pub extent: Extent,
    /// Where they are in the access's data: bytes before them.
    pub at: u64,
}

impl Piece {
    /// The part of it in a range of the file.
    pub fn within(self, range: Extent) -> Option<Piece> {
        let extent = self.extent.intersection(range)?;
        Some(Piece { extent, at: self.at + extent.start() - self.extent.start() })
    }
}

/// An access that no file can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes from byte {position} of the view on end past the largest file offset, {MAX_FILE_BYTES}")]
pub struct BeyondLimits {
    /// First byte of the data.
    pub position: u64,
    /// Bytes.
    pub length: u64,
}

impl Access {
    /// `length` bytes of a view's data from a position on. Of no bytes all are fine.
    pub fn new(view: Arc<View>, position: u64, length: u64) -> Result<Access, BeyondLimits> {
        let refused = BeyondLimits { position, length };
        let hull = match (length, view.filetype().size()) {
            (0, _) => None,
            (_, 0) => return Err(refused),
            _ => {
                let end = view.file_end(position, length).filter(|end| *end <= MAX_FILE_BYTES).ok_or(refused)?;
                let start = view.file_offset(position).ok_or(refused)?;
                if view.is_disjoint() { Extent::new(start, end) } else { Some(reach(&view, position, length)) }
            }
        };
        Ok(Access { view, position, length, hull })
    }

    /// `length` bytes of the file from an offset on.
    pub fn range(offset: u64, length: u64) -> Result<Access, BeyondLimits> {
        Access::new(Arc::default(), offset, length)
    }

    /// First byte in the view's data.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.length
    }

    /// From the first byte in the file to the last; nothing without bytes.
    pub fn hull(&self) -> Option<Extent> {
        self.hull
    }

    /// An upper bound of the pieces.
    pub fn runs(&self) -> u64 {
        match (self.hull, self.view.is_contiguous()) {
            (None, _) => 0,
            (Some(_), true) => 1,
            (Some(_), false) => runs(&self.view, self.position, self.length),
        }
    }

    /// Whether no byte of the file comes twice.
    pub fn is_disjoint(&self) -> bool {
        self.view.is_disjoint()
    }

    /// All pieces.
    pub fn pieces(&self) -> Pieces<'_> {
        self.pieces_in(Extent::ALL)
    }

    /// The pieces in a range of the file.
    pub fn pieces_in(&self, range: Extent) -> Pieces<'_> {
        let (from, to) = if self.is_disjoint() { self.data_in(range) } else { (self.position, self.end()) };
        let extents = self.view.extents(from, to - from);
        Pieces { extents, at: from - self.position, range }
    }

    /// Bytes in a range of the file.
    pub fn bytes_in(&self, range: Extent) -> u64 {
        if self.is_disjoint() {
            let (from, to) = self.data_in(range);
            return to - from;
        }
        self.pieces_in(range).map(|piece| piece.extent.len()).sum()
    }

    /// The first byte in the file at or after an offset. Of an access that shows a byte twice, an offset from which on it has
    /// some, without looking at what lies before.
    pub(super) fn bytes_from(&self, offset: u64) -> Option<u64> {
        let rest = self.hull?.intersection(Extent::new(offset, INFINITY)?)?;
        if !self.is_disjoint() {
            return Some(rest.start());
        }
        self.pieces_in(rest).next().map(|piece| piece.extent.start())
    }

    /// The same access without the bytes at or past `file_bytes`.
    pub fn clamped(&self, file_bytes: u64) -> Access {
        if self.hull.is_none_or(|hull| hull.end() <= file_bytes) {
            return self.clone();
        }
        let end = self.view.data_before(file_bytes).clamp(self.position, self.end());
        Access::new(self.view.clone(), self.position, end - self.position).expect("a part of a possible access")
    }

    /// The period after which the access repeats itself in the file, with where it begins and how much of it it may take.
    pub(super) fn period(&self) -> Option<(u64, FileOffset, u64)> {
        let filetype = self.view.filetype();
        let first = self.view.displacement().checked_add_signed(filetype.true_lower_bound())?;
        let (extent, span) = (u64::try_from(filetype.extent()).ok()?, u64::try_from(filetype.true_extent()).ok()?);
        Some((extent, FileOffset(first), span))
    }

    fn end(&self) -> u64 {
        self.position + self.length
    }

    /// The data in a range of the file, from and to.
    fn data_in(&self, range: Extent) -> (u64, u64) {
        let Some(hull) = self.hull.and_then(|hull| hull.intersection(range)) else {
            return (self.position, self.position);
        };
        let within = |offset| self.view.data_before(offset).clamp(self.position, self.end());
        (within(hull.start()), within(hull.end()))
    }

    /// Appends the access to a list of numbers.
    pub fn encode(&self, to: &mut Vec<u64>) {
        to.extend([self.position, self.length]);
        self.view.encode(to);
    }

    /// Takes an access that [`encode`](Self::encode) has made from the front of a list of numbers.
    pub fn decode(from: &mut impl Iterator<Item = u64>) -> Result<Access, DecodeError> {
        let (position, length) = (from.next().ok_or(DecodeError::Short)?, from.next().ok_or(DecodeError::Short)?);
        let view = View::decode(from)?;
        Access::new(Arc::new(view), position, length).map_err(|_| DecodeError::BeyondLimits)
    }
}

/// Pieces of an access, in the order of its data.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    extents: crate::datatype::ViewExtents<'a>,
    at: u64,
    range: Extent,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            let extent = self.extents.next()?;
            let at = self.at;
            self.at += extent.len();
            if let Some(part) = (Piece { extent, at }).within(self.range) {
                return Some(part);
            }
        }
    }
}
