//! Messages of the token stream.
//!
//! A frame is a hello, a welcome, a heartbeat, or a numbered message. A refused message must not end the stream: its
//! receiver answers it. [`subject_of`] finds what a refused message was about, so that the answer can name it.

use super::{
    Contradiction, ConvertError, Problem, Result, bounded, each, id, ids, in_order, nested, optional, required,
};
use crate::convert::metadata::{Access, GROUP_MEMBERS_MAX, SlotSet};
use crate::status::{ErrorCode, ErrorDetail};
use crate::transport::RANGES_PER_MESSAGE_MAX;
use crate::v1;
use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId, ServerId};
use pfs_core::pattern::RangePattern;
use pfs_core::pointer::SharedPointer;
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello, Welcome};
use pfs_core::token::message::{
    Ack, Acquire, AcquireSet, FileSize, Grant, Mode, Reassertion, Refusal, Release, Revoke, SetId, SetPart, Undrained,
};
use v1::client_message::Kind as ClientKind;
use v1::server_message::Kind as ServerKind;

/// Most undrained writes that one ack names: one for each file server, and more for earlier boots.
const UNDRAINED_MAX: usize = 65_536;

/// What a client says on its token stream.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame {
    /// The first one of a connection: whose it is.
    Hello(Hello),
    /// A sign of life, with what the client's cache has done.
    Heartbeat(Heartbeat, Option<v1::CacheCounters>),
    /// A message with its number, from 1.
    Message {
        /// Its number.
        number: u64,
        /// The message.
        message: ClientMessage,
    },
}

/// A numbered message of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// Asks for tokens.
    Acquire(Acquire),
    /// Asks for tokens for several holders.
    AcquireSet(AcquireSet),
    /// Answers a revoke.
    Ack(Ack),
    /// Gives ranges back unasked, with the largest size that was written.
    Release(Release, Option<FileSize>),
    /// Answers a size query.
    SizeReport(SizeReport),
    /// Does not want a request any more.
    Cancel(RequestId),
    /// After a restart of the metadata server: what is held of one file.
    Reassert(ReassertMessage),
    /// Everything that is held was said.
    ReassertDone,
    /// A call of the metadata service; its arguments are checked by whoever answers it.
    Call(v1::MetadataCall),
}

/// What a client holds of one file under one holder, and how it has the file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReassertMessage {
    /// What it holds.
    pub reassertion: Reassertion,
    /// Of each of the reassertion's opens what is known of it.
    pub known: Vec<KnownOpen>,
}

/// What a client knows of an open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownOpen {
    /// What it may do.
    pub access: Access,
    /// The newest state of its shared file pointer.
    pub pointer: SharedPointer,
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
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame {
    /// The first one of a connection: the answer to hello.
    Welcome(Welcome),
    /// The answer to a heartbeat.
    Heartbeat(HeartbeatAnswer),
    /// A message with its number, from 1.
    Message {
        /// Its number.
        number: u64,
        /// The message.
        message: ServerMessage,
    },
}

/// A numbered message of the metadata server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerMessage {
    /// The answer to a request.
    Grant(GrantMessage),
    /// Asks for a range.
    Revoke(Revoke),
    /// The other answer to a request.
    Refused(RequestId, ErrorDetail),
    /// Asks for a size.
    SizeQuery(SizeQuery),
    /// Everything that was re-asserted is taken over.
    Reasserted,
    /// A member of a group was given up.
    MemberLost {
        /// The group.
        group: GroupId,
        /// The client.
        member: ClientId,
    },
    /// A group was given up as a whole.
    GroupLost(GroupId),
    /// The answer to a call; its result is checked by whoever made the call.
    Reply(Box<v1::MetadataReply>),
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

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A token request.
    Request(RequestId),
    /// A call, by its number.
    Call(u64),
}

/// What a message is about, if it is about something, even when the rest of the message is refused.
pub fn subject_of(message: &v1::ClientMessage) -> Option<Subject> {
    match message.kind.as_ref()? {
        ClientKind::Acquire(acquire) => RequestId::new(acquire.request_id).map(Subject::Request),
        ClientKind::AcquireSet(set) => RequestId::new(set.request_id).map(Subject::Request),
        ClientKind::Cancel(cancel) => RequestId::new(cancel.request_id).map(Subject::Request),
        ClientKind::Call(call) => Some(Subject::Call(call.call_id)),
        _ => None,
    }
}

impl From<Refusal> for ErrorDetail {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::NoSession(_) => ErrorCode::NoSession,
            Refusal::NotOpen { .. } | Refusal::NotTogether { .. } => ErrorCode::NotPermitted,
            Refusal::ReassertConflict { .. } => ErrorCode::Stale,
            Refusal::TooManyRanges { .. } => ErrorCode::TooLarge,
            Refusal::Empty | Refusal::Repeated(_) | Refusal::SetConflict(..) => ErrorCode::InvalidArgument,
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
            undrained: each(message.undrained, "undrained", UNDRAINED_MAX)?,
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
            undrained: wire_list(ack.undrained),
        }
    }
}

impl TryFrom<v1::UndrainedWrite> for Undrained {
    type Error = ConvertError;

    fn try_from(message: v1::UndrainedWrite) -> Result<Self> {
        Ok(Undrained {
            server: id(message.server_id, "server_id", ServerId::new)?,
            boot: id(message.boot, "boot", Boot::new)?,
            sequence: message.sequence,
        })
    }
}

impl From<Undrained> for v1::UndrainedWrite {
    fn from(undrained: Undrained) -> Self {
        v1::UndrainedWrite {
            server_id: undrained.server.get(),
            boot: undrained.boot.get(),
            sequence: undrained.sequence,
        }
    }
}

impl TryFrom<v1::TokenSetPart> for SetPart {
    type Error = ConvertError;

    fn try_from(message: v1::TokenSetPart) -> Result<Self> {
        Ok(SetPart {
            holder: nested(message.holder, "holder")?,
            required: each(message.required, "required", RANGES_PER_MESSAGE_MAX)?,
        })
    }
}

impl From<SetPart> for v1::TokenSetPart {
    fn from(part: SetPart) -> Self {
        v1::TokenSetPart { holder: Some(part.holder.into()), required: wire_list(part.required) }
    }
}

impl TryFrom<v1::AcquireTokenSet> for AcquireSet {
    type Error = ConvertError;

    fn try_from(message: v1::AcquireTokenSet) -> Result<Self> {
        Ok(AcquireSet {
            request: id(message.request_id, "request_id", RequestId::new)?,
            file: file(message.file_id)?,
            mode: mode(message.mode)?,
            parts: each(message.parts, "parts", RANGES_PER_MESSAGE_MAX)?,
        })
    }
}

impl From<AcquireSet> for v1::AcquireTokenSet {
    fn from(set: AcquireSet) -> Self {
        v1::AcquireTokenSet {
            request_id: set.request.get(),
            file_id: set.file.get(),
            mode: v1::TokenMode::from(set.mode).into(),
            parts: wire_list(set.parts),
        }
    }
}

impl TryFrom<v1::ReassertTokens> for ReassertMessage {
    type Error = ConvertError;

    fn try_from(message: v1::ReassertTokens) -> Result<Self> {
        let opens: Vec<(OpenId, KnownOpen)> = each(message.opens, "opens", RANGES_PER_MESSAGE_MAX)?;
        let (opens, known) = opens.into_iter().unzip();
        let held: Vec<(Extent, Mode)> = each(message.ranges, "ranges", RANGES_PER_MESSAGE_MAX)?;
        in_order(&held.iter().map(|(range, _)| *range).collect::<Vec<_>>(), "ranges")?;
        let reassertion = Reassertion {
            holder: nested(message.holder, "holder")?,
            members: ids(message.group_members, "group_members", GROUP_MEMBERS_MAX, ClientId::new)?,
            file: file(message.file_id)?,
            opens,
            ranges: held,
            size: optional(message.size, "size")?,
        };
        Ok(ReassertMessage { reassertion, known })
    }
}

impl From<ReassertMessage> for v1::ReassertTokens {
    fn from(message: ReassertMessage) -> Self {
        let ReassertMessage { reassertion, known } = message;
        let open = |(open_id, known): (OpenId, KnownOpen)| v1::ReassertedOpen {
            open_id: open_id.get(),
            access: v1::Access::from(known.access).into(),
            pointer: Some(known.pointer.into()),
        };
        let held = |(range, mode): (Extent, Mode)| v1::ReassertedRange {
            range: Some(range.into()),
            mode: v1::TokenMode::from(mode).into(),
        };
        v1::ReassertTokens {
            holder: Some(reassertion.holder.into()),
            group_members: reassertion.members.into_iter().map(ClientId::get).collect(),
            file_id: reassertion.file.get(),
            opens: reassertion.opens.into_iter().zip(known).map(open).collect(),
            ranges: reassertion.ranges.into_iter().map(held).collect(),
            size: reassertion.size.map(Into::into),
        }
    }
}

impl TryFrom<v1::ReassertedOpen> for (OpenId, KnownOpen) {
    type Error = ConvertError;

    fn try_from(message: v1::ReassertedOpen) -> Result<Self> {
        let open = id(message.open_id, "open_id", OpenId::new)?;
        let access = Access::from_wire(message.access, "access")?;
        let pointer = optional(message.pointer, "pointer")?.unwrap_or_default();
        Ok((open, KnownOpen { access, pointer }))
    }
}

impl TryFrom<v1::ReassertedRange> for (Extent, Mode) {
    type Error = ConvertError;

    fn try_from(message: v1::ReassertedRange) -> Result<Self> {
        Ok((nested(message.range, "range")?, mode(message.mode)?))
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = ConvertError;

    fn try_from(message: v1::Hello) -> Result<Self> {
        Ok(Hello {
            client: id(message.client_id, "client_id", ClientId::new)?,
            boot: id(message.boot, "boot", Boot::new)?,
            received: message.received,
        })
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

impl TryFrom<v1::ClientMessage> for ClientFrame {
    type Error = ConvertError;

    fn try_from(message: v1::ClientMessage) -> Result<Self> {
        use ClientMessage as M;
        let number = message.number;
        let (field, converted) = match required(message.kind, "kind")? {
            ClientKind::Hello(hello) => {
                return hello.try_into().map(ClientFrame::Hello).map_err(|error: ConvertError| error.within("hello"));
            }
            ClientKind::Heartbeat(beat) => {
                let v1::ClientHeartbeat { number, received, progress, cache } = beat;
                return Ok(ClientFrame::Heartbeat(Heartbeat { number, received, progress }, cache));
            }
            ClientKind::Acquire(acquire) => ("acquire", acquire.try_into().map(M::Acquire)),
            ClientKind::AcquireSet(set) => ("acquire_set", set.try_into().map(M::AcquireSet)),
            ClientKind::Ack(ack) => ("ack", ack.try_into().map(M::Ack)),
            ClientKind::Release(release) => ("release", release_with_size(release)),
            ClientKind::SizeReport(report) => ("size_report", report.try_into().map(M::SizeReport)),
            ClientKind::Cancel(cancel) => {
                ("cancel", id(cancel.request_id, "request_id", RequestId::new).map(M::Cancel))
            }
            ClientKind::Reassert(reassert) => ("reassert", reassert.try_into().map(M::Reassert)),
            ClientKind::ReassertDone(_) => ("reassert_done", Ok(M::ReassertDone)),
            ClientKind::Call(call) => ("call", Ok(M::Call(call))),
        };
        let message = converted.map_err(|error: ConvertError| error.within(field))?;
        Ok(ClientFrame::Message { number: bounded(number, "number", 1, u64::MAX)?, message })
    }
}

fn release_with_size(message: v1::ReleaseToken) -> Result<ClientMessage> {
    let size = optional(message.size, "size")?;
    Ok(ClientMessage::Release(message.try_into()?, size))
}

impl From<ClientFrame> for v1::ClientMessage {
    fn from(frame: ClientFrame) -> Self {
        let (number, kind) = match frame {
            ClientFrame::Hello(Hello { client, boot, received }) => {
                (0, ClientKind::Hello(v1::Hello { client_id: client.get(), boot: boot.get(), received }))
            }
            ClientFrame::Heartbeat(Heartbeat { number, received, progress }, cache) => {
                (0, ClientKind::Heartbeat(v1::ClientHeartbeat { number, received, progress, cache }))
            }
            ClientFrame::Message { number, message } => (number, client_kind(message)),
        };
        v1::ClientMessage { number, kind: Some(kind) }
    }
}

fn client_kind(message: ClientMessage) -> ClientKind {
    match message {
        ClientMessage::Acquire(acquire) => ClientKind::Acquire(acquire.into()),
        ClientMessage::AcquireSet(set) => ClientKind::AcquireSet(set.into()),
        ClientMessage::Ack(ack) => ClientKind::Ack(ack.into()),
        ClientMessage::Release(release, size) => ClientKind::Release(wire_release(release, size)),
        ClientMessage::SizeReport(report) => ClientKind::SizeReport(report.into()),
        ClientMessage::Cancel(request) => ClientKind::Cancel(v1::CancelAcquire { request_id: request.get() }),
        ClientMessage::Reassert(reassert) => ClientKind::Reassert(reassert.into()),
        ClientMessage::ReassertDone => ClientKind::ReassertDone(v1::ReassertDone {}),
        ClientMessage::Call(call) => ClientKind::Call(call),
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
        let request = id(message.request_id, "request_id", RequestId::new)?;
        let grant = Grant {
            request,
            holder: nested(message.holder, "holder")?,
            file: file(message.file_id)?,
            mode: mode(message.mode)?,
            ranges,
            sequence: bounded(message.sequence, "sequence", 1, u64::MAX)?,
            boot: id(message.boot, "boot", Boot::new)?,
            collective: message.collective,
            set: ClientId::new(message.set_client_id).map(|client| SetId { client, request }),
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
            set_client_id: grant.set.map_or(0, |set| set.client.get()),
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

impl TryFrom<v1::ServerMessage> for ServerFrame {
    type Error = ConvertError;

    fn try_from(message: v1::ServerMessage) -> Result<Self> {
        use ServerMessage as M;
        let number = message.number;
        let (field, converted) = match required(message.kind, "kind")? {
            ServerKind::Welcome(v1::Welcome { boot, received }) => {
                let boot = id(boot, "boot", Boot::new).map_err(|error| error.within("welcome"))?;
                return Ok(ServerFrame::Welcome(Welcome { boot, received }));
            }
            ServerKind::Heartbeat(v1::HeartbeatAnswer { number, received }) => {
                return Ok(ServerFrame::Heartbeat(HeartbeatAnswer { number, received }));
            }
            ServerKind::Grant(grant) => ("grant", grant.try_into().map(M::Grant)),
            ServerKind::Revoke(revoke) => ("revoke", revoke.try_into().map(M::Revoke)),
            ServerKind::Refused(refused) => ("refused", refused_message(refused)),
            ServerKind::SizeQuery(query) => ("size_query", size_query(query)),
            ServerKind::Reasserted(_) => ("reasserted", Ok(M::Reasserted)),
            ServerKind::MemberLost(lost) => ("member_lost", member_lost(&lost)),
            ServerKind::GroupLost(lost) => {
                ("group_lost", id(lost.group_id, "group_id", GroupId::new).map(M::GroupLost))
            }
            ServerKind::Reply(reply) => ("reply", Ok(M::Reply(Box::new(reply)))),
        };
        let message = converted.map_err(|error: ConvertError| error.within(field))?;
        Ok(ServerFrame::Message { number: bounded(number, "number", 1, u64::MAX)?, message })
    }
}

fn member_lost(message: &v1::MemberLost) -> Result<ServerMessage> {
    let group = id(message.group_id, "group_id", GroupId::new)?;
    Ok(ServerMessage::MemberLost { group, member: id(message.client_id, "client_id", ClientId::new)? })
}

fn refused_message(message: v1::RequestRefused) -> Result<ServerMessage> {
    let request = id(message.request_id, "request_id", RequestId::new)?;
    Ok(ServerMessage::Refused(request, required(message.error, "error")?.into()))
}

fn size_query(message: v1::SizeQuery) -> Result<ServerMessage> {
    Ok(ServerMessage::SizeQuery(SizeQuery { query: message.query_id, file: file(message.file_id)? }))
}

impl From<ServerFrame> for v1::ServerMessage {
    fn from(frame: ServerFrame) -> Self {
        let (number, kind) = match frame {
            ServerFrame::Welcome(Welcome { boot, received }) => {
                (0, ServerKind::Welcome(v1::Welcome { boot: boot.get(), received }))
            }
            ServerFrame::Heartbeat(HeartbeatAnswer { number, received }) => {
                (0, ServerKind::Heartbeat(v1::HeartbeatAnswer { number, received }))
            }
            ServerFrame::Message { number, message } => (number, server_kind(message)),
        };
        v1::ServerMessage { number, kind: Some(kind) }
    }
}

fn server_kind(message: ServerMessage) -> ServerKind {
    match message {
        ServerMessage::Grant(grant) => ServerKind::Grant(grant.into()),
        ServerMessage::Revoke(revoke) => ServerKind::Revoke(revoke.into()),
        ServerMessage::Refused(request, error) => {
            ServerKind::Refused(v1::RequestRefused { request_id: request.get(), error: Some(error.into()) })
        }
        ServerMessage::SizeQuery(query) => {
            ServerKind::SizeQuery(v1::SizeQuery { query_id: query.query, file_id: query.file.get() })
        }
        ServerMessage::Reasserted => ServerKind::Reasserted(v1::Reasserted {}),
        ServerMessage::MemberLost { group, member } => {
            ServerKind::MemberLost(v1::MemberLost { group_id: group.get(), client_id: member.get() })
        }
        ServerMessage::GroupLost(group) => ServerKind::GroupLost(v1::GroupLost { group_id: group.get() }),
        ServerMessage::Reply(reply) => ServerKind::Reply(*reply),
    }
}
