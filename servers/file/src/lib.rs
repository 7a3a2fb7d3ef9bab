//! The file server: stripes as local objects, fencing, durability.
//!
//! ```text
//! gRPC ─► wire ─────────────────► server ─► gate (pfs_core::fence + lease) ─► store
//!         reads and writes        the work  who may, now                      objects
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

mod allocating;
mod arriving;
mod boot_time;
mod buffers;
mod chunks;
mod fence_file;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod instance;
mod label;
mod metadata_link;
mod metered;
mod metrics;
mod reading;
mod registration;
mod replies;
mod scrub;
mod server;
mod service;
mod start;
pub mod store;
mod traffic;
mod wire;
mod writing;

pub use label::{FORMAT_VERSION, LabelError};
pub use registration::RegistrationError;
pub use start::{Config, start, start_over};
