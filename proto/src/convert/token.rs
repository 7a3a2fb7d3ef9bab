//! Messages of the token stream.
//!
//! A refused message must not end the stream: its receiver answers it. [`request_of`] finds the request that a refused
//! acquire or cancel was about, so that a [`ServerMessage::Refused`] can name it.

use super::{Contradiction, ConvertError, Problem, Result, bounded, each, id, in_order, nested, optional, required};
use crate::convert::metadata::SlotSet;
use crate::status::{ErrorCode, ErrorDetail};
use crate::transport::RANGES_PER_MESSAGE_MAX;
use crate::v1;
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, Holder, RequestId, RevokeId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::message::{Ack, Acquire, FileSize, Grant, Mode, Refusal, Release, Revoke};
use v1::client_message::Kind as ClientKind;
use v1::server_message::Kind as ServerKind;

/// What a client says on its token stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The first message: whose stream it is.
    Hello(ClientId),
    /// Asks for tokens.
    Acquire(Acquire),
    /// Answers a revoke.
    Ack(Ack),
    /// Gives ranges back unasked, with the largest size that was written.
    Release(Release, Option<FileSize>),
    /// A sign of life with a number that is repeated in the answer.
    Heartbeat(u64),
    /// Answers a size query.
    SizeReport(SizeReport),
    /// Does not want a request any more.
    Cancel(RequestId),
}

/// The answer to a size query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeReport {
    /// The query's number.
    pub query: u64,
    /// The file.
    pub file: FileId,
    /// The largest size that the client has written, or nothing when it wrote nothing.
    pub size: Option<FileSize>,
}

/// What the metadata server says on a client's token stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The answer to hello.
    Welcome(Boot),
    /// The answer to a request.
    Grant(GrantMessage),
    /// Asks for a range.
    Revoke(Revoke),
    /// The other answer to a request.
    Refused(RequestId, ErrorDetail),
    /// The answer to a heartbeat, with its number.
    Heartbeat(u64),
    /// Asks for a size.
    SizeQuery(SizeQuery),
}

/// A grant with what the metadata server knows of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantMessage {
    /// The grant.
    pub grant: Grant,
    /// A lower bound of the file's size.
    pub size: FileSize,
    /// Slots that have a durable object.
    pub committed_slots: SlotSet,
}

/// Asks what a client has written of a file and not reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeQuery {
    /// Repeated in the answer.
    pub query: u64,
    /// The file.
    pub file: FileId,
}

/// The request that a message is about, if it is about one, even when the rest of the message is refused.
pub fn request_of(message: &v1::ClientMessage) -> Option<RequestId> {
    match message.kind.as_ref()? {
        ClientKind::Acquire(acquire) => RequestId::new(acquire.request_id),
        ClientKind::Cancel(cancel) => RequestId::new(cancel.request_id),
        _ => None,
    }
}

impl From<Refusal> for ErrorDetail {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoSession(_) => ErrorCode::NoSession,
            Refusal::NotOpen { .. } => ErrorCode::NotPermitted,
            Refusal::TooManyRanges { .. } => ErrorCode::TooLarge,
            Refusal::Empty | Refusal::Repeated(_) => ErrorCode::InvalidArgument,
            Refusal::Cancelled => ErrorCode::Unavailable,
            Refusal::Deleted(_) => ErrorCode::Deleted,
        };
        ErrorDetail::new(code, refusal.to_string())
    }
}

fn mode(number: i32) -> Result<Mode> {
    match v1::TokenMode::try_from(number) {
        Ok(v1::TokenMode::Shared) => Ok(Mode::Shared),
        Ok(v1::TokenMode::Exclusive) => Ok(Mode::Exclusive),
        Ok(v1::TokenMode::Unspecified) | Err(_) => Err(ConvertError::new("mode", Problem::UnknownChoice(number))),
    }
}

impl From<Mode> for v1::TokenMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Shared => v1::TokenMode::Shared,
            Mode::Exclusive => v1::TokenMode::Exclusive,
        }
    }
}

fn file(number: u64) -> Result<FileId> {
    id(number, "file_id", FileId::new)
}

fn ranges(ranges: Vec<v1::FileRange>, field: &str) -> Result<Vec<Extent>> {
    let ranges: Vec<Extent> = each(ranges, field, RANGES_PER_MESSAGE_MAX)?;
    in_order(&ranges, field)?;
    Ok(ranges)
}

fn wire_list<T: Into<W>, W>(values: Vec<T>) -> Vec<W> {
    values.into_iter().map(Into::into).collect()
}

impl TryFrom<v1::AcquireToken> for Acquire {
    type Error = ConvertError;

    fn try_from(message: v1::AcquireToken) -> Result<Self> {
        let holder = nested(message.holder, "holder")?;
        if message.collective && !matches!(holder, Holder::Group(_)) {
            return Err(ConvertError::new("collective", Problem::Contradiction(Contradiction::Collective)));
        }
        let required: Vec<RangePattern> = each(message.required, "required", RANGES_PER_MESSAGE_MAX)?;
        Ok(Acquire {
            request: id(message.request_id, "request_id", RequestId::new)?,
            holder,
            file: file(message.file_id)?,
            mode: mode(message.mode)?,
            required,
            desired: optional(message.desired, "desired")?,
            collective: message.collective,
        })
    }
}

impl From<Acquire> for v1::AcquireToken {
    fn from(acquire: Acquire) -> Self {
        v1::AcquireToken {
            request_id: acquire.request.get(),
            holder: Some(acquire.holder.into()),
            file_id: acquire.file.get(),
            mode: v1::TokenMode::from(acquire.mode).into(),
            required: wire_list(acquire.required),
            desired: acquire.desired.map(Into::into),
            collective: acquire.collective,
        }
    }
}

impl TryFrom<v1::AckRevoke> for Ack {
    type Error = ConvertError;

    fn try_from(message: v1::AckRevoke) -> Result<Self> {
        Ok(Ack {
            revoke: id(message.revoke_id, "revoke_id", RevokeId::new)?,
            holder: nested(message.holder, "holder")?,
            file: file(message.file_id)?,
            released: ranges(message.released, "released")?,
            size: optional(message.size, "size")?,
        })
    }
}

impl From<Ack> for v1::AckRevoke {
    fn from(ack: Ack) -> Self {
        v1::AckRevoke {
            revoke_id: ack.revoke.get(),
            holder: Some(ack.holder.into()),
            file_id: ack.file.get(),
            released: wire_list(ack.released),
            size: ack.size.map(Into::into),
        }
    }
}

impl TryFrom<v1::ReleaseToken> for Release {
    type Error = ConvertError;

    fn try_from(message: v1::ReleaseToken) -> Result<Self> {
        Ok(Release {
            holder: nested(message.holder, "holder")?,
            file: file(message.file_id)?,
            range: nested(message.range, "range")?,
            last_grant_sequence: message.last_grant_sequence,
        })
    }
}

fn wire_release(release: Release, size: Option<FileSize>) -> v1::ReleaseToken {
    v1::ReleaseToken {
        holder: Some(release.holder.into()),
        file_id: release.file.get(),
        range: Some(release.range.into()),
        size: size.map(Into::into),
        last_grant_sequence: release.last_grant_sequence,
    }
}

impl TryFrom<v1::ClientMessage> for ClientMessage {
    type Error = ConvertError;

    fn try_from(message: v1::ClientMessage) -> Result<Self> {
        let (field, converted) = match required(message.kind, "kind")? {
            ClientKind::Hello(hello) => {
                ("hello", id(hello.client_id, "client_id", ClientId::new).map(ClientMessage::Hello))
            }
            ClientKind::Acquire(acquire) => ("acquire", acquire.try_into().map(ClientMessage::Acquire)),
            ClientKind::Ack(ack) => ("ack", ack.try_into().map(ClientMessage::Ack)),
            ClientKind::Release(release) => ("release", release_with_size(release)),
            ClientKind::Heartbeat(heartbeat) => ("heartbeat", Ok(ClientMessage::Heartbeat(heartbeat.number))),
            ClientKind::SizeReport(report) => ("size_report", report.try_into().map(ClientMessage::SizeReport)),
            ClientKind::Cancel(cancel) => {
                ("cancel", id(cancel.request_id, "request_id", RequestId::new).map(ClientMessage::Cancel))
            }
        };
        converted.map_err(|error: ConvertError| error.within(field))
    }
}

fn release_with_size(message: v1::ReleaseToken) -> Result<ClientMessage> {
    let size = optional(message.size, "size")?;
    Ok(ClientMessage::Release(message.try_into()?, size))
}

impl From<ClientMessage> for v1::ClientMessage {
    fn from(message: ClientMessage) -> Self {
        let kind = match message {
            ClientMessage::Hello(client) => ClientKind::Hello(v1::Hello { client_id: client.get() }),
            ClientMessage::Acquire(acquire) => ClientKind::Acquire(acquire.into()),
            ClientMessage::Ack(ack) => ClientKind::Ack(ack.into()),
            ClientMessage::Release(release, size) => ClientKind::Release(wire_release(release, size)),
            ClientMessage::Heartbeat(number) => ClientKind::Heartbeat(v1::ClientHeartbeat { number }),
            ClientMessage::SizeReport(report) => ClientKind::SizeReport(report.into()),
            ClientMessage::Cancel(request) => ClientKind::Cancel(v1::CancelAcquire { request_id: request.get() }),
        };
        v1::ClientMessage { kind: Some(kind) }
    }
}

impl TryFrom<v1::SizeReport> for SizeReport {
    type Error = ConvertError;

    fn try_from(message: v1::SizeReport) -> Result<Self> {
        let size = optional(message.size, "size")?;
        Ok(SizeReport { query: message.query_id, file: file(message.file_id)?, size })
    }
}

impl From<SizeReport> for v1::SizeReport {
    fn from(report: SizeReport) -> Self {
        v1::SizeReport { query_id: report.query, file_id: report.file.get(), size: report.size.map(Into::into) }
    }
}

impl TryFrom<v1::GrantToken> for GrantMessage {
    type Error = ConvertError;

    fn try_from(message: v1::GrantToken) -> Result<Self> {
        let ranges = ranges(message.ranges, "ranges")?;
        if ranges.is_empty() {
            return Err(ConvertError::new("ranges", Problem::Empty));
        }
        let grant = Grant {
            request: id(message.request_id, "request_id", RequestId::new)?,
            holder: nested(message.holder, "holder")?,
            file: file(message.file_id)?,
            mode: mode(message.mode)?,
            ranges,
            sequence: bounded(message.sequence, "sequence", 1, u64::MAX)?,
            boot: id(message.boot, "boot", Boot::new)?,
            collective: message.collective,
        };
        let size = nested(message.size, "size")?;
        let committed_slots = SlotSet::from_bytes(message.committed_slots, "committed_slots")?;
        Ok(GrantMessage { grant, size, committed_slots })
    }
}

impl From<GrantMessage> for v1::GrantToken {
    fn from(message: GrantMessage) -> Self {
        let grant = message.grant;
        v1::GrantToken {
            request_id: grant.request.get(),
            holder: Some(grant.holder.into()),
            file_id: grant.file.get(),
            mode: v1::TokenMode::from(grant.mode).into(),
            ranges: wire_list(grant.ranges),
            sequence: grant.sequence,
            boot: grant.boot.get(),
            size: Some(message.size.into()),
            committed_slots: message.committed_slots.into_bytes(),
            collective: grant.collective,
        }
    }
}

impl TryFrom<v1::RevokeToken> for Revoke {
    type Error = ConvertError;

    fn try_from(message: v1::RevokeToken) -> Result<Self> {
        let range: Extent = nested(message.range, "range")?;
        let wanted: Extent = nested(message.wanted, "wanted")?;
        if !wanted.contains(range) {
            return Err(ConvertError::new("wanted", Problem::Contradiction(Contradiction::Wanted)));
        }
        Ok(Revoke {
            revoke: id(message.revoke_id, "revoke_id", RevokeId::new)?,
            holder: nested(message.holder, "holder")?,
            file: file(message.file_id)?,
            range,
            wanted,
            downgrade: message.downgrade,
            covers_sequence: message.covers_sequence,
        })
    }
}

impl From<Revoke> for v1::RevokeToken {
    fn from(revoke: Revoke) -> Self {
        v1::RevokeToken {
            revoke_id: revoke.revoke.get(),
            holder: Some(revoke.holder.into()),
            file_id: revoke.file.get(),
            range: Some(revoke.range.into()),
            wanted: Some(revoke.wanted.into()),
            downgrade: revoke.downgrade,
            covers_sequence: revoke.covers_sequence,
        }
    }
}

impl TryFrom<v1::ServerMessage> for ServerMessage {
    type Error = ConvertError;

    fn try_from(message: v1::ServerMessage) -> Result<Self> {
        let (field, converted) = match required(message.kind, "kind")? {
            ServerKind::Welcome(welcome) => {
                ("welcome", id(welcome.boot, "boot", Boot::new).map(ServerMessage::Welcome))
            }
            ServerKind::Grant(grant) => ("grant", grant.try_into().map(ServerMessage::Grant)),
            ServerKind::Revoke(revoke) => ("revoke", revoke.try_into().map(ServerMessage::Revoke)),
            ServerKind::Refused(refused) => ("refused", refused_message(refused)),
            ServerKind::Heartbeat(answer) => ("heartbeat", Ok(ServerMessage::Heartbeat(answer.number))),
            ServerKind::SizeQuery(query) => ("size_query", size_query(query)),
        };
        converted.map_err(|error: ConvertError| error.within(field))
    }
}

fn refused_message(message: v1::RequestRefused) -> Result<ServerMessage> {
    let request = id(message.request_id, "request_id", RequestId::new)?;
    Ok(ServerMessage::Refused(request, required(message.error, "error")?.into()))
}

fn size_query(message: v1::SizeQuery) -> Result<ServerMessage> {
    Ok(ServerMessage::SizeQuery(SizeQuery { query: message.query_id, file: file(message.file_id)? }))
}

impl From<ServerMessage> for v1::ServerMessage {
    fn from(message: ServerMessage) -> Self {
        let kind = match message {
            ServerMessage::Welcome(boot) => ServerKind::Welcome(v1::Welcome { boot: boot.get() }),
            ServerMessage::Grant(grant) => ServerKind::Grant(grant.into()),
            ServerMessage::Revoke(revoke) => ServerKind::Revoke(revoke.into()),
            ServerMessage::Refused(request, error) => {
                ServerKind::Refused(v1::RequestRefused { request_id: request.get(), error: Some(error.into()) })
            }
            ServerMessage::Heartbeat(number) => ServerKind::Heartbeat(v1::HeartbeatAnswer { number }),
            ServerMessage::SizeQuery(query) => {
                ServerKind::SizeQuery(v1::SizeQuery { query_id: query.query, file_id: query.file.get() })
            }
        };
        v1::ServerMessage { kind: Some(kind) }
    }
}
