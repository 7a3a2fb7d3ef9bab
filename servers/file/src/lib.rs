//! The file server: stripes as local objects, fencing, durability.
//!
//! ```text
//! gRPC ─► streamed ─────────────► server ─► gate (pfs_core::fence + lease) ─► store
//!         writes, as they arrive  the work  who may, now                      objects
//!           └──► service ───────────▲ ▲
//!                everything else      │
//!                    registration ────┘  label, fences, lease, from the metadata server
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

mod boot_time;
mod buffers;
mod chunks;
#[cfg(test)]
mod fed_body;
mod fence_file;
mod gate;
mod instance;
mod label;

mod metadata_link;
mod metered;
mod registration;
mod server;
mod service;
mod start;
pub mod store;
mod streamed;

pub use label::{FORMAT_VERSION, LabelError};
pub use registration::RegistrationError;
pub use start::{Config, start};
