//! The sessions of this start of the server: who lives, who is silent, who is dead.
//!
//! Invariants:
//! * client numbers are admitted in increasing order, and every number below [`Sessions::fences`]' floor that is not
//!   listed as living is dead for ever;
//! * a session goes joining → live → giving up → dead, or ends in good order; it never goes back;
//! * a session has one stream in its life. What was under way on a broken one can not be known, so it is not
//!   resumed: the session is given up when its lease has run out;
//! * a client counts as living for the file servers until its death is durable.

use pfs_core::ids::{ClientId, FileId, Holder, OpenId};
use pfs_proto::metadata::{Fences, OperationId};
use pfs_proto::token::{ServerFrame, ServerMessage};
use pfs_proto::v1;
use std::collections::BTreeMap;
use std::ops::Range;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Messages that wait for a client that does not read them; past it the client's stream is cut.
const STREAM_MESSAGES_MAX: usize = 4096;

/// The server's half of a client's stream. Dropping it ends the stream both ways.
#[derive(Debug)]
pub(crate) struct ClientStream {
    messages: mpsc::Sender<v1::ServerMessage>,
    _ended: DropGuard,
}

impl ClientStream {
    /// The half that the session keeps, what the client gets, and what tells the reader of the client's messages that
    /// the session has ended the stream.
    pub(crate) fn new() -> (Self, mpsc::Receiver<v1::ServerMessage>, CancellationToken) {
        Self::with_room(STREAM_MESSAGES_MAX)
    }

    fn with_room(messages_max: usize) -> (Self, mpsc::Receiver<v1::ServerMessage>, CancellationToken) {
        let (messages, receiver) = mpsc::channel(messages_max);
        let ended = CancellationToken::new();
        (ClientStream { messages, _ended: ended.clone().drop_guard() }, receiver, ended)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its record is on the way to the disk.
    Joining,
    Live,
    /// Its death is on the way to the disk.
    GivingUp,
    /// It is being fenced on the file servers.
    Dead,
}

#[derive(Debug)]
enum Stream {
    NotYet,
    Connected(ClientStream),
    Broken,
}

/// What an operation without a durable change did, for a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Opened { open: OpenId, holder: Holder, file: FileId },
    Closed,
}

#[derive(Debug)]
struct Session {
    name: String,
    phase: Phase,
    stream: Stream,
    began_ms: u64,
    last_heard_ms: u64,
    /// slot → sequence and what was done
    done: BTreeMap<u32, (u64, Done)>,
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectRefused {
    #[error("{0} has no session at this metadata server; connect again")]
    NoSession(ClientId),
    #[error("{0} has or had a token stream already; a session has one, connect again as a new client")]
    SecondStream(ClientId),
}

/// One session, for operators.
pub(crate) struct SessionView<'a> {
    pub(crate) client: ClientId,
    pub(crate) name: &'a str,
    pub(crate) connected: bool,
    pub(crate) age_ms: u64,
}

/// All sessions.
pub(crate) struct Sessions {
    sessions: BTreeMap<ClientId, Session>,
    /// Numbers for new clients. Every number below was admitted, here or at an earlier start.
    numbers: Range<u64>,
    lease_ms: u64,
    last_message: u64,
}

impl Sessions {
    /// No session. `numbers` are durably reserved and larger than those of earlier starts.
    pub(crate) fn new(numbers: Range<u64>, lease_ms: u64) -> Self {
        Sessions { sessions: BTreeMap::new(), numbers, lease_ms, last_message: 0 }
    }

    /// More numbers, when [`Sessions::admit`] had none left.
    pub(crate) fn add_numbers(&mut self, numbers: Range<u64>) {
        if self.numbers.is_empty() && numbers.start >= self.numbers.end {
            self.numbers = numbers;
        }
    }

    /// A new client; its number is the largest so far. It can do nothing before it is activated. Nothing: no number
    /// is reserved.
    pub(crate) fn admit(&mut self, name: String, now_ms: u64) -> Option<ClientId> {
        let client = self.numbers.next().and_then(ClientId::new)?;
        let session = Session {
            name,
            phase: Phase::Joining,
            stream: Stream::NotYet,
            began_ms: now_ms,
            last_heard_ms: now_ms,
            done: BTreeMap::new(),
        };
        self.sessions.insert(client, session);
        Some(client)
    }

    /// The client's record is durable: its lease begins.
    pub(crate) fn activate(&mut self, client: ClientId, now_ms: u64) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.phase = Phase::Live;
            session.last_heard_ms = now_ms;
        }
    }

    /// Whether the client may do something.
    pub(crate) fn is_live(&self, client: ClientId) -> bool {
        self.sessions.get(&client).is_some_and(|session| session.phase == Phase::Live)
    }

    /// The client's stream.
    pub(crate) fn connect(
        &mut self,
        client: ClientId,
        stream: ClientStream,
        now_ms: u64,
    ) -> Result<(), ConnectRefused> {
        match self.sessions.get_mut(&client) {
            Some(session) if session.phase == Phase::Live => match session.stream {
                Stream::NotYet => {
                    session.stream = Stream::Connected(stream);
                    session.last_heard_ms = now_ms;
                    Ok(())
                }
                Stream::Connected(_) | Stream::Broken => Err(ConnectRefused::SecondStream(client)),
            },
            _ => Err(ConnectRefused::NoSession(client)),
        }
    }

    /// The client's stream has ended, or does not take messages any more.
    pub(crate) fn disconnect(&mut self, client: ClientId) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.stream = Stream::Broken;
        }
    }

    /// A sign of life. Returns whether the client is still one that may do something.
    pub(crate) fn heard(&mut self, client: ClientId, now_ms: u64) -> bool {
        match self.sessions.get_mut(&client) {
            Some(session) if session.phase == Phase::Live => {
                session.last_heard_ms = now_ms;
                true
            }
            _ => false,
        }
    }

    /// Sends a numbered message on a client's stream.
    pub(crate) fn send_message(&mut self, client: ClientId, message: ServerMessage) {
        self.last_message += 1;
        let number = self.last_message;
        self.send(client, ServerFrame::Message { number, message }.into());
    }

    /// Sends a frame on a client's stream. A stream that is full is cut, which the client and its lease notice.
    pub(crate) fn send(&mut self, client: ClientId, message: v1::ServerMessage) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        if let Stream::Connected(stream) = &session.stream
            && stream.messages.try_send(message).is_err()
        {
            tracing::warn!(%client, name = session.name, "the client does not read its token stream; it is cut");
            session.stream = Stream::Broken;
        }
    }

    /// Live clients whose lease has run out; they are given up from now on.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Vec<ClientId> {
        let mut expired = Vec::new();
        for (client, session) in &mut self.sessions {
            if session.phase == Phase::Live && now_ms.saturating_sub(session.last_heard_ms) > self.lease_ms {
                tracing::warn!(%client, name = session.name, "the client's lease has run out; it is given up");
                session.phase = Phase::GivingUp;
                session.stream = Stream::Broken;
                expired.push(*client);
            }
        }
        expired
    }

    /// The client's death is durable.
    pub(crate) fn died(&mut self, client: ClientId) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.phase = Phase::Dead;
        }
    }

    /// Nothing is left of the session.
    pub(crate) fn remove(&mut self, client: ClientId) {
        self.sessions.remove(&client);
    }

    /// What the file servers are to know.
    pub(crate) fn fences(&self) -> Fences {
        let living = self.sessions.iter().filter(|(_, session)| session.phase != Phase::Dead);
        Fences {
            incarnation_floor: self.numbers.start,
            live_below_floor: living.map(|(client, _)| *client).collect(),
            ..Fences::default()
        }
    }

    /// What an operation did when it came before; an error names the slot's last one, which was later.
    pub(crate) fn recall(&self, operation: OperationId) -> Result<Option<Done>, u64> {
        let done = self.sessions.get(&operation.client).and_then(|session| session.done.get(&operation.slot));
        match done {
            Some((last, done)) if *last == operation.sequence => Ok(Some(*done)),
            Some((last, _)) if *last > operation.sequence => Err(*last),
            _ => Ok(None),
        }
    }

    /// Remembers what an operation did.
    pub(crate) fn record(&mut self, operation: OperationId, done: Done) {
        if let Some(session) = self.sessions.get_mut(&operation.client) {
            session.done.insert(operation.slot, (operation.sequence, done));
        }
    }

    /// An operation did nothing after all.
    pub(crate) fn forget(&mut self, operation: OperationId) {
        if let Some(session) = self.sessions.get_mut(&operation.client)
            && session.done.get(&operation.slot).is_some_and(|(sequence, _)| *sequence == operation.sequence)
        {
            session.done.remove(&operation.slot);
        }
    }

    /// A client's name, for people.
    pub(crate) fn name(&self, client: ClientId) -> &str {
        self.sessions.get(&client).map_or("", |session| &session.name)
    }

    /// All sessions, for operators.
    pub(crate) fn view(&self, now_ms: u64) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions.iter().map(move |(client, session)| SessionView {
            client: *client,
            name: &session.name,
            connected: matches!(session.stream, Stream::Connected(_)),
            age_ms: now_ms.saturating_sub(session.began_ms),
        })
    }

    /// Ends all streams.
    pub(crate) fn cut_streams(&mut self) {
        for session in self.sessions.values_mut() {
            session.stream = Stream::Broken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        ClientId::new(number).unwrap()
    }

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(10..12, 1000);
        assert_eq!(sessions.admit("a".into(), 0), Some(client(10)));
        sessions.activate(client(10), 0);
        sessions
    }

    #[test]
    fn a_client_lives_for_the_file_servers_until_its_death_is_durable() {
        let mut sessions = sessions();
        sessions.admit("b".into(), 0);
        assert_eq!(sessions.fences().live_below_floor, [client(10), client(11)]);
        assert_eq!(sessions.fences().incarnation_floor, 12);
        assert_eq!(sessions.expire(1001), [client(10)], "one that is joining has no lease yet");
        assert!(!sessions.is_live(client(10)) && !sessions.heard(client(10), 1001));
        assert_eq!(sessions.fences().live_below_floor, [client(10), client(11)]);
        sessions.died(client(10));
        assert_eq!(sessions.fences().live_below_floor, [client(11)]);
        assert!(sessions.expire(5000).is_empty(), "a client dies once");
    }

    #[test]
    fn client_numbers_only_increase() {
        let mut sessions = sessions();
        assert_eq!(sessions.admit("b".into(), 0), Some(client(11)));
        assert_eq!(sessions.admit("c".into(), 0), None);
        sessions.add_numbers(5..7);
        assert_eq!(sessions.admit("c".into(), 0), None, "numbers from before are not used");
        sessions.add_numbers(40..41);
        sessions.add_numbers(50..60);
        assert_eq!(sessions.admit("c".into(), 0), Some(client(40)));
        assert_eq!(sessions.fences().incarnation_floor, 41);
    }

    #[test]
    fn signs_of_life_renew_the_lease() {
        let mut sessions = sessions();
        assert!(sessions.heard(client(10), 900));
        assert!(sessions.expire(1900).is_empty());
        assert_eq!(sessions.expire(1901), [client(10)]);
    }

    #[test]
    fn a_session_has_one_stream() {
        let mut sessions = sessions();
        let stream = || ClientStream::new().0;
        assert_eq!(sessions.connect(client(9), stream(), 0), Err(ConnectRefused::NoSession(client(9))));
        let (first, _receiver, ended) = ClientStream::new();
        sessions.connect(client(10), first, 0).unwrap();
        assert_eq!(sessions.connect(client(10), stream(), 0), Err(ConnectRefused::SecondStream(client(10))));
        assert!(!ended.is_cancelled());
        sessions.disconnect(client(10));
        assert!(ended.is_cancelled());
        assert_eq!(sessions.connect(client(10), stream(), 0), Err(ConnectRefused::SecondStream(client(10))));
    }

    #[test]
    fn a_client_that_does_not_read_is_cut() {
        let mut sessions = sessions();
        let (stream, mut receiver, ended) = ClientStream::with_room(1);
        sessions.connect(client(10), stream, 0).unwrap();
        sessions.send(client(10), v1::ServerMessage::default());
        sessions.send(client(10), v1::ServerMessage::default());
        assert!(receiver.try_recv().is_ok() && ended.is_cancelled());
        assert!(matches!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn repeated_operations_are_recalled() {
        let mut sessions = sessions();
        let operation = |sequence| OperationId { client: client(10), slot: 3, sequence };
        assert_eq!(sessions.recall(operation(5)), Ok(None));
        sessions.record(operation(5), Done::Closed);
        assert_eq!(sessions.recall(operation(5)), Ok(Some(Done::Closed)));
        assert_eq!(sessions.recall(operation(6)), Ok(None));
        assert_eq!(sessions.recall(operation(4)), Err(5));
    }
}
