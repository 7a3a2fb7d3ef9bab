//! What the server keeps of a session beside the coordinator: its name, its connection, what its volatile operations
//! did, and what its client told of itself.
//!
//! Who lives and who is shut out is the coordinator's; a session is here exactly as long as it is there.
//!
//! Invariants:
//! * a session has at most one connection, the latest; what an earlier one still brings is not looked at, and repeated
//!   on the later one;
//! * a connection carries a welcome first, and everything else in the order in which it was sent;
//! * the calls of one client that run at once, and those that wait, are bounded.

use pfs_core::ids::{ClientId, FileId, Holder, OpenId, RequestId};
use pfs_proto::metadata::{MovedPointer, OperationId};
use pfs_proto::token::ServerFrame;
use pfs_proto::v1;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

/// Messages that wait on a connection whose client does not read; past it the connection is cut. All that a
/// reconnection repeats fits.
const CONNECTION_MESSAGES_MAX: usize = 2 * 65_536;
/// Token requests of one client that may wait at once.
pub(crate) const REQUESTS_MAX: usize = 65_536;
/// Calls of one client that run at once: what its slots allow, and as many that only read.
const CALLS_RUNNING_MAX: usize = 128;
/// Calls of one client that wait for their turn.
pub(crate) const CALLS_WAITING_MAX: usize = 4096;

/// The server's half of a connection. Dropping it ends the connection both ways.
#[derive(Debug)]
pub(crate) struct Connection {
    messages: mpsc::Sender<Result<v1::ServerMessage, Status>>,
    _ended: DropGuard,
}

/// What goes to the client.
pub(crate) type Outgoing = mpsc::Receiver<Result<v1::ServerMessage, Status>>;

impl Connection {
    /// The half that the session keeps, what the client gets, and what tells the reader of the client's messages that
    /// the connection has ended.
    pub(crate) fn new() -> (Self, Outgoing, CancellationToken) {
        Self::with_room(CONNECTION_MESSAGES_MAX)
    }

    fn with_room(messages_max: usize) -> (Self, Outgoing, CancellationToken) {
        let (messages, receiver) = mpsc::channel(messages_max);
        let ended = CancellationToken::new();
        (Connection { messages, _ended: ended.clone().drop_guard() }, receiver, ended)
    }
}

/// What an operation without a durable change did, for a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Opened { open: OpenId, holder: Holder, file: FileId },
    Closed,
    Moved(MovedPointer),
}

/// Calls on a client's stream.
#[derive(Debug, Default)]
struct Calls {
    running: usize,
    waiting: VecDeque<v1::MetadataCall>,
}

#[derive(Debug)]
struct Session {
    name: String,
    /// With its number.
    connection: Option<(u64, Connection)>,
    began_ms: u64,
    /// slot → sequence and what was done
    done: BTreeMap<u32, (u64, Done)>,
    cache: Option<v1::CacheCounters>,
    /// Token requests that are not answered.
    requests: BTreeSet<RequestId>,
    last_request: Option<RequestId>,
    /// Token requests so far.
    requests_begun: u64,
    calls: Calls,
}

/// One session, for operators.
pub(crate) struct SessionView<'a> {
    pub(crate) client: ClientId,
    pub(crate) name: &'a str,
    pub(crate) connected: bool,
    pub(crate) age_ms: u64,
    pub(crate) cache: Option<v1::CacheCounters>,
    /// Token requests so far, and those that wait.
    pub(crate) requests: (u64, u64),
}

/// All sessions.
pub(crate) struct Sessions {
    sessions: BTreeMap<ClientId, Session>,
    /// Numbers for new clients. Every number below was used, here or at an earlier start.
    numbers: Range<u64>,
}

impl Sessions {
    /// No session. `numbers` are durably reserved and larger than those of earlier starts.
    pub(crate) fn new(numbers: Range<u64>) -> Self {
        Sessions { sessions: BTreeMap::new(), numbers }
    }

    /// More numbers, when [`Sessions::next_client`] had none left.
    pub(crate) fn add_numbers(&mut self, numbers: Range<u64>) {
        if self.numbers.is_empty() && numbers.start >= self.numbers.end {
            self.numbers = numbers;
        }
    }

    /// The number of a new client, the largest so far. Nothing: none is reserved.
    pub(crate) fn next_client(&mut self) -> Option<ClientId> {
        self.numbers.next().and_then(ClientId::new)
    }

    /// A session begins, or is known from an earlier start.
    pub(crate) fn add(&mut self, client: ClientId, name: String, now_ms: u64) {
        let session = Session {
            name,
            connection: None,
            began_ms: now_ms,
            done: BTreeMap::new(),
            cache: None,
            requests: BTreeSet::new(),
            last_request: None,
            requests_begun: 0,
            calls: Calls::default(),
        };
        self.sessions.insert(client, session);
    }

    /// Nothing is left of the session.
    pub(crate) fn remove(&mut self, client: ClientId) {
        self.sessions.remove(&client);
    }

    /// A client's new connection; an earlier one ends.
    pub(crate) fn connect(&mut self, client: ClientId, number: u64, connection: Connection) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.connection = Some((number, connection));
        }
    }

    /// Whether this is the client's connection now.
    pub(crate) fn is_current(&self, client: ClientId, number: u64) -> bool {
        self.number(client) == Some(number)
    }

    fn number(&self, client: ClientId) -> Option<u64> {
        self.sessions.get(&client)?.connection.as_ref().map(|(number, _)| *number)
    }

    /// Ends the client's connection, with an error if there is one to be told.
    pub(crate) fn cut(&mut self, client: ClientId, error: Option<Status>) {
        if let Some(session) = self.sessions.get_mut(&client)
            && let (Some((_, connection)), Some(error)) = (session.connection.take(), error)
        {
            // Whoever does not read is told when it comes again.
            let _ = connection.messages.try_send(Err(error));
        }
    }

    /// Sends a frame on a client's connection, if there is one. Returns the number of a connection that took no more:
    /// it is cut, and what it lost is repeated on the next one.
    pub(crate) fn send(&mut self, client: ClientId, frame: ServerFrame) -> Option<u64> {
        let session = self.sessions.get_mut(&client)?;
        let (number, connection) = session.connection.as_ref()?;
        if connection.messages.try_send(Ok(frame.into())).is_ok() {
            return None;
        }
        let number = *number;
        tracing::warn!(%client, name = session.name, "the client does not read its token stream; it is cut");
        session.connection = None;
        Some(number)
    }

    /// What a client's cache has done so far.
    pub(crate) fn set_cache(&mut self, client: ClientId, cache: v1::CacheCounters) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.cache = Some(cache);
        }
    }

    /// Counts a token request. False: too many wait. One whose number is not new is not counted; it is refused.
    pub(crate) fn begin_request(&mut self, client: ClientId, request: RequestId) -> bool {
        let Some(session) = self.sessions.get_mut(&client) else { return false };
        if session.last_request >= Some(request) {
            return true;
        }
        let room = session.requests.len() < REQUESTS_MAX;
        if room {
            session.last_request = Some(request);
            session.requests_begun += 1;
            session.requests.insert(request);
        }
        room
    }

    /// A token request was answered.
    pub(crate) fn end_request(&mut self, client: ClientId, request: RequestId) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.requests.remove(&request);
        }
    }

    /// A call has come. Returns it if it is to run now; an error with its number if too many wait.
    pub(crate) fn begin_call(
        &mut self,
        client: ClientId,
        call: v1::MetadataCall,
    ) -> Result<Option<v1::MetadataCall>, u64> {
        let Some(session) = self.sessions.get_mut(&client) else { return Err(call.call_id) };
        let calls = &mut session.calls;
        if calls.running < CALLS_RUNNING_MAX {
            calls.running += 1;
            Ok(Some(call))
        } else if calls.waiting.len() < CALLS_WAITING_MAX {
            calls.waiting.push_back(call);
            Ok(None)
        } else {
            Err(call.call_id)
        }
    }

    /// A call has ended. Returns the next one to run.
    pub(crate) fn end_call(&mut self, client: ClientId) -> Option<v1::MetadataCall> {
        let calls = &mut self.sessions.get_mut(&client)?.calls;
        let next = calls.waiting.pop_front();
        if next.is_none() {
            calls.running -= 1;
        }
        next
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
            connected: session.connection.is_some(),
            age_ms: now_ms.saturating_sub(session.began_ms),
            cache: session.cache,
            requests: (session.requests_begun, session.requests.len() as u64),
        })
    }

    /// How many there are, and how many are connected.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let connected = self.sessions.values().filter(|session| session.connection.is_some()).count();
        (self.sessions.len() as u64, connected as u64)
    }

    /// Ends all connections.
    pub(crate) fn cut_all(&mut self) {
        for session in self.sessions.values_mut() {
            session.connection = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfs_core::session::HeartbeatAnswer;

    const CLIENT: ClientId = ClientId::new(10).unwrap();
    const FRAME: ServerFrame = ServerFrame::Heartbeat(HeartbeatAnswer { number: 1, received: 0 });

    fn sessions() -> Sessions {
        let mut sessions = Sessions::new(10..12);
        assert_eq!(sessions.next_client(), Some(CLIENT));
        sessions.add(CLIENT, "a".into(), 0);
        sessions
    }

    #[test]
    fn client_numbers_only_increase() {
        let mut sessions = sessions();
        assert_eq!(sessions.next_client(), ClientId::new(11));
        assert_eq!(sessions.next_client(), None);
        sessions.add_numbers(5..7);
        assert_eq!(sessions.next_client(), None, "numbers from before are not used");
        sessions.add_numbers(40..41);
        sessions.add_numbers(50..60);
        assert_eq!(sessions.next_client(), ClientId::new(40));
    }

    #[test]
    fn a_later_connection_replaces_the_earlier_one() {
        let mut sessions = sessions();
        let (first, _outgoing, first_ended) = Connection::new();
        let (second, mut outgoing, second_ended) = Connection::new();
        sessions.connect(CLIENT, 1, first);
        sessions.connect(CLIENT, 2, second);
        assert!(first_ended.is_cancelled() && !second_ended.is_cancelled());
        assert!(!sessions.is_current(CLIENT, 1) && sessions.is_current(CLIENT, 2));
        sessions.send(CLIENT, FRAME);
        assert!(outgoing.try_recv().is_ok());
        sessions.cut(CLIENT, Some(Status::aborted("enough")));
        assert!(second_ended.is_cancelled() && outgoing.try_recv().unwrap().is_err());
    }

    #[test]
    fn a_client_that_does_not_read_is_cut() {
        let mut sessions = sessions();
        let (connection, mut outgoing, ended) = Connection::with_room(1);
        sessions.connect(CLIENT, 7, connection);
        assert_eq!(sessions.send(CLIENT, FRAME), None);
        assert_eq!(sessions.send(CLIENT, FRAME), Some(7));
        assert!(outgoing.try_recv().is_ok() && ended.is_cancelled());
        assert!(matches!(outgoing.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn repeated_operations_are_recalled() {
        let mut sessions = sessions();
        let operation = |sequence| OperationId { client: CLIENT, slot: 3, sequence };
        assert_eq!(sessions.recall(operation(5)), Ok(None));
        sessions.record(operation(5), Done::Closed);
        assert_eq!(sessions.recall(operation(5)), Ok(Some(Done::Closed)));
        assert_eq!(sessions.recall(operation(6)), Ok(None));
        assert_eq!(sessions.recall(operation(4)), Err(5));
    }

    #[test]
    fn calls_and_requests_of_a_client_are_bounded() {
        let mut sessions = sessions();
        let call = |call_id| v1::MetadataCall { call_id, method: None, token_request: 0 };
        for number in 0..CALLS_RUNNING_MAX as u64 {
            assert!(sessions.begin_call(CLIENT, call(number)).unwrap().is_some());
        }
        for number in 0..CALLS_WAITING_MAX as u64 {
            assert_eq!(sessions.begin_call(CLIENT, call(1000 + number)), Ok(None));
        }
        assert_eq!(sessions.begin_call(CLIENT, call(9)), Err(9));
        assert_eq!(sessions.end_call(CLIENT), Some(call(1000)), "in their order");

        let request = |number: usize| RequestId::new(number as u64).unwrap();
        assert!((1..=REQUESTS_MAX).all(|number| sessions.begin_request(CLIENT, request(number))));
        assert!(!sessions.begin_request(CLIENT, request(REQUESTS_MAX + 1)));
        sessions.end_request(CLIENT, request(5));
        assert!(sessions.begin_request(CLIENT, request(5)), "it is not new, and not counted");
        assert!(sessions.begin_request(CLIENT, request(REQUESTS_MAX + 1)));
        assert!(!sessions.begin_request(CLIENT, request(REQUESTS_MAX + 2)));
    }
}
