//! A file view: which bytes of the file a program sees, and as what.
//!
//! The data of a view is numbered from 0, without the gaps; a *position* is such a number, in bytes.
//!
//! Invariants: the extents of a view come in the file's order, none is empty, two that follow each other do not touch.

use super::{Datatype, Segments};
use crate::extent::{Extent, MAX_FILE_BYTES};

/// Why there is no such view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// An etype without bytes.
    #[error("the etype has no bytes")]
    EmptyEtype,
    /// A file type that is not made of whole etypes.
    #[error("the file type has {filetype} bytes of data, which is no multiple of the etype's {etype}")]
    NotWhole {
        /// Bytes of the file type.
        filetype: u64,
        /// Bytes of the etype.
        etype: u64,
    },
    /// Bytes before the displacement.
    #[error("the file type begins {0} bytes before the displacement; its displacements must not be negative")]
    Negative(i64),
    /// Offsets that go back.
    #[error("the displacements of the file type go back; they must be in order")]
    Backwards,
    /// A displacement that no file has.
    #[error("a displacement of {0} bytes is past the largest file offset, {MAX_FILE_BYTES}")]
    Displacement(u64),
}

/// What a program sees of a file.
#[derive(Clone, Debug)]
pub struct View {
    displacement: u64,
    etype_bytes: u64,
    filetype: Datatype,
}

impl Default for View {
    /// All bytes.
    fn default() -> Self {
        let filetype = Datatype::elementary(1).expect("a byte is a datatype");
        View { displacement: 0, etype_bytes: 1, filetype }
    }
}

impl View {
    /// The copies of `filetype` one behind the other, from `displacement` on. If the second copy would go back behind the
    /// first, as with an extent of 0, there is only the first: that is all that programs mean by such a type, and a view
    /// has no more data than it (MPI-4.1 14.3 wants displacements in order and says nothing of copies).
    pub fn new(displacement: u64, etype: &Datatype, filetype: &Datatype) -> Result<Self, ViewError> {
        let (etype_bytes, bytes) = (etype.size(), filetype.size());
        if displacement > MAX_FILE_BYTES {
            return Err(ViewError::Displacement(displacement));
        }
        if etype_bytes == 0 {
            return Err(ViewError::EmptyEtype);
        }
        if !bytes.is_multiple_of(etype_bytes) {
            return Err(ViewError::NotWhole { filetype: bytes, etype: etype_bytes });
        }
        if filetype.true_lower_bound() < 0 {
            return Err(ViewError::Negative(filetype.true_lower_bound()));
        }
        let last_start = filetype.body.origin.saturating_add(filetype.body.node.last_start);
        let goes_on = bytes == 0 || filetype.extent() > last_start - filetype.true_lower_bound();
        if !filetype.is_monotone() {
            return Err(ViewError::Backwards);
        }
        let view = View { displacement, etype_bytes, filetype: filetype.clone() };
        Ok(if goes_on { view } else { view.of_one_copy() })
    }

    /// The same with the first copy of the file type only: the second is past the end of all files.
    pub fn of_one_copy(self) -> Self {
        let filetype = self.filetype.resized(0, i64::MAX).expect("the largest file offset is an extent");
        View { filetype, ..self }
    }

    /// The file offset at which the view begins, in bytes.
    pub fn displacement(&self) -> u64 {
        self.displacement
    }

    /// Bytes of one etype: what offsets are counted in.
    pub fn etype_bytes(&self) -> u64 {
        self.etype_bytes
    }

    /// What of the file is seen.
    pub fn filetype(&self) -> &Datatype {
        &self.filetype
    }

    /// Whether the view has no gaps from its displacement on.
    pub fn is_contiguous(&self) -> bool {
        self.filetype.size() > 0 && self.filetype.is_contiguous()
    }

    /// Whether no byte of the file is seen twice.
    pub fn is_disjoint(&self) -> bool {
        self.filetype.is_ordered() && self.filetype.extent() >= self.filetype.true_extent()
    }

    /// Where `length` bytes of data lie from a position on; fewer if the largest file ends before.
    pub fn extents(&self, position: u64, length: u64) -> ViewExtents<'_> {
        ViewExtents::new(self, position, length)
    }

    /// The file offset of a position; nothing if the largest file ends before.
    pub fn file_offset(&self, position: u64) -> Option<u64> {
        self.extents(position, 1).next().map(Extent::start)
    }

    /// The last byte of `length` from a position on, plus one: how long the file must be to have all of them. Nothing
    /// for no bytes, or if the largest file ends before.
    pub fn file_end(&self, position: u64, length: u64) -> Option<u64> {
        let last = position.checked_add(length)?.checked_sub(1).filter(|_| length > 0)?;
        self.file_offset(last)?.checked_add(1)
    }

    /// How many bytes of the view's data lie before a file offset. The view must be [disjoint](Self::is_disjoint); of
    /// another one it is the position at which a walk along the data reaches the offset first.
    pub fn data_before(&self, file_offset: u64) -> u64 {
        let Some(at) = file_offset.checked_sub(self.displacement) else { return 0 };
        let size = self.filetype.size();
        if size == 0 {
            return 0;
        }
        // Copies are in order: all before the one that begins last before the offset lie before it.
        let extent = self.tile_bytes();
        let first = self.filetype.true_lower_bound().unsigned_abs();
        let turn = at.saturating_sub(first) / extent;
        turn.saturating_mul(size).saturating_add(self.filetype.data_before(at - turn * extent))
    }

    fn tile_bytes(&self) -> u64 {
        u64::try_from(self.filetype.extent()).expect("a view's file type goes on")
    }
}

/// The extents of a part of a view; see [`View::extents`].
#[derive(Clone, Debug)]
pub struct ViewExtents<'a> {
    view: &'a View,
    /// Start of the copy that is walked through.
    tile: u64,
    segments: Segments<'a>,
    /// Data after this copy's.
    left: u64,
    found: Option<Extent>,
}

impl<'a> ViewExtents<'a> {
    fn new(view: &'a View, position: u64, length: u64) -> Self {
        let size = view.filetype.size();
        let nothing = ViewExtents { view, tile: 0, segments: view.filetype.segments(0, 0), left: 0, found: None };
        if size == 0 || length == 0 {
            return nothing;
        }
        if view.is_contiguous() {
            let start = view.displacement.saturating_add_signed(view.filetype.true_lower_bound());
            return ViewExtents { found: clamped(start.saturating_add(position), length), ..nothing };
        }
        let (turn, from) = (position / size, position % size);
        let to = from.saturating_add(length).min(size);
        let tile = turn.checked_mul(view.tile_bytes()).and_then(|way| way.checked_add(view.displacement));
        let Some(tile) = tile else { return nothing };
        ViewExtents { tile, segments: view.filetype.segments(from, to), left: length - (to - from), ..nothing }
    }

    /// The next run, not joined to its neighbours.
    fn run(&mut self) -> Option<Extent> {
        loop {
            if let Some(segment) = self.segments.next() {
                let start = self.tile.checked_add_signed(segment.displacement)?;
                return clamped(start, segment.length);
            }
            if self.left == 0 {
                return None;
            }
            let to = self.left.min(self.view.filetype.size());
            self.left -= to;
            self.tile = self.tile.checked_add(self.view.tile_bytes())?;
            self.segments = self.view.filetype.segments(0, to);
        }
    }
}

/// The part of a run that a file can have.
fn clamped(start: u64, length: u64) -> Option<Extent> {
    Extent::new(start, start.saturating_add(length).min(MAX_FILE_BYTES))
}

impl Iterator for ViewExtents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let mut found = self.found.take().or_else(|| self.run())?;
        while let Some(next) = self.run() {
            if next.start() != found.end() {
                self.found = Some(next);
                break;
            }
            found = found.hull(next);
        }
        Some(found)
    }
}
