//! The client library: sessions, the token driver, and the data path between buffers and file servers.
//!
//! [`Client`] and [`FileDescriptor`] are for `async` programs; [`blocking`] wraps them for all others. Errors say what
//! was tried, on which file and server, and what to do; see [`ErrorKind`].
//!
//! A session outlives broken connections and restarts of the metadata server: operations wait meanwhile. It ends when the
//! metadata server gives the client up, or stays away for longer than [`ClientConfig::session_patience`].
//!
//! A write goes this way: [`FileDescriptor::write_at`] pins the range under a [`Token`] ([`ClientState`] has the token
//! stream that asks for it), the plan cuts it at the edges of stripe units into requests, and the requests go to all file
//! servers at once.

mod access;
pub mod blocking;
mod borrowed;
mod cache;
mod client;
mod config;
mod data;
mod descriptor;
mod error;
mod executor;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod links;
mod member;
mod metadata;
mod session;
mod shared_file;
mod state;
mod token;
mod types;

pub use client::Client;
pub use config::{
    CACHE_BYTES_VARIABLE, ClientConfig, DATA_PATH_VARIABLE, DataPath, METADATA_VARIABLE, SECRET_FILE_VARIABLE,
    parse_url,
};
pub use descriptor::FileDescriptor;
pub use error::{Error, ErrorKind};
pub use group::{CommitSummary, GroupGrant, GroupWatch, OpenedFile, SetGrant};
pub use pfs_core::cache::CacheCounters;
pub use state::ClientState;
pub use token::Token;
pub use types::{Access, DirectoryEntry, EntryKind, FileStatus, LayoutRequest, OpenOptions};
