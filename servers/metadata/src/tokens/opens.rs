//! Opening and closing files, for a client or for a group.

use super::handles::Handle;
use super::state::{NotLive, State};
use crate::namespace::Report;
use crate::sessions::Done;
use pfs_core::ids::{ClientId, FileId, GroupId, Holder, OpenId};
use pfs_core::path::PfsPath;
use pfs_core::token::manager::{Counters, TokenRange};
use pfs_core::token::message::FileSize;
use pfs_proto::metadata::{OpenFor, OperationId, SlotSet};
use pfs_proto::status::{ErrorCode, status};
use tonic::Status;

/// An open to be made.
pub(crate) struct OpenRequest {
    pub(crate) operation: OperationId,
    /// The id for the open.
    pub(crate) open: OpenId,
    /// The id for the group, if `open_for` names one.
    pub(crate) group: Option<GroupId>,
    /// For whom.
    pub(crate) open_for: OpenFor,
    pub(crate) file: FileId,
    /// The name that it was found by.
    pub(crate) name: PfsPath,
    /// What the store knows.
    pub(crate) size: FileSize,
    pub(crate) committed_slots: SlotSet,
}

/// An open that was made, now or when the operation came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) open: OpenId,
    pub(crate) holder: Holder,
    pub(crate) file: FileId,
}

/// Why an open or a close was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenRefused {
    #[error(transparent)]
    NotLive(#[from] NotLive),
    #[error("{0} opens a file for a group that it is not a member of; a member of the group has to open it")]
    NotAMember(ClientId),
    #[error(
        "operation {sequence} of slot {slot} came after operation {last}, or was another operation before; numbers of a slot must increase"
    )]
    Sequence { slot: u32, sequence: u64, last: u64 },
    #[error("{open} is not open for {client}; it was closed, or opened by somebody else")]
    NotOpen { open: OpenId, client: ClientId },
}

impl From<OpenRefused> for Status {
    fn from(refused: OpenRefused) -> Self {
        let code = match refused {
            OpenRefused::NotLive(refused) => return refused.into(),
            OpenRefused::NotAMember(_) | OpenRefused::Sequence { .. } => ErrorCode::InvalidArgument,
            OpenRefused::NotOpen { .. } => ErrorCode::NotFound,
        };
        status(code, refused.to_string())
    }
}

impl State {
    /// What an operation did when it came before.
    pub(crate) fn recall(&self, operation: OperationId) -> Result<Option<Done>, OpenRefused> {
        self.check(operation.client)?;
        let OperationId { slot, sequence, .. } = operation;
        self.sessions.recall(operation).map_err(|last| OpenRefused::Sequence { slot, sequence, last })
    }

    /// The open that an operation made when it came before.
    pub(crate) fn recall_open(&self, operation: OperationId) -> Result<Option<Opened>, OpenRefused> {
        match self.recall(operation)? {
            None => Ok(None),
            Some(Done::Opened { open, holder, file }) => Ok(Some(Opened { open, holder, file })),
            Some(Done::Closed | Done::Moved(_)) => {
                let OperationId { slot, sequence, .. } = operation;
                Err(OpenRefused::Sequence { slot, sequence, last: sequence })
            }
        }
    }

    /// Opens a file, and says what is known of it. It counts as open from now on, so it is not removed. Before the caller
    /// answers, it looks at the store again: it takes the open back if the name was gone, and else tells with
    /// [`State::refresh`] what changed.
    pub(crate) fn open(&mut self, request: OpenRequest) -> Result<(Opened, Report), OpenRefused> {
        let opened = match self.recall_open(request.operation)? {
            Some(before) => before,
            None => self.make_open(request)?,
        };
        Ok((opened, self.known(opened.file)))
    }

    fn make_open(&mut self, request: OpenRequest) -> Result<Opened, OpenRefused> {
        let client = request.operation.client;
        let OpenFor { group_members: members, access } = request.open_for;
        members.iter().try_for_each(|member| self.check(*member))?;
        let holder = match request.group {
            None => Holder::Client(client),
            Some(_) if !members.contains(&client) => return Err(OpenRefused::NotAMember(client)),
            Some(group) => {
                self.handles.add_group(group, &members);
                self.coordinator.manager().add_group(group, members);
                Holder::Group(group)
            }
        };
        let opened = Opened { open: request.open, holder, file: request.file };
        let handle = Handle { holder, file: request.file, access };
        self.handles.open(request.open, handle, request.size, &request.committed_slots);
        self.handles.set_name(request.file, request.name);
        self.coordinator.manager().open(holder, request.file, request.open);
        let Opened { open, holder, file } = opened;
        self.sessions.record(request.operation, Done::Opened { open, holder, file });
        Ok(opened)
    }

    /// What a close is about, or nothing if it was done before.
    pub(crate) fn closing(&self, operation: OperationId, open: OpenId) -> Result<Option<FileId>, OpenRefused> {
        match self.recall(operation)? {
            Some(Done::Closed) => return Ok(None),
            Some(Done::Opened { .. } | Done::Moved(_)) => {
                let OperationId { slot, sequence, .. } = operation;
                return Err(OpenRefused::Sequence { slot, sequence, last: sequence });
            }
            None => {}
        }
        let client = operation.client;
        match self.handles.get(open) {
            Some(handle) if self.handles.speaks_for(client, handle.holder) => Ok(Some(handle.file)),
            _ => Err(OpenRefused::NotOpen { open, client }),
        }
    }

    /// Closes; the last close of a holder frees its tokens of the file.
    pub(crate) fn close(&mut self, operation: OperationId, open: OpenId) {
        self.sessions.record(operation, Done::Closed);
        self.end_open(open);
    }

    /// Takes an open back that was of no use: its operation has done nothing.
    pub(crate) fn take_back(&mut self, operation: OperationId, open: OpenId) {
        self.sessions.forget(operation);
        self.end_open(open);
    }

    fn end_open(&mut self, open: OpenId) {
        let Some(handle) = self.handles.get(open) else { return };
        if self.coordinator.in_grace() {
            self.closed.insert(open);
        }
        self.coordinator.manager().close(handle.holder, handle.file, open);
        if let Some(file) = self.handles.close(open) {
            self.reap(file);
        }
    }

    /// What is known of a file because somebody has it open.
    pub(crate) fn known(&self, file: FileId) -> Report {
        match self.handles.known(file) {
            Some((size, slots)) => Report { size: Some(size), committed_slots: slots.clone(), ..Report::default() },
            None => Report::default(),
        }
    }

    /// What the store said of an open file after it was opened.
    pub(crate) fn refresh(&mut self, file: FileId, size: FileSize, slots: &SlotSet) {
        self.handles.set_size(file, size);
        self.handles.learn_slots(file, slots);
    }

    /// Slots that were made durable.
    pub(crate) fn learn_slots(&mut self, file: FileId, slots: &SlotSet) {
        self.handles.learn_slots(file, slots);
    }

    /// A size that was set.
    pub(crate) fn set_size(&mut self, file: FileId, size: FileSize) {
        self.handles.set_size(file, size);
    }

    /// The token table of a file with its counts, and the names of holders, for people.
    pub(crate) fn tokens_of(&self, file: FileId) -> (Vec<(TokenRange, Vec<String>)>, Counters) {
        let named = |token: TokenRange| {
            let names = token.holders.iter().map(|holder| self.holder_name(*holder)).collect();
            (token, names)
        };
        let manager = self.coordinator.tokens();
        (manager.tokens(file).into_iter().map(named).collect(), manager.file_counters(file))
    }

    fn holder_name(&self, holder: Holder) -> String {
        let members = self.coordinator.tokens().members(holder);
        let first = members.first().map_or("", |client| self.sessions.name(*client));
        match members.len() {
            0 | 1 => first.to_owned(),
            others => format!("{first} and {} more", others - 1),
        }
    }

    /// Counts of all tokens, and handles open now.
    pub(crate) fn counts(&self) -> (Counters, usize) {
        (self.coordinator.tokens().counters(), self.handles.len())
    }
}
