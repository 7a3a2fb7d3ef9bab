//! Sessions: how clients and metadata server stay together over broken connections, pauses and restarts, and how the
//! ones that do not come back are shut out.
//!
//! [`client::ClientSession`] runs in every client, [`coordinator::Coordinator`] in the metadata server. Both are state
//! machines without a clock: callers pass `now_ms`, milliseconds on CLOCK_BOOTTIME of their own machine, which only
//! grows. A [`link`] makes one ordered stream of messages out of any number of connections.
//!
//! Who stops first (rule 14): a client counts its lease from the *sending* of the last heartbeat that was answered, the
//! metadata server from its *receipt*; a file server counts its own from the sending of its heartbeats.

pub mod client;
pub mod coordinator;
pub mod link;

use crate::ids::{Boot, ClientId};

/// How long who may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Milliseconds after which a silent client or file server is given up.
    pub lease_ms: u64,
    /// Milliseconds between two heartbeats.
    pub heartbeat_ms: u64,
}

impl Terms {
    /// Milliseconds that whoever waits for another machine's lease to run out waits longer, since clocks run at
    /// different rates.
    pub fn margin_ms(self) -> u64 {
        self.lease_ms / 20 + 100
    }
}

/// A client's first message on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub client: ClientId,
    /// The start of the metadata server that it last spoke to.
    pub boot: Boot,
    /// The number of the last message of that start that it has seen.
    pub received: u64,
}

/// The metadata server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// This start of the metadata server. If it is another than the hello's, both sides count messages from 1 again and
    /// the client says what it holds.
    pub boot: Boot,
    /// The number of the client's last message of this start that was seen.
    pub received: u64,
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Repeated in the answer; increasing.
    pub number: u64,
    /// The number of the last message that was seen.
    pub received: u64,
    /// Grows with every request to a file server that was answered: shows that the client gets on (rule 8).
    pub progress: u64,
}

/// The answer to a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The heartbeat's.
    pub number: u64,
    /// The number of the client's last message that was seen.
    pub received: u64,
}
