//! What is known of a file or directory.

use super::super::{Contradiction, ConvertError, Problem, Result, address, each, id, nested, optional};
use super::{SERVERS_MAX, ServerAddress};
use crate::v1;
use pfs_core::ids::{FileId, Holder, OpenId};
use pfs_core::layout::{Recipe, STRIPE_COUNT_MAX};
use pfs_core::token::message::FileSize;

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A file, which has a recipe.
    File,
    /// A directory.
    Directory,
}

impl EntryKind {
    /// The kind, which must be one of the two.
    pub(super) fn from_wire(number: i32, field: &str) -> Result<Self> {
        Self::choice_from_wire(number, field)?.ok_or_else(|| ConvertError::new(field, Problem::UnknownChoice(number)))
    }

    /// The kind, or nothing for "unspecified".
    pub(super) fn choice_from_wire(number: i32, field: &str) -> Result<Option<Self>> {
        match v1::EntryKind::try_from(number) {
            Ok(v1::EntryKind::Unspecified) => Ok(None),
            Ok(v1::EntryKind::File) => Ok(Some(EntryKind::File)),
            Ok(v1::EntryKind::Directory) => Ok(Some(EntryKind::Directory)),
            Err(_) => Err(ConvertError::new(field, Problem::UnknownChoice(number))),
        }
    }
}

impl From<EntryKind> for v1::EntryKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::File => v1::EntryKind::File,
            EntryKind::Directory => v1::EntryKind::Directory,
        }
    }
}

/// A set of slots of a recipe.
///
/// Bytes: bit i of byte i / 8 is slot i. Invariants: no slot at or past [`STRIPE_COUNT_MAX`], and no zero byte at the
/// end, so that equal sets have equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSet(Vec<u8>);

impl SlotSet {
    /// A set of no slots.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set that these bytes say; `field` is named in an error.
    pub fn from_bytes(mut bytes: Vec<u8>, field: &str) -> Result<Self> {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        super::super::check_count(bytes.len(), field, STRIPE_COUNT_MAX.div_ceil(8))?;
        Ok(SlotSet(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Whether the slot is in the set.
    pub fn contains(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 8).is_some_and(|byte| byte >> (slot % 8) & 1 == 1)
    }

    /// Adds a slot.
    ///
    /// # Panics
    /// When no recipe can have that slot.
    pub fn insert(&mut self, slot: u32) {
        let index = slot as usize / 8;
        assert!((slot as usize) < STRIPE_COUNT_MAX, "slot {slot} is past every recipe");
        if self.0.len() <= index {
            self.0.resize(index + 1, 0);
        }
        self.0[index] |= 1 << (slot % 8);
    }

    /// Adds all slots of another set.
    pub fn extend(&mut self, other: &SlotSet) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (byte, more) in self.0.iter_mut().zip(&other.0) {
            *byte |= more;
        }
    }

    /// Whether it has no slot.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slots in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).take(self.0.len() * 8).filter(|&slot| self.contains(slot))
    }
}

impl FromIterator<u32> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut set = SlotSet::new();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// Everything that is kept about one file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMetadata {
    /// Its id.
    pub id: FileId,
    /// File or directory.
    pub kind: EntryKind,
    /// A file's layout; nothing for a directory.
    pub recipe: Option<Recipe>,
    /// A file's size; 0 bytes for a directory.
    pub size: FileSize,
    /// Nanoseconds since 1970-01-01 UTC.
    pub created_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub modified_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    pub changed_ns: u64,
    /// Slots that have a durable object, so that its absence is a loss and not a hole.
    pub committed_slots: SlotSet,
}

impl TryFrom<v1::FileMetadata> for FileMetadata {
    type Error = ConvertError;

    fn try_from(message: v1::FileMetadata) -> Result<Self> {
        let kind = EntryKind::from_wire(message.kind, "kind")?;
        let recipe: Option<Recipe> = optional(message.recipe, "recipe")?;
        if recipe.is_some() != (kind == EntryKind::File) {
            return Err(ConvertError::new("recipe", Problem::Contradiction(Contradiction::Recipe)));
        }
        let size = match kind {
            EntryKind::File => nested(message.size, "size")?,
            EntryKind::Directory => optional(message.size, "size")?.unwrap_or(FileSize { generation: 1, bytes: 0 }),
        };
        let committed_slots = SlotSet::from_bytes(message.committed_slots, "committed_slots")?;
        let count = recipe.as_ref().map_or(0, Recipe::stripe_count);
        if committed_slots.iter().any(|slot| slot >= count) {
            return Err(ConvertError::new("committed_slots", Problem::Contradiction(Contradiction::Slot)));
        }
        Ok(FileMetadata {
            id: id(message.file_id, "file_id", FileId::new)?,
            kind,
            recipe,
            size,
            created_ns: message.created_ns,
            modified_ns: message.modified_ns,
            changed_ns: message.changed_ns,
            committed_slots,
        })
    }
}

impl From<FileMetadata> for v1::FileMetadata {
    fn from(file: FileMetadata) -> Self {
        v1::FileMetadata {
            file_id: file.id.get(),
            kind: v1::EntryKind::from(file.kind).into(),
            recipe: file.recipe.as_ref().map(Into::into),
            size: Some(file.size.into()),
            created_ns: file.created_ns,
            modified_ns: file.modified_ns,
            changed_ns: file.changed_ns,
            committed_slots: file.committed_slots.into_bytes(),
        }
    }
}

/// An open file, as CloseFile and token requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHandle {
    /// Names this open when it is closed.
    pub id: OpenId,
    /// For whom tokens are asked.
    pub holder: Holder,
}

/// The answer to a create or an open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The file.
    pub file: FileMetadata,
    /// The open; nothing when a file was only made.
    pub open: Option<OpenHandle>,
    /// The metadata server that owns the file's tokens, as "host:port"; nothing: the one that answered.
    pub owner: Option<String>,
    /// Addresses of the file's servers.
    pub servers: Vec<ServerAddress>,
    /// Whether this call made the file.
    pub created: bool,
}

impl TryFrom<v1::OpenFileReply> for Opened {
    type Error = ConvertError;

    fn try_from(message: v1::OpenFileReply) -> Result<Self> {
        let holder = optional(message.holder, "holder")?;
        let open = match (OpenId::new(message.open_id), holder) {
            (Some(id), Some(holder)) => Some(OpenHandle { id, holder }),
            (None, None) => None,
            _ => return Err(ConvertError::new("open_id", Problem::Contradiction(Contradiction::Open))),
        };
        let owner = match message.owner {
            empty if empty.is_empty() => None,
            owner => Some(address(owner, "owner")?),
        };
        Ok(Opened {
            file: nested(message.file, "file")?,
            open,
            owner,
            servers: each(message.servers, "servers", SERVERS_MAX)?,
            created: message.created,
        })
    }
}

impl From<Opened> for v1::OpenFileReply {
    fn from(opened: Opened) -> Self {
        v1::OpenFileReply {
            file: Some(opened.file.into()),
            open_id: opened.open.map_or(0, |open| open.id.get()),
            holder: opened.open.map(|open| open.holder.into()),
            owner: opened.owner.unwrap_or_default(),
            servers: opened.servers.into_iter().map(Into::into).collect(),
            created: opened.created,
        }
    }
}
