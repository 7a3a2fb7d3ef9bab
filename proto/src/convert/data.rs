//! Requests to a file server.
//!
//! Invariants of every [`Write`] and [`Read`]: 1 to [`EXTENTS_PER_REQUEST_MAX`] extents, each with a byte and inside
//! the largest file; all together at most [`DATA_REQUEST_BYTES_MAX`] bytes; a write's payload is exactly as long, and it
//! has one checksum for each piece, or none. In sections, each of these has a byte and is of whole pieces.

use super::{Contradiction, ConvertError, Problem, Result, bounded, each, id, ids, nested};
use crate::transport::{DATA_REQUEST_BYTES_MAX, EXTENTS_PER_REQUEST_MAX, FILES_PER_REMOVE_MAX};
use crate::v1;
use bytes::{Bytes, BytesMut};
use pfs_core::checksum::{self, Checksum};
use pfs_core::extent::{MAX_FILE_BYTES, ObjectOffset};
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, ObjectId, Stamp};
use pfs_core::layout::STRIPE_COUNT_MAX;

/// Most objects of one commit.
pub const OBJECTS_PER_COMMIT_MAX: usize = 4096;
/// Most objects of one scrub that names them.
pub const OBJECTS_PER_SCRUB_MAX: usize = 65_536;
/// Most clients, and most groups, of one fence.
pub const FENCES_PER_REQUEST_MAX: usize = 65_536;

/// A non-empty byte range of an object, inside the largest file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectExtent {
    offset: ObjectOffset,
    length: u64,
}

impl ObjectExtent {
    /// `length` bytes from `offset`, or nothing when that is empty or passes the largest file.
    pub fn new(offset: ObjectOffset, length: u64) -> Option<Self> {
        let end = offset.0.checked_add(length)?;
        (length > 0 && end <= MAX_FILE_BYTES).then_some(ObjectExtent { offset, length })
    }

    /// First byte.
    pub fn offset(self) -> ObjectOffset {
        self.offset
    }

    /// Bytes, at least 1.
    pub fn length(self) -> u64 {
        self.length
    }

    /// First byte after the extent.
    pub fn end(self) -> ObjectOffset {
        ObjectOffset(self.offset.0 + self.length)
    }
}

impl TryFrom<v1::ObjectExtent> for ObjectExtent {
    type Error = ConvertError;

    fn try_from(extent: v1::ObjectExtent) -> Result<Self> {
        let v1::ObjectExtent { offset, length } = extent;
        ObjectExtent::new(ObjectOffset(offset), length)
            .ok_or_else(|| ConvertError::new("", Problem::Extent { offset, length }))
    }
}

impl From<ObjectExtent> for v1::ObjectExtent {
    fn from(extent: ObjectExtent) -> Self {
        v1::ObjectExtent { offset: extent.offset.0, length: extent.length }
    }
}

impl TryFrom<v1::ObjectId> for ObjectId {
    type Error = ConvertError;

    fn try_from(object: v1::ObjectId) -> Result<Self> {
        Ok(ObjectId { file: id(object.file_id, "file_id", FileId::new)?, slot: slot(object.slot)? })
    }
}

impl From<ObjectId> for v1::ObjectId {
    fn from(object: ObjectId) -> Self {
        v1::ObjectId { file_id: object.file.get(), slot: object.slot }
    }
}

/// A position in a recipe.
pub(super) fn slot(slot: u32) -> Result<u32> {
    bounded(slot.into(), "slot", 0, STRIPE_COUNT_MAX as u64 - 1).map(|_| slot)
}

/// Bytes of all extents together.
pub fn total_bytes(extents: &[ObjectExtent]) -> u64 {
    extents.iter().fold(0, |sum, extent| sum.saturating_add(extent.length))
}

/// The pieces of extents, which have a checksum each.
pub fn pieces(extents: &[ObjectExtent]) -> impl Iterator<Item = checksum::Piece> + '_ {
    checksum::pieces(extents.iter().map(|extent| (extent.offset, extent.length)))
}

/// How many pieces extents have.
pub fn piece_count(extents: &[ObjectExtent]) -> usize {
    checksum::count(extents.iter().map(|extent| (extent.offset, extent.length)))
}

/// Checksums on the wire.
pub fn wire_checksums(checksums: &[Checksum]) -> Vec<u32> {
    checksums.iter().map(|checksum| checksum.0).collect()
}

fn checksums(checksums: Vec<u32>, extents: &[ObjectExtent]) -> Result<Vec<Checksum>> {
    let (given, pieces) = (checksums.len(), piece_count(extents));
    if given > 0 && given != pieces {
        return Err(ConvertError::new("checksums", Problem::Checksums { checksums: given, pieces }));
    }
    Ok(checksums.into_iter().map(Checksum).collect())
}

fn extents(extents: Vec<v1::ObjectExtent>) -> Result<Vec<ObjectExtent>> {
    if extents.is_empty() {
        return Err(ConvertError::new("extents", Problem::Empty));
    }
    let extents: Vec<ObjectExtent> = each(extents, "extents", EXTENTS_PER_REQUEST_MAX)?;
    let (bytes, limit) = (total_bytes(&extents), DATA_REQUEST_BYTES_MAX as u64);
    if bytes > limit {
        return Err(ConvertError::new("extents", Problem::TooLarge { bytes, limit }));
    }
    Ok(extents)
}

fn wire_extents(extents: Vec<ObjectExtent>) -> Vec<v1::ObjectExtent> {
    extents.into_iter().map(Into::into).collect()
}

/// Writes many extents of one object from one payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Under whose token.
    pub stamp: Stamp,
    /// Names the operation in a drain; increasing per client.
    pub sequence: u64,
    /// The object.
    pub object: ObjectId,
    /// Where the payload goes, in the payload's order.
    pub extents: Vec<ObjectExtent>,
    /// One for each piece, or none.
    pub checksums: Vec<Checksum>,
    /// The bytes.
    pub payload: Bytes,
}

impl TryFrom<v1::WriteRequest> for Write {
    type Error = ConvertError;

    fn try_from(mut request: v1::WriteRequest) -> Result<Self> {
        if !request.sections.is_empty() {
            return joined(request);
        }
        let payload = std::mem::take(&mut request.payload);
        let WriteHead { stamp, sequence, object, extents, checksums } = WriteHead::new(request, payload.len() as u64)?;
        Ok(Write { stamp, sequence, object, extents, checksums, payload })
    }
}

/// A write of which all sections are there.
fn joined(mut request: v1::WriteRequest) -> Result<Write> {
    let mut sections = std::mem::take(&mut request.sections);
    let (WriteHead { stamp, sequence, object, extents, mut checksums }, mut rule) = WriteHead::with_sections(request)?;
    for section in &sections {
        rule.next(section.checksums.len(), section.payload.len())?;
        checksums.extend(section.checksums.iter().copied().map(Checksum));
    }
    rule.end()?;
    let payload = match &mut sections[..] {
        [only] => std::mem::take(&mut only.payload),
        all => {
            let mut payload = BytesMut::with_capacity(all.iter().map(|section| section.payload.len()).sum());
            all.iter().for_each(|section| payload.extend_from_slice(&section.payload));
            payload.freeze()
        }
    };
    Ok(Write { stamp, sequence, object, extents, checksums, payload })
}

/// What sections of a write must be, one after the other.
#[derive(Clone, Debug)]
pub struct SectionRule {
    /// Bytes of each piece.
    pieces: Vec<usize>,
    /// Pieces that came.
    pieces_done: usize,
    /// Sections that came.
    sections: usize,
}

impl SectionRule {
    /// Whether the next section is of the next pieces: how many checksums and bytes it has.
    pub fn next(&mut self, checksums: usize, payload_bytes: usize) -> Result<()> {
        let refused = |problem| Err(ConvertError::new(format!("sections[{}]", self.sections), problem));
        let to_come = &self.pieces[self.pieces_done..];
        let Some(pieces) = to_come.get(..checksums).filter(|pieces| !pieces.is_empty()) else {
            return refused(Problem::SectionChecksums { checksums, pieces: to_come.len() });
        };
        let bytes: usize = pieces.iter().sum();
        if payload_bytes != bytes {
            return refused(Problem::SectionLength { payload: payload_bytes, checksums, pieces: bytes });
        }
        self.pieces_done += checksums;
        self.sections += 1;
        Ok(())
    }

    /// Whether all pieces came.
    pub fn end(&self) -> Result<()> {
        match self.pieces.len() - self.pieces_done {
            0 => Ok(()),
            pieces => Err(ConvertError::new("sections", Problem::SectionsMissing { pieces })),
        }
    }
}

/// A write without its bytes, for a server that handles them as they arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteHead {
    /// Under whose token.
    pub stamp: Stamp,
    /// Names the operation in a drain; increasing per client.
    pub sequence: u64,
    /// The object.
    pub object: ObjectId,
    /// Where the payload goes, in the payload's order.
    pub extents: Vec<ObjectExtent>,
    /// One for each piece, or none.
    pub checksums: Vec<Checksum>,
}

impl WriteHead {
    /// Checks everything but the bytes themselves: a payload of `payload_bytes` is to follow.
    pub fn new(request: v1::WriteRequest, payload_bytes: u64) -> Result<Self> {
        let stamp = nested(request.stamp, "stamp")?;
        let object = nested(request.object, "object")?;
        let extents = extents(request.extents)?;
        let sum = total_bytes(&extents);
        if payload_bytes != sum {
            return Err(ConvertError::new("payload", Problem::PayloadLength { payload: payload_bytes, extents: sum }));
        }
        let checksums = checksums(request.checksums, &extents)?;
        Ok(WriteHead { stamp, sequence: request.sequence, object, extents, checksums })
    }

    /// The same of a write whose payload comes in sections: what these have to be.
    pub fn with_sections(request: v1::WriteRequest) -> Result<(Self, SectionRule)> {
        if !request.payload.is_empty() || !request.checksums.is_empty() {
            return Err(ConvertError::new("sections", Problem::Contradiction(Contradiction::Sections)));
        }
        let bytes = request.extents.iter().fold(0, |sum: u64, extent| sum.saturating_add(extent.length));
        let head = WriteHead::new(request, bytes)?;
        let pieces = pieces(&head.extents).map(|piece| piece.length).collect();
        Ok((head, SectionRule { pieces, pieces_done: 0, sections: 0 }))
    }
}

impl From<Write> for v1::WriteRequest {
    fn from(write: Write) -> Self {
        v1::WriteRequest {
            stamp: Some(write.stamp.into()),
            sequence: write.sequence,
            object: Some(write.object.into()),
            extents: wire_extents(write.extents),
            checksums: wire_checksums(&write.checksums),
            payload: write.payload,
            sections: Vec::new(),
        }
    }
}

/// Reads many extents of one object into one payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Under whose token.
    pub stamp: Stamp,
    /// Names the operation in a drain; increasing per client.
    pub sequence: u64,
    /// The object.
    pub object: ObjectId,
    /// What to read, in the payload's order.
    pub extents: Vec<ObjectExtent>,
    /// The object was made durable before: its absence is a loss, not a hole.
    pub must_exist: bool,
}

impl TryFrom<v1::ReadRequest> for Read {
    type Error = ConvertError;

    fn try_from(request: v1::ReadRequest) -> Result<Self> {
        Ok(Read {
            stamp: nested(request.stamp, "stamp")?,
            sequence: request.sequence,
            object: nested(request.object, "object")?,
            extents: extents(request.extents)?,
            must_exist: request.must_exist,
        })
    }
}

impl From<Read> for v1::ReadRequest {
    fn from(read: Read) -> Self {
        v1::ReadRequest {
            stamp: Some(read.stamp.into()),
            sequence: read.sequence,
            object: Some(read.object.into()),
            extents: wire_extents(read.extents),
            must_exist: read.must_exist,
        }
    }
}

/// Makes everything written to the objects so far durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Under whose token the bytes were written.
    pub stamp: Stamp,
    /// Which objects.
    pub objects: Vec<ObjectId>,
}

impl TryFrom<v1::CommitRequest> for Commit {
    type Error = ConvertError;

    fn try_from(request: v1::CommitRequest) -> Result<Self> {
        Ok(Commit {
            stamp: nested(request.stamp, "stamp")?,
            objects: each(request.objects, "objects", OBJECTS_PER_COMMIT_MAX)?,
        })
    }
}

impl From<Commit> for v1::CommitRequest {
    fn from(commit: Commit) -> Self {
        v1::CommitRequest {
            stamp: Some(commit.stamp.into()),
            objects: commit.objects.into_iter().map(Into::into).collect(),
        }
    }
}

/// Cuts or extends an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// The truncation's generation, from 1.
    pub size_generation: u64,
    /// The object.
    pub object: ObjectId,
    /// Its new length in bytes.
    pub object_length: u64,
}

impl TryFrom<v1::TruncateRequest> for Truncate {
    type Error = ConvertError;

    fn try_from(request: v1::TruncateRequest) -> Result<Self> {
        Ok(Truncate {
            size_generation: bounded(request.size_generation, "size_generation", 1, u64::MAX)?,
            object: nested(request.object, "object")?,
            object_length: bounded(request.object_length, "object_length", 0, MAX_FILE_BYTES)?,
        })
    }
}

impl From<Truncate> for v1::TruncateRequest {
    fn from(truncate: Truncate) -> Self {
        v1::TruncateRequest {
            size_generation: truncate.size_generation,
            object: Some(truncate.object.into()),
            object_length: truncate.object_length,
        }
    }
}

/// Removes files' objects and refuses the files from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remove {
    /// The files; at least one.
    pub files: Vec<FileId>,
}

impl TryFrom<v1::RemoveRequest> for Remove {
    type Error = ConvertError;

    fn try_from(request: v1::RemoveRequest) -> Result<Self> {
        let files = ids(request.file_ids, "file_ids", FILES_PER_REMOVE_MAX, FileId::new)?;
        if files.is_empty() {
            return Err(ConvertError::new("file_ids", Problem::Empty));
        }
        Ok(Remove { files })
    }
}

impl From<Remove> for v1::RemoveRequest {
    fn from(remove: Remove) -> Self {
        v1::RemoveRequest { file_ids: remove.files.into_iter().map(FileId::get).collect() }
    }
}

/// Asks for the length and state of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Who asks.
    pub stamp: Stamp,
    /// The object.
    pub object: ObjectId,
}

impl TryFrom<v1::StatRequest> for Stat {
    type Error = ConvertError;

    fn try_from(request: v1::StatRequest) -> Result<Self> {
        Ok(Stat { stamp: nested(request.stamp, "stamp")?, object: nested(request.object, "object")? })
    }
}

impl From<Stat> for v1::StatRequest {
    fn from(stat: Stat) -> Self {
        v1::StatRequest { stamp: Some(stat.stamp.into()), object: Some(stat.object.into()) }
    }
}

/// Refuses stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Stamps of earlier boots.
    pub boot_floor: Boot,
    /// These clients' stamps.
    pub incarnations: Vec<ClientId>,
    /// These groups' stamps.
    pub groups: Vec<GroupId>,
    /// Objects whose lengths are wanted once the fence is in force.
    pub objects: Vec<ObjectId>,
}

impl TryFrom<v1::FenceRequest> for Fence {
    type Error = ConvertError;

    fn try_from(request: v1::FenceRequest) -> Result<Self> {
        Ok(Fence {
            boot_floor: id(request.boot_floor, "boot_floor", Boot::new)?,
            incarnations: ids(request.incarnations, "incarnations", FENCES_PER_REQUEST_MAX, ClientId::new)?,
            groups: ids(request.groups, "groups", FENCES_PER_REQUEST_MAX, GroupId::new)?,
            objects: each(request.objects, "objects", FENCES_PER_REQUEST_MAX)?,
        })
    }
}

impl From<Fence> for v1::FenceRequest {
    fn from(fence: Fence) -> Self {
        v1::FenceRequest {
            boot_floor: fence.boot_floor.get(),
            incarnations: fence.incarnations.into_iter().map(ClientId::get).collect(),
            groups: fence.groups.into_iter().map(GroupId::get).collect(),
            objects: fence.objects.into_iter().map(Into::into).collect(),
        }
    }
}

/// Ends operations of one stamp up to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Whose.
    pub stamp: Stamp,
    /// Operations with this sequence or a smaller one.
    pub sequence: u64,
}

impl TryFrom<v1::DrainRequest> for Drain {
    type Error = ConvertError;

    fn try_from(request: v1::DrainRequest) -> Result<Self> {
        Ok(Drain { stamp: nested(request.stamp, "stamp")?, sequence: request.sequence })
    }
}

impl From<Drain> for v1::DrainRequest {
    fn from(drain: Drain) -> Self {
        v1::DrainRequest { stamp: Some(drain.stamp.into()), sequence: drain.sequence }
    }
}

/// What is done with the space of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Space is reserved; the bytes stay as they are.
    Reserve,
    /// The range becomes a hole.
    Punch,
}

impl Allocation {
    fn from_wire(number: i32, field: &str) -> Result<Self> {
        match v1::Allocation::try_from(number) {
            Ok(v1::Allocation::Reserve) => Ok(Allocation::Reserve),
            Ok(v1::Allocation::Punch) => Ok(Allocation::Punch),
            Ok(v1::Allocation::Unspecified) | Err(_) => Err(ConvertError::new(field, Problem::UnknownChoice(number))),
        }
    }
}

impl From<Allocation> for v1::Allocation {
    fn from(allocation: Allocation) -> Self {
        match allocation {
            Allocation::Reserve => v1::Allocation::Reserve,
            Allocation::Punch => v1::Allocation::Punch,
        }
    }
}

/// Reserves the space of a range, or makes a hole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocate {
    /// Under whose token.
    pub stamp: Stamp,
    /// Names the operation in a drain; increasing per client.
    pub sequence: u64,
    /// The object.
    pub object: ObjectId,
    /// The range.
    pub extent: ObjectExtent,
    /// What is done with it.
    pub allocation: Allocation,
}

impl TryFrom<v1::AllocateRequest> for Allocate {
    type Error = ConvertError;

    fn try_from(request: v1::AllocateRequest) -> Result<Self> {
        Ok(Allocate {
            stamp: nested(request.stamp, "stamp")?,
            sequence: request.sequence,
            object: nested(request.object, "object")?,
            extent: nested(request.extent, "extent")?,
            allocation: Allocation::from_wire(request.allocation, "allocation")?,
        })
    }
}

impl From<Allocate> for v1::AllocateRequest {
    fn from(allocate: Allocate) -> Self {
        v1::AllocateRequest {
            stamp: Some(allocate.stamp.into()),
            sequence: allocate.sequence,
            object: Some(allocate.object.into()),
            extent: Some(allocate.extent.into()),
            allocation: v1::Allocation::from(allocate.allocation).into(),
        }
    }
}

/// Checks stored bytes against their checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// Which objects; none: all of the store.
    pub objects: Vec<ObjectId>,
    /// Most bytes read in a second; 0: no limit.
    pub bytes_per_second: u64,
}

impl TryFrom<v1::ScrubRequest> for Scrub {
    type Error = ConvertError;

    fn try_from(request: v1::ScrubRequest) -> Result<Self> {
        let v1::ScrubRequest { objects, bytes_per_second } = request;
        Ok(Scrub { objects: each(objects, "objects", OBJECTS_PER_SCRUB_MAX)?, bytes_per_second })
    }
}

impl From<Scrub> for v1::ScrubRequest {
    fn from(scrub: Scrub) -> Self {
        v1::ScrubRequest {
            objects: scrub.objects.into_iter().map(Into::into).collect(),
            bytes_per_second: scrub.bytes_per_second,
        }
    }
}
