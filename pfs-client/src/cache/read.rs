//! Small reads: from the cache, or from the servers into it, whole blocks where the token allows.

use super::Filling;
use crate::data::memory::destination::Destination;
use crate::data::transfer;
use crate::error::Error;
use crate::shared_file::SharedFile;
use crate::state::ClientState;
use crate::token::Token;
use pfs_core::cache::{Read, may_use_hit};
use pfs_core::extent::{Extent, ExtentSet};
use pfs_core::token::message::Mode;
use std::sync::Arc;

/// Reads all of `range`, which is pinned by `token` and lies before the end of the file.
pub(crate) async fn read(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    range: Extent,
    out: &mut [u8],
) -> Result<(), Error> {
    let (cache, mut first) = (&state.cache, true);
    loop {
        state.links.access.opened().await?;
        file.check_alive()?;
        let boot = file.stamp().boot;
        let mut changed = std::pin::pin!(cache.changed.notified());
        changed.as_mut().enable();
        match cache.look(file.key(), boot, range, out, std::mem::take(&mut first)) {
            (Read::Miss(_), true) => {
                changed.await;
                continue;
            }
            (Read::Miss(missing), false) => fetch(state, file, token, &missing, range, out).await?,
            (Read::Hit, _) => {}
        }
        if may_use_hit(boot, file.stamp().boot, state.links.access.is_open()) {
            return Ok(());
        }
    }
}

/// Asks for what a reader on his way will want next, if it is held and nobody has to be waited for. The ranges are in order
/// and disjoint.
pub(crate) fn read_ahead(state: &Arc<ClientState>, file: &Arc<SharedFile>, ranges: &[Extent]) {
    if ranges.is_empty() {
        return;
    }
    let (end, boot) = (file.known_size().bytes, file.stamp().boot);
    let there = ranges.iter().filter_map(|range| Extent::new(range.start(), range.end().min(end)));
    let missing: Vec<Extent> = there.flat_map(|range| state.cache.missing(file.key(), boot, range)).collect();
    if missing.is_empty() || !state.links.access.is_open() {
        return;
    }
    let Some(pin) = file.try_pin(Mode::Shared, &missing) else { return };
    let (state, file, pin) = (state.clone(), file.clone(), Arc::new(pin));
    state.io.clone().spawn(async move {
        if let Err(error) = fill(&state, &file, &pin, &missing).await {
            tracing::debug!(%error, "a read ahead has failed; whoever wants the bytes asks again");
        }
    });
}

/// Gets what is missing of `range` to `out`. The rest of the blocks of a small one comes into the cache with it; whoever reads
/// half a block or more at once may be one of several who share the file in pieces, and has no use for those of the others.
async fn fetch(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    missing: &[Extent],
    range: Extent,
    out: &mut [u8],
) -> Result<(), Error> {
    let block_bytes = state.cache.block_bytes();
    let wide = (range.len() < block_bytes / 2).then(|| whole_blocks(missing, block_bytes, file.known_size().bytes));
    let pinned = wide.and_then(|wide| Some((file.try_pin(Mode::Shared, &wide)?, wide)));
    let parts = match pinned {
        Some((pin, wide)) => fill(state, file, &Arc::new(pin), &wide).await?,
        None => fill(state, file, token, missing).await?,
    };
    for (extent, bytes) in &parts {
        for part in missing.iter().filter_map(|missing| missing.intersection(*extent)) {
            let (to, from) = (local(part.start(), range.start()), local(part.start(), extent.start()));
            let length = local(part.end(), part.start());
            out[to..to + length].copy_from_slice(&bytes[from..from + length]);
        }
    }
    Ok(())
}

/// Reads `wanted`, which is pinned by `token`, into the cache, and returns it.
async fn fill(
    state: &Arc<ClientState>,
    file: &Arc<SharedFile>,
    token: &Arc<Token>,
    wanted: &[Extent],
) -> Result<Vec<(Extent, Vec<u8>)>, Error> {
    let filling = Filling::begin(&state.cache, file.key(), file.stamp().boot, wanted);
    let destination = Destination::owned(wanted);
    transfer::read(state, file, token, wanted, &destination).await?;
    let parts: Vec<(Extent, Vec<u8>)> = wanted.iter().copied().zip(destination.take()).collect();
    filling.arrived(&parts);
    Ok(parts)
}

/// The blocks around what is missing, as far as the file is known to reach.
fn whole_blocks(missing: &[Extent], block_bytes: u64, size: u64) -> Vec<Extent> {
    let widen = |part: &Extent| {
        let start = part.start() / block_bytes * block_bytes;
        let end = part.end().div_ceil(block_bytes).saturating_mul(block_bytes).min(size).max(part.end());
        Extent::new(start, end).expect("contains a part")
    };
    let blocks: ExtentSet = missing.iter().map(widen).collect();
    blocks.extents().collect()
}

fn local(offset: u64, base: u64) -> usize {
    usize::try_from(offset - base).expect("inside of a buffer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_are_whole_blocks_before_the_end_of_the_file() {
        let range = |start, end| Extent::new(start, end).unwrap();
        let missing = [range(5, 6), range(20, 30), range(95, 99)];
        assert_eq!(whole_blocks(&missing, 16, 97), [range(0, 32), range(80, 99)]);
    }
}
