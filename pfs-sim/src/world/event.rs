//! Events, and their order.

use crate::client::{DataAnswer, DataRequest};
use crate::collective::MpiMessage;
use crate::file_server::ServerRpc;
use crate::metadata::{DiskDone, MetaRpc};
use crate::plan::Node;
use pfs_core::ids::ClientId;

/// What happens.
#[derive(Debug)]
pub enum Event {
    /// The next frame of a connection's direction arrives.
    Frame { connection: usize, up: bool },
    /// A client's connection is accepted by the metadata server, or is not.
    Accept { connection: usize },
    /// The client learns how its attempt to connect has ended.
    Connected { connection: usize, made: bool },
    /// The client learns that its connection is broken.
    Broken { connection: usize },
    /// A datagram arrives.
    Arrive { from: Node, to: Node, event: Box<Event> },
    /// A client's session wants to be called.
    ClientTimer { client: usize, life: u64 },
    /// A client looks after its requests.
    ClientPump { client: usize, life: u64 },
    /// A client's application does its next thing.
    ClientWork { client: usize, life: u64 },
    /// A client starts.
    ClientStart { client: usize, life: u64 },
    /// A client was registered.
    ClientRegistered { client: usize, life: u64, id: ClientId, boot: pfs_core::ids::Boot, sent_ms: u64 },
    /// A request to a file server leaves the client.
    DataSend { client: usize, life: u64, request: Box<DataRequest> },
    /// A request arrives at a file server's start.
    Data { server: usize, instance: u64, request: Box<DataRequest> },
    /// A file server has answered.
    Answer { client: usize, life: u64, answer: Box<DataAnswer> },
    /// A rank gets a message of another one.
    Mpi { client: usize, life: u64, message: Box<MpiMessage> },
    /// The metadata server is told something by a file server, or is asked for a session.
    Meta { rpc: Box<MetaRpc> },
    /// Something of the metadata server is durable.
    MetaDisk { epoch: u64, done: Box<DiskDone> },
    /// The coordinator wants to be called.
    MetaTimer { epoch: u64 },
    /// The metadata server tries again what was not confirmed.
    MetaRetry { epoch: u64 },
    /// The metadata server starts.
    MetaStart { epoch: u64 },
    /// A file server is told something by the metadata server.
    Server { server: usize, rpc: Box<ServerRpc> },
    /// A file server looks at its lease and sends what is due.
    ServerTimer { server: usize, instance: u64 },
    /// An operation of a file server goes on.
    ServerChunk { server: usize, instance: u64, operation: u64 },
    /// A file server starts.
    ServerStart { server: usize, instance: u64 },
    /// A fault of the plan begins.
    Fault { number: usize },
    /// Accesses end and everything is healed.
    Heal,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) at: u64,
    pub(super) sequence: u64,
    pub(super) event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// Whose event it is: while that node stands still, it waits.
pub(super) fn node_of(event: &Event) -> Option<Node> {
    match event {
        Event::ClientTimer { client, .. }
        | Event::ClientPump { client, .. }
        | Event::ClientWork { client, .. }
        | Event::ClientStart { client, .. }
        | Event::ClientRegistered { client, .. }
        | Event::DataSend { client, .. }
        | Event::Mpi { client, .. } => Some(Node::Client(*client)),
        Event::MetaDisk { .. } | Event::MetaTimer { .. } | Event::MetaRetry { .. } => Some(Node::Meta),
        Event::ServerTimer { server, .. } | Event::ServerChunk { server, .. } => Some(Node::Server(*server)),
        _ => None,
    }
}

pub(super) fn kind_of(event: &Event) -> u64 {
    match event {
        Event::Frame { connection, up } => 1 + 2 * *connection as u64 + u64::from(*up),
        Event::ClientTimer { client, .. } => 1001 + *client as u64,
        Event::ClientWork { client, .. } => 1101 + *client as u64,
        Event::Answer { client, .. } => 1201 + *client as u64,
        Event::ServerChunk { server, operation, .. } => 1301 + *server as u64 * 1000 + operation,
        Event::Arrive { .. } => 1401,
        Event::MetaDisk { .. } => 1501,
        _ => 1601,
    }
}
