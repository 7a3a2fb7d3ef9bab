//! The token protocol: who may read and write which bytes of a file.
//!
//! [`manager::TokenManager`] runs in the metadata server and decides; [`holder::TokenHolder`] runs in every client and
//! knows what this client may do now. They talk by the messages in [`message`]. The rules are in `docs/TOKENS.md`.

mod file;
pub mod holder;
pub mod manager;
pub mod message;
pub mod size;
pub mod table;

pub use manager::Counters;

/// Most ranges of one holder in one file, and most ranges of one request.
pub const RANGES_PER_HOLDER_MAX: u64 = 65_536;
/// Most ranges of one holder in one file that are taken over after a restart. More than it can have been granted: a holder
/// may know its ranges in smaller pieces than the manager does.
const REASSERTED_RANGES_MAX: u64 = 4 * RANGES_PER_HOLDER_MAX;
/// Most revokes that one request sends to one holder; past it the hull of all is revoked.
const REVOKES_PER_HOLDER_MAX: usize = 64;
/// How far a grant is widened after a conflict. With every request that meets none it is twice as far, and at least as far as the
/// request is long.
const WIDEN_BYTES_MIN: u64 = 64 * 1024;
