//! Requests of clients about names, files and sizes.

use super::super::{ConvertError, Problem, Result, bounded, id, ids, nested, optional, path, required};
use super::{Access, EntryKind, GROUP_MEMBERS_MAX, OperationId, SlotSet};
use crate::v1;
use pfs_core::extent::MAX_FILE_BYTES;
use pfs_core::ids::{ClientId, FileId, OpenId};
use pfs_core::layout::{STRIPE_COUNT_MAX, check_stripe_unit};
use pfs_core::path::PfsPath;
use pfs_core::token::message::FileSize;
use std::collections::BTreeSet;

/// The layout that a creator asks for; what is absent the server chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayoutRequest {
    /// Bytes that go to one server before the next one's turn.
    pub stripe_unit: Option<u64>,
    /// Number of file servers.
    pub stripe_count: Option<u32>,
    /// Index of the first server in the order of ids.
    pub start_server: Option<u32>,
}

impl TryFrom<v1::LayoutRequest> for LayoutRequest {
    type Error = ConvertError;

    fn try_from(message: v1::LayoutRequest) -> Result<Self> {
        let stripe_unit = (message.stripe_unit != 0).then_some(message.stripe_unit);
        if let Some(unit) = stripe_unit {
            check_stripe_unit(unit).map_err(|error| ConvertError::new("stripe_unit", error))?;
        }
        bounded(message.stripe_count.into(), "stripe_count", 0, STRIPE_COUNT_MAX as u64)?;
        let start_server = match message.start_server {
            -1 => None,
            index => Some(
                u32::try_from(index).map_err(|_| ConvertError::new("start_server", Problem::UnknownChoice(index)))?,
            ),
        };
        Ok(LayoutRequest {
            stripe_unit,
            stripe_count: (message.stripe_count != 0).then_some(message.stripe_count),
            start_server,
        })
    }
}

impl From<LayoutRequest> for v1::LayoutRequest {
    fn from(layout: LayoutRequest) -> Self {
        v1::LayoutRequest {
            stripe_unit: layout.stripe_unit.unwrap_or(0),
            stripe_count: layout.stripe_count.unwrap_or(0),
            // An index past the 31 bits of the wire is past every cluster: the largest one is refused just so.
            start_server: layout.start_server.map_or(-1, |index| i32::try_from(index).unwrap_or(i32::MAX)),
        }
    }
}

/// For whom a file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFor {
    /// Members of a group in rank order; empty: the caller alone.
    pub group_members: Vec<ClientId>,
    /// What the handle may do.
    pub access: Access,
}

impl TryFrom<v1::OpenFor> for OpenFor {
    type Error = ConvertError;

    fn try_from(message: v1::OpenFor) -> Result<Self> {
        let members = ids(message.group_members, "group_members", GROUP_MEMBERS_MAX, ClientId::new)?;
        let mut seen = BTreeSet::new();
        if let Some(twice) = members.iter().find(|member| !seen.insert(**member)) {
            return Err(ConvertError::new("group_members", Problem::Repeated(twice.get())));
        }
        Ok(OpenFor { group_members: members, access: Access::from_wire(message.access, "access")? })
    }
}

impl From<OpenFor> for v1::OpenFor {
    fn from(open: OpenFor) -> Self {
        v1::OpenFor {
            group_members: open.group_members.into_iter().map(ClientId::get).collect(),
            access: v1::Access::from(open.access).into(),
        }
    }
}

/// Makes a file, and opens it if `open` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateFile {
    /// Names the change.
    pub operation: OperationId,
    /// The file.
    pub path: PfsPath,
    /// Fail when the name exists.
    pub exclusive: bool,
    /// The layout that is asked for.
    pub layout: LayoutRequest,
    /// For whom to open it.
    pub open: Option<OpenFor>,
}

impl TryFrom<v1::CreateFileRequest> for CreateFile {
    type Error = ConvertError;

    fn try_from(message: v1::CreateFileRequest) -> Result<Self> {
        Ok(CreateFile {
            operation: nested(message.operation, "operation")?,
            path: path(&message.path, "path")?,
            exclusive: message.exclusive,
            layout: optional(message.layout, "layout")?.unwrap_or_default(),
            open: optional(message.open, "open")?,
        })
    }
}

impl From<CreateFile> for v1::CreateFileRequest {
    fn from(create: CreateFile) -> Self {
        v1::CreateFileRequest {
            operation: Some(create.operation.into()),
            path: create.path.as_str().to_owned(),
            exclusive: create.exclusive,
            layout: Some(create.layout.into()),
            open: create.open.map(Into::into),
        }
    }
}

/// Opens an existing file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Names the change.
    pub operation: OperationId,
    /// The file.
    pub path: PfsPath,
    /// For whom.
    pub open: OpenFor,
}

impl TryFrom<v1::OpenFileRequest> for OpenFile {
    type Error = ConvertError;

    fn try_from(message: v1::OpenFileRequest) -> Result<Self> {
        Ok(OpenFile {
            operation: nested(message.operation, "operation")?,
            path: path(&message.path, "path")?,
            open: nested(message.open, "open")?,
        })
    }
}

impl From<OpenFile> for v1::OpenFileRequest {
    fn from(open: OpenFile) -> Self {
        v1::OpenFileRequest {
            operation: Some(open.operation.into()),
            path: open.path.as_str().to_owned(),
            open: Some(open.open.into()),
        }
    }
}

/// Closes what a create or an open opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseFile {
    /// Names the change.
    pub operation: OperationId,
    /// The open.
    pub open: OpenId,
    /// The largest size that the holder has seen or written; nothing when it wrote nothing.
    pub size: Option<FileSize>,
}

impl TryFrom<v1::CloseFileRequest> for CloseFile {
    type Error = ConvertError;

    fn try_from(message: v1::CloseFileRequest) -> Result<Self> {
        Ok(CloseFile {
            operation: nested(message.operation, "operation")?,
            open: id(message.open_id, "open_id", OpenId::new)?,
            size: optional(message.size, "size")?,
        })
    }
}

impl From<CloseFile> for v1::CloseFileRequest {
    fn from(close: CloseFile) -> Self {
        v1::CloseFileRequest {
            operation: Some(close.operation.into()),
            open_id: close.open.get(),
            size: close.size.map(Into::into),
        }
    }
}

/// What a request is about: a name, or a file whose name may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The entry of this name.
    Path(PfsPath),
    /// The file or directory of this id.
    File(FileId),
}

pub(super) fn path_target(text: &str) -> Result<Target> {
    path(text, "path").map(Target::Path)
}

pub(super) fn file_target(number: u64) -> Result<Target> {
    id(number, "file_id", FileId::new).map(Target::File)
}

/// Asks what is known of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchMetadata {
    /// Who asks.
    pub client: ClientId,
    /// About what.
    pub target: Target,
    /// Ask the holders of write tokens for sizes that they have not reported yet.
    pub exact_size: bool,
}

impl TryFrom<v1::FetchMetadataRequest> for FetchMetadata {
    type Error = ConvertError;

    fn try_from(message: v1::FetchMetadataRequest) -> Result<Self> {
        use v1::fetch_metadata_request::Target as Wire;
        let target = match required(message.target, "target")? {
            Wire::Path(text) => path_target(&text)?,
            Wire::FileId(number) => file_target(number)?,
        };
        let client = id(message.client_id, "client_id", ClientId::new)?;
        Ok(FetchMetadata { client, target, exact_size: message.exact_size })
    }
}

impl From<FetchMetadata> for v1::FetchMetadataRequest {
    fn from(fetch: FetchMetadata) -> Self {
        use v1::fetch_metadata_request::Target as Wire;
        let target = match fetch.target {
            Target::Path(path) => Wire::Path(path.as_str().to_owned()),
            Target::File(file) => Wire::FileId(file.get()),
        };
        v1::FetchMetadataRequest { client_id: fetch.client.get(), target: Some(target), exact_size: fetch.exact_size }
    }
}

/// A change of a file's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// After a sync: bytes up to here, and the objects of these slots, are durable on the file servers.
    Sync {
        /// The size.
        size: FileSize,
        /// The slots.
        committed_slots: SlotSet,
    },
    /// Truncate or extend to exactly this many bytes.
    SetSize(u64),
    /// Set the time of the last change of the content.
    SetTimes {
        /// Nanoseconds since 1970-01-01 UTC.
        modified_ns: u64,
    },
}

fn change(change: v1::update_metadata_request::Change) -> Result<Change> {
    use v1::update_metadata_request::Change as Wire;
    match change {
        Wire::Sync(report) => {
            let sync = || {
                Ok(Change::Sync {
                    size: nested(report.size, "size")?,
                    committed_slots: SlotSet::from_bytes(report.committed_slots, "committed_slots")?,
                })
            };
            sync().map_err(|error: ConvertError| error.within("sync"))
        }
        Wire::SetSizeBytes(bytes) => bounded(bytes, "set_size_bytes", 0, MAX_FILE_BYTES).map(Change::SetSize),
        Wire::Times(times) => Ok(Change::SetTimes { modified_ns: times.modified_ns }),
    }
}

/// Changes a size or times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateMetadata {
    /// Names the change.
    pub operation: OperationId,
    /// Of what.
    pub target: Target,
    /// To what.
    pub change: Change,
}

impl TryFrom<v1::UpdateMetadataRequest> for UpdateMetadata {
    type Error = ConvertError;

    fn try_from(message: v1::UpdateMetadataRequest) -> Result<Self> {
        use v1::update_metadata_request::Target as Wire;
        let target = match required(message.target, "target")? {
            Wire::Path(text) => path_target(&text)?,
            Wire::FileId(number) => file_target(number)?,
        };
        let change = change(required(message.change, "change")?)?;
        Ok(UpdateMetadata { operation: nested(message.operation, "operation")?, target, change })
    }
}

impl From<UpdateMetadata> for v1::UpdateMetadataRequest {
    fn from(update: UpdateMetadata) -> Self {
        use v1::update_metadata_request::{Change as WireChange, Target as WireTarget};
        let target = match update.target {
            Target::Path(path) => WireTarget::Path(path.as_str().to_owned()),
            Target::File(file) => WireTarget::FileId(file.get()),
        };
        let change = match update.change {
            Change::Sync { size, committed_slots } => WireChange::Sync(v1::SyncReport {
                size: Some(size.into()),
                committed_slots: committed_slots.into_bytes(),
            }),
            Change::SetSize(bytes) => WireChange::SetSizeBytes(bytes),
            Change::SetTimes { modified_ns } => WireChange::Times(v1::SetTimes { modified_ns }),
        };
        v1::UpdateMetadataRequest {
            operation: Some(update.operation.into()),
            target: Some(target),
            change: Some(change),
        }
    }
}

/// Removes a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteFile {
    /// Names the change.
    pub operation: OperationId,
    /// The name.
    pub path: PfsPath,
    /// What the caller means; nothing takes both kinds.
    pub kind: Option<EntryKind>,
}

impl TryFrom<v1::DeleteFileRequest> for DeleteFile {
    type Error = ConvertError;

    fn try_from(message: v1::DeleteFileRequest) -> Result<Self> {
        Ok(DeleteFile {
            operation: nested(message.operation, "operation")?,
            path: path(&message.path, "path")?,
            kind: EntryKind::choice_from_wire(message.kind, "kind")?,
        })
    }
}

impl From<DeleteFile> for v1::DeleteFileRequest {
    fn from(delete: DeleteFile) -> Self {
        v1::DeleteFileRequest {
            operation: Some(delete.operation.into()),
            path: delete.path.as_str().to_owned(),
            kind: delete.kind.map_or(v1::EntryKind::Unspecified, Into::into).into(),
        }
    }
}

/// Makes a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MakeDirectory {
    /// Names the change.
    pub operation: OperationId,
    /// The directory.
    pub path: PfsPath,
    /// Make missing parents too, and accept an existing directory.
    pub parents: bool,
}

impl TryFrom<v1::MakeDirectoryRequest> for MakeDirectory {
    type Error = ConvertError;

    fn try_from(message: v1::MakeDirectoryRequest) -> Result<Self> {
        Ok(MakeDirectory {
            operation: nested(message.operation, "operation")?,
            path: path(&message.path, "path")?,
            parents: message.parents,
        })
    }
}

impl From<MakeDirectory> for v1::MakeDirectoryRequest {
    fn from(make: MakeDirectory) -> Self {
        v1::MakeDirectoryRequest {
            operation: Some(make.operation.into()),
            path: make.path.as_str().to_owned(),
            parents: make.parents,
        }
    }
}

/// Gives a file or directory another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// Names the change.
    pub operation: OperationId,
    /// The name so far.
    pub from: PfsPath,
    /// The new name.
    pub to: PfsPath,
}

impl TryFrom<v1::RenameRequest> for Rename {
    type Error = ConvertError;

    fn try_from(message: v1::RenameRequest) -> Result<Self> {
        Ok(Rename {
            operation: nested(message.operation, "operation")?,
            from: path(&message.from, "from")?,
            to: path(&message.to, "to")?,
        })
    }
}

impl From<Rename> for v1::RenameRequest {
    fn from(rename: Rename) -> Self {
        v1::RenameRequest {
            operation: Some(rename.operation.into()),
            from: rename.from.as_str().to_owned(),
            to: rename.to.as_str().to_owned(),
        }
    }
}
