//! What clients, file servers and the disk tell the metadata server, and what it tells them.

use crate::model::WriteId;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, OpenId, RequestId, Stamp};
use pfs_core::session::coordinator::Victim;
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello, Welcome};
use pfs_core::token::message::{Ack, Acquire, AcquireSet, FileSize, Grant, Reassertion, Revoke};

/// What a client sends on its connection.
#[derive(Clone, Debug)]
pub enum ClientFrame {
    /// The first frame.
    Hello(Hello),
    /// A sign of life.
    Heartbeat(Heartbeat),
    /// A message with its number.
    Message(u64, ClientMessage),
    /// The end.
    Fin,
}

/// What the metadata server sends on a connection.
#[derive(Clone, Debug)]
pub enum ServerFrame {
    /// The first frame.
    Welcome(Welcome),
    /// There is no session of that client.
    Refused,
    /// A heartbeat's answer.
    Heartbeat(HeartbeatAnswer),
    /// A message with its number.
    Message(u64, ServerMessage),
    /// The end.
    Fin,
}

/// What clients say.
#[derive(Clone, Debug)]
pub enum ClientMessage {
    Acquire(Acquire),
    AcquireSet(AcquireSet),
    Ack(Ack),
    Cancel(RequestId),
    /// An answer to a question for a size.
    Size {
        ask: u64,
        size: FileSize,
    },
    Reassert(Reassertion),
    ReassertDone,
    Call {
        number: u64,
        call: Call,
    },
}

/// What clients are told.
#[derive(Clone, Debug)]
pub enum ServerMessage {
    Grant(Grant, FileSize),
    Revoke(Revoke),
    Refused(RequestId),
    SizeQuery { ask: u64, file: FileId },
    Reasserted,
    MemberLost { group: GroupId, member: ClientId },
    GroupLost(GroupId),
    Reply { number: u64, reply: Reply },
}

/// A request that is answered by a reply. A change carries its number in the session, so it happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Open a file, for oneself; with this number for a request for all of it, which is granted with the answer or not at all.
    Open { file: usize, request: RequestId },
    /// Open a file for a new group.
    OpenTogether { file: usize, members: Vec<ClientId> },
    /// Cut a file, or make it longer.
    SetSize { file: usize, bytes: u64, write: WriteId },
    /// Ask for the exact size.
    GetSize { file: usize },
    /// Make a size durable.
    Synced { file: usize, size: FileSize },
    /// Close a file.
    Close { file: usize, open: OpenId, size: Option<FileSize> },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Opened { open: OpenId, group: Option<GroupId>, size: FileSize, grant: Option<Grant> },
    Done,
    Size(FileSize),
    Failed,
}

/// What comes without a session.
#[derive(Clone, Debug)]
pub enum MetaRpc {
    /// A process wants to be a client.
    Register { client: usize, life: u64, sent_ms: u64 },
    /// A file server has started, or its lease has run out.
    RegisterServer { server: usize, sent_ms: u64 },
    /// A file server's sign of life.
    Beat { server: usize, boot: Boot, version: u64, sent_ms: u64 },
    /// A fence is in force.
    Fenced { server: usize, victim: Victim },
    /// A drain is in force.
    Drained { server: usize, stamp: Stamp, sequence: u64 },
    /// Objects were cut.
    Truncated { server: usize, operation: u64 },
}

/// What has become durable.
#[derive(Clone, Debug)]
pub enum DiskDone {
    Client { id: ClientId, client: usize, life: u64, sent_ms: u64 },
    Server { server: usize, sent_ms: u64 },
    Victim(Victim),
    Freed(Victim),
    Intent { operation: u64 },
    Cut { operation: u64 },
    Synced { client: ClientId, number: u64, file: usize, size: FileSize },
    Closed { client: ClientId, number: u64, file: usize, open: OpenId, size: Option<FileSize> },
}
