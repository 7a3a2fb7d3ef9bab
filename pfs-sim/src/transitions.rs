//! What the machines can do, as a list: a run tells how often each was reached, and one that was never reached means
//! that the world does not test it.

macro_rules! transitions {
    ($($name:ident: $machine:literal, $text:literal;)*) => {
        /// Something that a machine did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each has its text in the table")]
        pub enum Transition {
            $($name,)*
        }

        impl Transition {
            /// All of them.
            pub const ALL: &[Transition] = &[$(Transition::$name,)*];

            /// The machine and what it did.
            pub fn text(self) -> (&'static str, &'static str) {
                match self {
                    $(Transition::$name => ($machine, $text),)*
                }
            }
        }
    };
}

transitions! {
    GrantImmediate: "manager", "grant: at once";
    GrantAfterWait: "manager", "grant: after a revoke or behind others";
    GrantWidened: "manager", "grant: wider than required";
    GrantUnlimited: "manager", "grant: to the end of what was desired";
    GrantCollective: "manager", "grant: collective";
    GrantSet: "manager", "grant: part of a set";
    GrantHull: "manager", "grant: hull of too many ranges";
    GrantToManager: "manager", "grant: to the manager itself";
    GrantedWithOpen: "manager", "grant: all of a file with its open";
    RevokeFull: "manager", "revoke";
    RevokeDowngrade: "manager", "revoke: downgrade";
    RevokeOfGroup: "manager", "revoke: of a group";
    RevokeCovers: "manager", "revoke: covers a collective grant";
    Refusal: "manager", "refusal";
    RefusalCancelled: "manager", "refusal: cancelled";
    TableSplit: "manager", "table: a range is cut in the middle";
    AckOffersMore: "manager", "ack: offers more than was revoked";
    GraceWaited: "manager", "request waits for the end of the grace";
    PinFromHeld: "holder", "pin: from what is held";
    PinAfterGrant: "holder", "pin: after a grant";
    Queued: "holder", "operation waits behind an own one";
    RevokeIdle: "holder", "revoke: nothing in the way";
    RevokePinned: "holder", "revoke: waits for a pin";
    RevokeNotSeen: "holder", "revoke: waits for a collective grant";
    AckWithSize: "holder", "ack: with a size";
    AckUndrained: "holder", "ack: names an undrained write";
    RevokeLeft: "holder", "revoke: of a file that was left";
    Closed: "holder", "closed";
    WriteBackForRevoke: "holder", "dirty blocks written back for a revoke";
    Doubt: "holder", "doubt";
    DoubtDrained: "holder", "doubt: ended by a drain";
    DoubtGivenUp: "holder", "doubt: left to the metadata server";
    StaleInstall: "holder", "install: grant of an earlier boot";
    Installed: "holder", "install";
    SetClaimed: "holder", "set: claimed";
    SetEarly: "holder", "set: claimed before its grant";
    Reasserts: "holder", "re-asserts";
    ResumedHolder: "holder", "resumed";
    CacheHit: "cache", "read: hit";
    CacheMiss: "cache", "read: miss";
    CacheWrite: "cache", "write: dirty";
    CacheWriteBack: "cache", "write-back";
    CacheWriteBackFailed: "cache", "write-back: failed, dirty again";
    CacheWriteBackDropped: "cache", "write-back: given up, bytes dropped";
    CacheEvicted: "cache", "over its bound";
    SyncDone: "sync", "done";
    SyncFailed: "sync", "failed, for the next one to do";
    SyncTellsLoss: "sync", "tells that a server was started again";
    Connect: "session", "connects";
    ReconnectResume: "session", "connection is made again";
    Repeated: "session", "unseen messages are sent again";
    RepeatedIgnored: "session", "repeated message ignored";
    Gap: "session", "gap: connection dropped";
    Suspend: "session", "suspends";
    Resume: "session", "resumes";
    Reassert: "session", "re-asserts";
    Resumed: "session", "taken over by a new boot";
    GivenUp: "session", "end: given up";
    Unreachable: "session", "end: nobody answered";
    Record: "coordinator", "death recorded";
    FenceSent: "coordinator", "fence sent";
    FencedByCall: "coordinator", "fence confirmed by its call";
    FencedByHeartbeat: "coordinator", "fence confirmed by a heartbeat";
    FencedByLapse: "coordinator", "fence waived: the server has lapsed";
    FreedClient: "coordinator", "client freed";
    FreedGroup: "coordinator", "group freed";
    GraceOver: "coordinator", "grace over";
    StuckClient: "coordinator", "stuck client given up";
    StuckGroup: "coordinator", "stuck group given up";
    Drain: "coordinator", "drain on behalf of a client";
    Drained: "coordinator", "drain confirmed";
    MemberLost: "coordinator", "member lost";
    HelloRefused: "coordinator", "hello refused";
    Admitted: "fence", "operation admitted";
    RefusedEarlierBoot: "fence", "refused: earlier boot";
    RefusedLaterBoot: "fence", "refused: later boot";
    RefusedLapsed: "fence", "refused: lapsed";
    RefusedFencedClient: "fence", "refused: fenced client";
    RefusedFencedGroup: "fence", "refused: fenced group";
    RefusedDrained: "fence", "refused: drained";
    RefusedNoLease: "fence", "refused: no lease";
    BarrierWaited: "fence", "barrier waits for a chunk";
    Lapse: "fence", "lapse";
    DrainAnswered: "fence", "drain confirmed";
    FencesRead: "fence", "fences read at a start";
}

/// How often each transition was reached, and what was delivered.
#[derive(Clone, Debug)]
pub struct Stats {
    counts: Vec<u64>,
    /// Messages that arrived: frames, requests to file servers and answers.
    pub delivered: u64,
    /// Accesses that ended well.
    pub accesses: u64,
    /// Events that were handled.
    pub steps: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { counts: vec![0; Transition::ALL.len()], delivered: 0, accesses: 0, steps: 0 }
    }
}

impl Stats {
    /// Counts one.
    pub fn reach(&mut self, transition: Transition) {
        self.counts[transition as usize] += 1;
    }

    /// How often it was reached.
    pub fn count(&self, transition: Transition) -> u64 {
        self.counts[transition as usize]
    }

    /// Adds another schedule's.
    pub fn add(&mut self, other: &Stats) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum += more);
        self.delivered += other.delivered;
        self.accesses += other.accesses;
        self.steps += other.steps;
    }
}
