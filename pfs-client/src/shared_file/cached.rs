//! The file's part in the client's cache: who uses it, and what a revoke has to wait for.
//!
//! Invariant: blocks of a file are in the cache only while a descriptor uses it. When the last one has gone the file is
//! closed for good; the next open makes another [`SharedFile`], since the tokens of this one go with its opens.

use super::{Inner, SharedFile};
use crate::cache::{Cache, write_back};
use crate::state::ClientState;
use crate::token::Token;
use parking_lot::MutexGuard;
use pfs_core::cache::FileKey;
use pfs_core::extent::Extent;
use pfs_core::ids::RevokeId;
use pfs_core::token::holder::Ranges;
use pfs_core::token::message::Mode;
use std::sync::{Arc, Weak};

/// Where the file's blocks are.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) cache: Arc<Cache>,
    pub(super) state: Weak<ClientState>,
}

impl SharedFile {
    /// Whose blocks.
    pub(crate) fn key(&self) -> FileKey {
        FileKey { holder: self.holder, file: self.id }
    }

    /// One more descriptor uses the file; false if the last one has gone.
    pub(crate) fn join(&self) -> bool {
        let mut inner = self.inner.lock();
        let open = inner.users > 0;
        inner.users += usize::from(open);
        open
    }

    /// Pins ranges with dirty blocks, which are held, until they are written.
    pub(crate) fn pin_for_write_back(self: &Arc<Self>, extents: &[Extent]) -> Token {
        let operation = self.inner.lock().tokens.begin_write_back(Ranges::from(extents));
        Token::new(self.clone(), Some(operation), Mode::Exclusive)
    }

    /// The cache is done with what a revoke takes.
    pub(crate) fn written_back(self: &Arc<Self>, revoke: RevokeId) {
        let mut inner = self.inner.lock();
        inner.tokens.written_back(revoke, || self.links.next_request());
        self.pump(&mut inner);
    }

    /// Empties the cache where a revoke takes a range: at once if nothing is dirty there, in the background otherwise.
    pub(super) fn give_up(
        self: &Arc<Self>,
        inner: &mut MutexGuard<'_, Inner>,
        revoke: RevokeId,
        ranges: Vec<Extent>,
        downgrade: bool,
    ) {
        if self.home.cache.give_up_clean(self.key(), &ranges, downgrade) {
            inner.tokens.written_back(revoke, || self.links.next_request());
        } else if let Some(state) = self.home.state.upgrade() {
            write_back::for_revoke(&state, self.clone(), revoke, ranges, downgrade);
        }
    }
}
