//! Generated messages become strict types here, once, on receipt; and back.
//!
//! Invariants: a value of a strict type keeps its bounds (ids are not 0, ranges not empty, enums known, lists bounded,
//! payloads as long as their extents), and a message that breaks one is refused with a [`ConvertError`] that names the
//! field and the problem. Conversions to the wire never fail.

mod common;
pub mod data;
pub mod metadata;
pub mod token;

use crate::status::{ErrorCode, ErrorDetail};
use crate::transport::{AddressError, check_address};
use pfs_core::extent::{Extent, MAX_FILE_BYTES};
use pfs_core::layout::RecipeError;
use pfs_core::path::{PathError, PfsPath};
use pfs_core::pattern::PatternError;
use std::fmt::Write as _;
use tonic::Status;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A message, a choice or an id that must be there is not.
    #[error("is missing")]
    Missing,
    /// An enum's number that is not known, or its "unspecified".
    #[error("has the value {0}, which is not one of its choices")]
    UnknownChoice(i32),
    /// A number out of its bounds.
    #[error("is {value}; it must be between {min} and {max}")]
    OutOfBounds {
        /// What was given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A range that is empty, backwards, or past the largest offset.
    #[error(
        "is [{start}, {end}); a range's start must be before its end, and its end at most {MAX_FILE_BYTES} or infinity"
    )]
    Range {
        /// First byte.
        start: u64,
        /// First byte after it.
        end: u64,
    },
    /// An object extent that is empty or past the largest offset.
    #[error("has {length} bytes at {offset}; an extent has at least 1 byte and ends at most at {MAX_FILE_BYTES}")]
    Extent {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Ranges that overlap or are out of order.
    #[error("overlaps or precedes the range before it; {before} is followed by {after}")]
    Disorder {
        /// The earlier range.
        before: Extent,
        /// The one that follows it.
        after: Extent,
    },
    /// More entries than one message may have.
    #[error("has {count} entries; at most {limit} are possible in one message")]
    TooMany {
        /// Entries given.
        count: usize,
        /// The most.
        limit: usize,
    },
    /// More bytes than one message may have.
    #[error("has {bytes} bytes; at most {limit} are possible in one message")]
    TooLarge {
        /// Bytes given.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// An empty list.
    #[error("is empty; it needs at least one entry")]
    Empty,
    /// The same entry twice.
    #[error("names {0} twice")]
    Repeated(u64),
    /// The payload's length is not the sum of the extents' lengths.
    #[error("has {payload} bytes, but the extents have {extents} bytes")]
    PayloadLength {
        /// Bytes of the payload.
        payload: u64,
        /// Bytes of all extents.
        extents: u64,
    },
    /// Not one checksum for each piece.
    #[error("has {checksums} entries, but the extents have {pieces} pieces; give one for each, or none at all")]
    Checksums {
        /// Checksums given.
        checksums: usize,
        /// Pieces of all extents.
        pieces: usize,
    },
    /// A section without checksums, or with more than there are pieces left.
    #[error(
        "has {checksums} checksums, and {pieces} pieces are to come; a section has one or more, with a checksum for each"
    )]
    SectionChecksums {
        /// Checksums of the section.
        checksums: usize,
        /// Pieces that are in no section before it.
        pieces: usize,
    },
    /// A section that is not as long as its pieces.
    #[error("has {payload} bytes and {checksums} checksums, but so many pieces have {pieces} bytes")]
    SectionLength {
        /// Bytes of the section's payload.
        payload: usize,
        /// Its checksums.
        checksums: usize,
        /// Bytes of the pieces that these are of.
        pieces: usize,
    },
    /// Sections that are not of all pieces.
    #[error("end {pieces} pieces before the end of the extents")]
    SectionsMissing {
        /// Pieces that are in none.
        pieces: usize,
    },
    /// A regular set of ranges that is impossible.
    #[error("is impossible: {0}")]
    Pattern(#[from] PatternError),
    /// A layout that is impossible.
    #[error("is impossible: {0}")]
    Recipe(#[from] RecipeError),
    /// A path that is impossible.
    #[error("is refused: {0}")]
    Path(#[from] PathError),
    /// An address that is impossible.
    #[error("is refused: {0}")]
    Address(#[from] AddressError),
    /// A text with other characters than it may have, or too few or too many of them.
    #[error("is {0:?}; it must have 1 to {max} bytes and no control character", max = metadata::TEXT_BYTES_MAX)]
    Text(String),
    /// A name with a slash, or one that stands for a directory itself.
    #[error("is {0:?}, which is not the name of a directory entry")]
    EntryName(String),
    /// A field that must not be there with what else the message says.
    #[error("does not go with the message's other fields: {0}")]
    Contradiction(Contradiction),
    /// The peer speaks another version of the protocol.
    #[error("is {theirs}, and this side speaks version {ours}; use the same release of pfs everywhere")]
    ProtocolVersion {
        /// The peer's.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
}

/// Two fields that can not both be as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A stamp's incarnation is the client that sends; a client holder is the sender itself.
    #[error("a client's stamp has that client as holder and as incarnation")]
    Stamp,
    /// A collective request of a holder that is not a group.
    #[error("only a group can make a collective request")]
    Collective,
    /// A revoke wants less than it takes.
    #[error("what is wanted contains what must be given up")]
    Wanted,
    /// A file without a recipe, or a directory with one.
    #[error("a file has a recipe and a directory has none")]
    Recipe,
    /// A slot that is not in the recipe.
    #[error("a slot is named that the recipe does not have")]
    Slot,
    /// A store has both ids in its label, or none.
    #[error("a labelled store has a cluster id and a server id, a new one has neither")]
    Label,
    /// An open id without a holder, or the other way round.
    #[error("an open has an id and a holder, and nothing opened has neither")]
    Open,
    /// A write with sections that has a payload or checksums outside of them.
    #[error("a write with sections has its payload and its checksums in them")]
    Sections,
}

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ConvertError {
    /// Path of the field inside its message, like `stamp.holder` or `extents[3]`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl ConvertError {
    /// An error about a field.
    pub fn new(field: impl Into<String>, problem: impl Into<Problem>) -> Self {
        ConvertError { field: field.into(), problem: problem.into() }
    }

    /// The same error, seen from the message that has the refused one in `field`.
    pub fn within(mut self, field: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => field.to_owned(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        self
    }

    fn within_entry(self, field: &str, index: usize) -> Self {
        let mut entry = field.to_owned();
        write!(entry, "[{index}]").expect("a string takes all text");
        self.within(&entry)
    }

    /// The code for programs.
    pub fn code(&self) -> ErrorCode {
        match self.problem {
            Problem::TooMany { .. } | Problem::TooLarge { .. } => ErrorCode::TooLarge,
            Problem::ProtocolVersion { .. } => ErrorCode::WrongCluster,
            _ => ErrorCode::InvalidArgument,
        }
    }
}

impl From<ConvertError> for ErrorDetail {
    fn from(error: ConvertError) -> Self {
        ErrorDetail::new(error.code(), format!("the request was refused: {error}"))
    }
}

impl From<ConvertError> for Status {
    fn from(error: ConvertError) -> Self {
        ErrorDetail::from(error).into()
    }
}

type Result<T> = std::result::Result<T, ConvertError>;

/// The value of a field that must be there.
fn required<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| ConvertError::new(field, Problem::Missing))
}

/// A message inside a message that must be there.
fn nested<W, C: TryFrom<W, Error = ConvertError>>(value: Option<W>, field: &str) -> Result<C> {
    C::try_from(required(value, field)?).map_err(|error| error.within(field))
}

/// A message inside a message that may be absent.
fn optional<W, C: TryFrom<W, Error = ConvertError>>(value: Option<W>, field: &str) -> Result<Option<C>> {
    value.map(|value| C::try_from(value).map_err(|error| error.within(field))).transpose()
}

/// A bounded list of messages.
fn each<W, C: TryFrom<W, Error = ConvertError>>(values: Vec<W>, field: &str, limit: usize) -> Result<Vec<C>> {
    check_count(values.len(), field, limit)?;
    let convert = |(index, value)| C::try_from(value).map_err(|error| error.within_entry(field, index));
    values.into_iter().enumerate().map(convert).collect()
}

/// An id, which is never 0.
fn id<N, I>(number: N, field: &str, make: impl Fn(N) -> Option<I>) -> Result<I> {
    required(make(number), field)
}

/// A bounded list of ids.
fn ids<N, I>(numbers: Vec<N>, field: &str, limit: usize, make: impl Fn(N) -> Option<I>) -> Result<Vec<I>> {
    check_count(numbers.len(), field, limit)?;
    let convert = |(index, number)| id(number, "", &make).map_err(|error| error.within_entry(field, index));
    numbers.into_iter().enumerate().map(convert).collect()
}

fn check_count(count: usize, field: &str, limit: usize) -> Result<()> {
    if count > limit {
        return Err(ConvertError::new(field, Problem::TooMany { count, limit }));
    }
    Ok(())
}

fn bounded(value: u64, field: &str, min: u64, max: u64) -> Result<u64> {
    if value < min || value > max {
        return Err(ConvertError::new(field, Problem::OutOfBounds { value, min, max }));
    }
    Ok(value)
}

fn path(text: &str, field: &str) -> Result<PfsPath> {
    PfsPath::parse(text).map_err(|error| ConvertError::new(field, error))
}

fn address(text: String, field: &str) -> Result<String> {
    check_address(&text).map_err(|error| ConvertError::new(field, error))?;
    Ok(text)
}

/// Bounded text for people or labels, without control characters.
fn text(text: String, field: &str) -> Result<String> {
    if text.is_empty() || text.len() > metadata::TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let shown = text.chars().take(64).collect();
        return Err(ConvertError::new(field, Problem::Text(shown)));
    }
    Ok(text)
}

/// Disjoint ranges in order.
fn in_order(ranges: &[Extent], field: &str) -> Result<()> {
    for (index, pair) in ranges.windows(2).enumerate() {
        if pair[0].end() > pair[1].start() {
            let problem = Problem::Disorder { before: pair[0], after: pair[1] };
            return Err(ConvertError::new("", problem).within_entry(field, index + 1));
        }
    }
    Ok(())
}
