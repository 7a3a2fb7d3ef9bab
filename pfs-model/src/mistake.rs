//! Deliberate mistakes, for showing that the model would find them.

/// A rule that is left out. The numbers are those of `docs/TOKENS.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    /// The waiting request is granted when the revokes are sent (5).
    GrantBeforeAck,
    /// An operation of unknown outcome does not hold back the ack (7).
    DoubtForgotten,
    /// A held ack passes because a file server's lease has run out, and the server, when it is back, is not told of the
    /// drain (7, 16).
    DrainForgottenByLapse,
    /// A client is given up while it still believes that it has its lease (14).
    GivenUpBeforeItStops,
    /// A fence is answered while a write of that stamp is inside a chunk (15).
    FenceAnsweredTooEarly,
    /// The stamp is checked when a request begins and not before each chunk (15).
    ChunksUnchecked,
    /// A silent file server is taken to have stopped before its own lease has run out (16).
    ClientLeaseInPlaceOfServers,
    /// A dead client's tokens are freed without a fence (17).
    FenceSkipped,
    /// A death is not durable when its fences are sent (17).
    DeathNotRecorded,
    /// A restarted manager grants at once (18).
    GraceSkipped,
    /// A restarted manager does not wait for the file servers (18).
    GraceIgnoresServers,
    /// A file server that starts has forgotten its fences and serves before it is told them (20).
    FencesForgotten,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Mistake; 12] = [
        Mistake::GrantBeforeAck,
        Mistake::DoubtForgotten,
        Mistake::DrainForgottenByLapse,
        Mistake::GivenUpBeforeItStops,
        Mistake::FenceAnsweredTooEarly,
        Mistake::ChunksUnchecked,
        Mistake::ClientLeaseInPlaceOfServers,
        Mistake::FenceSkipped,
        Mistake::DeathNotRecorded,
        Mistake::GraceSkipped,
        Mistake::GraceIgnoresServers,
        Mistake::FencesForgotten,
    ];
}
