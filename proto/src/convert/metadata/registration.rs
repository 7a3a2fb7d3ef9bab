//! What file servers and the metadata server say to each other.

use super::super::{Contradiction, ConvertError, Problem, Result, address, bounded, data, each, id, ids, nested, text};
use super::session::{check_version, optional_text};
use super::{FENCES_MAX, FILE_TRAFFIC_MAX};
use crate::{PROTOCOL_VERSION, v1};
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Instance, ObjectId, ServerId};

/// Whose a store is: written into it at its first registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The cluster.
    pub cluster_id: String,
    /// The file server.
    pub server: ServerId,
}

/// Space and objects of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceReport {
    /// Size of the store's file system in bytes.
    pub total_bytes: u64,
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Number of objects.
    pub objects: u64,
}

/// Any numbers are possible: a store on a shared file system may report more free bytes than it had in total before.
impl From<v1::SpaceReport> for SpaceReport {
    fn from(message: v1::SpaceReport) -> Self {
        SpaceReport { total_bytes: message.total_bytes, free_bytes: message.free_bytes, objects: message.objects }
    }
}

impl From<SpaceReport> for v1::SpaceReport {
    fn from(space: SpaceReport) -> Self {
        v1::SpaceReport { total_bytes: space.total_bytes, free_bytes: space.free_bytes, objects: space.objects }
    }
}

/// A file server's first contact after a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterFileServer {
    /// The store's label; nothing: the store is empty and new.
    pub label: Option<Label>,
    /// The name that the operator gave to the server; it stays with the store.
    pub server_name: String,
    /// "host:port" at which clients reach it.
    pub address: String,
    /// Counts the starts of this store.
    pub instance: Instance,
    /// Its space.
    pub space: SpaceReport,
}

impl TryFrom<v1::RegisterFileServerRequest> for RegisterFileServer {
    type Error = ConvertError;

    fn try_from(message: v1::RegisterFileServerRequest) -> Result<Self> {
        check_version(message.protocol_version)?;
        let label = match (optional_text(message.cluster_id, "cluster_id")?, ServerId::new(message.server_id)) {
            (Some(cluster_id), Some(server)) => Some(Label { cluster_id, server }),
            (None, None) => None,
            _ => return Err(ConvertError::new("server_id", Problem::Contradiction(Contradiction::Label))),
        };
        Ok(RegisterFileServer {
            label,
            server_name: text(message.server_name, "server_name")?,
            address: address(message.address, "address")?,
            instance: id(message.instance, "instance", Instance::new)?,
            space: super::super::required(message.space, "space")?.into(),
        })
    }
}

impl From<RegisterFileServer> for v1::RegisterFileServerRequest {
    fn from(register: RegisterFileServer) -> Self {
        let (cluster_id, server_id) = match register.label {
            Some(label) => (label.cluster_id, label.server.get()),
            None => (String::new(), 0),
        };
        v1::RegisterFileServerRequest {
            protocol_version: PROTOCOL_VERSION,
            cluster_id,
            server_name: register.server_name,
            server_id,
            address: register.address,
            instance: register.instance.get(),
            space: Some(register.space.into()),
        }
    }
}

/// The answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// What the store's label says from now on.
    pub label: Label,
    /// Refuse stamps of boots before this one.
    pub boot: Boot,
    /// Milliseconds between two heartbeats.
    pub heartbeat_ms: u64,
    /// Milliseconds without an answered heartbeat after which the server must refuse all data.
    pub lease_ms: u64,
    /// Who must be refused.
    pub fences: Fences,
    /// The version of `fences` in this boot, to be repeated in heartbeats once they are in force.
    pub fence_version: u64,
}

impl TryFrom<v1::RegisterFileServerReply> for Registration {
    type Error = ConvertError;

    fn try_from(message: v1::RegisterFileServerReply) -> Result<Self> {
        let cluster_id = text(message.cluster_id, "cluster_id")?;
        let server = id(message.server_id, "server_id", ServerId::new)?;
        Ok(Registration {
            label: Label { cluster_id, server },
            boot: id(message.boot, "boot", Boot::new)?,
            heartbeat_ms: bounded(message.heartbeat_ms, "heartbeat_ms", 1, u64::MAX)?,
            lease_ms: bounded(message.lease_ms, "lease_ms", 1, u64::MAX)?,
            fences: nested(message.fences, "fences")?,
            fence_version: message.fence_version,
        })
    }
}

impl From<Registration> for v1::RegisterFileServerReply {
    fn from(registration: Registration) -> Self {
        v1::RegisterFileServerReply {
            cluster_id: registration.label.cluster_id,
            server_id: registration.label.server.get(),
            boot: registration.boot.get(),
            heartbeat_ms: registration.heartbeat_ms,
            lease_ms: registration.lease_ms,
            fences: Some(registration.fences.into()),
            fence_version: registration.fence_version,
        }
    }
}

/// Who must be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fences {
    /// Dead clients.
    pub incarnations: Vec<ClientId>,
    /// Groups that are fenced as a whole.
    pub groups: Vec<GroupId>,
    /// Every client below this number is dead unless `live_below_floor` lists it.
    pub incarnation_floor: u64,
    /// Clients below the floor that live.
    pub live_below_floor: Vec<ClientId>,
    /// Files that were deleted and whose objects may be on the server.
    pub deleted_files: Vec<FileId>,
    /// Operations of unknown outcome that must not be applied any more.
    pub drains: Vec<data::Drain>,
}

impl TryFrom<v1::DrainedWrite> for data::Drain {
    type Error = ConvertError;

    fn try_from(message: v1::DrainedWrite) -> Result<Self> {
        Ok(data::Drain { stamp: nested(message.stamp, "stamp")?, sequence: message.sequence })
    }
}

impl From<data::Drain> for v1::DrainedWrite {
    fn from(drain: data::Drain) -> Self {
        v1::DrainedWrite { stamp: Some(drain.stamp.into()), sequence: drain.sequence }
    }
}

impl TryFrom<v1::Fences> for Fences {
    type Error = ConvertError;

    fn try_from(message: v1::Fences) -> Result<Self> {
        Ok(Fences {
            incarnations: ids(message.incarnations, "incarnations", FENCES_MAX, ClientId::new)?,
            groups: ids(message.groups, "groups", FENCES_MAX, GroupId::new)?,
            incarnation_floor: message.incarnation_floor,
            live_below_floor: ids(message.live_below_floor, "live_below_floor", FENCES_MAX, ClientId::new)?,
            deleted_files: ids(message.deleted_files, "deleted_files", FENCES_MAX, FileId::new)?,
            drains: each(message.drains, "drains", FENCES_MAX)?,
        })
    }
}

impl From<Fences> for v1::Fences {
    fn from(fences: Fences) -> Self {
        v1::Fences {
            incarnations: fences.incarnations.into_iter().map(ClientId::get).collect(),
            groups: fences.groups.into_iter().map(GroupId::get).collect(),
            incarnation_floor: fences.incarnation_floor,
            live_below_floor: fences.live_below_floor.into_iter().map(ClientId::get).collect(),
            deleted_files: fences.deleted_files.into_iter().map(FileId::get).collect(),
            drains: fences.drains.into_iter().map(Into::into).collect(),
        }
    }
}

/// What a file server has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataCounters {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Objects made durable.
    pub commits: u64,
    /// Requests that were refused or failed.
    pub failures: u64,
}

impl From<v1::DataCounters> for DataCounters {
    fn from(message: v1::DataCounters) -> Self {
        let v1::DataCounters { read_bytes, written_bytes, reads, writes, commits, failures } = message;
        DataCounters { read_bytes, written_bytes, reads, writes, commits, failures }
    }
}

impl From<DataCounters> for v1::DataCounters {
    fn from(counters: DataCounters) -> Self {
        let DataCounters { read_bytes, written_bytes, reads, writes, commits, failures } = counters;
        v1::DataCounters { read_bytes, written_bytes, reads, writes, commits, failures }
    }
}

/// What a file server has done for one file since its last answered heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTraffic {
    /// The file.
    pub file: FileId,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads and writes.
    pub requests: u64,
}

impl TryFrom<v1::FileTraffic> for FileTraffic {
    type Error = ConvertError;

    fn try_from(message: v1::FileTraffic) -> Result<Self> {
        let v1::FileTraffic { file_id, read_bytes, written_bytes, requests } = message;
        Ok(FileTraffic { file: id(file_id, "file_id", FileId::new)?, read_bytes, written_bytes, requests })
    }
}

impl From<FileTraffic> for v1::FileTraffic {
    fn from(traffic: FileTraffic) -> Self {
        let FileTraffic { file, read_bytes, written_bytes, requests } = traffic;
        v1::FileTraffic { file_id: file.get(), read_bytes, written_bytes, requests }
    }
}

/// A file server's sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The server.
    pub server: ServerId,
    /// Which of its starts.
    pub instance: Instance,
    /// Its space.
    pub space: SpaceReport,
    /// The boot of the fences that are in force and durable there.
    pub boot: Boot,
    /// Their version.
    pub fence_version: u64,
    /// What the server has done so far.
    pub counters: DataCounters,
    /// The files with most traffic, at most [`FILE_TRAFFIC_MAX`].
    pub busiest: Vec<FileTraffic>,
}

impl TryFrom<v1::HeartbeatRequest> for Heartbeat {
    type Error = ConvertError;

    fn try_from(message: v1::HeartbeatRequest) -> Result<Self> {
        Ok(Heartbeat {
            server: id(message.server_id, "server_id", ServerId::new)?,
            instance: id(message.instance, "instance", Instance::new)?,
            space: super::super::required(message.space, "space")?.into(),
            boot: id(message.boot, "boot", Boot::new)?,
            fence_version: message.fence_version,
            counters: message.counters.unwrap_or_default().into(),
            busiest: each(message.busiest, "busiest", FILE_TRAFFIC_MAX)?,
        })
    }
}

impl From<Heartbeat> for v1::HeartbeatRequest {
    fn from(heartbeat: Heartbeat) -> Self {
        v1::HeartbeatRequest {
            server_id: heartbeat.server.get(),
            instance: heartbeat.instance.get(),
            space: Some(heartbeat.space.into()),
            boot: heartbeat.boot.get(),
            fence_version: heartbeat.fence_version,
            counters: Some(heartbeat.counters.into()),
            busiest: heartbeat.busiest.into_iter().map(Into::into).collect(),
        }
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// Refuse stamps of boots before this one.
    pub boot: Boot,
    /// False: the registration is not known; register again.
    pub registered: bool,
    /// Who must be refused.
    pub fences: Fences,
    /// The version of `fences`.
    pub fence_version: u64,
}

impl TryFrom<v1::HeartbeatReply> for HeartbeatAnswer {
    type Error = ConvertError;

    fn try_from(message: v1::HeartbeatReply) -> Result<Self> {
        Ok(HeartbeatAnswer {
            boot: id(message.boot, "boot", Boot::new)?,
            registered: message.registered,
            fences: nested(message.fences, "fences")?,
            fence_version: message.fence_version,
        })
    }
}

impl From<HeartbeatAnswer> for v1::HeartbeatReply {
    fn from(answer: HeartbeatAnswer) -> Self {
        v1::HeartbeatReply {
            boot: answer.boot.get(),
            registered: answer.registered,
            fences: Some(answer.fences.into()),
            fence_version: answer.fence_version,
        }
    }
}

/// Asks, before the first object of a file is made, whether it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VouchFile {
    /// Who asks.
    pub server: ServerId,
    /// The object.
    pub object: ObjectId,
}

impl TryFrom<v1::VouchFileRequest> for VouchFile {
    type Error = ConvertError;

    fn try_from(message: v1::VouchFileRequest) -> Result<Self> {
        let file = id(message.file_id, "file_id", FileId::new)?;
        Ok(VouchFile {
            server: id(message.server_id, "server_id", ServerId::new)?,
            object: ObjectId { file, slot: data::slot(message.slot)? },
        })
    }
}

impl From<VouchFile> for v1::VouchFileRequest {
    fn from(vouch: VouchFile) -> Self {
        v1::VouchFileRequest {
            server_id: vouch.server.get(),
            file_id: vouch.object.file.get(),
            slot: vouch.object.slot,
        }
    }
}
