//! Messages of the metadata service, one file each for what is known of a file, listings, changes of the namespace,
//! registrations of file servers, and sessions.

mod file;
mod listing;
mod namespace;
mod pointer;
mod registration;
mod session;

pub use file::{EntryKind, FileMetadata, OpenHandle, Opened, SlotSet};
pub use listing::{DirectoryEntry, DirectoryPage, LIST_ENTRIES_DEFAULT, LIST_ENTRIES_MAX, ListDirectory, ListTokens};
pub use namespace::{
    Change, CloseFile, CreateFile, DeleteFile, FetchMetadata, LayoutRequest, MakeDirectory, OpenFile, OpenFor, Rename,
    Target, UpdateMetadata,
};
pub use pointer::{MovePointer, MovedPointer};
pub use registration::{
    DataCounters, Fences, FileTraffic, Heartbeat, HeartbeatAnswer, Label, RegisterFileServer, Registration,
    SpaceReport, VouchFile,
};
pub use session::{Access, Initialize, OperationId, SESSION_SLOTS, ServerAddress, Session};

/// Most bytes of a name that is only a label or for people: client names, server names, cluster ids.
pub const TEXT_BYTES_MAX: usize = 255;
/// Most members of a group.
pub const GROUP_MEMBERS_MAX: usize = 65_536;
/// Most file servers in one message.
pub const SERVERS_MAX: usize = 65_536;
/// Most files whose traffic is in one heartbeat.
pub const FILE_TRAFFIC_MAX: usize = 64;
/// Most entries of a list of fences.
pub const FENCES_MAX: usize = 262_144;
