//! Small writes: collected in the cache.

use super::write_back;
use crate::error::Error;
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use pfs_core::cache::Write;
use pfs_core::extent::Extent;
use std::sync::Arc;

/// Collects `bytes`, which go to `range`, pinned to write. False if the cache has no room for them: the caller writes them
/// to the servers, which is how fast a program can go that writes more than the servers take.
pub(crate) async fn write(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    range: Extent,
    bytes: &[u8],
) -> Result<bool, Error> {
    state.links.access.opened().await?;
    file.check_alive()?;
    let taken = state.cache.collect(file.key(), file.stamp().boot, range, bytes);
    if taken == Write::Cached {
        file.record_write(range.end());
    }
    write_back::in_background(state);
    // A lease that ran out meanwhile is as good as none before: the call ends when it is known that the bytes will do.
    state.links.access.opened().await?;
    Ok(taken == Write::Cached)
}
