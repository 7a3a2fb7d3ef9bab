//! Deliberate mistakes, for showing that the simulator would find them.
//!
//! Only a build with `--cfg pfs_mutants` has them, and there only the one that is switched on. In every other build
//! [`mutant!`](crate::mutant!) is the constant `false`.

/// Whether a deliberate mistake is switched on: `mutant!(GrantBeforeAck)`. `false` in every build for use.
#[cfg(not(pfs_mutants))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        false
    };
}

/// Whether a deliberate mistake is switched on: `mutant!(GrantBeforeAck)`.
#[cfg(pfs_mutants)]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::is_on($crate::mutant::Mutant::$name)
    };
}

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A deliberate mistake in one of the state machines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];

            /// What it does wrong.
            pub fn description(self) -> &'static str {
                match self {
                    $(Mutant::$name => concat!($($doc,)*).trim_ascii(),)*
                }
            }
        }
    };
}

mutants! {
    // The manager.
    /// The waiting request is granted when the revoke is sent, not when it was acked (5).
    GrantBeforeAck,
    /// A group's range is free when its first member has acked (5).
    FirstMemberAcksForAll,
    /// A range that is cut in the middle loses what lies behind the cut (4).
    SplitLosesTail,
    /// Neighbouring ranges of different holders are joined into one (4).
    MergeAcrossHolders,
    /// A holder gets its own range again while a revoke of it is under way (6).
    OwnRangeUnderRevoke,
    /// What an ack offers beyond the revoke is freed although a newer grant named it (6).
    OfferAfterNewerGrant,
    /// A revoke to a group does not name the collective grant before it (6).
    RevokeOvertakesGrant,
    /// A waiting request is passed over by later ones that it conflicts with (2).
    QueueJumped,
    /// An open brings all of the file although others have something of it (3).
    OpenTakesFromOthers,
    /// A size of an earlier generation is taken over: a report after a truncate undoes it (21).
    LateSizeReport,
    // The holder.
    /// A revoke is acked before dirty blocks are at the servers (5).
    AckBeforeFlush,
    /// A revoke is acked while an operation is still running in the range (5).
    AckBeforeOperationEnds,
    /// An operation of unknown outcome does not hold back the ack (7).
    DoubtForgotten,
    /// A file is closed while a write of it is running or in doubt (7).
    ClosedInUse,
    /// A collective grant of an earlier boot is installed (6, 18).
    OldBootGrantInstalled,
    // The cache.
    /// A clean block is used after its token was given up (13).
    StaleBlockKept,
    /// Cached blocks are used after the lease has run out (13, 14).
    HitAfterLease,
    // Syncs.
    /// A sync that fails forgets what it could not commit: the next one succeeds without it (24, 25).
    FailedSyncForgets,
    // Sessions.
    /// A message that is repeated after a reconnection is applied again (19).
    RepeatedMessageApplied,
    /// Messages that were not seen are not repeated on the new connection (19).
    UnseenNotRepeated,
    /// A dead client's tokens are freed without a fence (15, 17).
    FenceSkipped,
    /// A fence is sent before the death is durable (17).
    FenceBeforeRecord,
    /// The tokens of one that does not give way are freed while it may still read its own cache (8).
    FreedBeforeItStops,
    /// An unreachable file server is waited for only as long as the client's lease (16).
    ClientLeaseInPlaceOfServers,
    /// A client that was given up may say again what it held (17).
    ReassertAcceptedLate,
    /// After a restart tokens are granted before every known client has spoken (18).
    GraceIgnoresClients,
    /// After a restart tokens are granted before every file server refuses earlier boots (18).
    GraceIgnoresServers,
    // The fence.
    /// A fence is answered while an admitted write has chunks to come (15).
    FenceAnsweredTooEarly,
    /// The stamp is checked when an operation begins and not before each chunk (15).
    ChunksUnchecked,
    /// A file server that starts has forgotten its fences and serves before it was told them again (20).
    FencesForgotten,
    /// A file server serves after its own lease has run out (16).
    ServerLeaseIgnored,
    /// A drain is confirmed and the operation is applied later (7).
    DrainForgotten,
}

#[cfg(pfs_mutants)]
mod switch {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Switches one mistake on in this thread, or all off.
    pub fn switch(mutant: Option<Mutant>) {
        ON.set(mutant);
    }

    /// Whether a mistake is switched on in this thread.
    pub fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }
}

#[cfg(pfs_mutants)]
pub use switch::{is_on, switch};
