//! The file server: stripes as local objects, fencing, durability.
//!
//! ```text
//! gRPC ─► metered ─► service ─► server ─► gate (pfs_core::fence + lease) ─► store
//!         memory     checks     the work  who may, now                      objects
//!                                  ▲
//!                  registration ───┘  label, fences, lease, from the metadata server
//! ```
//!
//! A store directory:
//!
//! ```text
//! lock           held while a server uses the directory
//! label.json     whose store it is; a store that lost it is refused
//! instance       count of starts
//! fences.json    who is refused
//! objects/       see the POSIX store
//! ```

mod buffers;
mod chunks;
mod fence_file;
mod gate;
mod instance;
mod label;
mod lease;
mod metadata_link;
mod metered;
mod registration;
mod server;
mod service;
mod start;
pub mod store;

pub use label::{FORMAT_VERSION, LabelError};
pub use registration::RegistrationError;
pub use start::{Config, start};
