//! Whether bytes that were copied out of the cache may be given to the caller (rule 13).

use crate::ids::Boot;

/// Decides after the copy: `copied` is the boot under which the bytes were taken out of the cache, `now` the boot of the
/// holder's stamps after it, `may_access` what the session says of the lease after it. If it is false the access waits
/// until the session goes on, and copies again.
pub fn may_use_hit(copied: Boot, now: Boot, may_access: bool) -> bool {
    (may_access || crate::mutant!(HitAfterLease)) && copied == now
}
