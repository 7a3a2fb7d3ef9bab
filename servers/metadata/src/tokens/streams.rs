//! What clients say on their streams.

use super::handles::Handle;
use super::state::State;
use crate::sessions::{CALLS_WAITING_MAX, Connection, REQUESTS_MAX};
use pfs_core::ids::{ClientId, FileId, Holder, OpenId, RequestId};
use pfs_core::session::Hello;
use pfs_core::session::coordinator::HelloRefused;
use pfs_core::token::message::{FileSize, Mode};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::token::{ClientFrame, ClientMessage, GrantMessage, ServerFrame, ServerMessage, Subject};
use pfs_proto::v1;
use tonic::Status;

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) client: ClientId,
    /// Counts the client's connections.
    pub(crate) number: u64,
}

impl State {
    /// A client has connected: it is welcomed on its new connection, and then told again what it has not seen.
    pub(crate) fn hello(&mut self, hello: Hello, connection: Connection) -> Result<ConnectionId, HelloRefused> {
        let client = hello.client;
        let (welcome, number) = self.coordinator.handle_hello(hello, Self::now_ms())?;
        self.sessions.connect(client, number, connection);
        self.send_frame(client, ServerFrame::Welcome(welcome));
        Ok(ConnectionId { client, number })
    }

    /// A connection has ended, or is to be ended with an error. Nothing if the client has a later one.
    pub(crate) fn hang_up(&mut self, connection: ConnectionId, error: Option<Status>) {
        let ConnectionId { client, number } = connection;
        if self.sessions.is_current(client, number) {
            self.sessions.cut(client, error);
            self.coordinator.handle_disconnected(client, number);
        }
    }

    /// A message that could not be understood, but names what it is about. It is answered and changes nothing else.
    pub(crate) fn refuse(&mut self, connection: ConnectionId, number: u64, subject: Subject, error: ErrorDetail) {
        if !self.is_next(connection, number) {
            return;
        }
        match subject {
            Subject::Request(request) => self.refuse_request(connection.client, request, error),
            Subject::Call(call) => self.refuse_call(connection.client, call, error),
        }
    }

    /// A frame after the hello. Returns a call that is to be run now; it is [answered](Self::answer) when it is over.
    #[must_use = "nobody else runs the call"]
    pub(crate) fn receive(&mut self, connection: ConnectionId, frame: ClientFrame) -> Option<v1::MetadataCall> {
        let client = connection.client;
        match frame {
            ClientFrame::Hello(_) => {
                let text = "a connection has one hello, as its first message";
                self.hang_up(connection, Some(ErrorDetail::new(ErrorCode::InvalidArgument, text).into()));
            }
            ClientFrame::Heartbeat(beat, cache) => {
                if !self.sessions.is_current(client, connection.number) {
                    return None;
                }
                if let Some(cache) = cache {
                    self.sessions.set_cache(client, cache);
                }
                if let Some(answer) = self.coordinator.handle_heartbeat(client, beat, Self::now_ms()) {
                    self.send_frame(client, ServerFrame::Heartbeat(answer));
                }
            }
            ClientFrame::Message { number, message } => {
                if self.is_next(connection, number) {
                    return self.handle(client, message);
                }
            }
        }
        None
    }

    /// Whether a numbered message is to be handled now.
    pub(super) fn is_next(&mut self, connection: ConnectionId, number: u64) -> bool {
        let ConnectionId { client, number: connection } = connection;
        self.sessions.is_current(client, connection) && self.coordinator.handle_arrival(client, number)
    }

    fn handle(&mut self, from: ClientId, message: ClientMessage) -> Option<v1::MetadataCall> {
        match message {
            ClientMessage::Acquire(acquire) => {
                self.note_busy(acquire.file);
                if self.may_ask(from, acquire.request, acquire.mode, acquire.file, [acquire.holder]) {
                    self.coordinator.manager().handle_acquire(from, acquire);
                }
            }
            ClientMessage::AcquireSet(set) => {
                self.note_busy(set.file);
                // In the grace some may not have said yet how they have it open; each checks its own accesses, too.
                let is_known = !self.coordinator.in_grace();
                let holders: Vec<Holder> = set.parts.iter().map(|part| part.holder).filter(|_| is_known).collect();
                if self.may_ask(from, set.request, set.mode, set.file, holders) {
                    self.coordinator.manager().handle_acquire_set(from, set);
                }
            }
            ClientMessage::Cancel(request) => self.coordinator.manager().handle_cancel(from, request),
            ClientMessage::Ack(ack) => {
                // The size first: a grant that this ack sets free names it.
                self.learn_from(from, ack.holder, ack.file, ack.size);
                self.coordinator.handle_ack(from, ack);
            }
            ClientMessage::Release(release, size) => {
                self.learn_from(from, release.holder, release.file, size);
                self.coordinator.manager().handle_release(from, &release);
            }
            ClientMessage::SizeReport(report) => self.size_report(from, report),
            ClientMessage::Call(call) => return self.begin_call(from, call),
            ClientMessage::ReassertDone => self.coordinator.handle_reassert_done(from, Self::now_ms()),
            // The reader hands these over with what the store knows of the file.
            ClientMessage::Reassert(message) => self.reassert_unknown(from, &message),
        }
        None
    }

    /// Whether a token request may go to the manager: there is room for it, and a handle of its holder allows it.
    fn may_ask(
        &mut self,
        from: ClientId,
        request: RequestId,
        mode: Mode,
        file: FileId,
        holders: impl IntoIterator<Item = Holder>,
    ) -> bool {
        if mode == Mode::Exclusive
            && self.handles.known(file).is_some()
            && let Some(holder) = holders.into_iter().find(|holder| !self.handles.may_write(*holder, file))
        {
            let text = format!("{holder} has {file} not open for writing; open it with write access");
            self.refuse_request(from, request, ErrorDetail::new(ErrorCode::NotPermitted, text));
            return false;
        }
        let room = self.sessions.begin_request(from, request);
        if !room {
            let text = format!("{from} has {REQUESTS_MAX} token requests waiting; ask again when some are answered");
            self.refuse_request(from, request, ErrorDetail::new(ErrorCode::TooLarge, text));
        }
        room
    }

    fn refuse_request(&mut self, to: ClientId, request: RequestId, error: ErrorDetail) {
        self.coordinator.send(to, ServerMessage::Refused(request, error), Self::now_ms());
    }

    fn refuse_call(&mut self, to: ClientId, call_id: u64, error: ErrorDetail) {
        let result = Some(v1::metadata_reply::Result::Error(error.into()));
        let reply = v1::MetadataReply { call_id, result, grant: None };
        self.coordinator.send(to, ServerMessage::Reply(Box::new(reply)), Self::now_ms());
    }

    fn begin_call(&mut self, from: ClientId, call: v1::MetadataCall) -> Option<v1::MetadataCall> {
        match self.sessions.begin_call(from, call) {
            Ok(call) => call,
            Err(call_id) => {
                let text = format!("{from} has {CALLS_WAITING_MAX} calls waiting; call again when some are answered");
                self.refuse_call(from, call_id, ErrorDetail::new(ErrorCode::TooLarge, text));
                None
            }
        }
    }

    /// A call on a client's stream has ended, which had this number for a request for what it has opened. Returns the next one that
    /// is to be run.
    #[must_use = "nobody else runs the next call"]
    pub(crate) fn answer(
        &mut self,
        client: ClientId,
        mut reply: v1::MetadataReply,
        token_request: Option<RequestId>,
    ) -> Option<v1::MetadataCall> {
        if let (Some(request), Some(v1::metadata_reply::Result::Opened(opened))) = (token_request, &reply.result) {
            reply.grant = self.grant_with_open(client, opened.open_id, request).map(Into::into);
        }
        self.coordinator.send(client, ServerMessage::Reply(Box::new(reply)), Self::now_ms());
        self.sessions.end_call(client)
    }

    /// All of a file for who has just opened it, if nobody else has it open. What is known of its size is exact then.
    fn grant_with_open(&mut self, client: ClientId, open: u64, request: RequestId) -> Option<GrantMessage> {
        let Handle { holder, file, access } = OpenId::new(open).and_then(|open| self.handles.get(open))?;
        let mode = if access.writes() { Mode::Exclusive } else { Mode::Shared };
        let (size, committed_slots) = self.handles.known(file).map(|(size, slots)| (size, slots.clone()))?;
        let grant = self.coordinator.manager().grant_with_open(client, request, holder, file, mode)?;
        if self.sessions.begin_request(client, request) {
            self.sessions.end_request(client, request);
        }
        Some(GrantMessage { grant, size, committed_slots })
    }

    fn learn_from(&mut self, from: ClientId, holder: Holder, file: FileId, size: Option<FileSize>) {
        if let Some(size) = size
            && self.handles.speaks_for(from, holder)
        {
            self.learn(file, size);
        }
    }
}
