//! What members of a group send each other: an opened file, a grant, the outcome of their commits.
//!
//! All have a byte form, so that a program can broadcast them by whatever its processes talk with.

use crate::error::{Error, ErrorKind};
use pfs_core::ids::{Boot, ClientId, RequestId};
use pfs_core::token::message::{FileSize, Mode, SetId};
use pfs_proto::metadata::{Opened, SlotSet};
use pfs_proto::token::GrantMessage;
use pfs_proto::v1;
use prost::Message;
use std::sync::{Arc, OnceLock};

/// Tells whether the members of a group can still act together. Cheap to ask, so that whoever waits for another member by
/// other means can ask all the time; it does not keep the file open.
#[derive(Clone, Debug)]
pub struct GroupWatch {
    error: Arc<OnceLock<Error>>,
}

impl GroupWatch {
    pub(crate) fn new(error: Arc<OnceLock<Error>>) -> Self {
        GroupWatch { error }
    }

    /// Why they can not: a member was given up, the whole group was, or this client's session has ended.
    pub fn error(&self) -> Option<Error> {
        self.error.get().cloned()
    }
}

/// A file that one member opened for all.
#[derive(Clone, Debug)]
pub struct OpenedFile {
    pub(crate) opened: Opened,
    pub(crate) name: String,
    /// The group, in rank order; empty for a client alone.
    pub(crate) members: Vec<ClientId>,
}

impl OpenedFile {
    /// Whether the open made the file.
    pub fn created(&self) -> bool {
        self.opened.created
    }

    /// The byte form, numbers with their little end first: the length of the name in 4 bytes, the name, the number of
    /// members in 4 bytes, each member in 8, the encoded reply.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length =
            |count: usize| u32::try_from(count).expect("a checked path is short, and so is a group").to_le_bytes();
        let mut bytes = length(self.name.len()).to_vec();
        bytes.extend(self.name.as_bytes());
        bytes.extend(length(self.members.len()));
        bytes.extend(self.members.iter().flat_map(|member| member.get().to_le_bytes()));
        bytes.extend(v1::OpenFileReply::from(self.opened.clone()).encode_to_vec());
        bytes
    }

    /// Reads the byte form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let short = || Error::new(ErrorKind::InvalidArgument, "the bytes of an opened file end too early");
        let (name, rest) = take_counted(bytes, 1).ok_or_else(short)?;
        let (members, reply) = take_counted(rest, 8).ok_or_else(short)?;
        let name = std::str::from_utf8(name).map_err(|error| Error::malformed("the name of an opened file", error))?;
        let (members, _) = members.as_chunks::<8>();
        let members: Option<Vec<ClientId>> =
            members.iter().map(|member| ClientId::new(u64::from_le_bytes(*member))).collect();
        let nobody = || Error::new(ErrorKind::InvalidArgument, "an opened file names a member that can not be");
        let members = members.ok_or_else(nobody)?;
        let reply = v1::OpenFileReply::decode(reply).map_err(|error| Error::malformed("an opened file", error))?;
        let opened = Opened::try_from(reply).map_err(|error| Error::malformed("an opened file", error))?;
        Ok(OpenedFile { opened, name: name.to_owned(), members })
    }
}

/// A count in 4 bytes, so many units of `unit_bytes`, and the rest.
fn take_counted(bytes: &[u8], unit_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    rest.split_at_checked(count.checked_mul(unit_bytes)?)
}

/// A token that one member got for all.
#[derive(Clone, Debug)]
pub struct GroupGrant {
    message: GrantMessage,
}

impl GroupGrant {
    pub(crate) fn new(message: GrantMessage) -> Self {
        GroupGrant { message }
    }

    pub(crate) fn message(&self) -> &GrantMessage {
        &self.message
    }

    /// The byte form: the encoded grant.
    pub fn to_bytes(&self) -> Vec<u8> {
        v1::GrantToken::from(self.message.clone()).encode_to_vec()
    }

    /// Reads the byte form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let grant = v1::GrantToken::decode(bytes).map_err(|error| Error::malformed("a collective grant", error))?;
        let message = GrantMessage::try_from(grant).map_err(|error| Error::malformed("a collective grant", error))?;
        Ok(GroupGrant { message })
    }
}

/// Tokens that one member got for several members, each its own holder; every member claims its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetGrant {
    pub(crate) set: SetId,
    pub(crate) boot: Boot,
    pub(crate) mode: Mode,
    pub(crate) size: FileSize,
}

impl SetGrant {
    /// The byte form: six numbers of 8 bytes, little end first: client, request, boot, mode, generation and bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let SetGrant { set, boot, mode, size } = *self;
        let mode = match mode {
            Mode::Shared => 0,
            Mode::Exclusive => 1,
        };
        let numbers = [set.client.get(), set.request.get(), boot.get(), mode, size.generation, size.bytes];
        numbers.map(u64::to_le_bytes).concat()
    }

    /// Reads the byte form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let (numbers, rest) = bytes.as_chunks::<8>();
            let [client, request, boot, mode, generation, size] =
                numbers.iter().map(|number| u64::from_le_bytes(*number)).collect::<Vec<_>>().try_into().ok()?;
            let set = SetId { client: ClientId::new(client)?, request: RequestId::new(request)? };
            let mode = [Mode::Shared, Mode::Exclusive].into_iter().nth(usize::try_from(mode).ok()?)?;
            let size = FileSize { generation, bytes: size };
            rest.is_empty().then_some(SetGrant { set, boot: Boot::new(boot)?, mode, size })
        };
        read().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the bytes are not those of a set of tokens"))
    }
}

/// What commits have made durable: of one member, or merged of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitSummary {
    pub(crate) size: Option<FileSize>,
    pub(crate) slots: SlotSet,
}

impl CommitSummary {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.size.is_none() && self.slots.is_empty()
    }

    /// What both have made durable.
    pub fn merge(mut self, other: CommitSummary) -> CommitSummary {
        self.slots.extend(&other.slots);
        self.size = self.size.max(other.size);
        self
    }

    /// The byte form: an encoded sync report.
    pub fn to_bytes(&self) -> Vec<u8> {
        let committed_slots = self.slots.as_bytes().to_vec();
        v1::SyncReport { size: self.size.map(Into::into), committed_slots }.encode_to_vec()
    }

    /// Reads the byte form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let report = v1::SyncReport::decode(bytes).map_err(|error| Error::malformed("a sync report", error))?;
        let size = report.size.map(FileSize::try_from).transpose();
        let size = size.map_err(|error| Error::malformed("a sync report", error))?;
        let slots = SlotSet::from_bytes(report.committed_slots, "committed_slots")
            .map_err(|error| Error::malformed("a sync report", error))?;
        Ok(CommitSummary { size, slots })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_merge_and_travel() {
        let size = |generation, bytes| Some(FileSize { generation, bytes });
        let a = CommitSummary { size: size(1, 900), slots: [0, 9].into_iter().collect() };
        let b = CommitSummary { size: size(2, 5), slots: [1].into_iter().collect() };
        let both = a.clone().merge(b);
        assert_eq!(both.size, size(2, 5), "a later generation is newer, however small");
        assert_eq!(both.slots.iter().collect::<Vec<_>>(), [0, 1, 9]);
        assert_eq!(CommitSummary::from_bytes(&both.to_bytes()).unwrap(), both);
        assert!(!a.is_empty());
        assert!(CommitSummary::default().is_empty());
        assert_eq!(CommitSummary::from_bytes(&[]).unwrap(), CommitSummary::default());
        assert!(CommitSummary::from_bytes(&[0xff]).is_err());
    }

    #[test]
    fn sets_travel() {
        let set = SetId { client: ClientId::new(7).unwrap(), request: RequestId::new(8).unwrap() };
        let size = FileSize { generation: 3, bytes: 4 };
        for mode in [Mode::Shared, Mode::Exclusive] {
            let grant = SetGrant { set, boot: Boot::new(2).unwrap(), mode, size };
            let bytes = grant.to_bytes();
            assert_eq!(SetGrant::from_bytes(&bytes).unwrap(), grant);
            assert!(SetGrant::from_bytes(&bytes[1..]).is_err());
        }
        assert!(SetGrant::from_bytes(&[0; 48]).is_err());
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in [
            &[][..],
            &[1, 2],
            &[9, 0, 0, 0, b'a'],
            &[1, 0, 0, 0, 0xff],
            &[0, 0, 0, 0, 0xff],
            &[0; 8],
            &[0, 0, 0, 0, 1, 0, 0, 0, 9],
        ] {
            assert!(OpenedFile::from_bytes(bytes).is_err(), "{bytes:?}");
        }
        assert!(GroupGrant::from_bytes(&[0xff]).is_err());
        assert!(GroupGrant::from_bytes(&[]).is_err(), "a grant has a request");
    }
}
