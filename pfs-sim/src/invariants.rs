//! What must hold, each as a function that looks at the world after a step that may have changed it.

use crate::metadata::server_number;
use crate::plan::Node;
use crate::world::World;
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, Holder, Stamp};
use pfs_core::session::coordinator::Victim;
use pfs_core::token::message::Mode;

/// The invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No two holders have a byte, one of them to write, and can both still reach a disk.
    NoConflictingHolders,
    /// No write lands after its fence or its drain was confirmed, or its client's tokens were freed.
    NoWriteAfterItsFence,
    /// No write lands where another holder has a token that a file server would accept: neither late nor in doubt.
    NoWriteUnderAnothersToken,
    /// Each numbered message of a session is handled once, and none before those before it.
    MessagesAreHandledOnce,
    /// No request is granted before an earlier one that it conflicts with and that still waits.
    RequestsAreGrantedInOrder,
    /// Nobody is fenced whose end is not durable.
    EndsAreRecordedFirst,
    /// Nothing is taken over of a client whose end was recorded.
    TheGivenUpStayOut,
    /// Nothing of a client or a group is free while it may still use its cache.
    TheFreedHaveStopped,
    /// At the end of a grace no file server serves an earlier boot.
    EarlierBootsAreOver,
    /// Each byte that is read is of the last write before, or of one at the same time.
    ReadsAreLinearizable,
    /// What a sync has covered is not lost by a crash.
    SyncedBytesAreKept,
    /// A size that is asked for is neither smaller than what was written nor larger than what was cut.
    SizesAreExact,
    /// Once everything is healed, everything that waits is answered.
    EverythingIsAnswered,
}

impl World {
    /// Looks at everything that the last step may have changed.
    pub(crate) fn check_the_step(&mut self) {
        if std::mem::take(&mut self.holders_changed) {
            self.no_conflicting_holders();
        }
    }

    /// [`Invariant::NoConflictingHolders`]. What a client believes to hold counts as long as one file server would serve it.
    fn no_conflicting_holders(&mut self) {
        let mut claims: Vec<(Holder, ClientId, usize, Extent, Mode)> = Vec::new();
        for client in 0..self.clients.len() {
            for (id, open) in self.clients[client].holders() {
                let stamp = Stamp { boot: open.tokens.boot(), holder: open.holder, incarnation: id };
                if self.reaches_a_disk(stamp) {
                    claims.extend(open.tokens.held().map(|(range, mode)| (open.holder, id, open.file, range, mode)));
                }
            }
        }
        for (number, a) in claims.iter().enumerate() {
            for b in &claims[..number] {
                if a.0 != b.0 && a.2 == b.2 && a.3.overlaps(b.3) && a.4.conflicts(b.4) {
                    let text = format!(
                        "{} ({}) has {} {:?} and {} ({}) has {} {:?} of file {}",
                        a.0,
                        a.1,
                        a.4,
                        a.3,
                        b.0,
                        b.1,
                        b.4,
                        b.3,
                        a.2 + 1
                    );
                    return self.violate(Invariant::NoConflictingHolders, text);
                }
            }
        }
    }

    /// [`Invariant::NoWriteUnderAnothersToken`], when bytes of a write under this stamp reach a disk.
    pub(crate) fn no_write_under_anothers_token(&mut self, stamp: Stamp, file: usize, range: Extent) {
        let others = self.clients.iter().flat_map(|client| client.holders());
        let found =
            others.filter(|(_, open)| open.file == file && open.holder != stamp.holder).find_map(|(id, open)| {
                let (held, mode) = open.tokens.held().find(|(held, _)| held.overlaps(range))?;
                let other = Stamp { boot: open.tokens.boot(), holder: open.holder, incarnation: id };
                self.reaches_a_disk(other).then(|| format!("{} ({id}) has {mode} {held:?}", open.holder))
            });
        if let Some(other) = found {
            let text = format!("a write of {range:?} of file {} under {stamp} landed while {other}", file + 1);
            self.violate(Invariant::NoWriteUnderAnothersToken, text);
        }
    }

    /// [`Invariant::MessagesAreHandledOnce`]: message `number` is handled, the last one of its stream was `last`.
    pub(crate) fn message_is_the_next(&mut self, last: u64, number: u64, of: impl FnOnce() -> String) {
        if number != last + 1 {
            let text = format!("message {number} {} was handled after message {last}", of());
            self.violate(Invariant::MessagesAreHandledOnce, text);
        }
    }

    /// [`Invariant::TheFreedHaveStopped`].
    pub(crate) fn the_freed_have_stopped(&mut self, victim: Victim) {
        let uses = |number: &usize| self.clients[*number].may_use_its_cache(victim, self.clock(Node::Client(*number)));
        if let Some(number) = (0..self.clients.len()).find(uses) {
            let text = format!("C{} may use what it has in its cache, and {victim:?} is freed", number + 1);
            self.violate(Invariant::TheFreedHaveStopped, text);
        }
    }

    /// [`Invariant::EarlierBootsAreOver`].
    pub(crate) fn earlier_boots_are_over(&mut self, boot: Boot) {
        let serves = |number: &usize| self.servers[*number].serves_before(boot, self.clock(Node::Server(*number)));
        if let Some(number) = (0..self.servers.len()).find(serves) {
            let text = format!("S{} serves boots before {boot}, and its grace is over", number + 1);
            self.violate(Invariant::EarlierBootsAreOver, text);
        }
    }

    fn reaches_a_disk(&self, stamp: Stamp) -> bool {
        self.servers.iter().enumerate().any(|(number, server)| {
            debug_assert_eq!(number, server_number(crate::file_server::id_of(number)));
            server.can_be_reached(stamp, self.clock(Node::Server(number)))
        })
    }
}
