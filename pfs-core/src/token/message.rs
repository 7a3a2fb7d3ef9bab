//! What manager and holders say to each other. The wire form is `proto/pfs/v1/token.proto`.

use crate::extent::Extent;
use crate::ids::{Boot, ClientId, FileId, Holder, OpenId, RequestId, RevokeId, ServerId};
use crate::pattern::RangePattern;
use std::fmt;

/// What a token allows. Ordered: a larger mode includes the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Read; any number of holders.
    Shared,
    /// Read and write; one holder.
    Exclusive,
}

impl Mode {
    /// Whether two holders can not have the same byte in these modes.
    pub fn conflicts(self, other: Mode) -> bool {
        self == Mode::Exclusive || other == Mode::Exclusive
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Shared => "shared",
            Mode::Exclusive => "exclusive",
        })
    }
}

/// A file's size with the number of truncations before it. A report of an earlier generation is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSize {
    /// Truncations so far, from 1.
    pub generation: u64,
    /// Bytes.
    pub bytes: u64,
}

impl FileSize {
    /// Takes over what another one knows: a later generation replaces, the same one can only grow.
    pub fn learn(&mut self, other: FileSize) {
        *self = (*self).max(other);
    }
}

/// A request for tokens: all of `required` in one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// Unique in the client's session.
    pub request: RequestId,
    /// For whom.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
    /// To read or to write.
    pub mode: Mode,
    /// What it must get.
    pub required: Vec<RangePattern>,
    /// The most it would like.
    pub desired: Option<Extent>,
    /// One member asks for its whole group: the grant is addressed to every member.
    pub collective: bool,
}

/// One holder's part of an [`AcquireSet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetPart {
    /// For whom.
    pub holder: Holder,
    /// What it must get.
    pub required: Vec<RangePattern>,
}

/// A request for several holders at once (rule 12): all of it in one decision, or nothing. Each holder gets its grant on
/// its own stream and keeps it pinned until the operation that it is for has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireSet {
    /// Unique in the session of the client that asks.
    pub request: RequestId,
    /// Of which file.
    pub file: FileId,
    /// To read or to write.
    pub mode: Mode,
    /// Must not conflict with each other. Each holder is named once, is a client, and has a group of this file in
    /// common with the one that asks.
    pub parts: Vec<SetPart>,
}

/// Names an [`AcquireSet`] to all its holders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId {
    /// Who asked.
    pub client: ClientId,
    /// Its request.
    pub request: RequestId,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The request.
    pub request: RequestId,
    /// For whom.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
    /// To read or to write.
    pub mode: Mode,
    /// Disjoint, in order, all of `required` and possibly more.
    pub ranges: Vec<Extent>,
    /// Increasing per holder and file.
    pub sequence: u64,
    /// The boot of the stamps under this grant.
    pub boot: Boot,
    /// Addressed to every member of the group.
    pub collective: bool,
    /// A part of this set. `request` is then that of whoever asked for the set, who may be another client.
    pub set: Option<SetId>,
}

/// Asks one member of a holder to give a range up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Names it in the ack.
    pub revoke: RevokeId,
    /// Whose token.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
    /// What must be given up.
    pub range: Extent,
    /// What the waiting request would like at most; contains `range`.
    pub wanted: Extent,
    /// Keep the range shared.
    pub downgrade: bool,
    /// The last collective grant of the group before this revoke; 0 for none. The member waits for it, since it comes
    /// by broadcast. Grants for the member's own requests come on the revoke's own stream, so they are always before it.
    pub covers_sequence: u64,
}

/// A member's answer to a revoke: its operations there have ended and its writes are at the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The revoke.
    pub revoke: RevokeId,
    /// Whose token.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
    /// Disjoint, in order, at least the revoked range.
    pub released: Vec<Extent>,
    /// The largest size this member has written.
    pub size: Option<FileSize>,
    /// Writes under the released ranges that may still be applied, at servers that do not answer this client (rule 7).
    /// The metadata server drains them itself before the ranges are free.
    pub undrained: Vec<Undrained>,
}

/// A write of unknown outcome at a server that can not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undrained {
    /// The file server.
    pub server: ServerId,
    /// The boot of the write's stamp.
    pub boot: Boot,
    /// Its number; smaller ones of the same stamp are meant too.
    pub sequence: u64,
}

/// What a client says of one file of one holder after the metadata server was restarted (rule 18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassertion {
    /// Whose tokens.
    pub holder: Holder,
    /// All members of a group, in rank order; empty for a client.
    pub members: Vec<ClientId>,
    /// Of which file.
    pub file: FileId,
    /// The opens that it knows of and that are not closed.
    pub opens: Vec<OpenId>,
    /// What it holds: disjoint, in order. Of a group's tokens what this member knows of.
    pub ranges: Vec<(Extent, Mode)>,
    /// The largest size this member has written and not yet synced.
    pub size: Option<FileSize>,
}

/// Ranges given back unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Whose token.
    pub holder: Holder,
    /// Of which file.
    pub file: FileId,
    /// What is given back.
    pub range: Extent,
    /// The last grant that the member has seen; ranges of newer grants are kept.
    pub last_grant_sequence: u64,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The manager does not know the client.
    #[error("{0} has no session; connect again")]
    NoSession(ClientId),
    /// The holder does not have the file open, or the client is not a member of it.
    #[error("{holder} has {file} not open for {client}; open the file before asking for its tokens")]
    NotOpen {
        /// Who asked.
        client: ClientId,
        /// For whom.
        holder: Holder,
        /// Of what.
        file: FileId,
    },
    /// Too many ranges, and their hull would hurt others.
    #[error(
        "a token request with {ranges} ranges is more than the {limit} that are possible at once while others hold parts of {hull}; ask for fewer, larger ranges"
    )]
    TooManyRanges {
        /// Ranges asked for.
        ranges: u64,
        /// The most there can be.
        limit: u64,
        /// From the first byte asked for to the last.
        hull: Extent,
    },
    /// The parts of a set want the same bytes.
    #[error("the parts of {0} and {1} in one token request overlap; a set must not conflict with itself")]
    SetConflict(Holder, Holder),
    /// A set names a holder for which the client may not ask.
    #[error("{client} may not ask for tokens of {holder}: they have no group of the file in common")]
    NotTogether {
        /// Who asked.
        client: ClientId,
        /// For whom.
        holder: Holder,
    },
    /// What a client says it held is held by somebody else.
    #[error("{holder} says that it holds {range} of {file}, which others hold; its tokens are void")]
    ReassertConflict {
        /// Who said it.
        holder: Holder,
        /// Of which file.
        file: FileId,
        /// The range.
        range: Extent,
    },
    /// The request has no ranges.
    #[error("a token request must name at least one range")]
    Empty,
    /// The request's id was used before in this session, or is so far below the largest that it may have been.
    #[error("{0} was used before in this session, or is far below the largest; each number is used once")]
    Repeated(RequestId),
    /// The request was cancelled by its client, or its client or holder is gone.
    #[error("the token request was cancelled")]
    Cancelled,
    /// The file was deleted while the request waited.
    #[error("{0} was deleted")]
    Deleted(FileId),
}
