//! What clients say on their streams.

use super::state::{DEFERRED_MAX, Deferred, State};
use crate::sessions::{ClientStream, ConnectRefused};
use pfs_core::ids::{ClientId, FileId, Holder, RequestId};
use pfs_core::session::{HeartbeatAnswer, Welcome};
use pfs_core::token::message::{Acquire, FileSize, Mode};
use pfs_proto::status::{ErrorCode, ErrorDetail};
use pfs_proto::token::{ClientFrame, ClientMessage, ServerFrame};
use pfs_proto::v1;

impl State {
    /// A client's stream begins: it is welcomed.
    pub(crate) fn connect(&mut self, client: ClientId, stream: ClientStream) -> Result<(), ConnectRefused> {
        self.sessions.connect(client, stream, Self::now_ms())?;
        let welcome = Welcome { boot: self.boot, received: 0 };
        self.sessions.send(client, ServerFrame::Welcome(welcome).into());
        Ok(())
    }

    /// A client's stream has ended.
    pub(crate) fn disconnect(&mut self, client: ClientId) {
        self.sessions.disconnect(client);
    }

    /// A message that could not be understood. It is answered and changes nothing else.
    pub(crate) fn refuse(&mut self, from: ClientId, request: Option<RequestId>, error: ErrorDetail) {
        if self.sessions.heard(from, Self::now_ms()) {
            let request_id = request.map_or(0, RequestId::get);
            let refused = v1::RequestRefused { request_id, error: Some(error.into()) };
            self.sessions
                .send(from, v1::ServerMessage { number: 1, kind: Some(v1::server_message::Kind::Refused(refused)) });
        }
    }

    /// A message. One of a client that is given up is not heard.
    pub(crate) fn receive(&mut self, from: ClientId, frame: ClientFrame) {
        if !self.sessions.heard(from, Self::now_ms()) {
            return;
        }
        let message = match frame {
            ClientFrame::Hello(_) => {
                let error =
                    ErrorDetail::new(ErrorCode::InvalidArgument, "a stream has one hello, as its first message");
                return self.refuse(from, None, error);
            }
            ClientFrame::Heartbeat(beat, _) => {
                let answer = HeartbeatAnswer { number: beat.number, received: 0 };
                return self.sessions.send(from, ServerFrame::Heartbeat(answer).into());
            }
            ClientFrame::Message { message, .. } => message,
        };
        match message {
            ClientMessage::Acquire(acquire) => match &mut self.deferred {
                Some(deferred) if deferred.len() >= DEFERRED_MAX => {
                    let text = "the metadata server has just started and too many requests wait for it; try again";
                    self.refuse(from, Some(acquire.request), ErrorDetail::new(ErrorCode::Unavailable, text));
                }
                Some(deferred) => deferred.push((from, Deferred::Acquire(acquire))),
                None => self.acquire(from, acquire),
            },
            ClientMessage::Cancel(request) => match &mut self.deferred {
                Some(deferred) if deferred.len() < 2 * DEFERRED_MAX => deferred.push((from, Deferred::Cancel(request))),
                _ => self.manager.handle_cancel(from, request),
            },
            ClientMessage::Ack(ack) => {
                // The size first: a grant that this ack sets free names it.
                if let Some(size) = ack.size {
                    self.learn_from(from, ack.holder, ack.file, size);
                }
                self.manager.handle_ack(from, &ack);
            }
            ClientMessage::Release(release, size) => {
                if let Some(size) = size {
                    self.learn_from(from, release.holder, release.file, size);
                }
                self.manager.handle_release(from, &release);
            }
            ClientMessage::SizeReport(report) => self.size_report(from, report),
            ClientMessage::AcquireSet(_)
            | ClientMessage::Reassert(_)
            | ClientMessage::ReassertDone
            | ClientMessage::Call(_) => tracing::warn!(client = %from, "a message that was not asked for"),
        }
    }

    /// Passes a request to the manager if a handle of its holder allows it.
    pub(super) fn acquire(&mut self, from: ClientId, acquire: Acquire) {
        let (holder, file) = (acquire.holder, acquire.file);
        let writes = acquire.mode == Mode::Exclusive;
        if writes && self.handles.known(file).is_some() && !self.handles.may_write(holder, file) {
            let text = format!("{holder} has {file} not open for writing; open it with write access");
            self.refuse(from, Some(acquire.request), ErrorDetail::new(ErrorCode::NotPermitted, text));
            return;
        }
        self.manager.handle_acquire(from, acquire);
    }

    fn learn_from(&mut self, from: ClientId, holder: Holder, file: FileId, size: FileSize) {
        if self.handles.speaks_for(from, holder) {
            self.learn(file, size);
        }
    }
}
