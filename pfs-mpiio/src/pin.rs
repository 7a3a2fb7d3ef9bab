//! The token of a collective access.
//!
//! Every rank tries to pin what it needs. If one can not, all let go, one rank asks once for all, and every rank pins its
//! part of what was granted. So a collective makes at most one token request, and no rank waits for a token while it has
//! pins. In non-atomic mode the group is one holder; in atomic mode every rank is one, and the request names for each rank
//! exactly what it will move at the servers, which is disjoint in a write.
//!
//! A grant that was made before a restart of the metadata server and arrives after it is void. The ranks agree that one of
//! them has such a grant, let go, and ask again.

use crate::atomic::Io;
use crate::drive;
use crate::error::{Error, ErrorClass};
use crate::file::OpenFile;
use crate::group::ROOT;
use crate::times::{Phase, Watch};
use pfs_client::{ErrorKind, GroupGrant, SetGrant, Token};
use pfs_core::collective::CollectivePlan;
use pfs_core::extent::Extent;
use pfs_core::token::message::{FileSize, Mode};
use std::sync::Arc;
use std::time::Duration;

/// How often void grants are asked for again. Each time needs a restart of the metadata server, or a rank that has not
/// heard of the last one yet.
const ATTEMPTS_MAX: u32 = 10;
/// The pause before the second attempt; it doubles with each one.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// A rank's hold on its part. A rank without it takes part in the exchange and can do no I/O.
pub(crate) struct Pinned(Result<Option<Arc<Token>>, Error>);

impl Pinned {
    pub(crate) fn token(&self) -> Result<&Arc<Token>, Error> {
        match &self.0 {
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(Error::new(ErrorClass::Io, "the plan gives this rank bytes without a token for them")),
            Err(error) => Err(error.clone()),
        }
    }
}

/// What one rank got: a token, nothing where it needs none, or its own error.
type Got = Result<Option<Token>, pfs_client::Error>;

impl OpenFile {
    /// Pins what this rank needs, with one request for all ranks if a rank does not hold it. The same error on all ranks, and
    /// the same size: the largest in the generation of `size` that a rank knows under its pin. There is none if a rank had no
    /// pin at first, or knows of another generation.
    pub(crate) async fn pin(
        &self,
        mode: Mode,
        plan: &CollectivePlan,
        size: FileSize,
        watch: &mut Watch<'_>,
    ) -> Result<(Pinned, Option<FileSize>), Error> {
        let io = self.io();
        let needs = match io {
            Io::Group(_) => plan.needs(self.group.rank()),
            Io::Own(_) => plan.share(self.group.rank()),
        };
        let mut pause = PAUSE_MIN;
        for _ in 0..ATTEMPTS_MAX {
            let held = match needs.is_empty() {
                true => Some(None),
                false => io.try_pin(mode, &needs).map(Some),
            };
            let known = io.known_size();
            let is_same = known.generation == size.generation;
            let own = [held.is_none().into(), (!is_same).into(), if is_same { known.bytes } else { 0 }];
            let [missing, other, bytes] = self.group.largest(own).await?;
            watch.end(Phase::Agree);
            if missing == 0 {
                let size = (other == 0).then_some(FileSize { generation: size.generation, bytes });
                return Ok((Pinned(Ok(held.flatten().map(Arc::new))), size));
            }
            drop(held);
            let got = match &io {
                Io::Group(_) => self.ask_for_group(mode, plan, &needs).await?,
                Io::Own(_) => self.ask_for_shares(mode, plan, &needs).await?,
            };
            let is_void = got.as_ref().is_err_and(|error| error.kind() == ErrorKind::Stale);
            let is_usable = self.group.all(!is_void).await?;
            watch.end(Phase::TokenWait);
            if is_usable {
                return Ok((Pinned(got.map(|token| token.map(Arc::new)).map_err(Error::from)), None));
            }
            drop(got);
            drive::sleep(pause).await;
            watch.end(Phase::TokenWait);
            pause *= 2;
        }
        let message = format!("the token of a collective access was granted {ATTEMPTS_MAX} times and void each time");
        Err(Error::new(ErrorClass::Io, message))
    }

    /// Rank 0 asks for the group, which is one holder.
    async fn ask_for_group(&self, mode: Mode, plan: &CollectivePlan, needs: &[Extent]) -> Result<Got, Error> {
        let ask = async {
            let grant = self.file.acquire_for_group(mode, plan.tokens(), Some(Extent::ALL)).await?;
            Ok(grant.to_bytes())
        };
        let grant = self.group.ask(ROOT, ask).await?;
        Ok(match GroupGrant::from_bytes(&grant) {
            Ok(grant) => self.file.install(grant, mode, needs).await.map(Some),
            Err(error) => Err(error),
        })
    }

    /// The first rank that has a share asks for all of them, each in the name of its rank.
    async fn ask_for_shares(&self, mode: Mode, plan: &CollectivePlan, needs: &[Extent]) -> Result<Got, Error> {
        let shares = (0..self.group.size()).map(|rank| plan.share_patterns(rank));
        let (ranks, parts): (Vec<u32>, Vec<_>) =
            (0..).zip(self.members.iter().copied().zip(shares)).filter(|(_, (_, share))| !share.is_empty()).unzip();
        let Some(&asker) = ranks.first() else { return Ok(Ok(None)) };
        let io = self.io();
        let granted = self.group.ask(asker, async { Ok(io.acquire_set(mode, parts).await?.to_bytes()) }).await;
        if self.group.lost().is_some() {
            // A part may have been granted, or will be, and nobody will say for what. The close gives it back.
            self.atomic.abandon();
        }
        let set = match SetGrant::from_bytes(&granted?) {
            Ok(set) => set,
            Err(error) => return Ok(Err(error)),
        };
        if needs.is_empty() {
            return Ok(Ok(None));
        }
        Ok(io.claim_set(&set).await.map(Some).inspect_err(|_| io.abandon_set(&set)))
    }
}
