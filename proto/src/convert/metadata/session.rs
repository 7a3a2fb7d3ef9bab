//! Sessions: who calls, which of its changes a call is, and where the file servers are.

use super::super::{ConvertError, Problem, Result, address, bounded, each, id, text};
use super::SERVERS_MAX;
use crate::{PROTOCOL_VERSION, v1};
use pfs_core::ids::{Boot, ClientId, Instance, ServerId};

/// Changes of one session that can be under way at once.
pub const SESSION_SLOTS: u32 = 64;

/// Names one change of one client, so that a repetition is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    /// The client.
    pub client: ClientId,
    /// Below [`SESSION_SLOTS`]; a slot has one operation at a time.
    pub slot: u32,
    /// From 1; each new operation of a slot raises it by 1.
    pub sequence: u64,
}

impl TryFrom<v1::OperationId> for OperationId {
    type Error = ConvertError;

    fn try_from(operation: v1::OperationId) -> Result<Self> {
        bounded(operation.slot.into(), "slot", 0, u64::from(SESSION_SLOTS) - 1)?;
        Ok(OperationId {
            client: id(operation.client_id, "client_id", ClientId::new)?,
            slot: operation.slot,
            sequence: bounded(operation.sequence, "sequence", 1, u64::MAX)?,
        })
    }
}

impl From<OperationId> for v1::OperationId {
    fn from(operation: OperationId) -> Self {
        v1::OperationId { client_id: operation.client.get(), slot: operation.slot, sequence: operation.sequence }
    }
}

/// What an open handle may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read only.
    Read,
    /// Write only.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether it allows reads.
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether it allows writes.
    pub fn writes(self) -> bool {
        self != Access::Read
    }

    pub(in crate::convert) fn from_wire(number: i32, field: &str) -> Result<Self> {
        match v1::Access::try_from(number) {
            Ok(v1::Access::Read) => Ok(Access::Read),
            Ok(v1::Access::Write) => Ok(Access::Write),
            Ok(v1::Access::ReadWrite) => Ok(Access::ReadWrite),
            Ok(v1::Access::Unspecified) | Err(_) => Err(ConvertError::new(field, Problem::UnknownChoice(number))),
        }
    }
}

impl From<Access> for v1::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => v1::Access::Read,
            Access::Write => v1::Access::Write,
            Access::ReadWrite => v1::Access::ReadWrite,
        }
    }
}

/// Where a file server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    /// The server.
    pub server: ServerId,
    /// "host:port" at which clients reach it.
    pub address: String,
    /// Which of its starts this is.
    pub instance: Instance,
    /// Whether its last heartbeat is recent.
    pub live: bool,
}

impl TryFrom<v1::ServerAddress> for ServerAddress {
    type Error = ConvertError;

    fn try_from(message: v1::ServerAddress) -> Result<Self> {
        Ok(ServerAddress {
            server: id(message.server_id, "server_id", ServerId::new)?,
            address: address(message.address, "address")?,
            instance: id(message.instance, "instance", Instance::new)?,
            live: message.live,
        })
    }
}

impl From<ServerAddress> for v1::ServerAddress {
    fn from(server: ServerAddress) -> Self {
        v1::ServerAddress {
            server_id: server.server.get(),
            address: server.address,
            instance: server.instance.get(),
            live: server.live,
        }
    }
}

/// The version that a peer speaks; only ours is possible.
pub(super) fn check_version(theirs: u32) -> Result<()> {
    if theirs != PROTOCOL_VERSION {
        let problem = Problem::ProtocolVersion { theirs, ours: PROTOCOL_VERSION };
        return Err(ConvertError::new("protocol_version", problem));
    }
    Ok(())
}

/// Opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initialize {
    /// The cluster that the caller expects; nothing accepts any.
    pub cluster_id: Option<String>,
    /// For people; may be empty.
    pub client_name: String,
}

impl TryFrom<v1::InitializeRequest> for Initialize {
    type Error = ConvertError;

    fn try_from(message: v1::InitializeRequest) -> Result<Self> {
        check_version(message.protocol_version)?;
        let client_name = match message.client_name {
            empty if empty.is_empty() => empty,
            name => text(name, "client_name")?,
        };
        Ok(Initialize { cluster_id: optional_text(message.cluster_id, "cluster_id")?, client_name })
    }
}

impl From<Initialize> for v1::InitializeRequest {
    fn from(initialize: Initialize) -> Self {
        v1::InitializeRequest {
            protocol_version: PROTOCOL_VERSION,
            cluster_id: initialize.cluster_id.unwrap_or_default(),
            client_name: initialize.client_name,
        }
    }
}

/// Text that may be absent, which is empty on the wire.
pub(super) fn optional_text(value: String, field: &str) -> Result<Option<String>> {
    if value.is_empty() { Ok(None) } else { text(value, field).map(Some) }
}

/// An opened session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The caller's id.
    pub client: ClientId,
    /// The metadata server's start.
    pub boot: Boot,
    /// The cluster.
    pub cluster_id: String,
    /// Milliseconds after which a client without a sign of life is given up.
    pub lease_ms: u64,
    /// Milliseconds between two heartbeats of a client.
    pub heartbeat_ms: u64,
    /// The file servers known now.
    pub servers: Vec<ServerAddress>,
}

impl TryFrom<v1::InitializeReply> for Session {
    type Error = ConvertError;

    fn try_from(message: v1::InitializeReply) -> Result<Self> {
        check_version(message.protocol_version)?;
        Ok(Session {
            client: id(message.client_id, "client_id", ClientId::new)?,
            boot: id(message.boot, "boot", Boot::new)?,
            cluster_id: text(message.cluster_id, "cluster_id")?,
            lease_ms: bounded(message.lease_ms, "lease_ms", 1, u64::MAX)?,
            heartbeat_ms: bounded(message.heartbeat_ms, "heartbeat_ms", 1, u64::MAX)?,
            servers: each(message.servers, "servers", SERVERS_MAX)?,
        })
    }
}

impl From<Session> for v1::InitializeReply {
    fn from(session: Session) -> Self {
        v1::InitializeReply {
            client_id: session.client.get(),
            boot: session.boot.get(),
            cluster_id: session.cluster_id,
            protocol_version: PROTOCOL_VERSION,
            lease_ms: session.lease_ms,
            heartbeat_ms: session.heartbeat_ms,
            servers: session.servers.into_iter().map(Into::into).collect(),
        }
    }
}
