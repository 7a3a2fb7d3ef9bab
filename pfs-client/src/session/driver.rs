//! The token driver: the task that keeps the session, around [`ClientSession`].
//!
//! Invariants:
//! * messages of the manager are handled in the order of their numbers, each once;
//! * accesses are allowed only while the session allows them, and before a holder has taken over a new boot none is
//!   allowed under it;
//! * a token message of a file whose stamps are of another boot than the session's is dropped: whatever it was for is
//!   asked for again when the file has taken over the new boot.

use super::calls::Calls;
use super::wire::{Wire, WireEvent};
use crate::access::boot_time_ms;
use crate::error::{Error, ErrorKind};
use crate::links::{Answer, LATER, Links, Method, Up};
use crate::state::ClientState;
use pfs_core::ids::{Boot, GroupId, Holder};
use pfs_core::session::client::{ClientSession, EndReason, SessionAction};
use pfs_core::token::message::{Ack, Revoke};
use pfs_proto::status::{ErrorCode, error_detail};
use pfs_proto::token::{ClientFrame, ClientMessage, ServerFrame, ServerMessage, SizeReport};
use pfs_proto::v1;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// Most messages that are taken over before the stream is looked at again.
const BATCH: usize = 64;

/// See the module.
pub(super) struct Driver {
    state: Weak<ClientState>,
    links: Arc<Links>,
    address: String,
    session: ClientSession<ClientMessage>,
    wire: Wire,
    outgoing: mpsc::UnboundedReceiver<Up>,
    calls: Calls,
    /// A restarted metadata server is being told what is held.
    reasserting: bool,
    progress_told: u64,
    /// Why the last connection broke, for the error that may follow.
    last_failure: Option<String>,
    ready: Option<oneshot::Sender<()>>,
    /// When to look for calls that nobody waits for; nothing if whoever makes one says so.
    look_at: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        state: &Arc<ClientState>,
        address: String,
        session: ClientSession<ClientMessage>,
        wire: Wire,
        outgoing: mpsc::UnboundedReceiver<Up>,
        ready: oneshot::Sender<()>,
    ) -> Self {
        Driver {
            state: Arc::downgrade(state),
            links: state.links.clone(),
            address,
            session,
            wire,
            outgoing,
            calls: Calls::default(),
            reasserting: false,
            progress_told: 0,
            last_failure: None,
            ready: Some(ready),
            look_at: None,
        }
    }

    /// Until the session is over.
    pub(super) async fn run(mut self) {
        let ended = self.drive().await;
        tracing::debug!(error = %ended, "the session is over");
        self.links.end_later();
        match self.state.upgrade() {
            Some(state) => state.end(ended),
            None => drop(self.links.access.end(ended)),
        }
        // What waits in the calls is told by its channels' end.
    }

    async fn drive(&mut self) -> Error {
        loop {
            // After a shutdown nobody is kept from what this client had.
            if let Err(ended) = self.links.access.check_alive().and_then(|()| self.act()) {
                return ended;
            }
            let wait_ms = self.session.poll_timeout().map_or(u64::MAX, |at| at.saturating_sub(boot_time_ms()));
            // The clock counts whole milliseconds.
            let wait = Duration::from_millis(wait_ms.saturating_add(1).min(60_000));
            let look = self.look_at.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = tokio::time::sleep(look.map_or(wait, |look| wait.min(look)));
            let went_on = tokio::select! {
                event = self.wire.next() => self.handle_event(event),
                up = self.outgoing.recv() => self.take_all(up),
                () = timeout => {
                    self.look();
                    Ok(())
                }
            };
            if let Err(ended) = went_on {
                return ended;
            }
            let progress = self.links.progress();
            if std::mem::replace(&mut self.progress_told, progress) != progress {
                self.session.note_progress();
            }
            self.session.handle_timeout(boot_time_ms());
        }
    }

    /// Does what the session wants done.
    fn act(&mut self) -> Result<(), Error> {
        while let Some(action) = self.session.poll_action() {
            match action {
                SessionAction::Connect => self.wire.connect(),
                SessionAction::Hello(hello) => self.wire.send(ClientFrame::Hello(hello)),
                SessionAction::Heartbeat(beat) => {
                    let cache = self.state.upgrade().and_then(|state| state.cache_counters());
                    self.wire.send(ClientFrame::Heartbeat(beat, cache));
                }
                SessionAction::Send { number, message } => self.wire.send(ClientFrame::Message { number, message }),
                SessionAction::Reassert => self.reassert(),
                SessionAction::Resumed { boot } => self.resumed(boot),
                SessionAction::Suspend => {
                    tracing::debug!(address = self.address, "the metadata server does not answer; accesses wait");
                    self.links.access.suspend();
                }
                // Below, with every other change of the lease.
                SessionAction::Resume => {}
                SessionAction::End(reason) => return Err(self.ended(reason)),
            }
        }
        if self.session.may_access(boot_time_ms()) {
            self.links.access.open_until(self.session.lease_ends_ms());
        }
        Ok(())
    }

    /// Says what every holder holds.
    fn reassert(&mut self) {
        self.reasserting = true;
        let Some(state) = self.state.upgrade() else { return };
        for message in state.reassert() {
            self.session.send(ClientMessage::Reassert(message));
        }
        self.session.send(ClientMessage::ReassertDone);
    }

    /// The restarted metadata server has taken over everything: what waits is asked for again.
    fn resumed(&mut self, boot: Boot) {
        self.reasserting = false;
        self.links.set_boot(boot);
        if let Some(state) = self.state.upgrade() {
            state.files().iter().for_each(|file| file.resumed(boot));
        }
        for call in self.calls.again(|| self.links.next_request()) {
            self.session.send(ClientMessage::Call(call));
        }
    }

    fn take_all(&mut self, first: Option<Up>) -> Result<(), Error> {
        let Some(first) = first else { return Err(Error::new(ErrorKind::NoSession, "the client was shut down")) };
        self.take_later();
        self.take(first);
        for _ in 1..BATCH {
            let Ok(next) = self.outgoing.try_recv() else { break };
            self.take(next);
        }
        Ok(())
    }

    /// Puts calls on their way that nobody waits for. They were made before what goes out now.
    fn take_later(&mut self) -> bool {
        let later = self.links.take_later();
        let any = !later.is_empty();
        for (method, reply) in later {
            self.take(Up::Call { method, reply });
        }
        if any {
            self.look_at = Some(Instant::now() + LATER);
        }
        any
    }

    /// If the time for it has come, looks whether there are such calls; when there were none for a while, no more.
    fn look(&mut self) {
        if self.look_at.is_some_and(|at| at <= Instant::now()) && !self.take_later() && self.links.stop_looking() {
            self.look_at = None;
        }
    }

    fn take(&mut self, up: Up) {
        match up {
            Up::Token { boot, message } => {
                if !self.reasserting && boot == self.session.boot() {
                    self.session.send(message);
                }
            }
            Up::Call { method, reply } => {
                let call = self.calls.begin(method, reply, || self.links.next_request());
                if !self.reasserting {
                    self.session.send(ClientMessage::Call(call));
                }
            }
            Up::Look => self.look_at = Some(Instant::now() + LATER),
        }
    }

    fn handle_event(&mut self, event: WireEvent) -> Result<(), Error> {
        let now_ms = boot_time_ms();
        match event {
            WireEvent::Connected => self.session.handle_connected(now_ms),
            WireEvent::Frame(ServerFrame::Welcome(welcome)) => {
                self.session.handle_welcome(welcome, now_ms);
                if let Some(ready) = self.ready.take() {
                    // Whoever opens the session may have given up.
                    let _ = ready.send(());
                }
            }
            WireEvent::Frame(ServerFrame::Heartbeat(answer)) => self.session.handle_heartbeat_answer(answer, now_ms),
            WireEvent::Frame(ServerFrame::Message { number, message }) => {
                if self.session.handle_arrival(number, now_ms) {
                    self.handle(message, now_ms);
                }
            }
            WireEvent::Malformed(error) => return Err(Error::malformed("a message of the token stream", error)),
            WireEvent::Broken(status) => self.broken(status, now_ms)?,
        }
        Ok(())
    }

    fn broken(&mut self, status: Status, now_ms: u64) -> Result<(), Error> {
        tracing::debug!(address = self.address, %status, "the connection to the metadata server is broken");
        let detail = error_detail(&status);
        match detail.code {
            ErrorCode::NoSession => self.session.handle_given_up(),
            // Before the first welcome nobody has relied on the session.
            ErrorCode::Unauthenticated | ErrorCode::WrongCluster if self.ready.is_some() => {
                return Err(Error::from_status(status));
            }
            _ => self.session.handle_disconnected(now_ms),
        }
        self.last_failure = Some(detail.message);
        Ok(())
    }

    fn handle(&mut self, message: ServerMessage, now_ms: u64) {
        let Some(state) = self.state.upgrade() else { return };
        match message {
            ServerMessage::Grant(grant) => match state.file(grant.grant.holder, grant.grant.file) {
                Some(file) => file.handle_grant(grant),
                None => tracing::debug!(?grant, "a grant for a file that was closed"),
            },
            ServerMessage::Revoke(revoke) => match state.file(revoke.holder, revoke.file) {
                Some(file) => file.handle_revoke(revoke),
                None => self.session.send(ClientMessage::Ack(nothing_used(&revoke))),
            },
            ServerMessage::Refused(request, error) => {
                if !state.files().iter().any(|file| file.handle_refused(request, &error)) {
                    tracing::debug!(%request, %error, "a refusal of a request that nobody waits for");
                }
            }
            ServerMessage::SizeQuery(query) => {
                let size = state.written_size(query.file);
                let report = SizeReport { query: query.query, file: query.file, size };
                self.session.send(ClientMessage::SizeReport(report));
            }
            ServerMessage::Reasserted => self.session.handle_reasserted(now_ms),
            ServerMessage::MemberLost { group, member } => {
                let files = state.files();
                files.iter().for_each(|file| file.handle_member_lost(group, member));
            }
            ServerMessage::GroupLost(group) => lose_group(&state, group),
            ServerMessage::Reply(reply) => self.handle_reply(&state, *reply),
        }
    }

    fn handle_reply(&mut self, state: &Arc<ClientState>, mut reply: v1::MetadataReply) {
        let grant = reply.grant.take();
        let Some(answered) = self.calls.answer(reply) else { return };
        // Before the caller knows: from here on a restarted metadata server must be told of it.
        match (&answered.method, &answered.answer) {
            (Method::CreateFile(v1::CreateFileRequest { open: Some(open), path, .. }), Ok(Answer::Opened(opened)))
            | (Method::OpenFile(v1::OpenFileRequest { open: Some(open), path, .. }), Ok(Answer::Opened(opened))) => {
                state.record_open(open, opened);
                if let Some(grant) = grant {
                    state.take_over_grant(path, opened, grant);
                }
            }
            (Method::MovePointer(asked), Ok(Answer::Moved(reply))) => state.learn_pointer(asked.open_id, reply),
            // One that is refused for good is not open any more either.
            (Method::CloseFile(close), answer) if !answer.as_ref().is_err_and(|error| error.kind().is_passing()) => {
                state.forget_open(close.open_id);
            }
            _ => {}
        }
        answered.tell();
    }

    fn ended(&self, reason: EndReason) -> Error {
        let cause = self.last_failure.as_ref().map_or_else(String::new, |why| format!(" (last: {why})"));
        let text = match reason {
            EndReason::GivenUp => format!(
                "the metadata server at {} has given this client up, since it was not heard for its lease or kept a \
                 token that others wanted{cause}; what was not synced may be lost: open the files again as a new client",
                self.address
            ),
            EndReason::Unreachable { patience_ms } => format!(
                "the metadata server at {} was not reached for {patience_ms} ms{cause}; what was not synced may be \
                 lost: see that the server runs and open the files again as a new client",
                self.address
            ),
        };
        Error::new(ErrorKind::NoSession, text).with_source(reason)
    }
}

/// The ack of a client that does not have the file, or not any more: nothing is used, so there is nothing to wait for.
fn nothing_used(revoke: &Revoke) -> Ack {
    Ack {
        revoke: revoke.revoke,
        holder: revoke.holder,
        file: revoke.file,
        released: vec![revoke.range],
        size: None,
        undrained: Vec::new(),
    }
}

fn lose_group(state: &ClientState, group: GroupId) {
    state.forget_opens_of(Holder::Group(group));
    state.files().iter().for_each(|file| file.handle_group_lost(group));
}
