//! What a member of a group does for it with an open file: tokens that one gets for several, and what members tell each
//! other of the size.

use crate::descriptor::FileDescriptor;
use crate::error::Error;
use crate::group::{GroupGrant, SetGrant};
use crate::token::Token;
use pfs_core::extent::Extent;
use pfs_core::ids::ClientId;
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::{FileSize, Mode};

impl FileDescriptor {
    /// Pins `extents` (disjoint, in order) if what is held now covers them; never asks anybody.
    pub fn try_pin(&self, mode: Mode, extents: &[Extent]) -> Option<Token> {
        self.shared.try_pin(mode, extents)
    }

    /// Waits until `extents` (disjoint, in order) are pinned: nobody else gets a conflicting token before it is dropped.
    pub async fn acquire(&self, mode: Mode, extents: &[Extent]) -> Result<Token, Error> {
        self.shared.acquire(mode, extents).await
    }

    /// Asks for tokens for the whole group. Every member must [install](Self::install) the grant.
    pub async fn acquire_for_group(
        &self,
        mode: Mode,
        required: &[RangePattern],
        desired: Option<Extent>,
    ) -> Result<GroupGrant, Error> {
        self.shared.acquire_for_group(mode, required, desired).await
    }

    /// Takes over a grant of the group and pins `extents` (disjoint, in order), this member's part of it.
    pub async fn install(&self, grant: GroupGrant, mode: Mode, extents: &[Extent]) -> Result<Token, Error> {
        self.shared.reach_boot(grant.message().grant.boot).await?;
        self.shared.install(&grant, mode, extents)
    }

    /// Asks for tokens for several clients that have this file open for themselves and in a group together, all in one
    /// decision: each gets what is named for it. This client must have a part. No two parts may have a byte in common
    /// unless the mode is shared. Every one of them must [claim](Self::claim_set) or [abandon](Self::abandon_set) its part.
    pub async fn acquire_set(&self, mode: Mode, parts: Vec<(ClientId, Vec<RangePattern>)>) -> Result<SetGrant, Error> {
        self.shared.acquire_set(mode, parts).await
    }

    /// Waits for this client's part of a set and pins it. [`ErrorKind::Stale`](crate::ErrorKind::Stale): the metadata
    /// server was restarted meanwhile, and the set is void for all.
    pub async fn claim_set(&self, grant: &SetGrant) -> Result<Token, Error> {
        self.shared.claim_set(grant).await
    }

    /// Gives this client's part of a set back, whether it has arrived or not.
    pub fn abandon_set(&self, grant: &SetGrant) {
        self.shared.abandon_set(grant);
    }

    /// Gives back what was granted on the request of a client and not claimed: nobody will say what it is for.
    pub fn abandon_sets_of(&self, client: ClientId) {
        self.shared.abandon_sets_of(client);
    }

    /// A lower bound of the file's size, with its generation.
    pub fn known_size(&self) -> FileSize {
        self.shared.known_size()
    }

    /// Takes over what another member knows about the size.
    pub fn learn_size(&self, size: FileSize) {
        self.shared.learn_size(size);
    }
}
