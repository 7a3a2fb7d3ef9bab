//! What the store keeps under its keys, as protobuf messages of their own: fields are only ever added, and the
//! wire format may change without touching the disk. `store::keys` says which record lies under which key.
//!
//! Bytes from the disk are checked when they are read: a record that can not be is an error with its key.

use crate::store::{Key, StoreError, Value};
use pfs_core::ids::ServerId;
use pfs_core::layout::{Recipe, StripeSlot};
use pfs_core::token::message::FileSize;
use pfs_proto::metadata::SlotSet;
use prost::Message;

/// The format that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Identity of the cluster.
#[derive(Clone, PartialEq, Message)]
pub struct Cluster {
    /// See [`FORMAT_VERSION`].
    #[prost(uint32, tag = "1")]
    pub format_version: u32,
    /// 128 random bits in hexadecimal.
    #[prost(string, tag = "2")]
    pub cluster_id: String,
}

/// What kind of thing an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Has a recipe and a size.
    File = 1,
    /// Has entries.
    Directory = 2,
}

/// What a name in a directory means.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// The file or directory.
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// Its kind, so that a path can be walked without reading inodes.
    #[prost(enumeration = "Kind", tag = "2")]
    pub kind: i32,
}

/// What never changes about a file or directory.
#[derive(Clone, PartialEq, Message)]
pub struct Inode {
    /// File or directory.
    #[prost(enumeration = "Kind", tag = "1")]
    pub kind: i32,
    /// Nanoseconds since 1970-01-01 UTC.
    #[prost(uint64, tag = "2")]
    pub created_ns: u64,
    /// Bytes; 0 for a directory.
    #[prost(uint64, tag = "3")]
    pub stripe_unit: u64,
    /// In striping order; empty for a directory.
    #[prost(message, repeated, tag = "4")]
    pub slots: Vec<Slot>,
}

/// One position of a recipe.
#[derive(Clone, PartialEq, Message)]
pub struct Slot {
    /// Ids of the file servers, in order of preference.
    #[prost(uint32, repeated, tag = "1")]
    pub servers: Vec<u32>,
}

/// What changes about a file or directory.
#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    /// Size in bytes.
    #[prost(uint64, tag = "1")]
    pub size_bytes: u64,
    /// Truncations so far, from 1.
    #[prost(uint64, tag = "2")]
    pub size_generation: u64,
    /// Bit i of byte i / 8: slot i has a durable object.
    #[prost(bytes = "vec", tag = "3")]
    pub committed_slots: Vec<u8>,
    /// Nanoseconds since 1970-01-01 UTC.
    #[prost(uint64, tag = "4")]
    pub modified_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC.
    #[prost(uint64, tag = "5")]
    pub changed_ns: u64,
}

/// A file or directory as it was when an operation was answered.
#[derive(Clone, PartialEq, Message)]
pub struct Snapshot {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// What does not change.
    #[prost(message, optional, tag = "2")]
    pub inode: Option<Inode>,
    /// What does.
    #[prost(message, optional, tag = "3")]
    pub attributes: Option<Attributes>,
    /// Whether the operation made it.
    #[prost(bool, tag = "4")]
    pub created: bool,
    /// Directories that the operation made.
    #[prost(uint64, tag = "5")]
    pub directories_made: u64,
}

/// What a removal or a replacement left without a name.
#[derive(Clone, PartialEq, Message)]
pub struct Unlinked {
    /// The file; 0: none, or a directory.
    #[prost(uint64, tag = "1")]
    pub file: u64,
    /// An empty directory went with its name.
    #[prost(bool, tag = "2")]
    pub directory: bool,
}

/// A size that was decided and that must still reach every object.
#[derive(Clone, PartialEq, Message)]
pub struct Truncation {
    /// The new size in bytes.
    #[prost(uint64, tag = "1")]
    pub size_bytes: u64,
    /// The new generation.
    #[prost(uint64, tag = "2")]
    pub size_generation: u64,
    /// Nobody may use the file from this offset on before it is done: the smaller of the old and the new size.
    #[prost(uint64, tag = "3")]
    pub from_bytes: u64,
}

/// A session that may change things.
#[derive(Clone, PartialEq, Message)]
pub struct Session {
    /// For people.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A group that is shut out as a whole.
#[derive(Clone, PartialEq, Message)]
pub struct FencedGroup {
    /// Ids of its members when it was.
    #[prost(uint64, repeated, tag = "1")]
    pub members: Vec<u64>,
}

/// The last change of one slot of a session.
#[derive(Clone, PartialEq, Message)]
pub struct OperationRecord {
    /// Its number; numbers of a slot increase.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// What it was, so that a repeated number for something else is noticed.
    #[prost(uint32, tag = "2")]
    pub operation: u32,
    /// Its answer, encoded.
    #[prost(bytes = "vec", tag = "3")]
    pub answer: Vec<u8>,
}

/// A registered file server.
#[derive(Clone, PartialEq, Message)]
pub struct FileServer {
    /// The operator's name for it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// "host:port" of the last registration.
    #[prost(string, tag = "2")]
    pub address: String,
    /// Starts of its store, as last seen.
    #[prost(uint64, tag = "3")]
    pub instance: u64,
    /// It has shown that its store carries the id, so an empty directory of this name is a lost one.
    #[prost(bool, tag = "4")]
    pub labelled: bool,
}

/// What a registration bound.
#[derive(Clone, PartialEq, Message)]
pub struct Registered {
    /// The server's id.
    #[prost(uint32, tag = "1")]
    pub server: u32,
    /// Its record.
    #[prost(message, optional, tag = "2")]
    pub record: Option<FileServer>,
}

/// The answer of a change that has nothing to say.
#[derive(Clone, PartialEq, Message)]
pub struct Nothing {}

/// Reads a record that lies under `key`.
pub fn decode<T: Message + Default>(key: &Key, value: &Value) -> Result<T, StoreError> {
    T::decode(value.as_slice()).map_err(|error| damaged(key, error.to_string()))
}

/// The error for bytes that make no sense.
pub fn damaged(key: &Key, problem: impl Into<String>) -> StoreError {
    StoreError::Damaged { key: key.clone(), problem: problem.into() }
}

impl Inode {
    /// A directory's inode.
    pub fn directory(created_ns: u64) -> Self {
        Inode { kind: Kind::Directory.into(), created_ns, stripe_unit: 0, slots: Vec::new() }
    }

    /// A file's inode.
    pub fn file(created_ns: u64, recipe: &Recipe) -> Self {
        let slot = |slot: &StripeSlot| Slot { servers: slot.iter().map(|server| server.get()).collect() };
        Inode {
            kind: Kind::File.into(),
            created_ns,
            stripe_unit: recipe.stripe_unit(),
            slots: recipe.slots().iter().map(slot).collect(),
        }
    }

    /// A file's recipe.
    pub fn recipe(&self) -> Result<Recipe, String> {
        let server = |id: &u32| ServerId::new(*id).ok_or_else(|| "a recipe names server 0".to_owned());
        let slot = |slot: &Slot| slot.servers.iter().map(server).collect::<Result<StripeSlot, String>>();
        let slots = self.slots.iter().map(slot).collect::<Result<Vec<_>, _>>()?;
        Recipe::new(self.stripe_unit, slots).map_err(|error| error.to_string())
    }
}

impl Attributes {
    /// Of something that was made just now.
    pub fn new(now_ns: u64) -> Self {
        Attributes {
            size_bytes: 0,
            size_generation: 1,
            committed_slots: Vec::new(),
            modified_ns: now_ns,
            changed_ns: now_ns,
        }
    }

    /// The size.
    pub fn size(&self) -> FileSize {
        FileSize { generation: self.size_generation, bytes: self.size_bytes }
    }

    /// The slots with durable objects.
    pub fn slots(&self) -> Result<SlotSet, String> {
        SlotSet::from_bytes(self.committed_slots.clone(), "committed_slots").map_err(|error| error.to_string())
    }
}
